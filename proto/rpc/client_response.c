/* SPDX-License-Identifier: Apache-2.0 */
/* A request's way back: headers, messages, trailers, and what they amount to. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/client_internal.h"

static void take_status(struct ls_rpc_request *request, const char *value, size_t len)
{
	char *end;
	unsigned long status = strtoul(value, &end, 10);

	if (len == 0 || value[0] < '0' || value[0] > '9' || *end || status > LS_RPC_UNAUTHENTICATED)
		request->grpc_status = LS_RPC_UNKNOWN;
	else
		request->grpc_status = (int)status;
}

static void take_message(struct ls_rpc_request *request, const char *value, size_t len)
{
	free(request->message);
	request->message = malloc(len + 1);
	if (request->message)
		ls_grpc_percent_decode(value, len, request->message);
}

/* The first binary trailer that is not gRPC's own. */
static void take_trailer(struct ls_rpc_request *request, const char *name, const char *value,
			 size_t len)
{
	uint8_t *bytes;

	if (request->trailer_name || strncmp(name, "grpc-", strlen("grpc-")) == 0)
		return;
	bytes = malloc(len + 1);
	if (!bytes)
		return;
	if (ls_grpc_base64_decode(value, len, bytes, &request->trailer_len) < 0) {
		free(bytes);
		return;
	}
	request->trailer_name = strdup(name);
	if (!request->trailer_name) {
		free(bytes);
		return;
	}
	request->trailer_bytes = bytes;
}

static bool is_binary(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && strcmp(name + len - 4, "-bin") == 0;
}

void ls_response_header(struct ls_rpc_request *request, const char *name, const char *value,
			size_t len)
{
	if (strcmp(name, ":status") == 0)
		request->http_status = (unsigned)strtoul(value, NULL, 10);
	else if (strcmp(name, "content-type") == 0)
		request->grpc_content = ls_grpc_content_type(value, len);
	else if (strcmp(name, "grpc-status") == 0)
		take_status(request, value, len);
	else if (strcmp(name, "grpc-message") == 0)
		take_message(request, value, len);
	else if (is_binary(name))
		take_trailer(request, name, value, len);
}

static enum ls_rpc_status status_of_http(unsigned http_status)
{
	switch (http_status) {
	case 400:
		return LS_RPC_INTERNAL;
	case 401:
		return LS_RPC_UNAUTHENTICATED;
	case 403:
		return LS_RPC_PERMISSION_DENIED;
	case 404:
		return LS_RPC_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return LS_RPC_UNAVAILABLE;
	default:
		return LS_RPC_UNKNOWN;
	}
}

/* A peer that speaks HTTP/2 but no gRPC has nothing more to say. */
void ls_response_headers_done(struct ls_rpc_request *request)
{
	char why[64];

	if (request->grpc_status >= 0 || request->http_status / 100 == 1)
		return;
	if (request->http_status != 200) {
		snprintf(why, sizeof(why), "HTTP status %u", request->http_status);
		ls_request_end(request, status_of_http(request->http_status), why);
	} else if (!request->grpc_content) {
		ls_request_end(request, LS_RPC_UNKNOWN, "the response is not gRPC");
	}
}

static void end_bad_message(struct ls_rpc_request *request, int error)
{
	char why[128];

	switch (error) {
	case -EMSGSIZE:
		snprintf(why, sizeof(why), "response of %zu bytes, at most %zu are accepted",
			 request->reader.len, request->reader.max_message);
		ls_request_end(request, LS_RPC_RESOURCE_EXHAUSTED, why);
		break;
	case -EPROTONOSUPPORT:
		ls_request_end(request, LS_RPC_INTERNAL, "the response is compressed");
		break;
	default:
		ls_request_end(request, LS_RPC_RESOURCE_EXHAUSTED, "no memory for the response");
	}
}

/* Moves a complete message to the unary reply, or shows it to the caller. */
static void take_reply(struct ls_rpc_request *request)
{
	static const uint8_t empty;

	if (!request->unary) {
		request->in_callback = true;
		request->on_message(request->user,
				    request->reader.bytes ? request->reader.bytes : &empty,
				    request->reader.len);
		request->in_callback = false;
		return;
	}
	request->have_reply = true;
	request->reply = request->reader.bytes;
	request->reply_len = request->reader.len;
	request->reader.bytes = NULL;
}

void ls_response_data(struct ls_rpc_request *request, const uint8_t *bytes, size_t len)
{
	size_t used;
	int r;

	while (len > 0) {
		r = ls_grpc_reader_feed(&request->reader, bytes, len, &used);
		if (r < 0) {
			end_bad_message(request, r);
			return;
		}
		bytes += used;
		len -= used;
		if (r == 0)
			return;
		if (request->unary && request->have_reply) {
			ls_request_end(request, LS_RPC_INTERNAL, "more than one response message");
			return;
		}
		take_reply(request);
		if (request->ended) { /* cancelled by on_message */
			ls_request_free(request);
			return;
		}
		ls_grpc_reader_next(&request->reader);
	}
}

static enum ls_rpc_status status_of_reset(uint32_t error_code)
{
	switch (error_code) {
	case NGHTTP2_REFUSED_STREAM:
		return LS_RPC_UNAVAILABLE;
	case NGHTTP2_CANCEL:
		return LS_RPC_CANCELLED;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return LS_RPC_RESOURCE_EXHAUSTED;
	case NGHTTP2_INADEQUATE_SECURITY:
		return LS_RPC_PERMISSION_DENIED;
	default:
		return LS_RPC_INTERNAL;
	}
}

static void end_reset(struct ls_rpc_request *request, uint32_t error_code)
{
	char why[96];

	if (error_code == NGHTTP2_REFUSED_STREAM)
		request->refused = true;
	if (error_code == NGHTTP2_CANCEL && request->deadline <= uv_now(request->conn->h2.loop)) {
		ls_request_end(request, LS_RPC_DEADLINE_EXCEEDED, "the deadline has passed");
		return;
	}
	snprintf(why, sizeof(why), "the peer reset the stream: %s",
		 nghttp2_http2_strerror(error_code));
	ls_request_end(request, status_of_reset(error_code), why);
}

void ls_response_closed(struct ls_rpc_request *request, uint32_t error_code)
{
	if (request->grpc_status == LS_RPC_OK && ls_grpc_reader_partial(&request->reader))
		ls_request_end(request, LS_RPC_INTERNAL, "the response ends inside a message");
	else if (request->grpc_status == LS_RPC_OK && request->unary && !request->have_reply)
		ls_request_end(request, LS_RPC_INTERNAL, "no response message");
	else if (request->grpc_status >= 0)
		ls_request_end(request, (enum ls_rpc_status)request->grpc_status,
			       request->message ? request->message : "");
	else if (request->refused)
		ls_request_end(request, LS_RPC_UNAVAILABLE, "the peer is shutting down");
	else if (error_code != NGHTTP2_NO_ERROR)
		end_reset(request, error_code);
	else
		ls_request_end(request, LS_RPC_INTERNAL, "the response ends without a status");
}
