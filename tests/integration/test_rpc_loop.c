/* SPDX-License-Identifier: Apache-2.0 */
/* Our client and our server on one loop: who may be destroyed when, and what is said exactly once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/rpc/rpc.h"

struct world {
	uv_loop_t loop;
	struct ls_rpc_server *server;
	struct ls_rpc_channel *channel;
	struct ls_rpc_call *held; /* the last call of Hold */
	struct ls_rpc_request *request;
	unsigned cancelled;
	unsigned replies;
	unsigned messages;
	unsigned drained;
	unsigned left; /* replies until the client goes */
	enum ls_rpc_status status;
	bool sent;
	char message[256];
};

static void destroy_all(struct world *world)
{
	ls_rpc_channel_destroy(world->channel);
	ls_rpc_server_destroy(world->server);
	world->channel = NULL;
	world->server = NULL;
}

static void echo(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	ls_rpc_reply(call, request, len);
}

static void on_cancel(struct ls_rpc_call *call, void *user)
{
	struct world *world = user;

	assert_true(ls_rpc_call_cancelled(call));
	assert_int_equal(ls_rpc_send(call, "x", 1), -ECANCELED);
	world->cancelled++;
	world->held = NULL;
	ls_rpc_finish(call, LS_RPC_CANCELLED, "nobody reads this");
}

static void hold(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	struct world *world = user;

	world->held = call;
	ls_rpc_call_on_cancel(call, on_cancel, world);
	ls_rpc_send(call, "held", 4);
}

static void destroy_in_handler(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	destroy_all(user);
	assert_true(ls_rpc_call_cancelled(call));
	assert_string_equal(request, "still here");
	ls_rpc_reply(call, "x", 1);
}

static void shutdown_drained(void *user)
{
	struct world *world = user;

	world->drained++;
}

static void shutdown_in_handler(struct ls_rpc_call *call, const void *request, size_t len,
				void *user)
{
	struct world *world = user;

	ls_rpc_server_shutdown(world->server, shutdown_drained, world);
	assert_int_equal(world->drained, 0);
	ls_rpc_reply(call, "bye", 3);
}

static struct world the_world;

static const struct ls_rpc_method methods[] = {
	{ "/t/Echo", echo, &the_world },
	{ "/t/Hold", hold, &the_world },
	{ "/t/Destroy", destroy_in_handler, &the_world },
	{ "/t/Shutdown", shutdown_in_handler, &the_world },
};

static void start_server(struct world *world, const char *address)
{
	char why[256] = "";

	assert_int_equal(ls_rpc_server_create(&world->loop, NULL, &world->server), 0);
	assert_int_equal(ls_rpc_server_add(world->server, methods, 4), 0);
	assert_int_equal(ls_rpc_server_add(world->server, methods, 1), -EEXIST);
	if (ls_rpc_server_listen(world->server, address, why, sizeof(why)) < 0)
		fail_msg("%s", why);
}

static int set_up(void **state)
{
	struct world *world = &the_world;
	char why[256];

	memset(world, 0, sizeof(*world));
	world->status = LS_RPC_DATA_LOSS;
	world->left = 1;
	*state = world;
	uv_loop_init(&world->loop);
	start_server(world, "127.0.0.1:0");
	assert_null(ls_rpc_server_address(world->server, 1));
	return ls_rpc_channel_create(&world->loop, ls_rpc_server_address(world->server, 0), NULL,
				     &world->channel, why, sizeof(why));
}

/* Nothing may be left on the loop. */
static int tear_down(void **state)
{
	struct world *world = *state;

	destroy_all(world);
	while (uv_run(&world->loop, UV_RUN_DEFAULT)) /* a uv_stop() may be pending */
		;
	return uv_loop_close(&world->loop);
}

static void note(struct world *world, const struct ls_rpc_result *result)
{
	world->replies++;
	world->status = result->status;
	world->sent = result->sent;
	snprintf(world->message, sizeof(world->message), "%s", result->message);
	if (--world->left == 0)
		uv_stop(&world->loop);
}

static void on_reply(void *user, const struct ls_rpc_result *result, const void *bytes, size_t len)
{
	assert_int_equal(result->status == LS_RPC_OK, bytes != NULL);
	note(user, result);
}

static void on_end(void *user, const struct ls_rpc_result *result)
{
	note(user, result);
}

static void stop_at_message(void *user, const void *bytes, size_t len)
{
	struct world *world = user;

	world->messages++;
	uv_stop(&world->loop);
}

static void cancel_at_message(void *user, const void *bytes, size_t len)
{
	struct world *world = user;

	world->messages++;
	ls_rpc_cancel(world->request);
	assert_memory_equal(bytes, "held", 4);
}

static void destroy_at_message(void *user, const void *bytes, size_t len)
{
	struct world *world = user;

	world->messages++;
	destroy_all(world);
	assert_memory_equal(bytes, "held", 4);
}

static void ask(struct world *world, const char *path)
{
	assert_int_equal(ls_rpc_unary(world->channel, path, "still here", 11, 20000, on_reply, world,
				      &world->request), 0);
}

static void watch(struct world *world, const char *path, ls_rpc_on_message on_message)
{
	assert_int_equal(ls_rpc_stream(world->channel, path, "", 0, 20000, on_message, on_end, world,
				       &world->request), 0);
}

static void run(struct world *world)
{
	uv_run(&world->loop, UV_RUN_DEFAULT);
}

static void a_call_is_answered_from_the_loop(void **state)
{
	struct world *world = *state;

	ask(world, "/t/Echo");
	assert_int_equal(world->replies, 0);
	run(world);
	assert_int_equal(world->replies, 1);
	assert_int_equal(world->status, LS_RPC_OK);
	assert_true(world->sent);
}

static void calls_need_a_path_and_a_deadline(void **state)
{
	struct world *world = *state;

	assert_int_equal(ls_rpc_unary(world->channel, "/t/Echo", "", 0, 0, on_reply, world, NULL),
			 -EINVAL);
	assert_int_equal(ls_rpc_unary(world->channel, "t/Echo", "", 0, 1, on_reply, world, NULL),
			 -EINVAL);
}

static void a_cancel_before_connecting_reports_once_and_inside(void **state)
{
	struct world *world = *state;

	ask(world, "/t/Echo");
	ls_rpc_cancel(world->request);
	assert_int_equal(world->replies, 1);
	assert_int_equal(world->status, LS_RPC_CANCELLED);
	assert_false(world->sent);
}

static void a_cancel_reaches_the_handler(void **state)
{
	struct world *world = *state;

	watch(world, "/t/Hold", stop_at_message);
	run(world);
	ls_rpc_cancel(world->request);
	assert_int_equal(world->status, LS_RPC_CANCELLED);
	while (world->cancelled == 0)
		uv_run(&world->loop, UV_RUN_ONCE);
	assert_int_equal(world->replies, 1);
}

static void a_call_may_be_cancelled_from_its_own_message(void **state)
{
	struct world *world = *state;

	watch(world, "/t/Hold", cancel_at_message);
	while (world->cancelled == 0)
		uv_run(&world->loop, UV_RUN_ONCE);
	assert_int_equal(world->replies, 1);
	assert_int_equal(world->messages, 1);
}

static void everything_may_be_destroyed_from_a_message(void **state)
{
	struct world *world = *state;

	watch(world, "/t/Hold", destroy_at_message);
	run(world);
	assert_int_equal(world->replies, 1);
	assert_int_equal(world->cancelled, 1);
	assert_int_equal(world->status, LS_RPC_CANCELLED);
}

static void everything_may_be_destroyed_from_a_handler(void **state)
{
	struct world *world = *state;

	ask(world, "/t/Destroy");
	run(world);
	assert_int_equal(world->replies, 1);
	assert_int_equal(world->status, LS_RPC_CANCELLED);
}

static void a_server_that_goes_cancels_and_the_client_hears_unavailable(void **state)
{
	struct world *world = *state;

	watch(world, "/t/Hold", stop_at_message);
	run(world);
	ls_rpc_server_destroy(world->server);
	world->server = NULL;
	assert_int_equal(world->cancelled, 1);
	run(world);
	assert_int_equal(world->replies, 1);
	assert_int_equal(world->status, LS_RPC_UNAVAILABLE);
	assert_true(world->sent);
}

static void a_channel_reconnects_to_a_server_that_came_back(void **state)
{
	struct world *world = *state;
	char address[64];

	snprintf(address, sizeof(address), "%s", ls_rpc_server_address(world->server, 0));
	for (unsigned round = 0; round < 5; round++) {
		world->left = 1;
		ask(world, "/t/Echo");
		run(world);
		assert_int_equal(world->status, LS_RPC_OK);
		ls_rpc_server_destroy(world->server);
		world->left = 1;
		ask(world, "/t/Echo");
		run(world);
		assert_int_equal(world->status, LS_RPC_UNAVAILABLE);
		world->left = 1;
		ask(world, "/t/Echo");
		run(world);
		assert_int_equal(world->status, LS_RPC_UNAVAILABLE);
		assert_false(world->sent);
		assert_non_null(strstr(world->message, address));
		start_server(world, address);
	}
}

static void a_shutdown_answers_what_runs_and_then_drains(void **state)
{
	struct world *world = *state;

	ask(world, "/t/Shutdown");
	run(world);
	assert_int_equal(world->status, LS_RPC_OK);
	while (world->drained == 0)
		uv_run(&world->loop, UV_RUN_ONCE);
	world->left = 1;
	ask(world, "/t/Echo");
	run(world);
	assert_int_equal(world->status, LS_RPC_UNAVAILABLE);
	assert_false(world->sent);
	assert_int_equal(world->drained, 1);
}

static void a_shutdown_without_connections_drains_from_the_loop(void **state)
{
	struct world *world = *state;

	ls_rpc_server_shutdown(world->server, shutdown_drained, world);
	assert_int_equal(world->drained, 0);
	run(world);
	assert_int_equal(world->drained, 1);
}

static void two_thousand_calls_wait_their_turn_on_one_connection(void **state)
{
	struct world *world = *state;

	world->left = 2000;
	for (unsigned i = 0; i < 2000; i++)
		ask(world, "/t/Echo");
	run(world);
	assert_int_equal(world->replies, 2000);
	assert_int_equal(world->status, LS_RPC_OK);
}

static void destroying_the_channel_ends_every_call_once(void **state)
{
	struct world *world = *state;

	world->left = 1000;
	for (unsigned i = 0; i < 500; i++)
		watch(world, "/t/Hold", stop_at_message);
	run(world); /* some are held by now, some wait for a stream */
	ls_rpc_channel_destroy(world->channel);
	world->channel = NULL;
	assert_int_equal(world->replies, 500);
	assert_int_equal(world->status, LS_RPC_CANCELLED);
}

static void destructors_accept_null(void **state)
{
	ls_rpc_server_destroy(NULL);
	ls_rpc_channel_destroy(NULL);
}

int main(void)
{
#define in_the_world(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		in_the_world(a_call_is_answered_from_the_loop),
		in_the_world(calls_need_a_path_and_a_deadline),
		in_the_world(a_cancel_before_connecting_reports_once_and_inside),
		in_the_world(a_cancel_reaches_the_handler),
		in_the_world(a_call_may_be_cancelled_from_its_own_message),
		in_the_world(everything_may_be_destroyed_from_a_message),
		in_the_world(everything_may_be_destroyed_from_a_handler),
		in_the_world(a_server_that_goes_cancels_and_the_client_hears_unavailable),
		in_the_world(a_channel_reconnects_to_a_server_that_came_back),
		in_the_world(a_shutdown_answers_what_runs_and_then_drains),
		in_the_world(a_shutdown_without_connections_drains_from_the_loop),
		in_the_world(two_thousand_calls_wait_their_turn_on_one_connection),
		in_the_world(destroying_the_channel_ends_every_call_once),
		cmocka_unit_test(destructors_accept_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
