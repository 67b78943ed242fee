// SPDX-License-Identifier: Apache-2.0
// The migration states of a simulated device, as a kernel driver keeps them: dev->state is held throughout, the
// state is stored after each arc, and a request that fails leaves the device where it got to (K2).
#include <errno.h>
#include <unistd.h>

#include "agent/sim/simhost.h"

static void suspend_initiator(struct sim_dev *d)
{
	sim_lock(&d->lock);
	lsm_set_initiator(&d->model, false);
	while (lsm_engine_busy(&d->model))
		sim_lock_wait(&d->lock, &d->idle);
	sim_unlock(&d->lock);
}

static void resume_initiator(struct sim_dev *d)
{
	sim_lock(&d->lock);
	lsm_set_initiator(&d->model, true);
	pthread_cond_broadcast(&d->wake);
	sim_unlock(&d->lock);
}

static void set_responder(struct sim_dev *d, bool enabled)
{
	sim_lock(&d->lock);
	lsm_set_responder(&d->model, enabled);
	sim_unlock(&d->lock);
}

static int arc(struct sim_dev *d, uint32_t cur, uint32_t next, int *data_fd)
{
	uint32_t todo = lsm_arc_actions(d->info->mig_flags, cur, next);
	int r = 0;
	if (todo & LSM_DO_SUSPEND_INITIATOR)
		suspend_initiator(d);
	if (todo & LSM_DO_SUSPEND_RESPONDER)
		set_responder(d, false);
	if (todo & LSM_DO_SAVE_END)
		sim_session_end(d);
	if (todo & LSM_DO_SAVE_BEGIN)
		r = sim_session_new(d, true, false, data_fd);
	if (todo & LSM_DO_PRECOPY_BEGIN)
		r = sim_session_new(d, true, true, data_fd);
	if (todo & LSM_DO_SAVE_FINAL)
		sim_session_final(d->session);
	if (todo & LSM_DO_LOAD_BEGIN)
		r = sim_session_new(d, false, false, data_fd);
	if (todo & LSM_DO_LOAD_COMMIT) {
		r = sim_session_commit(d->session);
		if (r == 0)
			sim_session_end(d);
	}
	if (r < 0)
		return r;
	if (todo & LSM_DO_RESUME_RESPONDER)
		set_responder(d, true);
	if (todo & LSM_DO_RESUME_INITIATOR)
		resume_initiator(d);
	return todo ? 0 : -EINVAL;
}

// Ends the session, stops the engine; dev->state held.
static void quiet(struct sim_dev *d)
{
	suspend_initiator(d);
	sim_session_end(d);
}

static int walk(struct sim_dev *d, uint32_t to, int *data_fd)
{
	uint32_t cur = (uint32_t)atomic_load(&d->cur);
	if (lsm_fsm_next(d->info->mig_flags, cur, to) < 0)
		return -EINVAL;
	while (cur != to) {
		int next = lsm_fsm_next(d->info->mig_flags, cur, to);
		bool into_error = false;
		if (next < 0)
			return next;
		int r = sim_debug_arc(d, cur, (uint32_t)next, &into_error);
		if (into_error) {
			quiet(d);
			set_responder(d, false);
			atomic_store(&d->cur, LSM_ERROR);
		}
		if (r == 0)
			r = arc(d, cur, (uint32_t)next, data_fd);
		if (r < 0)
			return r;
		cur = (uint32_t)next;
		atomic_store(&d->cur, (int)cur);
	}
	return 0;
}

int sim_set_state(struct sim_dev *d, uint64_t state, int *data_fd)
{
	*data_fd = -1;
	if (state >= SIM_STATES)
		return -EINVAL;
	pthread_mutex_lock(&d->state);
	int r = walk(d, (uint32_t)state, data_fd);
	pthread_mutex_unlock(&d->state);
	if (r < 0 && *data_fd >= 0) {
		close(*data_fd); // opened earlier on this walk: nobody will ever have it
		*data_fd = -1;
	}
	return r;
}

int sim_reset(struct sim_dev *d)
{
	pthread_mutex_lock(&d->state);
	quiet(d);
	sim_lock(&d->lock);
	lsm_dev_reset(&d->model);
	sim_config_reset(d);
	sim_unlock(&d->lock);
	atomic_store(&d->cur, LSM_RUNNING);
	pthread_mutex_unlock(&d->state);
	return 0;
}
