/* SPDX-License-Identifier: Apache-2.0 */
/* A call's way in: headers, the one message, the handler. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/server_internal.h"

struct ls_rpc_call *ls_call_new(struct conn *conn, int32_t stream_id)
{
	struct ls_rpc_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->conn = conn;
	call->stream_id = stream_id;
	call->loop = conn->h2.loop;
	call->deadline = UINT64_MAX;
	call->max_queued = conn->server->options.max_queued;
	call->reader.max_message = conn->server->options.max_message;
	memcpy(call->peer, conn->peer, sizeof(call->peer));
	ls_list_append(&conn->calls, &call->link);
	return call;
}

static void take_timeout(struct ls_rpc_call *call, const char *value, size_t len)
{
	uint64_t ms;

	if (ls_grpc_timeout_parse(value, len, &ms) < 0)
		call->bad_timeout = true;
	else
		call->deadline = uv_now(call->loop) + ms;
}

int ls_call_header(struct ls_rpc_call *call, const char *name, const char *value, size_t len)
{
	if (strcmp(name, ":path") == 0) {
		if (len >= sizeof(call->path))
			call->path_too_long = true;
		else
			memcpy(call->path, value, len + 1);
	} else if (strcmp(name, ":method") == 0) {
		snprintf(call->method, sizeof(call->method), "%s", value);
	} else if (strcmp(name, "content-type") == 0) {
		call->grpc_content = ls_grpc_content_type(value, len);
	} else if (strcmp(name, "grpc-encoding") == 0) {
		call->encoded = strcmp(value, "identity") != 0;
	} else if (strcmp(name, "grpc-timeout") == 0) {
		take_timeout(call, value, len);
	}
	return 0;
}

static void refuse_unknown(struct ls_rpc_call *call)
{
	char message[LS_PATH_MAX + 32];

	snprintf(message, sizeof(message), "unknown method %s",
		 call->path_too_long ? "(path too long)" : call->path);
	ls_call_end(call, LS_RPC_UNIMPLEMENTED, message);
}

/* What is wrong with the request before its message came is answered at once. */
void ls_call_headers_done(struct ls_rpc_call *call)
{
	if (strcmp(call->method, "POST") != 0)
		ls_call_http_error(call, "405");
	else if (!call->grpc_content)
		ls_call_http_error(call, "415");
	else if (call->path_too_long || !ls_server_find(call->conn->server, call->path))
		refuse_unknown(call);
	else if (call->bad_timeout)
		ls_call_end(call, LS_RPC_INVALID_ARGUMENT, "malformed grpc-timeout");
	else if (call->encoded)
		ls_call_end(call, LS_RPC_UNIMPLEMENTED, "compressed messages are not supported");
	else
		ls_h2_wake_at(&call->conn->h2, call->deadline);
}

void ls_call_drop_request(struct ls_rpc_call *call)
{
	if (call->conn && call->conn->server)
		call->conn->server->receiving -= call->reader.capacity;
	ls_grpc_reader_clear(&call->reader);
}

static void end_bad_message(struct ls_rpc_call *call, int error)
{
	char message[128];

	switch (error) {
	case -EMSGSIZE:
		snprintf(message, sizeof(message), "message of %zu bytes, at most %zu are accepted",
			 call->reader.len, call->reader.max_message);
		ls_call_end(call, LS_RPC_RESOURCE_EXHAUSTED, message);
		break;
	case -EPROTONOSUPPORT:
		ls_call_end(call, LS_RPC_UNIMPLEMENTED, "compressed messages are not supported");
		break;
	default:
		ls_call_end(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory for the message");
	}
}

void ls_call_data(struct ls_rpc_call *call, const uint8_t *bytes, size_t len)
{
	struct ls_rpc_server *server = call->conn->server;
	size_t capacity = call->reader.capacity;
	size_t used;
	int r;

	if (call->state != CALL_RECEIVING || len == 0)
		return;
	if (call->complete) {
		ls_call_end(call, LS_RPC_UNIMPLEMENTED, "more than one request message");
		return;
	}
	r = ls_grpc_reader_feed(&call->reader, bytes, len, &used);
	server->receiving += call->reader.capacity - capacity;
	if (r < 0) {
		end_bad_message(call, r);
		return;
	}
	if (server->receiving > server->options.max_receiving) {
		ls_call_end(call, LS_RPC_RESOURCE_EXHAUSTED,
			    "too many bytes of unfinished requests, try again");
		return;
	}
	call->complete = r == 1;
	if (used < len)
		ls_call_end(call, LS_RPC_UNIMPLEMENTED, "more than one request message");
}

void ls_call_request_ended(struct ls_rpc_call *call)
{
	static const uint8_t empty;
	struct ls_grpc_reader request;
	const struct ls_rpc_method *method;

	if (call->state != CALL_RECEIVING)
		return;
	if (!call->complete) {
		ls_call_end(call, LS_RPC_INVALID_ARGUMENT,
			    ls_grpc_reader_partial(&call->reader) ?
				    "the request ends inside its message" :
				    "a request without a message");
		return;
	}
	method = ls_server_find(call->conn->server, call->path);
	/* The handler may finish the call, and with it the reader. */
	request = call->reader;
	call->conn->server->receiving -= request.capacity;
	memset(&call->reader, 0, sizeof(call->reader));
	call->state = CALL_RUNNING;
	method->handler(call, request.bytes ? request.bytes : &empty, request.len, method->user);
	ls_grpc_reader_clear(&request);
}
