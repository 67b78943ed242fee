// SPDX-License-Identifier: Apache-2.0
// Inside the worker: worker.c (thread and queue), worker_arc.c (the device), worker_send.c and worker_load.c (its
// stream). Everything below `own` belongs to the worker's thread.
#ifndef LS_AGENT_WORKER_INT_H
#define LS_AGENT_WORKER_INT_H

#include <pthread.h>

#include "agent/stream.h"
#include "agent/worker.h"

// File descriptors set aside for the arcs that open a session (K2: EMFILE loses the stream, not the arc). Two, as
// another thread may take one between our close and the kernel's use.
#define LS_SPARE_FDS 2

struct ls_worker {
	char device[64], path[256];
	const struct ls_provider *provider;
	int numa_node;
	struct ls_worker_progress progress;
	int interrupt_fd;
	atomic_bool interrupted;

	// loop thread
	ls_worker_done_fn *done;
	void *user;
	uv_async_t async;
	bool busy, freeing;
	void (*freed)(void *user);
	void *freed_user;
	pthread_t thread;

	// both, under lock
	pthread_mutex_t lock;
	pthread_cond_t posted;
	bool has_job, has_result, quit, gone;
	struct ls_job job;
	struct ls_job_result result;

	// own
	struct ls_dev *dev;
	struct ls_dev_caps caps;
	int data_fd; // the session's, or -1
	struct ls_stream *stream;
	struct ls_digest *digest; // of all data since Open or Discard
	uint64_t length;          // bytes of it
	bool stale;               // what was sent is void: Discard goes before whatever is sent next (K5)
	uint8_t *buf;             // LS_CHUNK, on the device's node
	int spare[LS_SPARE_FDS];
};

// ---- worker_arc.c: each fills result->error and answers 0 or negative errno ----
int ls_worker_adopt(struct ls_worker *w, const struct ls_job *job, struct ls_job_result *res);
int ls_worker_arc(struct ls_worker *w, enum ls_state to, struct ls_job_result *res);
int ls_worker_reset(struct ls_worker *w, struct ls_job_result *res);
void ls_worker_close(struct ls_worker *w);
int ls_worker_get(struct ls_worker *w); // state, or -1 if GET failed
void ls_worker_drop_session(struct ls_worker *w);
// The guest has reset the device while it was being saved: session and all that was sent for it are void (K5).
void ls_worker_start_over(struct ls_worker *w);
// SET_STATE between two timestamps. Keeps no fd.
int ls_worker_set(struct ls_worker *w, enum ls_state to, int *data_fd, struct ls_job_result *res);

// ---- worker_send.c ----
int ls_worker_connect(struct ls_worker *w, const struct ls_job *job, struct ls_error *err);
int ls_worker_precopy(struct ls_worker *w, const struct ls_job *job, struct ls_error *err);
int ls_worker_send(struct ls_worker *w, struct ls_job_result *res);

// ---- worker_load.c ----
int ls_worker_accept(struct ls_worker *w, const struct ls_job *job, struct ls_error *err);
int ls_worker_load(struct ls_worker *w, struct ls_job_result *res);

void ls_worker_drop_stream(struct ls_worker *w);
int ls_worker_new_stream(struct ls_worker *w, struct ls_stream *stream, struct ls_error *err);
// -ECANCELED once the loop has interrupted; the stream's own waits know by themselves.
int ls_worker_check(struct ls_worker *w, struct ls_error *err);

// Marks a call into the kernel, so that the loop can see one that does not return.
void ls_worker_enter(struct ls_worker *w);
void ls_worker_leave(struct ls_worker *w);

#endif
