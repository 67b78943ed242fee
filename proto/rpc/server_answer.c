/* SPDX-License-Identifier: Apache-2.0 */
/* A call's way out: messages, status, trailers; and its end, wanted or not. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/server_internal.h"

#define TRAILERS_MAX 3

static void call_free(struct ls_rpc_call *call)
{
	ls_call_drop_request(call);
	ls_outbox_clear(&call->outbox);
	free(call->status_message);
	free(call->trailer_value);
	free(call);
}

static size_t make_trailers(const struct ls_rpc_call *call, nghttp2_nv nv[TRAILERS_MAX],
			    char status[4])
{
	size_t n = 0;

	snprintf(status, 4, "%u", (unsigned)call->status % 100);
	nv[n++] = ls_h2_field("grpc-status", status);
	if (call->status_message)
		nv[n++] = ls_h2_field("grpc-message", call->status_message);
	if (call->trailer_value)
		nv[n++] = ls_h2_field(call->trailer_name, call->trailer_value);
	return n;
}

/* nghttp2's data source. Runs inside the session. */
static ssize_t pull(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t size,
		    uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct ls_rpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);

	nghttp2_nv nv[TRAILERS_MAX];
	char status[4];
	size_t pulled;

	if (!call)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	pulled = ls_outbox_pull(&call->outbox, buffer, size);
	if (call->outbox.bytes > 0)
		return (ssize_t)pulled;
	if (pulled > 0)
		call->became_writable = true;
	if (call->ended) {
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(session, stream_id, nv,
					   make_trailers(call, nv, status)) != 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		return (ssize_t)pulled;
	}
	if (pulled > 0)
		return (ssize_t)pulled;
	call->deferred = true;
	return NGHTTP2_ERR_DEFERRED;
}

/* HEADERS when there are none yet, else the session is told that there is more. */
static int answer(struct ls_rpc_call *call)
{
	nghttp2_session *session = call->conn->h2.session;
	nghttp2_data_provider provider = { .read_callback = pull };
	const nghttp2_nv nv[] = {
		ls_h2_field(":status", "200"),
		ls_h2_field("content-type", "application/grpc"),
	};
	int r = 0;

	if (!call->answering) {
		r = nghttp2_submit_response(session, call->stream_id, nv, 2, &provider);
		call->answering = r == 0;
	} else if (call->deferred) {
		call->deferred = false;
		r = nghttp2_session_resume_data(session, call->stream_id);
	}
	ls_h2_kick(&call->conn->h2);
	return r == 0 ? 0 : -ENOMEM;
}

/* The whole answer in one HEADERS frame. */
static int answer_trailers_only(struct ls_rpc_call *call)
{
	nghttp2_nv nv[2 + TRAILERS_MAX] = {
		ls_h2_field(":status", "200"),
		ls_h2_field("content-type", "application/grpc"),
	};
	char status[4];
	size_t n = 2 + make_trailers(call, nv + 2, status);
	int r = nghttp2_submit_response(call->conn->h2.session, call->stream_id, nv, n, NULL);

	call->answering = r == 0;
	ls_h2_kick(&call->conn->h2);
	return r == 0 ? 0 : -ENOMEM;
}

/* The end of a stream that cannot end properly. */
static void reset(struct ls_rpc_call *call, uint32_t error_code)
{
	nghttp2_submit_rst_stream(call->conn->h2.session, NGHTTP2_FLAG_NONE, call->stream_id,
				  error_code);
	ls_h2_kick(&call->conn->h2);
}

/* The length of what is sent of a message; never cuts a character of UTF-8. */
static size_t message_len(const char *message)
{
	size_t len = message ? strnlen(message, LS_STATUS_MESSAGE_MAX) : 0;

	if (len == LS_STATUS_MESSAGE_MAX)
		while (len > 0 && ((unsigned char)message[len] & 0xc0) == 0x80)
			len--;
	return len;
}

static void set_status(struct ls_rpc_call *call, enum ls_rpc_status status, const char *message)
{
	size_t len = message_len(message);

	call->ended = true;
	call->status = status;
	if (len == 0)
		return;
	call->status_message = malloc(LS_GRPC_PERCENT_SIZE(len));
	if (call->status_message)
		ls_grpc_percent_encode(message, len, call->status_message);
}

static void send_end(struct ls_rpc_call *call)
{
	int r;

	if (!call->answering && call->outbox.bytes == 0)
		r = answer_trailers_only(call);
	else
		r = answer(call);
	if (r < 0)
		reset(call, NGHTTP2_INTERNAL_ERROR);
}

void ls_call_end(struct ls_rpc_call *call, enum ls_rpc_status status, const char *message)
{
	call->cut = call->state == CALL_RECEIVING;
	call->state = CALL_FINISHED;
	ls_call_drop_request(call);
	set_status(call, status, message);
	send_end(call);
}

void ls_call_http_error(struct ls_rpc_call *call, const char *http_status)
{
	const nghttp2_nv nv[] = { ls_h2_field(":status", http_status) };

	call->cut = true;
	call->state = CALL_FINISHED;
	if (nghttp2_submit_response(call->conn->h2.session, call->stream_id, nv, 1, NULL) != 0)
		reset(call, NGHTTP2_INTERNAL_ERROR);
	ls_h2_kick(&call->conn->h2);
}

static void leave_conn(struct ls_rpc_call *call)
{
	ls_call_drop_request(call);
	ls_list_remove(&call->link);
	call->conn = NULL;
	ls_outbox_clear(&call->outbox);
}

static void cancel(struct ls_rpc_call *call)
{
	call->cancelled = true;
	if (call->on_cancel)
		call->on_cancel(call, call->cancel_user);
}

void ls_call_stream_gone(struct ls_rpc_call *call)
{
	leave_conn(call);
	if (call->state != CALL_RUNNING)
		call_free(call);
	else if (!call->cancelled)
		cancel(call);
}

/*
 * The status goes out when nothing is in its way; behind messages that the
 * client does not take, a reset is all that gets through.
 */
void ls_call_deadline(struct ls_rpc_call *call)
{
	static const char message[] = "the deadline has passed";

	call->deadline = UINT64_MAX;
	if (call->state == CALL_RECEIVING) {
		ls_call_end(call, LS_RPC_DEADLINE_EXCEEDED, message);
		return;
	}
	if (call->ended || call->outbox.bytes > 0) {
		reset(call, NGHTTP2_CANCEL);
	} else {
		set_status(call, LS_RPC_DEADLINE_EXCEEDED, message);
		send_end(call);
	}
	if (call->state == CALL_RUNNING)
		cancel(call);
}

const char *ls_rpc_call_peer(const struct ls_rpc_call *call)
{
	return call->peer;
}

const char *ls_rpc_call_path(const struct ls_rpc_call *call)
{
	return call->path;
}

uint64_t ls_rpc_call_time_left(const struct ls_rpc_call *call)
{
	uint64_t now = uv_now(call->loop);

	if (call->deadline == UINT64_MAX)
		return UINT64_MAX;
	return call->deadline > now ? call->deadline - now : 0;
}

bool ls_rpc_call_cancelled(const struct ls_rpc_call *call)
{
	return call->cancelled;
}

void ls_rpc_call_on_cancel(struct ls_rpc_call *call,
			   void (*on_cancel)(struct ls_rpc_call *call, void *user), void *user)
{
	call->on_cancel = on_cancel;
	call->cancel_user = user;
}

void ls_rpc_call_on_writable(struct ls_rpc_call *call,
			     void (*on_writable)(struct ls_rpc_call *call, void *user), void *user)
{
	call->on_writable = on_writable;
	call->writable_user = user;
}

size_t ls_rpc_queued(const struct ls_rpc_call *call)
{
	return call->outbox.bytes;
}

int ls_rpc_send(struct ls_rpc_call *call, const void *bytes, size_t len)
{
	int r;

	if (call->cancelled)
		return -ECANCELED;
	if (call->outbox.bytes > 0 && call->outbox.bytes + len > call->max_queued)
		return -ENOBUFS;
	r = ls_outbox_push(&call->outbox, bytes, len);
	return r < 0 ? r : answer(call);
}

int ls_rpc_call_trailer(struct ls_rpc_call *call, const char *name, const void *bytes, size_t len)
{
	size_t name_len = strlen(name);
	char *value;

	if (name_len < 5 || name_len >= LS_TRAILER_NAME_MAX || len > LS_TRAILER_BYTES_MAX ||
	    strcmp(name + name_len - 4, "-bin") != 0)
		return -EINVAL;
	value = malloc(LS_GRPC_BASE64_SIZE(len));
	if (!value)
		return -ENOMEM;
	ls_grpc_base64_encode(bytes, len, value);
	free(call->trailer_value);
	call->trailer_value = value;
	memcpy(call->trailer_name, name, name_len + 1);
	return 0;
}

void ls_rpc_finish(struct ls_rpc_call *call, enum ls_rpc_status status, const char *message)
{
	if (!call->conn) {
		call_free(call);
		return;
	}
	call->on_cancel = NULL;
	call->on_writable = NULL;
	call->state = CALL_FINISHED;
	if (call->cancelled)
		return; /* the stream has got its end, and takes the call along */
	set_status(call, status, message);
	send_end(call);
}

void ls_rpc_reply(struct ls_rpc_call *call, const void *bytes, size_t len)
{
	int r = ls_rpc_send(call, bytes, len);

	if (r == 0 || r == -ECANCELED)
		ls_rpc_finish(call, LS_RPC_OK, NULL);
	else
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory for the response");
}
