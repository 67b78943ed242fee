// SPDX-License-Identifier: Apache-2.0
// The destination's share of a stream. The device is asked to believe its image (RESUMING -> STOP) only after length
// and digest have proved it complete: drivers accept truncated ones (K4).
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/worker_int.h"
#include "common/clock.h"
#include "common/fault.h"
#include "proto/wire/frame.h"
#include "proto/wire/pb.h"

#define PROGRESS_EVERY (8u * LS_CHUNK) // bytes between two Progress frames

int ls_worker_accept(struct ls_worker *w, const struct ls_job *job, struct ls_error *err)
{
	struct ls_stream *s = NULL;
	int r = ls_stream_adopt(job->fd, w->interrupt_fd, &s, err);
	if (r == 0)
		r = ls_worker_new_stream(w, s, err);
	if (r == 0)
		r = ls_stream_send_bytes(s, job->hello, job->hello_len, err);
	if (r < 0)
		ls_worker_drop_stream(w);
	return r;
}

static int write_device(struct ls_worker *w, const uint8_t *p, size_t len, struct ls_error *err)
{
	while (len > 0) {
		ls_worker_enter(w);
		ssize_t n = w->provider->write(w->dev, w->data_fd, p, len);
		ls_worker_leave(w);
		if (n <= 0)
			return ls_fail(err, LS_E_LOAD_FAILED, n < 0 ? (int)-n : EIO,
				       "the device refuses its image after %llu bytes", (unsigned long long)w->length);
		p += n;
		len -= (size_t)n;
		w->length += (uint64_t)n;
	}
	return 0;
}

static int load_piece(struct ls_worker *w, size_t len, uint64_t *reported, struct ls_error *err)
{
	int r = ls_stream_recv_data(w->stream, w->buf, len, err);
	if (r < 0)
		return r;
	ls_digest_update(w->digest, w->buf, len);
	r = write_device(w, w->buf, len, err);
	if (r < 0)
		return r;
	atomic_store(&w->progress.loaded, w->length);
	ls_fault_of(agent_stream_data, "received");
	if (w->length - *reported < PROGRESS_EVERY)
		return ls_worker_check(w, err);
	*reported = w->length;
	return ls_stream_send_progress(w->stream, w->length, err);
}

static int compare(struct ls_worker *w, const Lockstep__V1__End *end, struct ls_job_result *res)
{
	ls_digest_value(w->digest, res->digest);
	res->length = w->length;
	if (end->length != w->length)
		return ls_fail(&res->error, LS_E_STREAM_BROKEN, EPROTO,
			       "the stream is cut: %llu bytes came, the source sent %llu",
			       (unsigned long long)w->length, (unsigned long long)end->length);
	if (memcmp(end->digest.data, res->digest, LS_DIGEST_SIZE) != 0)
		return ls_fail(&res->error, LS_E_DIGEST_MISMATCH, EBADMSG,
			       "what came is not what the source sent: the digests of %llu bytes differ",
			       (unsigned long long)w->length);
	return 0;
}

// The source's guest has reset its device: what was written here is void, and RESUMING is left by a reset alone (K4).
static int start_over(struct ls_worker *w, struct ls_error *err)
{
	struct ls_job_result reset = {0}, arc = {.from_state = LS_STATE_RUNNING};
	int r = ls_worker_reset(w, &reset);
	if (r < 0) {
		*err = reset.error;
		return r;
	}
	r = ls_worker_arc(w, LS_STATE_RESUMING, &arc);
	if (r < 0)
		*err = arc.error;
	atomic_store(&w->progress.loaded, 0);
	atomic_fetch_add(&w->progress.restarts, 1);
	return r;
}

// Device data until End, which proves them.
static int receive(struct ls_worker *w, struct ls_job_result *res)
{
	uint64_t reported = 0;
	for (;;) {
		Lockstep__V1__Frame *f = NULL;
		size_t data = 0;
		int r = ls_stream_next(w->stream, &f, &data, &res->error);
		if (r < 0)
			return r;
		if (!f) {
			r = load_piece(w, data, &reported, &res->error);
			if (r < 0)
				return r;
			continue;
		}
		if (f->kind_case == LOCKSTEP__V1__FRAME__KIND_DISCARD) {
			ls_pb_free(&f->base);
			r = start_over(w, &res->error);
			if (r < 0)
				return r;
			reported = 0;
			continue;
		}
		if (f->kind_case == LOCKSTEP__V1__FRAME__KIND_END) {
			ls_fault_of(agent_stream_end, "received");
			r = compare(w, f->end, res);
		} else {
			r = ls_fail(&res->error, LS_E_INVALID, EBADMSG, "unexpected frame '%s'", ls_frame_kind_name(f));
		}
		ls_pb_free(&f->base);
		return r;
	}
}

static int commit(struct ls_worker *w, struct ls_job_result *res)
{
	int none = -1;
	struct ls_job_result times = {0};
	int r = ls_worker_set(w, LS_STATE_STOP, &none, &times);
	if (none >= 0)
		close(none);
	int now = ls_worker_get(w);
	if (r < 0)
		ls_fail(&res->error, LS_E_LOAD_FAILED, -r, "the device refuses its image");
	else if (now != LS_STATE_STOP)
		r = ls_fail(&res->error, LS_E_LOAD_FAILED, EIO, "after its load the device is in %s",
			    now < 0 ? "an unknown state" : ls_state_name(now));
	if (r < 0) {
		ls_error_at(&res->error, NULL, "RESUMING -> STOP");
		return r;
	}
	ls_worker_drop_session(w);
	return 0;
}

int ls_worker_load(struct ls_worker *w, struct ls_job_result *res)
{
	struct ls_error *err = &res->error;
	if (!w->stream)
		return ls_fail(err, LS_E_BAD_STATE, ENOTCONN, "the device's stream is not connected");
	if (w->data_fd < 0 || res->from_state != LS_STATE_RESUMING)
		return ls_fail(err, LS_E_BAD_STATE, EBADF, "the device is not in RESUMING");
	int r = receive(w, res);
	if (r == 0)
		r = commit(w, res);
	if (r == 0) {
		// The device has its image whether or not the source hears of it: consent does not hang on this frame.
		ls_stream_send_loaded(w->stream, NULL);
		return 0;
	}
	if (err->reason != LS_E_CANCELLED && err->reason != LS_E_STREAM_BROKEN) {
		ls_error_at(err, w->device, NULL);
		ls_stream_send_error(w->stream, err, NULL);
	}
	return r;
}
