/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc/h2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes collected for one write; the session may pass it by one frame. */
#define WRITE_TARGET 65536
/* Control frames that wait for a peer who does not read: then we do not read either. */
#define OUTBOUND_FRAMES_MAX 1024

static void flush(struct ls_h2 *h2);

static void released_one(struct ls_h2 *h2)
{
	if (--h2->handles > 0)
		return;
	nghttp2_session_del(h2->session);
	free(h2->out);
	h2->events->on_released(h2->owner);
}

static void on_handle_closed(uv_handle_t *handle)
{
	released_one(handle->data);
}

static void on_transport_closed(void *user)
{
	released_one(user);
}

void ls_h2_close(struct ls_h2 *h2)
{
	if (h2->closing)
		return;
	h2->closing = true;
	uv_close((uv_handle_t *)&h2->idle, on_handle_closed);
	uv_close((uv_handle_t *)&h2->timer, on_handle_closed);
	ls_transport_close(h2->transport);
}

static void lose(struct ls_h2 *h2, const char *why, bool fault)
{
	if (h2->closing)
		return;
	ls_h2_close(h2);
	h2->events->on_lost(h2->owner, why, fault);
}

static void on_open(void *user)
{
	struct ls_h2 *h2 = user;

	h2->opened = true;
	ls_h2_kick(h2);
}

static void on_alloc(void *user, uv_buf_t *buffer)
{
	struct ls_h2 *h2 = user;

	*buffer = uv_buf_init((char *)h2->in, sizeof(h2->in));
}

static void on_read(void *user, size_t len)
{
	struct ls_h2 *h2 = user;
	ssize_t used = nghttp2_session_mem_recv(h2->session, h2->in, len);

	if (h2->closing)
		return;
	if (used == NGHTTP2_ERR_BAD_CLIENT_MAGIC) {
		lose(h2, "the peer does not speak HTTP/2", true);
		return;
	}
	if (used < 0) {
		lose(h2, nghttp2_strerror((int)used), true);
		return;
	}
	if (nghttp2_session_get_outbound_queue_size(h2->session) > OUTBOUND_FRAMES_MAX &&
	    h2->writing) {
		h2->paused = true;
		ls_transport_read(h2->transport, false);
	}
	ls_h2_kick(h2);
}

static void on_written(void *user)
{
	struct ls_h2 *h2 = user;

	h2->writing = false;
	flush(h2);
}

static void on_end(void *user, int error)
{
	struct ls_h2 *h2 = user;

	if (error == 0)
		lose(h2, h2->opened ? "the peer closed the connection" : "connection refused", false);
	else
		lose(h2, uv_strerror(error), false);
}

static const struct ls_transport_events transport_events = {
	.on_open = on_open,
	.on_alloc = on_alloc,
	.on_read = on_read,
	.on_written = on_written,
	.on_end = on_end,
	.on_closed = on_transport_closed,
};

static int append(struct ls_h2 *h2, const uint8_t *bytes, size_t len)
{
	size_t need = h2->out_len + len;
	size_t capacity = h2->out_capacity ? h2->out_capacity : 4096;
	uint8_t *out;

	if (need > h2->out_capacity) {
		while (capacity < need)
			capacity *= 2;
		out = realloc(h2->out, capacity);
		if (!out)
			return -ENOMEM;
		h2->out = out;
		h2->out_capacity = capacity;
	}
	memcpy(h2->out + h2->out_len, bytes, len);
	h2->out_len = need;
	return 0;
}

static int collect(struct ls_h2 *h2)
{
	h2->out_len = 0;
	while (h2->out_len < WRITE_TARGET) {
		const uint8_t *bytes;
		ssize_t len = nghttp2_session_mem_send(h2->session, &bytes);

		if (len == 0)
			return 0;
		if (len < 0)
			return len == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO;
		if (append(h2, bytes, (size_t)len) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void write_out(struct ls_h2 *h2)
{
	uv_buf_t buffer = uv_buf_init((char *)h2->out, (unsigned)h2->out_len);
	int r = ls_transport_write(h2->transport, &buffer, 1);

	if (r < 0)
		lose(h2, uv_strerror(r), false);
	else
		h2->writing = true;
}

static void finish_if_done(struct ls_h2 *h2)
{
	if (nghttp2_session_want_read(h2->session) || nghttp2_session_want_write(h2->session))
		return;
	if (h2->fault[0])
		lose(h2, h2->fault, true);
	else
		lose(h2, "the connection was ended", false);
}

static void flush(struct ls_h2 *h2)
{
	int r;

	if (h2->closing || h2->writing || !h2->opened)
		return;
	h2->events->on_send(h2->owner);
	if (h2->closing)
		return;
	r = collect(h2);
	if (h2->closing)
		return;
	if (r < 0) {
		lose(h2, strerror(-r), true);
		return;
	}
	if (h2->out_len > 0)
		write_out(h2);
	else
		finish_if_done(h2);
	if (h2->closing)
		return;
	if (h2->paused) {
		h2->paused = false;
		ls_transport_read(h2->transport, true);
	}
	h2->events->on_sent(h2->owner);
}

static void on_idle(uv_idle_t *idle)
{
	struct ls_h2 *h2 = idle->data;

	uv_idle_stop(idle);
	if (h2->start_error)
		lose(h2, uv_strerror(h2->start_error), false);
	else
		flush(h2);
}

static void on_timer(uv_timer_t *timer)
{
	struct ls_h2 *h2 = timer->data;

	h2->wake_at = UINT64_MAX;
	h2->events->on_wake(h2->owner);
}

int ls_h2_session(bool server, nghttp2_session_callbacks *callbacks, void *owner,
		  const nghttp2_settings_entry *settings, size_t n_settings,
		  nghttp2_session **ret_session)
{
	nghttp2_session *session;
	int r;

	r = server ? nghttp2_session_server_new(&session, callbacks, owner)
		   : nghttp2_session_client_new(&session, callbacks, owner);
	nghttp2_session_callbacks_del(callbacks);
	if (r != 0)
		return -ENOMEM;
	r = nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, n_settings);
	if (r == 0)
		r = nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
							  LS_H2_CONNECTION_WINDOW);
	if (r != 0) {
		nghttp2_session_del(session);
		return -ENOMEM;
	}
	*ret_session = session;
	return 0;
}

void ls_h2_start(struct ls_h2 *h2, uv_loop_t *loop, nghttp2_session *session,
		 struct ls_transport *transport, const struct ls_h2_events *events, void *owner)
{
	h2->loop = loop;
	h2->session = session;
	h2->transport = transport;
	h2->events = events;
	h2->owner = owner;
	h2->wake_at = UINT64_MAX;
	h2->handles = 3;
	uv_idle_init(loop, &h2->idle);
	uv_timer_init(loop, &h2->timer);
	h2->idle.data = h2;
	h2->timer.data = h2;
	h2->start_error = ls_transport_start(transport, &transport_events, h2);
	if (h2->start_error)
		ls_h2_kick(h2);
}

void ls_h2_kick(struct ls_h2 *h2)
{
	if (!h2->closing && (h2->opened || h2->start_error))
		uv_idle_start(&h2->idle, on_idle);
}

void ls_h2_wake_at(struct ls_h2 *h2, uint64_t at)
{
	uint64_t now = uv_now(h2->loop);

	if (h2->closing || at >= h2->wake_at)
		return;
	h2->wake_at = at;
	uv_timer_start(&h2->timer, on_timer, at > now ? at - now : 0, 0);
}

void ls_h2_note_sent(struct ls_h2 *h2, const nghttp2_frame *frame)
{
	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR &&
	    !h2->fault[0])
		snprintf(h2->fault, sizeof(h2->fault), "HTTP/2 error %s: %.*s",
			 nghttp2_http2_strerror(frame->goaway.error_code),
			 (int)(frame->goaway.opaque_data_len > 100 ? 100 :
								     frame->goaway.opaque_data_len),
			 frame->goaway.opaque_data ? (const char *)frame->goaway.opaque_data : "");
}

nghttp2_nv ls_h2_field(const char *name, const char *value)
{
	return (nghttp2_nv){
		.name = (uint8_t *)name,
		.namelen = strlen(name),
		.value = (uint8_t *)value,
		.valuelen = strlen(value),
	};
}
