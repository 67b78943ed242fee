// SPDX-License-Identifier: Apache-2.0
#include "agent/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "agent/chan.h"
#include "agent/stream_int.h"
#include "common/clock.h"
#include "proto/wire/digest.h"
#include "proto/wire/frame.h"
#include "proto/wire/pb.h"

// Read ahead of the decoder: enough for control frames, little of a payload, which thus is not copied.
#define AHEAD 64

struct ls_stream {
	struct ls_chan *chan;
	int interrupt_fd;
	uint64_t deadline_ns;
	uint64_t peer_written;
	struct ls_frame_decoder decoder;
	uint8_t ahead[AHEAD];
	size_t ahead_pos, ahead_len;
};

static int broken(struct ls_error *err, int error)
{
	return ls_fail(err, LS_E_STREAM_BROKEN, error, "the connection to the other agent is lost");
}

int ls_wait_fd(int fd, short events, int interrupt_fd, uint64_t deadline_ns, struct ls_error *err)
{
	for (;;) {
		int timeout = -1;
		if (deadline_ns) {
			uint64_t now = ls_now_ns();
			if (now >= deadline_ns)
				return ls_fail(err, LS_E_UNAVAILABLE, ETIMEDOUT,
					       "the other agent did not answer in time");
			uint64_t ms = (deadline_ns - now) / 1000000 + 1;
			timeout = ms > 60000 ? 60000 : (int)ms;
		}
		struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = interrupt_fd, .events = POLLIN}};
		if (poll(p, 2, timeout) < 0 && errno != EINTR)
			return ls_fail(err, LS_E_INTERNAL, errno, "poll failed");
		if (p[1].revents)
			return ls_fail(err, LS_E_CANCELLED, ECANCELED, "interrupted");
		if (p[0].revents)
			return p[0].revents;
	}
}

static int wait_chan(struct ls_stream *s, short events, struct ls_error *err)
{
	return ls_wait_fd(s->chan->fd, events, s->interrupt_fd, s->deadline_ns, err);
}

int ls_stream_adopt(int fd, int interrupt_fd, struct ls_stream **ret, struct ls_error *err)
{
	struct ls_chan *chan = ls_chan_plain(fd);
	struct ls_stream *s = calloc(1, sizeof(*s));
	if (!chan || !s) {
		if (chan)
			chan->ops->free(chan);
		free(s);
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "no memory for a stream");
	}
	s->chan = chan;
	s->interrupt_fd = interrupt_fd;
	*ret = s;
	return 0;
}

void ls_stream_close(struct ls_stream *s)
{
	if (!s)
		return;
	s->chan->ops->free(s->chan);
	ls_frame_decoder_clear(&s->decoder);
	free(s);
}

void ls_stream_shutdown(struct ls_stream *s)
{
	s->chan->ops->shutdown(s->chan);
}

void ls_stream_deadline(struct ls_stream *s, uint64_t deadline_ns)
{
	s->deadline_ns = deadline_ns;
}

uint64_t ls_stream_peer_written(const struct ls_stream *s)
{
	return s->peer_written;
}

// ---- receiving ----

// Bytes into buf, what was read ahead first. -EAGAIN unless `block`.
static ssize_t receive(struct ls_stream *s, void *buf, size_t len, bool block, struct ls_error *err)
{
	if (s->ahead_pos < s->ahead_len) {
		size_t n = s->ahead_len - s->ahead_pos < len ? s->ahead_len - s->ahead_pos : len;
		memcpy(buf, s->ahead + s->ahead_pos, n);
		s->ahead_pos += n;
		return (ssize_t)n;
	}
	for (;;) {
		short wait = 0;
		ssize_t n = s->chan->ops->recv(s->chan, buf, len, &wait);
		if (n > 0)
			return n;
		if (n == 0)
			return ls_fail(err, LS_E_STREAM_BROKEN, EPIPE, "the other agent closed the connection");
		if (n != -EAGAIN)
			return broken(err, (int)-n);
		if (!block)
			return -EAGAIN;
		int r = wait_chan(s, wait, err);
		if (r < 0)
			return r;
	}
}

// 1: an event; 0: none yet (only unless `block`).
static int decode(struct ls_stream *s, bool block, enum ls_frame_event *ret, struct ls_error *err)
{
	for (;;) {
		if (s->ahead_pos == s->ahead_len) {
			ssize_t n = receive(s, s->ahead, sizeof(s->ahead), block, err);
			if (n == -EAGAIN)
				return 0;
			if (n < 0)
				return (int)n;
			s->ahead_pos = 0;
			s->ahead_len = (size_t)n;
		}
		size_t used = 0;
		int r = ls_frame_decoder_feed(&s->decoder, s->ahead + s->ahead_pos, s->ahead_len - s->ahead_pos, &used,
					      ret, err);
		if (r < 0)
			return r;
		s->ahead_pos += used;
		if (*ret != LS_FRAME_MORE)
			return 1;
	}
}

static int peer_error(const Lockstep__V1__ErrorDetail *d, struct ls_error *err)
{
	int error = d->errno_value > 0 ? d->errno_value : EREMOTEIO;
	int r = ls_fail(err, ls_reason_parse(d->reason), error, "%s", d->message);
	ls_error_at(err, d->device[0] ? d->device : NULL, d->arc[0] ? d->arc : NULL);
	if (err)
		strncpy(err->host, d->host, sizeof(err->host) - 1);
	return r;
}

int ls_stream_next(struct ls_stream *s, Lockstep__V1__Frame **ret_frame, size_t *ret_data, struct ls_error *err)
{
	enum ls_frame_event event;
	int r = decode(s, true, &event, err);
	if (r < 0)
		return r;
	*ret_frame = NULL;
	*ret_data = 0;
	if (event == LS_FRAME_DATA) {
		*ret_data = ls_frame_decoder_payload_left(&s->decoder);
		return 0;
	}
	Lockstep__V1__Frame *f = ls_frame_decoder_take(&s->decoder);
	if (f->kind_case == LOCKSTEP__V1__FRAME__KIND_ERROR) {
		r = peer_error(f->error, err);
		ls_pb_free(&f->base);
		return r;
	}
	*ret_frame = f;
	return 0;
}

int ls_stream_recv_data(struct ls_stream *s, void *buf, size_t len, struct ls_error *err)
{
	uint8_t *p = buf;
	while (len > 0) {
		ssize_t n = receive(s, p, len, true, err);
		if (n < 0)
			return (int)n;
		ls_frame_decoder_payload(&s->decoder, (size_t)n);
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

// ---- sending ----

// Looks at what has come back, without waiting.
static int look_back(struct ls_stream *s, struct ls_error *err)
{
	for (;;) {
		enum ls_frame_event event;
		int r = decode(s, false, &event, err);
		if (r <= 0)
			return r;
		if (event == LS_FRAME_DATA)
			return ls_fail(err, LS_E_INVALID, EBADMSG, "the destination sent device data to the source");
		Lockstep__V1__Frame *f = ls_frame_decoder_take(&s->decoder);
		if (f->kind_case == LOCKSTEP__V1__FRAME__KIND_ERROR)
			r = peer_error(f->error, err);
		else if (f->kind_case == LOCKSTEP__V1__FRAME__KIND_PROGRESS)
			s->peer_written = f->progress->written;
		else if (f->kind_case != LOCKSTEP__V1__FRAME__KIND_LOADED)
			r = ls_fail(err, LS_E_INVALID, EBADMSG, "unexpected frame '%s'", ls_frame_kind_name(f));
		ls_pb_free(&f->base);
		if (r < 0)
			return r;
	}
}

// A send that fails may have been told why just before: the peer's word says more than our EPIPE.
static int send_failed(struct ls_stream *s, int error, struct ls_error *err)
{
	struct ls_error why = {0};
	int r = look_back(s, &why);
	if (r < 0 && why.reason != LS_E_STREAM_BROKEN) {
		if (err)
			*err = why;
		return r;
	}
	return broken(err, error);
}

static int send_all(struct ls_stream *s, struct iovec *iov, int n_iov, bool back, struct ls_error *err)
{
	while (n_iov > 0) {
		short wait = 0;
		ssize_t n = s->chan->ops->send(s->chan, iov, n_iov, &wait);
		if (n == -EAGAIN) {
			int r = wait_chan(s, back ? wait | POLLIN : wait, err);
			if (r > 0 && back && r & POLLIN)
				r = look_back(s, err);
			if (r < 0)
				return r;
			continue;
		}
		if (n < 0)
			return back ? send_failed(s, (int)-n, err) : broken(err, (int)-n);
		for (size_t left = (size_t)n; n_iov > 0 && left >= iov->iov_len; iov++, n_iov--) {
			left -= iov->iov_len;
			n = (ssize_t)left;
		}
		if (n_iov > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

int ls_stream_send_bytes(struct ls_stream *s, const void *bytes, size_t len, struct ls_error *err)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
	return send_all(s, &iov, 1, false, err);
}

int ls_stream_send_data(struct ls_stream *s, const void *data, size_t len, struct ls_error *err)
{
	uint8_t header[LS_FRAME_HEADER_MAX];
	struct iovec iov[2] = {
		{.iov_base = header, .iov_len = ls_frame_data_header(len, header)},
		{.iov_base = (void *)(uintptr_t)data, .iov_len = len},
	};
	int r = look_back(s, err);
	return r < 0 ? r : send_all(s, iov, 2, true, err);
}

static int send_frame(struct ls_stream *s, const Lockstep__V1__Frame *f, struct ls_error *err)
{
	uint8_t *bytes;
	size_t len;
	int r = ls_frame_encode(f, &bytes, &len, err);
	if (r < 0)
		return r;
	r = ls_stream_send_bytes(s, bytes, len, err);
	free(bytes);
	return r;
}

int ls_stream_send_discard(struct ls_stream *s, struct ls_error *err)
{
	Lockstep__V1__Discard discard = LOCKSTEP__V1__DISCARD__INIT;
	Lockstep__V1__Frame f = LOCKSTEP__V1__FRAME__INIT;
	f.kind_case = LOCKSTEP__V1__FRAME__KIND_DISCARD;
	f.discard = &discard;
	int r = look_back(s, err);
	return r < 0 ? r : send_frame(s, &f, err);
}

int ls_stream_send_end(struct ls_stream *s, uint64_t length, const uint8_t *digest, struct ls_error *err)
{
	Lockstep__V1__End end = LOCKSTEP__V1__END__INIT;
	Lockstep__V1__Frame f = LOCKSTEP__V1__FRAME__INIT;
	end.length = length;
	end.digest = (ProtobufCBinaryData){.len = LS_DIGEST_SIZE, .data = (uint8_t *)(uintptr_t)digest};
	f.kind_case = LOCKSTEP__V1__FRAME__KIND_END;
	f.end = &end;
	int r = look_back(s, err);
	return r < 0 ? r : send_frame(s, &f, err);
}

int ls_stream_send_progress(struct ls_stream *s, uint64_t written, struct ls_error *err)
{
	Lockstep__V1__StreamProgress progress = LOCKSTEP__V1__STREAM_PROGRESS__INIT;
	Lockstep__V1__Frame f = LOCKSTEP__V1__FRAME__INIT;
	progress.written = written;
	f.kind_case = LOCKSTEP__V1__FRAME__KIND_PROGRESS;
	f.progress = &progress;
	return send_frame(s, &f, err);
}

int ls_stream_send_loaded(struct ls_stream *s, struct ls_error *err)
{
	Lockstep__V1__Loaded loaded = LOCKSTEP__V1__LOADED__INIT;
	Lockstep__V1__Frame f = LOCKSTEP__V1__FRAME__INIT;
	f.kind_case = LOCKSTEP__V1__FRAME__KIND_LOADED;
	f.loaded = &loaded;
	return send_frame(s, &f, err);
}

int ls_stream_send_error(struct ls_stream *s, const struct ls_error *what, struct ls_error *err)
{
	Lockstep__V1__ErrorDetail d = LOCKSTEP__V1__ERROR_DETAIL__INIT;
	Lockstep__V1__Frame f = LOCKSTEP__V1__FRAME__INIT;
	d.reason = (char *)(uintptr_t)ls_reason_name(what->reason);
	d.message = (char *)(uintptr_t)what->message;
	d.host = (char *)(uintptr_t)what->host;
	d.device = (char *)(uintptr_t)what->device;
	d.arc = (char *)(uintptr_t)what->arc;
	d.errno_value = what->err;
	f.kind_case = LOCKSTEP__V1__FRAME__KIND_ERROR;
	f.error = &d;
	return send_frame(s, &f, err);
}
