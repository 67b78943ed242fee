/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP/2 connection of a channel: nghttp2's events, sorted to the requests. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/client_internal.h"

static struct ls_rpc_request *find_request(nghttp2_session *session, int32_t stream_id)
{
	return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		     void *user)
{
	struct ls_rpc_request *request = find_request(session, frame->hd.stream_id);

	if (request && frame->hd.type == NGHTTP2_HEADERS)
		ls_response_header(request, (const char *)name, (const char *)value, value_len);
	return 0;
}

/* Requests that wait for their turn go to another connection; this one serves out its own. */
static void retire(struct peer_conn *conn)
{
	struct ls_rpc_channel *channel = conn->channel;
	struct ls_link waiting;

	if (!channel || channel->current != conn)
		return;
	channel->current = NULL;
	ls_list_init(&waiting);
	for (struct ls_link *l = conn->requests.next, *next; l != &conn->requests; l = next) {
		struct ls_rpc_request *request = ls_container(l, struct ls_rpc_request, link);

		next = l->next;
		if (request->submitted)
			continue;
		ls_list_remove(l);
		ls_list_append(&waiting, l);
	}
	if (ls_list_empty(&waiting))
		return;
	channel->current = ls_peer_connect(channel);
	while (!ls_list_empty(&waiting)) {
		struct ls_link *l = waiting.next;

		ls_list_remove(l);
		/* Out of memory: they stay here and end with this connection. */
		ls_peer_add(channel->current ? channel->current : conn,
			    ls_container(l, struct ls_rpc_request, link));
	}
}

/* The whole response came while the request is still being sent: nobody will read the rest. */
static bool ends_early(nghttp2_session *session, const nghttp2_frame *frame)
{
	return (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	       frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
	       nghttp2_session_get_stream_local_close(session, frame->hd.stream_id) == 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct peer_conn *conn = user;
	struct ls_rpc_request *request;

	if (frame->hd.type == NGHTTP2_GOAWAY)
		retire(conn);
	if (frame->hd.type == NGHTTP2_HEADERS) {
		request = find_request(session, frame->hd.stream_id);
		if (request)
			ls_response_headers_done(request);
	}
	if (ends_early(session, frame)) {
		request = find_request(session, frame->hd.stream_id);
		if (request)
			ls_response_closed(request, NGHTTP2_NO_ERROR);
	}
	return conn->h2.closing ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id,
		   const uint8_t *bytes, size_t len, void *user)
{
	struct peer_conn *conn = user;
	struct ls_rpc_request *request = find_request(session, stream_id);

	if (request)
		ls_response_data(request, bytes, len);
	return conn->h2.closing ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
			   void *user)
{
	struct peer_conn *conn = user;
	struct ls_rpc_request *request = find_request(session, stream_id);

	nghttp2_session_set_stream_user_data(session, stream_id, NULL);
	if (request) {
		request->stream_id = 0;
		ls_response_closed(request, error_code);
	}
	return conn->h2.closing ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct peer_conn *conn = user;
	struct ls_rpc_request *request;

	ls_h2_note_sent(&conn->h2, frame);
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	request = find_request(session, frame->hd.stream_id);
	if (request)
		request->sent = true;
	return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error,
			     void *user)
{
	struct ls_rpc_request *request;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	request = find_request(session, frame->hd.stream_id);
	if (request)
		request->refused = true;
	return 0;
}

static struct ls_rpc_request *waiting_request(struct peer_conn *conn)
{
	for (struct ls_link *l = conn->requests.next; l != &conn->requests; l = l->next) {
		struct ls_rpc_request *request = ls_container(l, struct ls_rpc_request, link);

		if (!request->submitted)
			return request;
	}
	return NULL;
}

static void on_send(void *owner)
{
	struct peer_conn *conn = owner;
	struct ls_rpc_request *request;

	conn->connect_until = UINT64_MAX;
	while (!conn->h2.closing && (request = waiting_request(conn))) {
		if (ls_request_submit(request) == 0)
			continue;
		/* Out of stream ids or memory: the next request gets a new connection. */
		if (conn->channel->current == conn)
			conn->channel->current = NULL;
		ls_request_end(request, LS_RPC_UNAVAILABLE, "cannot open a stream, try again");
	}
}

static void on_sent(void *owner)
{
}

static struct ls_rpc_request *due_request(struct peer_conn *conn, uint64_t now, uint64_t *ret_next)
{
	uint64_t next = UINT64_MAX;

	for (struct ls_link *l = conn->requests.next; l != &conn->requests; l = l->next) {
		struct ls_rpc_request *request = ls_container(l, struct ls_rpc_request, link);

		if (request->deadline <= now)
			return request;
		if (request->deadline < next)
			next = request->deadline;
	}
	*ret_next = next;
	return NULL;
}

static void on_wake(void *owner)
{
	struct peer_conn *conn = owner;
	uint64_t now = uv_now(conn->h2.loop);
	uint64_t next = UINT64_MAX;
	struct ls_rpc_request *request;
	char why[LS_ADDRESS_SIZE + 64];

	while (!conn->h2.closing && (request = due_request(conn, now, &next)))
		ls_request_end(request, LS_RPC_DEADLINE_EXCEEDED, "the deadline has passed");
	if (conn->h2.closing)
		return;
	if (conn->connect_until <= now) {
		snprintf(why, sizeof(why), "cannot connect to %s: no answer within %u ms",
			 conn->channel->address.text, conn->channel->options.connect_ms);
		ls_peer_abort(conn, LS_RPC_UNAVAILABLE, why);
		return;
	}
	ls_h2_wake_at(&conn->h2, next < conn->connect_until ? next : conn->connect_until);
}

/* Ending requests may start new ones, or destroy the channel. */
static void leave_channel(struct peer_conn *conn, enum ls_rpc_status status, const char *message)
{
	if (conn->channel && conn->channel->current == conn)
		conn->channel->current = NULL;
	while (!ls_list_empty(&conn->requests))
		ls_request_end(ls_container(conn->requests.next, struct ls_rpc_request, link),
			       status, message);
	if (!conn->channel)
		return;
	ls_list_remove(&conn->link);
	conn->channel = NULL;
}

void ls_peer_abort(struct peer_conn *conn, enum ls_rpc_status status, const char *message)
{
	ls_h2_close(&conn->h2);
	leave_channel(conn, status, message);
}

static void on_lost(void *owner, const char *why, bool fault)
{
	struct peer_conn *conn = owner;
	char message[LS_ADDRESS_SIZE + 256];

	snprintf(message, sizeof(message), "%s %s: %s",
		 conn->h2.opened ? "lost the connection to" : "cannot connect to",
		 conn->channel->address.text, why);
	leave_channel(conn, LS_RPC_UNAVAILABLE, message);
}

static void on_released(void *owner)
{
	free(owner);
}

static const struct ls_h2_events h2_events = {
	.on_send = on_send,
	.on_sent = on_sent,
	.on_wake = on_wake,
	.on_lost = on_lost,
	.on_released = on_released,
};

static int open_session(struct peer_conn *conn, nghttp2_session **ret_session)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LS_H2_STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 32768 },
	};
	nghttp2_session_callbacks *callbacks;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return -ENOMEM;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
	return ls_h2_session(false, callbacks, conn, settings,
			     sizeof(settings) / sizeof(settings[0]), ret_session);
}

struct peer_conn *ls_peer_connect(struct ls_rpc_channel *channel)
{
	struct peer_conn *conn = calloc(1, sizeof(*conn));
	struct ls_transport *transport;
	nghttp2_session *session;

	if (!conn)
		return NULL;
	conn->channel = channel;
	ls_list_init(&conn->requests);
	if (open_session(conn, &session) < 0)
		goto fail;
	if (ls_transport_connect(channel->loop, &channel->address, &transport) < 0) {
		nghttp2_session_del(session);
		goto fail;
	}
	ls_list_append(&channel->conns, &conn->link);
	ls_h2_start(&conn->h2, channel->loop, session, transport, &h2_events, conn);
	uv_update_time(channel->loop);
	conn->connect_until = uv_now(channel->loop) + channel->options.connect_ms;
	ls_h2_wake_at(&conn->h2, conn->connect_until);
	return conn;
fail:
	free(conn);
	return NULL;
}

void ls_peer_add(struct peer_conn *conn, struct ls_rpc_request *request)
{
	request->conn = conn;
	ls_list_append(&conn->requests, &request->link);
	ls_h2_wake_at(&conn->h2, request->deadline);
	ls_h2_kick(&conn->h2);
}
