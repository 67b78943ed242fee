/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP/2 connection of the server: nghttp2's events, sorted to the calls. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/server_internal.h"

static struct ls_rpc_call *find_call(nghttp2_session *session, int32_t stream_id)
{
	return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct conn *conn = user;
	struct ls_rpc_call *call;

	conn->handshake_until = UINT64_MAX;
	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	call = ls_call_new(conn, frame->hd.stream_id);
	if (!call)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		     void *user)
{
	struct ls_rpc_call *call = find_call(session, frame->hd.stream_id);

	if (!call || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	return ls_call_header(call, (const char *)name, (const char *)value, value_len);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct conn *conn = user;
	struct ls_rpc_call *call;

	conn->handshake_until = UINT64_MAX;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	call = find_call(session, frame->hd.stream_id);
	if (!call)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		ls_call_headers_done(call);
	/* The call may be gone by now. */
	call = find_call(session, frame->hd.stream_id);
	if (call && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		ls_call_request_ended(call);
	return conn->h2.closing ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id,
		   const uint8_t *bytes, size_t len, void *user)
{
	struct ls_rpc_call *call = find_call(session, stream_id);

	if (call)
		ls_call_data(call, bytes, len);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
			   void *user)
{
	struct ls_rpc_call *call = find_call(session, stream_id);

	nghttp2_session_set_stream_user_data(session, stream_id, NULL);
	if (call)
		ls_call_stream_gone(call);
	return 0;
}

/* An answer that came before its request's end tells the client to stop sending. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct conn *conn = user;
	struct ls_rpc_call *call;

	ls_h2_note_sent(&conn->h2, frame);
	if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	call = find_call(session, frame->hd.stream_id);
	if (call && call->cut &&
	    !nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id))
		nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
					  NGHTTP2_NO_ERROR);
	return 0;
}

static struct ls_rpc_call *writable_call(struct conn *conn)
{
	for (struct ls_link *l = conn->calls.next; l != &conn->calls; l = l->next) {
		struct ls_rpc_call *call = ls_container(l, struct ls_rpc_call, link);

		if (call->became_writable)
			return call;
	}
	return NULL;
}

/* Callbacks may end any call, so search anew after each. */
static void on_sent(void *owner)
{
	struct conn *conn = owner;
	struct ls_rpc_call *call;

	while ((call = writable_call(conn))) {
		call->became_writable = false;
		if (call->on_writable && call->state == CALL_RUNNING && !call->cancelled)
			call->on_writable(call, call->writable_user);
	}
}

static void on_send(void *owner)
{
}

static struct ls_rpc_call *due_call(struct conn *conn, uint64_t now, uint64_t *ret_next)
{
	uint64_t next = UINT64_MAX;

	for (struct ls_link *l = conn->calls.next; l != &conn->calls; l = l->next) {
		struct ls_rpc_call *call = ls_container(l, struct ls_rpc_call, link);

		if (call->deadline <= now)
			return call;
		if (call->deadline < next)
			next = call->deadline;
	}
	*ret_next = next;
	return NULL;
}

static void report(struct conn *conn, const char *what)
{
	struct ls_rpc_server *server = conn->server;

	if (conn->reported || !server || !server->options.on_peer_error)
		return;
	conn->reported = true;
	server->options.on_peer_error(server->options.user, conn->peer, what);
}

static void on_wake(void *owner)
{
	struct conn *conn = owner;
	uint64_t now = uv_now(conn->h2.loop);
	uint64_t next = UINT64_MAX;
	struct ls_rpc_call *call;

	if (conn->handshake_until <= now) {
		report(conn, "the peer did not speak HTTP/2 in time");
		ls_conn_abort(conn);
		return;
	}
	while (!conn->h2.closing && (call = due_call(conn, now, &next)))
		ls_call_deadline(call);
	ls_h2_wake_at(&conn->h2, next < conn->handshake_until ? next : conn->handshake_until);
}

static void leave_server(struct conn *conn)
{
	struct ls_rpc_server *server = conn->server;

	while (!ls_list_empty(&conn->calls)) {
		struct ls_rpc_call *call =
			ls_container(conn->calls.next, struct ls_rpc_call, link);

		nghttp2_session_set_stream_user_data(conn->h2.session, call->stream_id, NULL);
		ls_call_stream_gone(call);
	}
	/* A callback may have destroyed the server, which came here first. */
	server = conn->server;
	if (!server)
		return;
	conn->server = NULL;
	ls_list_remove(&conn->link);
	server->n_conns--;
	ls_server_conn_gone(server);
}

static void on_lost(void *owner, const char *why, bool fault)
{
	struct conn *conn = owner;

	if (fault)
		report(conn, why);
	leave_server(conn);
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

void ls_conn_abort(struct conn *conn)
{
	ls_h2_close(&conn->h2);
	leave_server(conn);
}

void ls_conn_goodbye(struct conn *conn)
{
	nghttp2_session *session = conn->h2.session;

	nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
			      nghttp2_session_get_last_proc_stream_id(session), NGHTTP2_NO_ERROR,
			      NULL, 0);
	ls_h2_kick(&conn->h2);
}

static int open_session(struct conn *conn, nghttp2_session **ret_session)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, conn->server->options.max_calls },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LS_H2_STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 16384 },
	};
	nghttp2_session_callbacks *callbacks;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return -ENOMEM;
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	return ls_h2_session(true, callbacks, conn, settings,
			     sizeof(settings) / sizeof(settings[0]), ret_session);
}

void ls_conn_accept(struct ls_rpc_server *server, struct ls_transport *transport)
{
	struct conn *conn = calloc(1, sizeof(*conn));
	nghttp2_session *session;

	if (!conn)
		goto fail;
	conn->server = server;
	ls_list_init(&conn->calls);
	memcpy(conn->peer, transport->peer, sizeof(conn->peer));
	if (open_session(conn, &session) < 0)
		goto fail;
	ls_list_append(&server->conns, &conn->link);
	server->n_conns++;
	ls_h2_start(&conn->h2, server->loop, session, transport, &h2_events, conn);
	conn->handshake_until = uv_now(server->loop) + server->options.handshake_ms;
	ls_h2_wake_at(&conn->h2, conn->handshake_until);
	return;
fail:
	free(conn);
	if (server->options.on_peer_error)
		server->options.on_peer_error(server->options.user, transport->peer,
					      "out of memory for a connection");
	ls_transport_close(transport);
}
