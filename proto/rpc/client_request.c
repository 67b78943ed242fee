/* SPDX-License-Identifier: Apache-2.0 */
/* A request's way out, and its end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/client_internal.h"

static ssize_t pull(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t size,
		    uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct ls_rpc_request *request = nghttp2_session_get_stream_user_data(session, stream_id);
	size_t pulled;

	if (!request)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	pulled = ls_outbox_pull(&request->outbox, buffer, size);
	if (request->outbox.bytes == 0)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)pulled;
}

static void time_left(const struct ls_rpc_request *request, char timeout[LS_GRPC_TIMEOUT_SIZE])
{
	uint64_t now = uv_now(request->conn->h2.loop);

	ls_grpc_timeout_format(request->deadline > now ? request->deadline - now : 1, timeout);
}

static int submit(struct ls_rpc_request *request, const char *timeout)
{
	struct peer_conn *conn = request->conn;
	nghttp2_data_provider provider = { .read_callback = pull };
	const nghttp2_nv nv[] = {
		ls_h2_field(":method", "POST"),
		ls_h2_field(":scheme", "http"),
		ls_h2_field(":path", request->path),
		ls_h2_field(":authority", conn->channel->address.kind == LS_ADDRESS_UNIX ?
						  "localhost" :
						  conn->channel->address.text),
		ls_h2_field("te", "trailers"),
		ls_h2_field("content-type", "application/grpc"),
		ls_h2_field("user-agent", "lockstep/" LOCKSTEP_VERSION),
		ls_h2_field("grpc-timeout", timeout),
	};
	int32_t stream_id;

	stream_id = nghttp2_submit_request(conn->h2.session, NULL, nv, sizeof(nv) / sizeof(nv[0]),
					   &provider, request);
	if (stream_id < 0)
		return stream_id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EAGAIN;
	request->submitted = true;
	request->stream_id = stream_id;
	return 0;
}

int ls_request_submit(struct ls_rpc_request *request)
{
	char timeout[LS_GRPC_TIMEOUT_SIZE];

	time_left(request, timeout);
	return submit(request, timeout);
}

void ls_request_free(struct ls_rpc_request *request)
{
	if (!request)
		return;
	ls_outbox_clear(&request->outbox);
	ls_grpc_reader_clear(&request->reader);
	free(request->path);
	free(request->message);
	free(request->trailer_name);
	free(request->trailer_bytes);
	free(request->reply);
	free(request);
}

static void leave_conn(struct ls_rpc_request *request)
{
	struct peer_conn *conn = request->conn;

	if (!conn)
		return;
	ls_list_remove(&request->link);
	request->conn = NULL;
	if (request->stream_id == 0)
		return;
	nghttp2_session_set_stream_user_data(conn->h2.session, request->stream_id, NULL);
	nghttp2_submit_rst_stream(conn->h2.session, NGHTTP2_FLAG_NONE, request->stream_id,
				  NGHTTP2_CANCEL);
	ls_h2_kick(&conn->h2);
}

void ls_request_end(struct ls_rpc_request *request, enum ls_rpc_status status, const char *message)
{
	struct ls_rpc_result result = {
		.status = status,
		.message = message,
		.trailer = request->trailer_name,
		.trailer_bytes = request->trailer_bytes,
		.trailer_len = request->trailer_len,
		.sent = request->sent && !request->refused,
	};
	bool in_callback = request->in_callback;

	if (request->ended)
		return;
	request->ended = true;
	leave_conn(request);
	if (!request->unary)
		request->on_end(request->user, &result);
	else if (status == LS_RPC_OK)
		request->on_reply(request->user, &result, request->reply, request->reply_len);
	else
		request->on_reply(request->user, &result, NULL, 0);
	if (!in_callback)
		ls_request_free(request);
}
