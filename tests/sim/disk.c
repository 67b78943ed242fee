// SPDX-License-Identifier: Apache-2.0
// The ledger: the agent's own statements on a database in memory, on a disk that may fail, be lost or set back.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ledger_sql.h"
#include "tests/sim/agent.h"

// The schema is made once; every ledger begins as a copy.
static void clone_empty(struct sim_agent *a)
{
	static unsigned char *empty;
	static sqlite3_int64 size;
	struct ls_error err;

	if (!empty) {
		sqlite3 *db;
		if (ls_ledger_sql_open(":memory:", true, &db, &err) < 0)
			abort();
		empty = sqlite3_serialize(db, "main", &size, 0);
		sqlite3_close_v2(db);
	}
	unsigned char *bytes = sqlite3_malloc64((sqlite3_uint64)size);
	if (!bytes || sqlite3_open(":memory:", &a->db) != SQLITE_OK)
		abort();
	memcpy(bytes, empty, (size_t)size);
	if (sqlite3_deserialize(a->db, "main", bytes, size, size,
				SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE) != SQLITE_OK)
		abort();
	sqlite3_exec(a->db, "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL", NULL, NULL, NULL);
}

static void name_it(struct sim_agent *a)
{
	char sql[160];

	snprintf(a->ledger_id, sizeof(a->ledger_id), "%s-%016llx", a->host == 0 ? "s" : a->host == 1 ? "d" : "t",
		 (unsigned long long)(a->w->seed ^ ++a->w->numbers << 32));
	snprintf(sql, sizeof(sql), "UPDATE identity SET id = '%s'", a->ledger_id);
	if (sqlite3_exec(a->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		abort();
}

void sim_disk_new(struct sim_agent *a)
{
	clone_empty(a);
	name_it(a);
}

static void forget_snapshots(struct sim_agent *a)
{
	for (unsigned i = 0; i < a->n_snapshots; i++)
		sqlite3_free(a->snapshot[i].bytes);
	a->n_snapshots = 0;
}

void sim_disk_free(struct sim_agent *a)
{
	forget_snapshots(a);
	sqlite3_close_v2(a->db);
}

static void remember(struct sim_agent *a)
{
	struct sim_snapshot *s = &a->snapshot[a->n_snapshots];

	if (a->n_snapshots == SIM_SNAPSHOTS ||
	    !sim_fault_likely(a->w, a->host ? SIM_LEDGER_OLD_DEST : SIM_LEDGER_OLD_SOURCE))
		return;
	s->bytes = sqlite3_serialize(a->db, "main", &s->size, 0);
	memcpy(s->row, a->durable, sizeof(s->row));
	s->term = a->durable_term;
	a->n_snapshots++;
}

bool sim_disk_roll_back(struct sim_agent *a)
{
	struct sim_snapshot *s;

	if (!a->n_snapshots)
		return false;
	s = &a->snapshot[sim_random(a->w, a->n_snapshots)];
	sqlite3_deserialize(a->db, "main", s->bytes, s->size, s->size,
			    SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE);
	s->bytes = NULL;
	memcpy(a->durable, s->row, sizeof(a->durable));
	a->durable_term = s->term;
	forget_snapshots(a);
	a->w->rolled_back |= 1u << a->host;
	a->w->older |= a->w->ran_away; // nobody can know any more that it ran there
	sim_trace(a->w, "%s: the ledger is one from yesterday", a->w->host[a->host].name);
	return true;
}

void sim_disk_lose(struct sim_agent *a)
{
	forget_snapshots(a);
	sqlite3_close_v2(a->db);
	memset(a->durable, 0, sizeof(a->durable));
	a->durable_term = 0;
	a->w->rolled_back |= 1u << a->host;
	sim_disk_new(a);
	sim_trace(a->w, "%s: the ledger is lost, a new one begins", a->w->host[a->host].name);
}

// ---- writing

enum what { BEGIN, WORD, DONE, CLAIM, CONFLICT, TERM };

struct write {
	enum what what;
	unsigned host, migration;
	enum ls_word word;
	enum ls_side side;
	uint64_t term;
	char coordinator[LS_NAME_MAX];
	sim_disk_fn *fn;
	int status;
	struct sim_request request;
};

static void on_told(struct world *w, void *arg)
{
	struct write *e = arg;

	if (e->fn)
		e->fn(w->agent[e->host], e->migration, e->word, e->status);
}

static int commit(struct sim_agent *a, const struct write *e, struct ls_error *err)
{
	struct ls_ledger_record record = { .side = e->side,
					   .word = e->word,
					   .term = e->term,
					   .created_ms = 1 + e->migration,
					   .vm = "vm1",
					   .request = &e->request,
					   .request_len = sizeof(e->request) };

	struct ls_ledger_claim claim = {
		.host = "destination", .actor = "operator", .method = 1, .evidence = "power off"
	};

	strcpy(record.migration, sim_migration_id(e->migration));
	strcpy(record.coordinator, e->coordinator);
	switch (e->what) {
	case BEGIN:
		return ls_ledger_sql_begin(a->db, &record, err);
	case WORD:
		return ls_ledger_sql_persist(a->db, record.migration, e->word, err);
	case TERM:
		return ls_ledger_sql_term(a->db, e->term, e->coordinator, err);
	case DONE:
		return ls_ledger_sql_close(a->db, record.migration, err);
	case CONFLICT:
		return ls_ledger_sql_conflict(a->db, record.migration, err);
	default:
		strcpy(claim.migration, record.migration);
		return ls_ledger_sql_claim(a->db, &claim, err);
	}
}

static void keep(struct sim_agent *a, const struct write *e)
{
	struct sim_row *d = &a->durable[e->migration];
	enum ls_word before = d->word;

	switch (e->what) {
	case BEGIN:
		a->rebooted = false;
		d->known = true;
		d->side = e->side;
		d->word = e->word;
		break;
	case WORD:
		if (!ls_word_may_follow(d->word, e->word))
			sim_violation(a->w, "word-order", "%s: %s after %s", a->w->host[a->host].name,
				      ls_word_name(e->word), ls_word_name(d->word));
		d->word = e->word;
		break;
	case DONE:
		d->done = true;
		break;
	case CLAIM:
		d->claim = true;
		break;
	case CONFLICT:
		d->conflict = true;
		break;
	case TERM:
		a->durable_term = e->term;
		break;
	}
	if (e->what == BEGIN || e->what == WORD)
		sim_promise_written(a, e->migration, before);
}

static void on_write(struct world *w, void *arg)
{
	struct write *e = arg, *told = sim_alloc(sizeof(*told));
	struct sim_agent *a = w->agent[e->host];
	struct ls_error err = { .reason = LS_E_NONE };
	bool lost = sim_fault(w, SIM_SYNC_LOST), kept = sim_fault(w, SIM_SYNC_KEPT);

	remember(a);
	if (lost)
		e->status = -EIO;
	else
		e->status = commit(a, e, &err);
	if (e->status == 0)
		keep(a, e);
	if (kept && e->status == 0)
		e->status = -EIO;
	if (e->what == BEGIN || e->what == WORD)
		sim_trace(w, "%s %s: the disk %s %s%s", w->host[e->host].name, sim_migration_id(e->migration),
			  e->status ? kept ? "says it cannot hold" : "cannot hold" : "holds", ls_word_name(e->word),
			  err.reason ? " (refused)" : "");
	*told = *e;
	sim_at(w, SIM_AGENT + e->host, 50 * US + sim_random(w, 500 * US), on_told, told);
}

// One thread writes, in order.
static void put(struct sim_agent *a, struct write e)
{
	struct world *w = a->w;
	struct write *copy = sim_alloc(sizeof(*copy));

	e.host = a->host;
	*copy = e;
	if (a->disk_free_at < w->now)
		a->disk_free_at = w->now;
	a->disk_free_at += 200 * US + sim_random(w, 5 * MS);
	sim_at(w, SIM_AGENT + a->host, a->disk_free_at - w->now, on_write, copy);
}

void sim_disk_begin(struct sim_agent *a, const struct sim_request *q, enum ls_word word, sim_disk_fn *done)
{
	struct write e = { .what = BEGIN, .migration = q->migration, .word = word, .side = q->side, .term = a->term,
			   .fn = done, .request = *q };

	strcpy(e.coordinator, a->coordinator);
	put(a, e);
}

void sim_disk_word(struct sim_agent *a, unsigned migration, enum ls_word word, sim_disk_fn *done)
{
	put(a, (struct write){ .what = WORD, .migration = migration, .word = word, .fn = done });
}

void sim_disk_done(struct sim_agent *a, unsigned migration, sim_disk_fn *done)
{
	put(a, (struct write){ .what = DONE, .migration = migration, .fn = done });
}

void sim_disk_claim(struct sim_agent *a, unsigned migration, sim_disk_fn *done)
{
	put(a, (struct write){ .what = CLAIM, .migration = migration, .fn = done });
}

void sim_disk_conflict(struct sim_agent *a, unsigned migration, sim_disk_fn *done)
{
	put(a, (struct write){ .what = CONFLICT, .migration = migration, .fn = done });
}

void sim_disk_term(struct sim_agent *a, unsigned order, sim_disk_fn *done)
{
	struct write e = { .what = TERM, .migration = order, .term = a->term, .fn = done };

	strcpy(e.coordinator, a->coordinator);
	put(a, e);
}

// ---- reading

struct reading {
	unsigned n;
	struct sim_request request[SIM_MIGRATIONS];
	enum ls_word word[SIM_MIGRATIONS];
};

static void each_record(void *user, const struct ls_ledger_record *record)
{
	struct reading *r = user;

	if (r->n == SIM_MIGRATIONS || record->request_len != sizeof(struct sim_request))
		abort();
	memcpy(&r->request[r->n], record->request, sizeof(struct sim_request));
	r->word[r->n++] = record->word;
}

static void read_all(struct sim_agent *a, struct reading *r)
{
	struct ls_error err;

	r->n = 0;
	if (ls_ledger_sql_each(a->db, each_record, r, &err) < 0)
		sim_violation(a->w, "ledger-kept", "%s: %s", a->w->host[a->host].name, err.message);
}

void sim_disk_read(struct sim_agent *a,
		   void (*each)(struct sim_agent *a, const struct sim_request *q, enum ls_word word))
{
	struct reading *r = sim_alloc(sizeof(*r));
	char id[LS_LEDGER_ID_SIZE];
	struct ls_error err;

	if (ls_ledger_sql_identity(a->db, id, &a->term, a->coordinator, &err) < 0)
		abort();
	read_all(a, r);
	for (unsigned i = 0; i < r->n; i++)
		each(a, &r->request[i], r->word[i]);
	free(r);
}

void sim_disk_check(struct sim_agent *a)
{
	struct reading *r = sim_alloc(sizeof(*r));
	unsigned known = 0;

	read_all(a, r);
	for (unsigned i = 0; i < r->n; i++)
		if (a->durable[r->request[i].migration].word != r->word[i])
			sim_violation(a->w, "ledger-kept", "%s: the ledger forgot %s", a->w->host[a->host].name,
				      ls_word_name(a->durable[r->request[i].migration].word));
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		known += a->durable[m].known;
	if (known != r->n)
		sim_violation(a->w, "ledger-kept", "%s: the ledger holds %u migrations, not %u",
			      a->w->host[a->host].name, r->n, known);
	free(r);
}
