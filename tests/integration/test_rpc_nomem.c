/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation of ours fails once, the N-th in the N-th run: the caller
 * still hears the end exactly once, and nothing is left behind. Linked with
 * --wrap for malloc, calloc, realloc and strdup.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/rpc/rpc.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strdup(const char *text);

static unsigned long until_failure; /* 0: never */
static unsigned long allocations;

static bool fails(void)
{
	return ++allocations == until_failure;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return fails() ? NULL : __real_realloc(memory, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

static unsigned ends;
static unsigned messages;
static enum ls_rpc_status last;

static void twice(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	ls_rpc_call_trailer(call, "lockstep-error-bin", "detail", 6);
	if (ls_rpc_send(call, request, len) < 0 || ls_rpc_send(call, request, len) < 0)
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory");
	else
		ls_rpc_finish(call, LS_RPC_OK, "as asked");
}

static void echo(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	ls_rpc_reply(call, request, len);
}

static const struct ls_rpc_method methods[] = {
	{ "/t/Twice", twice, NULL },
	{ "/t/Echo", echo, NULL },
};

static void on_message(void *user, const void *bytes, size_t len)
{
	messages++;
}

static void on_end(void *user, const struct ls_rpc_result *result)
{
	ends++;
	last = result->status;
	uv_stop(user);
}

static void on_reply(void *user, const struct ls_rpc_result *result, const void *bytes, size_t len)
{
	assert_int_equal(bytes != NULL, result->status == LS_RPC_OK);
	on_end(user, result);
}

static void call_both(uv_loop_t *loop, struct ls_rpc_channel *channel)
{
	static const uint8_t request[20000];

	ends = 0;
	if (ls_rpc_stream(channel, "/t/Twice", request, sizeof(request), 2000, on_message, on_end,
			  loop, NULL) == 0) {
		uv_run(loop, UV_RUN_DEFAULT);
		assert_int_equal(ends, 1);
	}
	ends = 0;
	if (ls_rpc_unary(channel, "/t/Echo", request, sizeof(request), 2000, on_reply, loop, NULL) ==
	    0) {
		uv_run(loop, UV_RUN_DEFAULT);
		assert_int_equal(ends, 1);
	}
}

static void one_life(unsigned long failure)
{
	struct ls_rpc_server *server = NULL;
	struct ls_rpc_channel *channel = NULL;
	uv_loop_t loop;
	char why[256];

	uv_loop_init(&loop);
	allocations = 0;
	until_failure = failure;
	if (ls_rpc_server_create(&loop, NULL, &server) == 0 &&
	    ls_rpc_server_add(server, methods, 2) == 0 &&
	    ls_rpc_server_listen(server, "127.0.0.1:0", why, sizeof(why)) == 0 &&
	    ls_rpc_channel_create(&loop, ls_rpc_server_address(server, 0), NULL, &channel, why,
				  sizeof(why)) == 0)
		call_both(&loop, channel);
	ls_rpc_channel_destroy(channel);
	ls_rpc_server_destroy(server);
	while (uv_run(&loop, UV_RUN_DEFAULT))
		;
	until_failure = 0;
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void every_allocation_may_fail_once(void **state)
{
	unsigned long total;

	one_life(0);
	assert_int_equal(last, LS_RPC_OK);
	assert_int_equal(messages, 2);
	total = allocations;
	assert_true(total > 15);
	for (unsigned long n = 1; n <= total; n++)
		one_life(n);
	print_message("%lu allocations failed in turn\n", total);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
