// SPDX-License-Identifier: Apache-2.0
#include "agent/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/rpc/transport.h"
#include "proto/wire/frame.h"
#include "proto/wire/pb.h"

#define OUT_MAX (8u << 20) // a peer that lets more pile up does not read

struct bytes {
	uint8_t *at;
	size_t len, capacity;
};

struct ls_conn {
	const struct ls_conn_events *events;
	void *user;
	struct ls_transport *transport;
	uv_timer_t first;  // also brings bad news outside of ls_conn_send()
	struct ls_frame_decoder decoder;
	uint8_t in[16384];
	struct bytes waiting, going;
	bool open, writing, closing;
	int handles;       // still to be closed
	struct ls_error bad;
};

static void release(struct ls_conn *c)
{
	if (--c->handles)
		return;
	ls_frame_decoder_clear(&c->decoder);
	free(c->waiting.at);
	free(c->going.at);
	free(c);
}

static void on_timer_closed(uv_handle_t *handle)
{
	release(handle->data);
}

static void on_transport_closed(void *user)
{
	release(user);
}

void ls_conn_close(struct ls_conn *c)
{
	if (!c || c->closing)
		return;
	c->closing = true;
	ls_transport_close(c->transport);
	uv_close((uv_handle_t *)&c->first, on_timer_closed);
}

static void lose(struct ls_conn *c, const struct ls_error *err)
{
	struct ls_error copy = *err;

	if (c->closing)
		return;
	ls_conn_close(c);
	c->events->lost(c->user, &copy);
}

static void on_first_timeout(uv_timer_t *timer)
{
	struct ls_conn *c = timer->data;

	if (!c->bad.reason)
		ls_fail(&c->bad, LS_E_UNAVAILABLE, ETIMEDOUT, "%.60s does not answer", c->transport->peer);
	lose(c, &c->bad);
}

static void doom(struct ls_conn *c, enum ls_reason reason, int errno_value, const char *what)
{
	if (c->bad.reason)
		return;
	ls_fail(&c->bad, reason, errno_value, "%s", what);
	uv_timer_start(&c->first, on_first_timeout, 0, 0);
}

static void on_written(void *user);

static void write_on(struct ls_conn *c)
{
	if (!c->open || c->writing || c->waiting.len == 0)
		return;
	struct bytes swap = c->going;
	c->going = c->waiting;
	c->waiting = swap;
	c->waiting.len = 0;
	uv_buf_t buf = uv_buf_init((char *)c->going.at, (unsigned)c->going.len);
	c->writing = true;
	int r = ls_transport_write(c->transport, &buf, 1);
	if (r < 0)
		doom(c, LS_E_STREAM_BROKEN, -r, "the connection cannot be written to");
}

static void on_written(void *user)
{
	struct ls_conn *c = user;

	c->writing = false;
	write_on(c);
}

static void on_open(void *user)
{
	struct ls_conn *c = user;
	bool told = c->open;

	c->open = true;
	if (c->closing)
		return;
	write_on(c);
	if (!told)
		c->events->open(c->user);
}

static void on_alloc(void *user, uv_buf_t *buffer)
{
	struct ls_conn *c = user;

	*buffer = uv_buf_init((char *)c->in, sizeof(c->in));
}

static void on_read(void *user, size_t len)
{
	struct ls_conn *c = user;
	const uint8_t *at = c->in;
	struct ls_error err;

	while (len && !c->closing) {
		enum ls_frame_event event;
		size_t used;
		if (ls_frame_decoder_feed(&c->decoder, at, len, &used, &event, &err) < 0) {
			lose(c, &err);
			return;
		}
		at += used;
		len -= used;
		if (event == LS_FRAME_DATA) {
			ls_fail(&err, LS_E_INVALID, EPROTO, "device data on a control connection");
			lose(c, &err);
			return;
		}
		if (event != LS_FRAME_CONTROL)
			continue;
		Lockstep__V1__Frame *frame = ls_frame_decoder_take(&c->decoder);
		if (!c->bad.reason)
			uv_timer_stop(&c->first);
		c->events->frame(c->user, frame);
		ls_pb_free(&frame->base);
	}
}

static void on_end(void *user, int error)
{
	struct ls_conn *c = user;
	struct ls_error err;

	ls_fail(&err, c->open ? LS_E_STREAM_BROKEN : LS_E_UNAVAILABLE, error ? -error : ECONNRESET, "%.60s: %s",
		c->transport->peer, error ? uv_strerror(error) : "the connection was closed");
	lose(c, &err);
}

static const struct ls_transport_events transport_events = {
	.on_open = on_open,
	.on_alloc = on_alloc,
	.on_read = on_read,
	.on_written = on_written,
	.on_end = on_end,
	.on_closed = on_transport_closed,
};

static struct ls_conn *conn_new(uv_loop_t *loop, const struct ls_conn_events *events, void *user)
{
	struct ls_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->events = events;
	c->user = user;
	c->handles = 2;
	uv_timer_init(loop, &c->first);
	c->first.data = c;
	return c;
}

static int begin(struct ls_conn *c, struct ls_conn **ret)
{
	int r = ls_transport_start(c->transport, &transport_events, c);

	if (r < 0)
		doom(c, LS_E_UNAVAILABLE, -r, "the connection cannot be made");
	*ret = c;
	return 0;
}

int ls_conn_dial(uv_loop_t *loop, const char *address, unsigned first_ms, const struct ls_conn_events *events,
		 void *user, struct ls_conn **ret, struct ls_error *err)
{
	struct ls_address parsed;
	char why[400];
	struct ls_conn *c;

	if (ls_address_parse(address, &parsed, why, sizeof(why)) < 0)
		return ls_fail(err, LS_E_INVALID, EINVAL, "peer address: %.200s", why);
	c = conn_new(loop, events, user);
	if (!c)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	if (ls_transport_connect(loop, &parsed, &c->transport) < 0) {
		c->handles = 1;
		uv_close((uv_handle_t *)&c->first, on_timer_closed);
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	}
	uv_timer_start(&c->first, on_first_timeout, first_ms, 0);
	return begin(c, ret);
}

int ls_conn_adopt(uv_loop_t *loop, int fd, const struct ls_conn_events *events, void *user, struct ls_conn **ret,
		  struct ls_error *err)
{
	struct ls_conn *c = conn_new(loop, events, user);

	if (!c || ls_transport_adopt(loop, fd, &c->transport) < 0) {
		if (c) {
			c->handles = 1;
			uv_close((uv_handle_t *)&c->first, on_timer_closed);
		}
		close(fd);
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "the connection cannot be kept");
	}
	c->open = true;
	return begin(c, ret);
}

void ls_conn_send(struct ls_conn *c, const Lockstep__V1__Frame *frame)
{
	struct ls_error err;
	uint8_t *bytes;
	size_t len;

	if (c->closing || c->bad.reason)
		return;
	if (ls_frame_encode(frame, &bytes, &len, &err) < 0) {
		doom(c, err.reason, err.err, err.message);
		return;
	}
	if (c->waiting.len + len > c->waiting.capacity) {
		size_t capacity = (c->waiting.len + len) * 2;
		uint8_t *at = c->waiting.len + len > OUT_MAX ? NULL : realloc(c->waiting.at, capacity);
		if (!at) {
			free(bytes);
			doom(c, LS_E_STREAM_BROKEN, ENOBUFS, "the peer does not read");
			return;
		}
		c->waiting.at = at;
		c->waiting.capacity = capacity;
	}
	memcpy(c->waiting.at + c->waiting.len, bytes, len);
	c->waiting.len += len;
	free(bytes);
	write_on(c);
}
