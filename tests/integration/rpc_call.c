/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gRPC client for tests:
 *	rpc_call ADDRESS unary|stream PATH DEADLINE_MS COUNT SIZE|=TEXT
 * Makes COUNT calls at once on one channel. Per call: "message LEN SUM" for
 * each message and "end STATUS MESSAGE [TRAILER=hex]".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/rpc.h"

static struct ls_rpc_channel *channel;
static unsigned long running;

static void show_message(const uint8_t *bytes, size_t len)
{
	unsigned long sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += bytes[i];
	printf("message %zu %lu\n", len, sum);
}

static void ended(const struct ls_rpc_result *result)
{
	const uint8_t *bytes = result->trailer_bytes;

	printf("end %s %s", ls_rpc_status_name(result->status), result->message);
	if (result->trailer) {
		printf(" %s=", result->trailer);
		for (size_t i = 0; i < result->trailer_len; i++)
			printf("%02x", bytes[i]);
	}
	printf("\n");
	if (--running == 0)
		ls_rpc_channel_destroy(channel);
}

static void on_message(void *user, const void *bytes, size_t len)
{
	show_message(bytes, len);
}

static void on_end(void *user, const struct ls_rpc_result *result)
{
	ended(result);
}

static void on_reply(void *user, const struct ls_rpc_result *result, const void *bytes, size_t len)
{
	if (result->status == LS_RPC_OK)
		show_message(bytes, len);
	ended(result);
}

static int call(const char *kind, const char *path, uint64_t deadline, const char *bytes, size_t len)
{
	if (strcmp(kind, "unary") == 0)
		return ls_rpc_unary(channel, path, bytes, len, deadline, on_reply, NULL, NULL);
	return ls_rpc_stream(channel, path, bytes, len, deadline, on_message, on_end, NULL, NULL);
}

int main(int argc, char **argv)
{
	uv_loop_t loop;
	char why[256];
	char *bytes;
	size_t len;
	unsigned long count;

	if (argc != 7)
		return 2;
	uv_loop_init(&loop);
	if (ls_rpc_channel_create(&loop, argv[1], NULL, &channel, why, sizeof(why)) < 0) {
		fprintf(stderr, "%s\n", why);
		return 2;
	}
	count = strtoul(argv[5], NULL, 10);
	if (argv[6][0] == '=') {
		bytes = strdup(argv[6] + 1);
		len = strlen(argv[6] + 1);
	} else {
		len = strtoul(argv[6], NULL, 10);
		bytes = malloc(len + 1);
		if (bytes)
			memset(bytes, 'x', len);
	}
	if (!bytes)
		return 1;
	for (running = 0; running < count; running++)
		if (call(argv[2], argv[3], strtoul(argv[4], NULL, 10), bytes, len) < 0)
			return 1;
	free(bytes);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop) == 0 && running == 0 ? 0 : 3;
}
