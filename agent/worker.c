// SPDX-License-Identifier: Apache-2.0
#include "agent/worker.h"

#include <errno.h>
#include <numa.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/worker_int.h"
#include "common/clock.h"
#include "common/fault.h"

// ---- the worker's thread ----

void ls_worker_enter(struct ls_worker *w)
{
	atomic_store(&w->progress.busy_since_ns, ls_now_ns());
}

void ls_worker_leave(struct ls_worker *w)
{
	atomic_store(&w->progress.busy_since_ns, 0);
}

int ls_worker_check(struct ls_worker *w, struct ls_error *err)
{
	return atomic_load(&w->interrupted) ? ls_fail(err, LS_E_CANCELLED, ECANCELED, "interrupted") : 0;
}

static bool node_known(int node)
{
	return node >= 0 && numa_available() >= 0 && node <= numa_max_node();
}

// A wrong or absent node costs speed, nothing else.
static void settle_on_node(int node)
{
	if (!node_known(node))
		return;
	numa_run_on_node(node);
	numa_set_localalloc();
}

// A mapping with a policy of its own: touching it first is not enough, as one huge page may span the buffers of two
// workers.
static uint8_t *buffer_new(int node)
{
	uint8_t *buf = node_known(node) ? numa_alloc_onnode(LS_CHUNK, node) : aligned_alloc(4096, LS_CHUNK);
	if (buf)
		memset(buf, 0, LS_CHUNK);
	return buf;
}

static void buffer_free(uint8_t *buf, int node)
{
	if (buf && node_known(node))
		numa_free(buf, LS_CHUNK);
	else
		free(buf);
}

static int run_job(struct ls_worker *w, struct ls_job *job, struct ls_job_result *res)
{
	switch (job->kind) {
	case LS_JOB_ADOPT:
		return ls_worker_adopt(w, job, res);
	case LS_JOB_ARC:
		return ls_worker_arc(w, job->target, res);
	case LS_JOB_RESET:
		return ls_worker_reset(w, res);
	case LS_JOB_CONNECT:
		return ls_worker_connect(w, job, &res->error);
	case LS_JOB_ACCEPT:
		return ls_worker_accept(w, job, &res->error);
	case LS_JOB_PRECOPY:
		return ls_worker_precopy(w, job, &res->error);
	case LS_JOB_SEND:
		return ls_worker_send(w, res);
	case LS_JOB_LOAD:
		return ls_worker_load(w, res);
	case LS_JOB_CLOSE:
		ls_worker_close(w);
		return 0;
	}
	return ls_fail(&res->error, LS_E_INTERNAL, EINVAL, "unknown job %d", (int)job->kind);
}

static const char *fault_name(const struct ls_job *job)
{
	static const char *const names[] = {
		[LS_JOB_ADOPT] = "adopt",   [LS_JOB_RESET] = "reset",     [LS_JOB_CONNECT] = "connect",
		[LS_JOB_ACCEPT] = "accept", [LS_JOB_PRECOPY] = "precopy", [LS_JOB_SEND] = "send",
		[LS_JOB_LOAD] = "load",     [LS_JOB_CLOSE] = "close"
	};

	if (job->kind == LS_JOB_ARC)
		return ls_state_name((int)job->target);
	return (unsigned)job->kind < sizeof(names) / sizeof(names[0]) ? names[job->kind] : "other";
}

static int run_job_or_fault(struct ls_worker *w, struct ls_job *job, struct ls_job_result *res)
{
	int r = ls_fault_fail(agent_job_before, fault_name(job), LS_E_ARC_FAILED, &res->error);

	if (r == 0)
		r = run_job(w, job, res);
	else if (job->kind == LS_JOB_ADOPT || job->kind == LS_JOB_ACCEPT)
		close(job->fd);
	ls_fault_of(agent_job_after, fault_name(job));
	return r;
}

static bool takes_device(enum ls_job_kind kind)
{
	return kind != LS_JOB_ADOPT && kind != LS_JOB_CLOSE;
}

static void carry_out(struct ls_worker *w, struct ls_job *job, struct ls_job_result *res)
{
	memset(res, 0, sizeof(*res));
	res->kind = job->kind;
	res->from_state = res->state = res->fd = -1;
	if (w->dev)
		res->from_state = ls_worker_get(w);
	res->begin_ns = ls_now_ns();
	if (takes_device(job->kind) && !w->dev) {
		res->status = ls_fail(&res->error, LS_E_BAD_STATE, EBADF, "the device is not open");
		if (job->kind == LS_JOB_ACCEPT)
			close(job->fd);
	} else {
		res->status = run_job_or_fault(w, job, res);
	}
	if (res->end_ns == 0)
		res->end_ns = ls_now_ns();
	res->state = w->dev ? ls_worker_get(w) : -1;
	if (res->status < 0) {
		ls_error_at(&res->error, w->device, NULL);
		// A peer that is not told waits for its keepalive to fail.
		if (res->status == -ECANCELED && w->stream)
			ls_stream_shutdown(w->stream);
	}
	free(job->hello);
}

static void *worker_main(void *arg)
{
	struct ls_worker *w = arg;
	settle_on_node(w->numa_node);
	w->buf = buffer_new(w->numa_node);
	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->has_job && !w->quit)
			pthread_cond_wait(&w->posted, &w->lock);
		if (!w->has_job)
			break;
		struct ls_job job = w->job;
		struct ls_job_result res;
		w->has_job = false;
		pthread_mutex_unlock(&w->lock);
		carry_out(w, &job, &res);
		pthread_mutex_lock(&w->lock);
		w->result = res;
		w->has_result = true;
		uv_async_send(&w->async);
	}
	pthread_mutex_unlock(&w->lock);
	ls_worker_close(w);
	buffer_free(w->buf, w->numa_node);
	pthread_mutex_lock(&w->lock);
	w->gone = true;
	uv_async_send(&w->async);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

// ---- the loop's thread ----

static void on_async_closed(uv_handle_t *handle)
{
	struct ls_worker *w = handle->data;
	void (*freed)(void *) = w->freed;
	void *user = w->freed_user;
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->posted);
	close(w->interrupt_fd);
	free(w);
	if (freed)
		freed(user);
}

static void on_async(uv_async_t *async)
{
	struct ls_worker *w = async->data;
	struct ls_job_result res;
	pthread_mutex_lock(&w->lock);
	bool has_result = w->has_result, gone = w->gone;
	w->has_result = false;
	if (has_result)
		res = w->result;
	pthread_mutex_unlock(&w->lock);
	if (gone) {
		pthread_join(w->thread, NULL);
		uv_close((uv_handle_t *)&w->async, on_async_closed);
		return;
	}
	if (!has_result)
		return;
	w->busy = false;
	if (!w->freeing)
		w->done(w->user, &res);
}

static int start_thread(struct ls_worker *w)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&w->thread, NULL, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

int ls_worker_start(uv_loop_t *loop, const struct ls_worker_options *options, struct ls_worker **ret,
		    struct ls_error *err)
{
	struct ls_worker *w = calloc(1, sizeof(*w));
	if (!w)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "no memory for a worker");
	snprintf(w->device, sizeof(w->device), "%s", options->device);
	snprintf(w->path, sizeof(w->path), "%s", options->path);
	w->provider = options->provider;
	w->numa_node = options->numa_node;
	w->done = options->done;
	w->user = options->user;
	w->data_fd = -1;
	for (unsigned i = 0; i < LS_SPARE_FDS; i++)
		w->spare[i] = -1;
	atomic_store(&w->progress.state, -1);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->posted, NULL);
	w->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int r = w->interrupt_fd < 0 ? errno : -uv_async_init(loop, &w->async, on_async);
	if (r != 0) {
		if (w->interrupt_fd >= 0)
			close(w->interrupt_fd);
		free(w);
		return ls_fail(err, LS_E_RESOURCE, r, "cannot start the worker of device %s", options->device);
	}
	w->async.data = w;
	r = start_thread(w);
	if (r != 0) {
		uv_close((uv_handle_t *)&w->async, on_async_closed);
		return ls_fail(err, LS_E_RESOURCE, r, "cannot start the thread of device %s", options->device);
	}
	*ret = w;
	return 0;
}

int ls_worker_submit(struct ls_worker *w, const struct ls_job *job)
{
	uint64_t drained;
	if (w->busy || w->freeing)
		return -EBUSY;
	w->busy = true;
	atomic_store(&w->interrupted, false);
	while (read(w->interrupt_fd, &drained, sizeof(drained)) > 0)
		;
	pthread_mutex_lock(&w->lock);
	w->job = *job;
	w->has_job = true;
	pthread_cond_signal(&w->posted);
	pthread_mutex_unlock(&w->lock);
	return 0;
}

void ls_worker_interrupt(struct ls_worker *w)
{
	const uint64_t one = 1;
	atomic_store(&w->interrupted, true);
	if (write(w->interrupt_fd, &one, sizeof(one)) < 0)
		return; // already readable
}

const struct ls_worker_progress *ls_worker_progress(const struct ls_worker *w)
{
	return &w->progress;
}

bool ls_worker_busy(const struct ls_worker *w)
{
	return w->busy;
}

void ls_worker_free(struct ls_worker *w, void (*freed)(void *user), void *user)
{
	w->freeing = true;
	w->freed = freed;
	w->freed_user = user;
	ls_worker_interrupt(w);
	pthread_mutex_lock(&w->lock);
	w->quit = true;
	pthread_cond_signal(&w->posted);
	pthread_mutex_unlock(&w->lock);
}
