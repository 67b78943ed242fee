// SPDX-License-Identifier: Apache-2.0
// Jobs on the device itself. K2: GET after every failure; nothing is SET on a device in ERROR or in a state that we do
// not know; STOP_COPY -> PRE_COPY(_P2P) is never asked for (the table refuses it).
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/worker_int.h"
#include "common/clock.h"
#include "proto/wire/digest.h"

static int reserve_fds(struct ls_worker *w)
{
	for (unsigned i = 0; i < LS_SPARE_FDS; i++) {
		if (w->spare[i] < 0)
			w->spare[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (w->spare[i] < 0)
			return -errno;
	}
	return 0;
}

static void release_fds(struct ls_worker *w)
{
	for (unsigned i = 0; i < LS_SPARE_FDS; i++) {
		if (w->spare[i] >= 0)
			close(w->spare[i]);
		w->spare[i] = -1;
	}
}

int ls_worker_get(struct ls_worker *w)
{
	int state = -1;
	ls_worker_enter(w);
	int r = w->provider->get_state(w->dev, &state);
	ls_worker_leave(w);
	if (r < 0)
		state = -1;
	atomic_store(&w->progress.state, state);
	return state;
}

void ls_worker_drop_session(struct ls_worker *w)
{
	if (w->data_fd >= 0)
		close(w->data_fd);
	w->data_fd = -1;
}

void ls_worker_close(struct ls_worker *w)
{
	ls_worker_drop_stream(w);
	ls_worker_drop_session(w);
	release_fds(w);
	if (w->dev) {
		ls_worker_enter(w);
		w->provider->close(w->dev);
		ls_worker_leave(w);
	}
	w->dev = NULL;
	atomic_store(&w->progress.state, -1);
}

static int probe(struct ls_worker *w, struct ls_job_result *res)
{
	struct ls_error *err = &res->error;
	int r = w->provider->probe(w->dev, &w->caps, err);
	res->caps = w->caps;
	if (r < 0)
		return r;
	if (w->caps.flags == 0 && w->caps.v1_only)
		return ls_fail(err, LS_E_V1_ONLY, EOPNOTSUPP, "%s offers only the deprecated migration interface (v1)",
			       w->path);
	if (w->caps.flags == 0)
		return ls_fail(err, LS_E_NOT_MIGRATABLE, EOPNOTSUPP, "%s offers no migration (v2)", w->path);
	if (w->caps.size_known && w->provider->data_size(w->dev, &res->size) < 0)
		res->size = 0;
	int state = -1;
	r = w->provider->get_state(w->dev, &state);
	if (r < 0)
		return ls_fail(err, LS_E_NOT_MIGRATABLE, -r, "%s does not tell its state", w->path);
	r = reserve_fds(w);
	if (r < 0)
		return ls_fail(err, LS_E_RESOURCE, -r, "no file descriptors left to reserve");
	return 0;
}

int ls_worker_adopt(struct ls_worker *w, const struct ls_job *job, struct ls_job_result *res)
{
	if (w->dev) {
		if (job->fd >= 0)
			close(job->fd);
		return ls_fail(&res->error, LS_E_DEVICE_BUSY, EBUSY, "the device is already open here");
	}
	if (!w->buf) {
		if (job->fd >= 0)
			close(job->fd);
		return ls_fail(&res->error, LS_E_RESOURCE, ENOMEM, "no memory for the device's buffer");
	}
	ls_worker_enter(w);
	int r = w->provider->open(w->path, job->fd, &w->dev, &res->error);
	if (r < 0) {
		w->dev = NULL;
		if (job->fd >= 0)
			close(job->fd);
	} else {
		r = probe(w, res);
		if (r < 0)
			ls_worker_close(w);
		else if (w->provider->fd)
			res->fd = w->provider->fd(w->dev);
	}
	ls_worker_leave(w);
	return r;
}

int ls_worker_set(struct ls_worker *w, enum ls_state to, int *data_fd, struct ls_job_result *res)
{
	*data_fd = -1;
	ls_worker_enter(w);
	res->begin_ns = ls_now_ns();
	int r = w->provider->set_state(w->dev, to, data_fd);
	res->end_ns = ls_now_ns();
	ls_worker_leave(w);
	return r;
}

static bool holds_session(int state)
{
	return ls_state_valid(state) && (ls_state_saving((enum ls_state)state) || state == LS_STATE_RESUMING);
}

static bool opens_session(unsigned flags, int cur, enum ls_state to)
{
	enum ls_state path[LS_FSM_PATH_MAX];
	int n = ls_fsm_path(flags, cur, to, path);
	enum ls_state from = (enum ls_state)cur;
	for (int i = 0; i < n; i++) {
		if (ls_fsm_opens_session(from, path[i]))
			return true;
		from = path[i];
	}
	return false;
}

// Another session's bytes begin: none of the last one's belong to them (K4).
static void begin_image(struct ls_worker *w)
{
	w->stale = w->stale || w->length > 0;
	w->length = 0;
	if (w->digest)
		ls_digest_reset(w->digest);
}

void ls_worker_start_over(struct ls_worker *w)
{
	ls_worker_drop_session(w);
	begin_image(w);
	atomic_store(&w->progress.sent, 0);
	atomic_fetch_add(&w->progress.restarts, 1);
}

// A session that we still hold, on a device that has left the saving states by itself: its guest reset it.
static bool guest_reset(const struct ls_worker *w, int cur, enum ls_state to)
{
	return w->data_fd >= 0 && ls_state_saving(to) && cur == LS_STATE_RUNNING;
}

static int may_ask(struct ls_worker *w, int cur, enum ls_state to, struct ls_error *err)
{
	if (cur < 0)
		return ls_fail(err, LS_E_BAD_STATE, EIO, "the device does not tell its state");
	if (!ls_state_valid(cur))
		return ls_fail(err, LS_E_BAD_STATE, EINVAL,
			       "the device is in state %d, which is not known here: reset it", cur);
	if (cur == LS_STATE_ERROR)
		return ls_fail(err, LS_E_BAD_STATE, EIO, "the device is in ERROR: only a reset helps");
	if (cur == LS_STATE_RESUMING && to != LS_STATE_RESUMING)
		return ls_fail(err, LS_E_BAD_STATE, EINVAL, "RESUMING is left by a complete load or by a reset");
	if (ls_fsm_next(w->caps.flags, cur, to) < 0)
		return ls_fail(err, LS_E_BAD_STATE, EINVAL, "%s -> %s is not possible for this device",
			       ls_state_name(cur), ls_state_name((int)to));
	return 0;
}

static void after_failure(struct ls_worker *w, int error, enum ls_state to, struct ls_error *err)
{
	int now = ls_worker_get(w);
	ls_fail(err, LS_E_ARC_FAILED, error, "the driver refused; the device is in %s",
		now < 0 ? "an unknown state" : ls_state_name(now));
	if (!holds_session(now))
		ls_worker_drop_session(w);
	if (error == EMFILE && now == (int)to)
		ls_fail(err, LS_E_ARC_FAILED, EMFILE,
			"no file descriptor for the stream: the device moved, its stream is lost");
}

int ls_worker_arc(struct ls_worker *w, enum ls_state to, struct ls_job_result *res)
{
	struct ls_error *err = &res->error;
	char arc[40];
	int cur = res->from_state, new_fd = -1;
	snprintf(arc, sizeof(arc), "%s -> %s", cur < 0 ? "?" : ls_state_name(cur), ls_state_name((int)to));
	int r = may_ask(w, cur, to, err);
	if (r == 0 && guest_reset(w, cur, to))
		ls_worker_start_over(w);
	if (r == 0 && cur != (int)to) {
		bool session = opens_session(w->caps.flags, cur, to);
		// A guest that resets it now makes it open another.
		bool saving = w->data_fd >= 0 && ls_state_saving(to);
		if (session || saving) {
			// Taken now if it could not be before: better no arc than an arc without its stream.
			r = reserve_fds(w);
			if (r < 0)
				ls_fail(err, LS_E_RESOURCE, -r, "no file descriptor for the device's stream");
			else
				release_fds(w);
		}
		if (r == 0) {
			r = ls_worker_set(w, to, &new_fd, res);
			if (r < 0)
				after_failure(w, -r, to, err);
			else if (session && new_fd < 0)
				r = ls_fail(err, LS_E_ARC_FAILED, EBADF, "the driver handed out no stream");
			else if (new_fd >= 0 && saving)
				ls_worker_start_over(w); // between GET and SET
		}
		if (r == 0 && (new_fd >= 0 || !holds_session((int)to)))
			ls_worker_drop_session(w);
		if (r == 0 && new_fd >= 0) {
			w->data_fd = new_fd;
			begin_image(w);
		}
		reserve_fds(w); // for the next one, which tries again by itself
	}
	if (r < 0)
		ls_error_at(err, NULL, arc);
	return r;
}

int ls_worker_reset(struct ls_worker *w, struct ls_job_result *res)
{
	ls_worker_enter(w);
	res->begin_ns = ls_now_ns();
	int r = w->provider->reset(w->dev);
	res->end_ns = ls_now_ns();
	ls_worker_leave(w);
	ls_worker_drop_session(w);
	if (r < 0)
		return ls_fail(&res->error, LS_E_RESET_FAILED, -r, "the device cannot be reset");
	int now = ls_worker_get(w);
	if (now != LS_STATE_RUNNING)
		return ls_fail(&res->error, LS_E_RESET_FAILED, EIO, "after the reset the device is in %s",
			       now < 0 ? "an unknown state" : ls_state_name(now));
	return 0;
}
