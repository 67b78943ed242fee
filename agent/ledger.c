// SPDX-License-Identifier: Apache-2.0
// The thread and the queues around the statements.
#include "agent/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/ledger_sql.h"
#include "common/fault.h"

enum kind {
	REQUEST_BEGIN,
	REQUEST_PERSIST,
	REQUEST_CLOSE,
	REQUEST_CONFLICT,
	REQUEST_HEARD,
	REQUEST_NOTE,
	REQUEST_CLAIM,
	REQUEST_TERM,
	REQUEST_PRUNE
};

struct request {
	struct request *next;
	enum kind kind;
	struct ls_ledger_record record; // its `request` is owned
	struct ls_ledger_claim claim;
	char cause[400];
	unsigned keep;
	ls_ledger_done_fn *done;
	void *user;
	int status;
	struct ls_error error;
};

struct queue {
	struct request *first, **last;
};

struct ls_ledger {
	sqlite3 *db;
	int lock;
	char id[LS_LEDGER_ID_SIZE];
	bool rebooted;
	uint64_t term;
	char coordinator[LS_NAME_MAX];
	uv_thread_t thread;
	uv_mutex_t mutex;
	uv_cond_t wake;
	uv_async_t ready;
	struct queue todo, done; // under mutex
	bool stop;
};

static void push(struct queue *q, struct request *request)
{
	request->next = NULL;
	*q->last = request;
	q->last = &request->next;
}

static struct request *take_all(struct queue *q)
{
	struct request *all = q->first;

	q->first = NULL;
	q->last = &q->first;
	return all;
}

static void request_free(struct request *request)
{
	if (!request)
		return;
	free((void *)request->record.request);
	free(request);
}

static void write_one(struct ls_ledger *l, struct request *q)
{
	switch (q->kind) {
	case REQUEST_BEGIN:
		q->status = ls_ledger_sql_begin(l->db, &q->record, &q->error);
		break;
	case REQUEST_PERSIST:
		q->status = ls_ledger_sql_persist(l->db, q->record.migration, q->record.word, &q->error);
		break;
	case REQUEST_CLOSE:
		q->status = ls_ledger_sql_close(l->db, q->record.migration, &q->error);
		break;
	case REQUEST_CONFLICT:
		q->status = ls_ledger_sql_conflict(l->db, q->record.migration, &q->error);
		break;
	case REQUEST_HEARD:
		q->status = ls_ledger_sql_heard(l->db, q->record.migration, &q->error);
		break;
	case REQUEST_NOTE:
		q->status = ls_ledger_sql_note(l->db, q->record.migration, q->cause, &q->error);
		break;
	case REQUEST_CLAIM:
		q->status = ls_ledger_sql_claim(l->db, &q->claim, &q->error);
		break;
	case REQUEST_TERM:
		q->status = ls_ledger_sql_term(l->db, q->record.term, q->record.coordinator, &q->error);
		break;
	case REQUEST_PRUNE:
		q->status = ls_ledger_sql_prune(l->db, q->keep, &q->error);
		break;
	}
}

static const char *fault_name(const struct request *q)
{
	switch (q->kind) {
	case REQUEST_CLOSE:
		return "close";
	case REQUEST_CONFLICT:
		return "conflict";
	case REQUEST_HEARD:
		return "heard";
	case REQUEST_NOTE:
		return "note";
	case REQUEST_PRUNE:
		return "prune";
	case REQUEST_CLAIM:
		return "claim";
	case REQUEST_TERM:
		return "term";
	default:
		return ls_word_name(q->record.word);
	}
}

static void carry_out(struct ls_ledger *l, struct request *q)
{
	q->status = ls_fault_fail(agent_ledger_before, fault_name(q), LS_E_LEDGER, &q->error);
	if (q->status < 0)
		return;
	write_one(l, q);
	if (q->status == 0)
		q->status = ls_fault_fail(agent_ledger_commit, fault_name(q), LS_E_LEDGER, &q->error);
}

static void work(void *arg)
{
	struct ls_ledger *l = arg;

	uv_mutex_lock(&l->mutex);
	for (;;) {
		struct request *q = l->todo.first;
		if (!q) {
			if (l->stop)
				break;
			uv_cond_wait(&l->wake, &l->mutex);
			continue;
		}
		l->todo.first = q->next;
		if (!l->todo.first)
			l->todo.last = &l->todo.first;
		uv_mutex_unlock(&l->mutex);
		carry_out(l, q);
		uv_mutex_lock(&l->mutex);
		push(&l->done, q);
		uv_async_send(&l->ready);
	}
	uv_mutex_unlock(&l->mutex);
}

static void on_ready(uv_async_t *async)
{
	struct ls_ledger *l = async->data;

	uv_mutex_lock(&l->mutex);
	struct request *all = take_all(&l->done);
	uv_mutex_unlock(&l->mutex);
	while (all) {
		struct request *q = all;
		all = q->next;
		q->done(q->user, q->status, q->status < 0 ? &q->error : NULL);
		request_free(q);
	}
}

// Two agents with one ledger would each keep half of the truth.
static int take_lock(const char *path, struct ls_error *err)
{
	char name[4096];
	int fd;

	if ((size_t)snprintf(name, sizeof(name), "%s.lock", path) >= sizeof(name))
		return ls_fail(err, LS_E_LEDGER, ENAMETOOLONG, "ledger path is too long");
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return ls_fail(err, LS_E_LEDGER, errno, "cannot open %s: %s", name, strerror(errno));
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0) { // one that others can ask for without taking it (ls_ledger_in_use)
		int r = ls_fail(err, LS_E_LEDGER, EBUSY, "ledger %s is in use by another agent", path);
		close(fd);
		return r;
	}
	return fd;
}

int ls_ledger_open(uv_loop_t *loop, const char *path, struct ls_ledger **ret, struct ls_error *err)
{
	struct ls_ledger *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	l->todo.last = &l->todo.first;
	l->done.last = &l->done.first;
	r = l->lock = take_lock(path, err);
	if (r >= 0)
		r = ls_ledger_sql_open(path, true, &l->db, err);
	if (r == 0)
		r = ls_ledger_sql_identity(l->db, l->id, &l->term, l->coordinator, err);
	if (r == 0)
		r = ls_ledger_sql_boot(l->db, &l->rebooted, err);
	if (r < 0)
		goto fail;
	uv_mutex_init(&l->mutex);
	uv_cond_init(&l->wake);
	l->ready.data = l;
	r = uv_async_init(loop, &l->ready, on_ready);
	if (r == 0) {
		r = uv_thread_create(&l->thread, work, l);
		if (r == 0) {
			*ret = l;
			return 0;
		}
		uv_close((uv_handle_t *)&l->ready, NULL); // the handle lives in l, which is leaked once here
		return ls_fail(err, LS_E_RESOURCE, -r, "cannot start the ledger's thread");
	}
	uv_cond_destroy(&l->wake);
	uv_mutex_destroy(&l->mutex);
	ls_fail(err, LS_E_RESOURCE, -r, "cannot start the ledger");
fail:
	sqlite3_close_v2(l->db);
	if (l->lock >= 0)
		close(l->lock);
	free(l);
	return r;
}

static void on_closed(uv_handle_t *handle)
{
	struct ls_ledger *l = handle->data;

	for (struct request *q = take_all(&l->done), *next; q; q = next) {
		next = q->next;
		request_free(q);
	}
	uv_cond_destroy(&l->wake);
	uv_mutex_destroy(&l->mutex);
	free(l);
}

void ls_ledger_free(struct ls_ledger *l)
{
	if (!l)
		return;
	uv_mutex_lock(&l->mutex);
	l->stop = true;
	uv_cond_signal(&l->wake);
	uv_mutex_unlock(&l->mutex);
	uv_thread_join(&l->thread);
	sqlite3_close_v2(l->db);
	close(l->lock);
	uv_close((uv_handle_t *)&l->ready, on_closed);
}

const char *ls_ledger_id(const struct ls_ledger *l)
{
	return l->id;
}

bool ls_ledger_rebooted(const struct ls_ledger *l)
{
	return l->rebooted;
}

void ls_ledger_highest(const struct ls_ledger *l, uint64_t *term, char coordinator[LS_NAME_MAX])
{
	*term = l->term;
	memcpy(coordinator, l->coordinator, LS_NAME_MAX);
}

int ls_ledger_each(struct ls_ledger *l, ls_ledger_each_fn *each, void *user, struct ls_error *err)
{
	return ls_ledger_sql_each(l->db, each, user, err);
}

int ls_ledger_each_claim(struct ls_ledger *l, ls_ledger_each_claim_fn *each, void *user, struct ls_error *err)
{
	return ls_ledger_sql_each_claim(l->db, each, user, err);
}

static void post(struct ls_ledger *l, struct request *q)
{
	uv_mutex_lock(&l->mutex);
	push(&l->todo, q);
	uv_cond_signal(&l->wake);
	uv_mutex_unlock(&l->mutex);
}

static struct request *request_new(enum kind kind, ls_ledger_done_fn *done, void *user)
{
	struct request *q = calloc(1, sizeof(*q));

	if (!q)
		abort(); // without memory no word can be kept, and none may be lost
	q->kind = kind;
	q->done = done;
	q->user = user;
	return q;
}

void ls_ledger_begin(struct ls_ledger *l, const struct ls_ledger_record *record, ls_ledger_done_fn *done, void *user)
{
	struct request *q = request_new(REQUEST_BEGIN, done, user);
	void *copy = record->request_len ? malloc(record->request_len) : NULL;

	if (record->request_len && !copy)
		abort();
	q->record = *record;
	if (copy)
		memcpy(copy, record->request, record->request_len);
	q->record.request = copy;
	post(l, q);
}

static struct request *request_of(enum kind kind, const char *migration, ls_ledger_done_fn *done, void *user)
{
	struct request *q = request_new(kind, done, user);

	snprintf(q->record.migration, sizeof(q->record.migration), "%s", migration);
	return q;
}

void ls_ledger_persist(struct ls_ledger *l, const char *migration, enum ls_word word, ls_ledger_done_fn *done,
		       void *user)
{
	struct request *q = request_of(REQUEST_PERSIST, migration, done, user);

	q->record.word = word;
	post(l, q);
}

void ls_ledger_close(struct ls_ledger *l, const char *migration, ls_ledger_done_fn *done, void *user)
{
	post(l, request_of(REQUEST_CLOSE, migration, done, user));
}

void ls_ledger_conflict(struct ls_ledger *l, const char *migration, ls_ledger_done_fn *done, void *user)
{
	post(l, request_of(REQUEST_CONFLICT, migration, done, user));
}

void ls_ledger_heard(struct ls_ledger *l, const char *migration, ls_ledger_done_fn *done, void *user)
{
	post(l, request_of(REQUEST_HEARD, migration, done, user));
}

void ls_ledger_note(struct ls_ledger *l, const char *migration, const char *cause, ls_ledger_done_fn *done, void *user)
{
	struct request *q = request_of(REQUEST_NOTE, migration, done, user);

	snprintf(q->cause, sizeof(q->cause), "%s", cause);
	post(l, q);
}

void ls_ledger_prune(struct ls_ledger *l, unsigned keep, ls_ledger_done_fn *done, void *user)
{
	struct request *q = request_new(REQUEST_PRUNE, done, user);

	q->keep = keep;
	post(l, q);
}

void ls_ledger_claim(struct ls_ledger *l, const struct ls_ledger_claim *claim, ls_ledger_done_fn *done, void *user)
{
	struct request *q = request_new(REQUEST_CLAIM, done, user);

	q->claim = *claim;
	post(l, q);
}

void ls_ledger_term(struct ls_ledger *l, uint64_t term, const char *coordinator, ls_ledger_done_fn *done, void *user)
{
	struct request *q = request_new(REQUEST_TERM, done, user);

	q->record.term = term;
	snprintf(q->record.coordinator, sizeof(q->record.coordinator), "%s", coordinator);
	post(l, q);
}
