/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gRPC server for tests: rpc_echo [--max-message N] [--max-receiving N] ADDRESS...
 * Says "listening ADDRESS" for each, then what happens. Ends gracefully when
 * its standard input does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/rpc.h"

struct stream {
	struct ls_rpc_call *call;
	unsigned long left;
	size_t size;
	uint8_t *bytes;
};

struct later {
	uv_timer_t timer;
	struct ls_rpc_call *call;
};

static struct ls_rpc_server *server;
static uv_pipe_t input;
static uv_loop_t loop;

static char *text_of(const void *request, size_t len)
{
	char *text = malloc(len + 1);

	if (!text)
		abort();
	memcpy(text, request, len);
	text[len] = '\0';
	return text;
}

static void echo(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	ls_rpc_reply(call, request, len);
}

static void peer(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	char text[512];
	uint64_t left = ls_rpc_call_time_left(call);

	snprintf(text, sizeof(text), "%s %lld", ls_rpc_call_peer(call),
		 left == UINT64_MAX ? -1 : (long long)left);
	ls_rpc_reply(call, text, strlen(text));
}

/* "CODE message" */
static void fail(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	char *text = text_of(request, len);
	char *message;
	unsigned long code = strtoul(text, &message, 10);

	ls_rpc_call_trailer(call, "lockstep-error-bin", "\0\1\2detail\xff", 10);
	ls_rpc_finish(call, (enum ls_rpc_status)code, *message ? message + 1 : "");
	free(text);
}

static void hang_cancelled(struct ls_rpc_call *call, void *user)
{
	printf("cancelled %s\n", ls_rpc_call_path(call));
	ls_rpc_finish(call, LS_RPC_CANCELLED, NULL);
}

static void hang(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	printf("hanging\n");
	ls_rpc_call_on_cancel(call, hang_cancelled, NULL);
}

/* Sends one message and waits to be cancelled. */
static void greet_and_hang(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	ls_rpc_call_on_cancel(call, hang_cancelled, NULL);
	ls_rpc_send(call, "hello", 5);
}

static void stream_free(struct stream *stream)
{
	free(stream->bytes);
	free(stream);
}

static void stream_cancelled(struct ls_rpc_call *call, void *user)
{
	printf("cancelled %s\n", ls_rpc_call_path(call));
	stream_free(user);
	ls_rpc_finish(call, LS_RPC_CANCELLED, NULL);
}

static void stream_next(struct ls_rpc_call *call, void *user)
{
	struct stream *stream = user;

	if (stream->left == 0) {
		stream_free(stream);
		ls_rpc_finish(call, LS_RPC_OK, NULL);
		return;
	}
	stream->left--;
	ls_rpc_send(call, stream->bytes, stream->size);
}

static struct stream *stream_new(struct ls_rpc_call *call, const void *request, size_t len)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	char *text = text_of(request, len);
	char *size;

	if (!stream)
		abort();
	stream->left = strtoul(text, &size, 10);
	stream->size = strtoul(size, NULL, 10);
	stream->bytes = malloc(stream->size + 1);
	if (!stream->bytes)
		abort();
	memset(stream->bytes, 'r', stream->size);
	free(text);
	ls_rpc_call_on_cancel(call, stream_cancelled, stream);
	return stream;
}

/* "COUNT SIZE": that many messages, each when the one before has left. */
static void repeat(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	struct stream *stream = stream_new(call, request, len);

	ls_rpc_call_on_writable(call, stream_next, stream);
	stream_next(call, stream);
}

/* "COUNT SIZE": as fast as they are taken, without waiting. */
static void flood(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	struct stream *stream = stream_new(call, request, len);
	enum ls_rpc_status status = LS_RPC_OK;

	while (stream->left-- > 0)
		if (ls_rpc_send(call, stream->bytes, stream->size) < 0) {
			status = LS_RPC_RESOURCE_EXHAUSTED;
			break;
		}
	printf("flood queued %zu\n", ls_rpc_queued(call));
	stream_free(stream);
	ls_rpc_finish(call, status, status ? "the reader is too slow" : NULL);
}

static void later_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void later_due(uv_timer_t *timer)
{
	struct later *later = timer->data;

	ls_rpc_reply(later->call, "late", 4);
	uv_close((uv_handle_t *)timer, later_closed);
}

/* "MS": answers after so long, cancelled or not. */
static void later(struct ls_rpc_call *call, const void *request, size_t len, void *user)
{
	struct later *late = calloc(1, sizeof(*late));
	char *text = text_of(request, len);

	if (!late)
		abort();
	late->call = call;
	uv_timer_init(&loop, &late->timer);
	late->timer.data = late;
	uv_timer_start(&late->timer, later_due, strtoul(text, NULL, 10), 0);
	free(text);
}

static const struct ls_rpc_method methods[] = {
	{ "/test.Echo/Echo", echo, NULL },	 { "/test.Echo/Peer", peer, NULL },
	{ "/test.Echo/Fail", fail, NULL },	 { "/test.Echo/Hang", hang, NULL },
	{ "/test.Echo/Greet", greet_and_hang, NULL }, { "/test.Echo/Repeat", repeat, NULL },
	{ "/test.Echo/Flood", flood, NULL },	 { "/test.Echo/Later", later, NULL },
};

static void on_peer_error(void *user, const char *address, const char *what)
{
	printf("peer-error %s: %s\n", address, what);
}

static void on_drained(void *user)
{
	printf("drained\n");
	ls_rpc_server_destroy(server);
}

static void on_input_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	static char ignored[64];

	*buffer = uv_buf_init(ignored, sizeof(ignored));
}

static void on_input(uv_stream_t *stream, ssize_t len, const uv_buf_t *buffer)
{
	if (len >= 0)
		return;
	uv_close((uv_handle_t *)stream, NULL);
	ls_rpc_server_shutdown(server, on_drained, NULL);
}

int main(int argc, char **argv)
{
	struct ls_rpc_server_options options = { .on_peer_error = on_peer_error,
						 .handshake_ms = 1000 };
	char why[256];
	int first = 1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (; first + 1 < argc && strncmp(argv[first], "--", 2) == 0; first += 2) {
		if (strcmp(argv[first], "--max-message") == 0)
			options.max_message = strtoul(argv[first + 1], NULL, 10);
		else if (strcmp(argv[first], "--max-receiving") == 0)
			options.max_receiving = strtoul(argv[first + 1], NULL, 10);
		else
			return 2;
	}
	uv_loop_init(&loop);
	if (ls_rpc_server_create(&loop, &options, &server) < 0 ||
	    ls_rpc_server_add(server, methods, sizeof(methods) / sizeof(methods[0])) < 0)
		return 1;
	for (int i = first; i < argc; i++) {
		if (ls_rpc_server_listen(server, argv[i], why, sizeof(why)) < 0) {
			fprintf(stderr, "%s\n", why);
			return 2;
		}
		printf("listening %s\n", ls_rpc_server_address(server, (size_t)(i - first)));
	}
	uv_pipe_init(&loop, &input, 0);
	uv_pipe_open(&input, 0);
	uv_read_start((uv_stream_t *)&input, on_input_alloc, on_input);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop) == 0 ? 0 : 3;
}
