/* SPDX-License-Identifier: Apache-2.0 */
/* A server that shuts down while a call of it still runs, and the one that takes over its address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/rpc/rpc.h"

static struct ls_rpc_call *held;
static unsigned held_ends;
static enum ls_rpc_status held_status;
static enum ls_rpc_status asked_status;
static unsigned drained;

static void hold(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	held = call;
	ls_rpc_send(call, "held", 4);
}

static void echo(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	ls_rpc_reply(call, request, len);
}

static const struct ls_rpc_method methods[] = {
	{ "/t/Hold", hold, NULL },
	{ "/t/Echo", echo, NULL },
};

static struct ls_rpc_server *serve(uv_loop_t *loop, const char *address)
{
	struct ls_rpc_server *server;
	char why[256];

	assert_int_equal(ls_rpc_server_create(loop, NULL, &server), 0);
	assert_int_equal(ls_rpc_server_add(server, methods, 2), 0);
	assert_int_equal(ls_rpc_server_listen(server, address, why, sizeof(why)), 0);
	return server;
}

static void on_message(void *user, const void *bytes, size_t len)
{
	uv_stop(user);
}

static void on_held_end(void *user, const struct ls_rpc_result *result)
{
	held_ends++;
	held_status = result->status;
}

static void on_reply(void *user, const struct ls_rpc_result *result, const void *bytes, size_t len)
{
	asked_status = result->status;
	/* Whatever the old server refuses on its way out may be repeated. */
	if (result->status != LS_RPC_OK)
		assert_false(result->sent);
	uv_stop(user);
}

static void on_drained(void *user)
{
	drained++;
}

static void new_calls_go_to_the_successor_while_the_old_call_ends_in_peace(void **state)
{
	struct ls_rpc_server *old, *successor;
	struct ls_rpc_channel *channel;
	unsigned tries = 0;
	char address[64];
	char why[256];
	uv_loop_t loop;

	uv_loop_init(&loop);
	old = serve(&loop, "127.0.0.1:0");
	snprintf(address, sizeof(address), "%s", ls_rpc_server_address(old, 0));
	assert_int_equal(ls_rpc_channel_create(&loop, address, NULL, &channel, why, sizeof(why)), 0);
	assert_int_equal(ls_rpc_stream(channel, "/t/Hold", "", 0, 20000, on_message, on_held_end,
				       &loop, NULL), 0);
	uv_run(&loop, UV_RUN_DEFAULT);

	ls_rpc_server_shutdown(old, on_drained, NULL);
	successor = serve(&loop, address);
	do {
		assert_int_equal(ls_rpc_unary(channel, "/t/Echo", "x", 1, 5000, on_reply, &loop,
					      NULL), 0);
		uv_run(&loop, UV_RUN_DEFAULT);
	} while (asked_status != LS_RPC_OK && ++tries < 5);
	assert_int_equal(asked_status, LS_RPC_OK);
	assert_int_equal(held_ends, 0);
	assert_int_equal(drained, 0);

	ls_rpc_finish(held, LS_RPC_ABORTED, "the end");
	while (!held_ends || !drained)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(held_status, LS_RPC_ABORTED);

	ls_rpc_channel_destroy(channel);
	ls_rpc_server_destroy(old);
	ls_rpc_server_destroy(successor);
	while (uv_run(&loop, UV_RUN_DEFAULT))
		;
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_calls_go_to_the_successor_while_the_old_call_ends_in_peace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
