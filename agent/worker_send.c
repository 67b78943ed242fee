// SPDX-License-Identifier: Apache-2.0
// The source's share of a stream: dial, pre-copy, send.
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "agent/worker_int.h"
#include "common/clock.h"
#include "common/control.h"
#include "common/fault.h"
#include "proto/wire/frame.h"
#include "proto/wire/pb.h"

#define NO_PROGRESS_MS 5       // between rounds that brought nothing, at first
#define NO_PROGRESS_MOST_MS 80 // and later
#define LULLS_MS 10000         // of one pre-copy, in all, for what a driver announces and does not hand out: the VM
                               // runs on meanwhile, and in the pause it would have to wait for the same
#define RESTARTS_MAX 16  // of one pre-copy: a guest that resets its device again and again is sent in the pause

#define RENEWALS_MAX 8   // of one pre-copy: initial data that appears anew starts the count of rounds anew

// Switches of test builds break one stream at a time: the first to send since the last such stream was closed.
static _Atomic(struct ls_worker *) broken_worker;

static bool control(struct ls_worker *w, const char *name)
{
	struct ls_worker *nobody = NULL;
	if (!ls_control(name))
		return false;
	return atomic_compare_exchange_strong(&broken_worker, &nobody, w) || nobody == w;
}

void ls_worker_drop_stream(struct ls_worker *w)
{
	struct ls_worker *me = w;
	atomic_compare_exchange_strong(&broken_worker, &me, NULL);
	ls_stream_close(w->stream);
	w->stream = NULL;
	ls_digest_free(w->digest);
	w->digest = NULL;
	w->length = 0;
	w->stale = false;
}

int ls_worker_new_stream(struct ls_worker *w, struct ls_stream *stream, struct ls_error *err)
{
	ls_worker_drop_stream(w);
	w->stream = stream;
	w->digest = ls_digest_new();
	atomic_store(&w->progress.sent, 0);
	atomic_store(&w->progress.loaded, 0);
	atomic_store(&w->progress.total, 0);
	atomic_store(&w->progress.rounds, 0);
	atomic_store(&w->progress.restarts, 0);
	if (w->digest)
		return 0;
	ls_worker_drop_stream(w);
	return ls_fail(err, LS_E_RESOURCE, ENOMEM, "no memory for a digest");
}

int ls_worker_connect(struct ls_worker *w, const struct ls_job *job, struct ls_error *err)
{
	struct ls_stream *s = NULL;
	Lockstep__V1__Frame *answer = NULL;
	size_t data = 0;
	int r = ls_stream_connect(job->address, job->timeout_ms, w->interrupt_fd, &s, err);
	if (r == 0)
		r = ls_worker_new_stream(w, s, err);
	if (r == 0)
		r = ls_stream_send_bytes(s, job->hello, job->hello_len, err);
	if (r == 0)
		r = ls_stream_next(s, &answer, &data, err);
	if (r == 0 && (!answer || answer->kind_case != LOCKSTEP__V1__FRAME__KIND_OPENED))
		r = ls_fail(err, LS_E_INVALID, EBADMSG, "expected 'opened', got '%s'",
			    answer ? ls_frame_kind_name(answer) : "data");
	if (answer)
		ls_pb_free(&answer->base);
	if (r < 0)
		ls_worker_drop_stream(w);
	else
		ls_stream_deadline(s, 0);
	return r;
}

static int need_session(struct ls_worker *w, struct ls_error *err)
{
	if (!w->stream)
		return ls_fail(err, LS_E_BAD_STATE, ENOTCONN, "the device's stream is not connected");
	if (w->data_fd < 0)
		return ls_fail(err, LS_E_BAD_STATE, EBADF, "the device has no saving session");
	return 0;
}

static int guest_reset(struct ls_error *err)
{
	return ls_fail(err, LS_E_GUEST_RESET, ENODEV, "the guest reset the device: what was sent is void");
}

// One piece from the device. As read(2); errors fill *err, -ENOMSG does not.
static ssize_t read_piece(struct ls_worker *w, uint8_t *buf, struct ls_error *err)
{
	int r = ls_worker_check(w, err);
	if (r < 0)
		return r;
	ls_worker_enter(w);
	ssize_t n = w->provider->read(w->dev, w->data_fd, buf, LS_CHUNK);
	ls_worker_leave(w);
	if (n >= 0 || n == -ENOMSG)
		return n;
	if (ls_worker_get(w) == LS_STATE_RUNNING)
		return guest_reset(err);
	return ls_fail(err, LS_E_SAVE_FAILED, (int)-n, "reading the device's state failed after %llu bytes",
		       (unsigned long long)w->length);
}

static int say_discard(struct ls_worker *w, struct ls_error *err)
{
	int r = w->stale && !ls_control("forget-discard") ? ls_stream_send_discard(w->stream, err) : 0;
	if (r == 0)
		w->stale = false;
	return r;
}

static int send_piece(struct ls_worker *w, uint8_t *buf, size_t len, struct ls_error *err)
{
	int r = say_discard(w, err);
	if (r < 0)
		return r;
	ls_digest_update(w->digest, buf, len);
	w->length += len;
	r = ls_stream_send_data(w->stream, buf, len, err);
	if (r < 0)
		return r;
	atomic_store(&w->progress.sent, w->length);
	atomic_store(&w->progress.loaded, ls_stream_peer_written(w->stream));
	ls_fault_of(agent_stream_data, "sent");
	return 0;
}

// ---- pre-copy ----

enum told { TOLD_LEFT, TOLD_RENEWED, TOLD_NOTHING };

// Both counts, unless this driver does not tell (K5). RENEWED: there is initial data again. Negative errno.
static int left_to_send(struct ls_worker *w, uint64_t *initial, uint64_t *dirty, struct ls_error *err)
{
	*initial = *dirty = 0;
	int r = w->provider->precopy_info(w->dev, w->data_fd, initial, dirty);
	if (r == -ENOTTY)
		return TOLD_NOTHING;
	if (r < 0 && ls_worker_get(w) == LS_STATE_RUNNING)
		return guest_reset(err);
	if (r < 0)
		return ls_fail(err, LS_E_SAVE_FAILED, -r, "asking how much is left to pre-copy failed");
	atomic_store(&w->progress.initial_left, *initial);
	atomic_store(&w->progress.dirty_left, *dirty);
	return r > 0 ? TOLD_RENEWED : TOLD_LEFT;
}

// Reads what was there when the round began, or to the temporary end. What appears meanwhile is the next round's.
static int precopy_round(struct ls_worker *w, uint64_t limit, uint64_t *ret_sent, struct ls_error *err)
{
	uint64_t sent = 0;
	while (sent < limit) {
		ssize_t n = read_piece(w, w->buf, err);
		if (n == 0 || n == -ENOMSG)
			break;
		if (n < 0)
			return (int)n;
		int r = send_piece(w, w->buf, (size_t)n, err);
		if (r < 0)
			return r;
		sent += (uint64_t)n;
	}
	*ret_sent = sent;
	return 0;
}

// Between rounds that bring nothing. Some drivers say when there is more; those that do not always say that there is.
struct lull {
	uint64_t waited_ns;
	int ms;
	bool told_lies;
};

static int wait_out(struct ls_worker *w, struct lull *l, struct ls_error *err)
{
	struct pollfd p[2] = {{.fd = w->interrupt_fd, .events = POLLIN}, {.fd = w->data_fd, .events = POLLIN}};
	uint64_t begin = ls_now_ns();
	poll(p, l->told_lies ? 1 : 2, l->ms);
	l->told_lies = l->told_lies || p[1].revents;
	l->waited_ns += ls_now_ns() - begin;
	l->ms = l->ms * 2 < NO_PROGRESS_MOST_MS ? l->ms * 2 : NO_PROGRESS_MOST_MS;
	return ls_worker_check(w, err);
}

static int precopy(struct ls_worker *w, const struct ls_job *job, struct ls_error *err)
{
	struct lull lull = {.ms = NO_PROGRESS_MS};
	unsigned renewals = 0, rounds = 0, round = 0;
	int r = 0;
	while (r == 0) {
		uint64_t initial, dirty, sent = 0;
		int told = left_to_send(w, &initial, &dirty, err);
		if (told < 0)
			return told;
		if (told == TOLD_RENEWED && renewals++ < RENEWALS_MAX)
			round = 0;
		if (told != TOLD_NOTHING && initial == 0 && dirty <= job->rest_bytes)
			return 0;
		if ((round >= job->max_rounds && round > 0) || lull.waited_ns >= LULLS_MS * 1000000ull)
			return 0;
		// Without numbers one pass to the temporary end is all that makes sense.
		r = precopy_round(w, told != TOLD_NOTHING ? initial + dirty : UINT64_MAX, &sent, err);
		atomic_store(&w->progress.rounds, ++rounds);
		if (r == 0 && told == TOLD_NOTHING)
			return 0;
		round += sent > 0 || initial == 0; // K5: the initial part belongs before the pause
		if (sent > 0)
			lull = (struct lull){.ms = NO_PROGRESS_MS, .waited_ns = lull.waited_ns};
		else if (r == 0)
			r = wait_out(w, &lull, err);
	}
	return r;
}

// A device that its guest resets starts over; the others never hear of it.
int ls_worker_precopy(struct ls_worker *w, const struct ls_job *job, struct ls_error *err)
{
	int r = need_session(w, err);
	for (unsigned restart = 0; r == 0; restart++) {
		struct ls_error why = {0};
		r = precopy(w, job, &why);
		if (why.reason != LS_E_GUEST_RESET) {
			if (r < 0 && err)
				*err = why;
			break;
		}
		ls_worker_start_over(w);
		if (restart == RESTARTS_MAX)
			return 0;
		struct ls_job_result arc = {.from_state = LS_STATE_RUNNING};
		r = ls_worker_arc(w, LS_STATE_PRE_COPY, &arc);
		if (r < 0 && err)
			*err = arc.error;
	}
	return r;
}

// ---- the rest, once stopped ----

// Test builds: "cut-stream" leaves the last frame out, which takes knowing which one is the last.
static int send_rest_cut(struct ls_worker *w, struct ls_error *err)
{
	uint8_t *held = malloc(LS_CHUNK);
	size_t held_len = 0;
	int r = held ? 0 : ls_fail(err, LS_E_RESOURCE, ENOMEM, "no memory");
	while (r == 0) {
		ssize_t n = read_piece(w, w->buf, err);
		if (n <= 0) {
			r = n == -ENOMSG ? ls_fail(err, LS_E_SAVE_FAILED, ENOMSG, "no end of state") : (int)n;
			break;
		}
		if (held_len > 0)
			r = send_piece(w, held, held_len, err);
		memcpy(held, w->buf, (size_t)n);
		held_len = (size_t)n;
	}
	if (r == 0 && held_len > 0) {
		ls_digest_update(w->digest, held, held_len);
		w->length += held_len;
	}
	free(held);
	return r;
}

static int send_rest(struct ls_worker *w, struct ls_error *err)
{
	bool bend = control(w, "bend-stream-byte");
	if (control(w, "cut-stream"))
		return send_rest_cut(w, err);
	for (;;) {
		ssize_t n = read_piece(w, w->buf, err);
		if (n == -ENOMSG)
			return ls_fail(err, LS_E_SAVE_FAILED, ENOMSG,
				       "the driver ends its state with ENOMSG in STOP_COPY");
		if (n <= 0)
			return (int)n;
		if (bend) {
			ls_digest_update(w->digest, w->buf, (size_t)n);
			w->length += (uint64_t)n;
			w->buf[n / 2] ^= 0x10;
			bend = false;
			int r = ls_stream_send_data(w->stream, w->buf, (size_t)n, err);
			if (r < 0)
				return r;
			continue;
		}
		int r = send_piece(w, w->buf, (size_t)n, err);
		if (r < 0)
			return r;
	}
}

// What nobody has to know: how much may still come.
static void ask_total(struct ls_worker *w)
{
	uint64_t total = 0;
	if (!w->caps.size_known)
		return;
	ls_worker_enter(w);
	if (w->provider->data_size(w->dev, &total) == 0)
		atomic_store(&w->progress.total, total);
	ls_worker_leave(w);
}

int ls_worker_send(struct ls_worker *w, struct ls_job_result *res)
{
	struct ls_error *err = &res->error;
	int r = need_session(w, err);
	if (r < 0)
		return r;
	if (res->from_state != LS_STATE_STOP_COPY)
		return ls_fail(err, LS_E_BAD_STATE, EINVAL, "the device is not in STOP_COPY");
	ask_total(w);
	r = send_rest(w, err);
	if (r == 0)
		r = say_discard(w, err);
	if (r < 0)
		return r;
	ls_digest_value(w->digest, res->digest);
	res->length = w->length;
	atomic_store(&w->progress.initial_left, 0);
	atomic_store(&w->progress.dirty_left, 0);
	r = ls_stream_send_end(w->stream, w->length, res->digest, err);
	ls_fault_of(agent_stream_end, "sent");
	return r;
}
