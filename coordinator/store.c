// SPDX-License-Identifier: Apache-2.0
// The thread and its two queues: requests to it, answers from it.
#include "coordinator/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/fault.h"
#include "coordinator/message.h"
#include "coordinator/store_queue.h"
#include "coordinator/store_sql.h"

#define BATCH 256u

struct ls_store {
	sqlite3 *db;
	uint64_t term;
	pthread_t thread;
	bool started;
	uv_async_t *wake; // outlives the store by the loop's next turn
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct queue in, out;
	bool stop;
	bool failing; // the newest commit did; with `failure`
	struct ls_error failure;
	bool told_failing; // the loop's
	ls_store_failing_fn *on_failing;
	void *on_failing_user;
	int lock_fd;
};

int ls_store_open(const char *path, struct ls_store **ret, struct ls_error *err)
{
	struct ls_store *s = ls_msg_alloc(sizeof(*s));
	int r;

	s->lock_fd = -1;
	r = ls_sql_open(path, &s->db, &s->lock_fd, err);
	s->in.tail = &s->in.head;
	s->out.tail = &s->out.head;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	if (r == 0)
		r = ls_sql_term(s->db, &s->term, err);
	if (r < 0) {
		ls_store_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

int ls_store_read(struct ls_store *s, bool open, unsigned limit, ls_store_record_fn *fn, void *user,
		  struct ls_error *err)
{
	return ls_sql_each(s->db, open, limit, fn, user, err);
}

uint64_t ls_store_term(const struct ls_store *s)
{
	return s->term;
}

int ls_store_set_term(struct ls_store *s, uint64_t number, struct ls_error *err)
{
	int r = ls_sql_set_term(s->db, number, err);

	if (r == 0)
		s->term = number;
	return r;
}

static void work_one(struct ls_store *s, struct request *r)
{
	switch (r->kind) {
	case APPEND:
		r->status = ls_sql_append(s->db, &r->append, &r->error);
		break;
	case TERM:
		r->status = ls_sql_set_term(s->db, r->number, &r->error);
		break;
	case GET:
		r->status = ls_sql_get(s->db, r->id, &r->blobs, &r->n_blobs, &r->error);
		break;
	case LIST:
		r->status = ls_sql_list(s->db, r->vm, r->limit, &r->blobs, &r->n_blobs, &r->error);
		break;
	}
}

static bool writes(const struct request *r)
{
	return r->kind == APPEND || r->kind == TERM;
}

static bool any_writes(struct request **batch, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (writes(batch[i]))
			return true;
	return false;
}

// One transaction for all; if it fails nothing of it happened.
static int commit_batch(struct ls_store *s, struct request **batch, unsigned n, struct ls_error *err)
{
	int r = ls_sql_exec(s->db, "BEGIN IMMEDIATE", err);

	if (r == 0)
		r = ls_fault_fail(coordinator_store_before, NULL, LS_E_LEDGER, err);
	for (unsigned i = 0; i < n && r == 0; i++) {
		work_one(s, batch[i]);
		if (writes(batch[i]) && batch[i]->status < 0) {
			r = batch[i]->status;
			if (err)
				*err = batch[i]->error;
		}
	}
	if (r == 0)
		r = ls_sql_exec(s->db, "COMMIT", err);
	if (r < 0)
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	else
		ls_fault(coordinator_store_commit);
	return r;
}

static void wait_a_second(struct ls_store *s)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	while (!s->stop && pthread_cond_timedwait(&s->work, &s->lock, &until) != ETIMEDOUT)
		;
}

// After a failed commit: whoever can be told is told, the others go back to the front, in order.
static bool put_back(struct ls_store *s, struct request **batch, unsigned n, const struct ls_error *err)
{
	struct queue again = {.tail = &again.head};
	struct request *r;
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		r = batch[i];
		if (writes(r) && !(r->kind == APPEND && r->append.vm)) {
			ls_store_put(&again, r);
			any = true;
			continue;
		}
		if (writes(r) || r->status == 0) {
			r->status = -EIO;
			r->error = *err;
		}
		ls_store_put(&s->out, r);
	}
	while ((r = ls_store_take(&s->in)))
		ls_store_put(&again, r);
	s->in.head = again.head;
	s->in.tail = again.head ? again.tail : &s->in.head;
	return any;
}

static void *store_thread(void *user)
{
	struct ls_store *s = user;
	struct request *batch[BATCH];

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct ls_error err = {0};
		unsigned n = 0;
		int r;

		while (!s->in.head && !s->stop)
			pthread_cond_wait(&s->work, &s->lock);
		while (n < BATCH && s->in.head)
			batch[n++] = ls_store_take(&s->in);
		if (!n)
			break;
		pthread_mutex_unlock(&s->lock);
		r = commit_batch(s, batch, n, &err);
		pthread_mutex_lock(&s->lock);
		if (r < 0)
			s->failure = err;
		if (r < 0 || any_writes(batch, n))
			s->failing = r < 0;
		if (r == 0) {
			for (unsigned i = 0; i < n; i++)
				ls_store_put(&s->out, batch[i]);
			uv_async_send(s->wake);
			continue;
		}
		if (put_back(s, batch, n, &err)) {
			if (s->stop)
				break; // shutting down, and the disk still refuses
			uv_async_send(s->wake);
			wait_a_second(s);
		} else {
			uv_async_send(s->wake);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void tell_failing(struct ls_store *s)
{
	struct ls_error err;
	bool failing;

	pthread_mutex_lock(&s->lock);
	failing = s->failing;
	err = s->failure;
	pthread_mutex_unlock(&s->lock);
	if (failing == s->told_failing)
		return;
	s->told_failing = failing;
	if (s->on_failing)
		s->on_failing(s->on_failing_user, failing ? &err : NULL);
}

static void on_wake(uv_async_t *wake)
{
	struct ls_store *s = wake->data;

	if (s)
		tell_failing(s);
	s = wake->data;
	while (s) {
		struct request *r;

		pthread_mutex_lock(&s->lock);
		r = ls_store_take(&s->out);
		pthread_mutex_unlock(&s->lock);
		if (!r)
			return;
		if (r->done)
			r->done(r->user, r->status, &r->error);
		if (r->blobs_done)
			r->blobs_done(r->user, r->status, r->blobs, r->n_blobs, &r->error);
		ls_store_request_free(r);
		s = wake->data; // the callback may have freed the store
	}
}

int ls_store_start(struct ls_store *s, uv_loop_t *loop, struct ls_error *err)
{
	int r;

	s->wake = ls_msg_alloc(sizeof(*s->wake));
	r = uv_async_init(loop, s->wake, on_wake);
	if (r < 0) {
		free(s->wake);
		s->wake = NULL;
		return ls_fail(err, LS_E_RESOURCE, -r, "store: no wake-up handle");
	}
	s->wake->data = s;
	r = pthread_create(&s->thread, NULL, store_thread, s);
	s->started = r == 0;
	return r ? ls_fail(err, LS_E_RESOURCE, r, "store: no thread") : 0;
}

void ls_store_on_failing(struct ls_store *s, ls_store_failing_fn *fn, void *user)
{
	s->on_failing = fn;
	s->on_failing_user = user;
}

static void free_handle(uv_handle_t *h)
{
	free(h);
}

void ls_store_free(struct ls_store *s)
{
	struct request *r;

	if (!s)
		return;
	if (s->started) {
		pthread_mutex_lock(&s->lock);
		s->stop = true;
		pthread_cond_signal(&s->work);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	if (s->wake) {
		s->wake->data = NULL;
		uv_close((uv_handle_t *)s->wake, free_handle);
	}
	while ((r = ls_store_take(&s->in)) || (r = ls_store_take(&s->out)))
		ls_store_request_free(r);
	sqlite3_close(s->db);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->work);
	free(s);
}

static void submit(struct ls_store *s, struct request *r)
{
	pthread_mutex_lock(&s->lock);
	ls_store_put(&s->in, r);
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
}

static void *copy(const void *bytes, size_t len)
{
	void *p = ls_msg_alloc(len);

	if (len)
		memcpy(p, bytes, len);
	return p;
}

void ls_store_append(struct ls_store *s, const struct ls_store_append *a, ls_store_done_fn *done, void *user)
{
	struct request *r = ls_msg_alloc(sizeof(*r));

	r->kind = APPEND;
	r->append = *a;
	strncpy(r->id, a->id, sizeof(r->id) - 1);
	r->append.id = r->id;
	if (a->vm) {
		strncpy(r->vm, a->vm, sizeof(r->vm) - 1);
		r->append.vm = r->vm;
	}
	r->append.bytes = copy(a->bytes, a->len);
	if (a->summary)
		r->append.summary = copy(a->summary, a->summary_len);
	r->done = done;
	r->user = user;
	submit(s, r);
}

void ls_store_get(struct ls_store *s, const char *id, ls_store_blobs_fn *done, void *user)
{
	struct request *r = ls_msg_alloc(sizeof(*r));

	r->kind = GET;
	strncpy(r->id, id, sizeof(r->id) - 1);
	r->blobs_done = done;
	r->user = user;
	submit(s, r);
}

void ls_store_list(struct ls_store *s, const char *vm, unsigned limit, ls_store_blobs_fn *done, void *user)
{
	struct request *r = ls_msg_alloc(sizeof(*r));

	r->kind = LIST;
	if (vm)
		strncpy(r->vm, vm, sizeof(r->vm) - 1);
	r->limit = limit;
	r->blobs_done = done;
	r->user = user;
	submit(s, r);
}

void ls_store_save_term(struct ls_store *s, uint64_t number, ls_store_done_fn *done, void *user)
{
	struct request *r = ls_msg_alloc(sizeof(*r));

	r->kind = TERM;
	r->number = number;
	r->done = done;
	r->user = user;
	submit(s, r);
}
