// SPDX-License-Identifier: Apache-2.0
#include "coordinator/migrations.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/notify.h"
#include "coordinator/message.h"
#include "coordinator/migrations_internal.h"
#include "proto/wire/pb.h"

#define OPEN_MAX_MIGRATIONS 1024u
#define HISTORY_MOVES 64u
#define RECORD_BUDGET ((size_t)64 << 20)

struct ls_seq_time ls_migrations_now(void)
{
	return (struct ls_seq_time){.now_ns = ls_now_ns(), .unix_ms = ls_unix_ms()};
}

const Lockstep__V1__MigrationSpec *ls_migration_spec(const struct ls_migration *m)
{
	return ls_seq_view(m->seq)->spec;
}

struct ls_host *ls_migration_host(const struct ls_migration *m, enum ls_seq_side side)
{
	return ls_agents_find(m->all->agents,
			      side == LS_SEQ_SOURCE ? ls_migration_spec(m)->source : ls_migration_spec(m)->destination);
}

const struct ls_seq *ls_migration_seq(const struct ls_migration *m)
{
	return m->seq;
}

bool ls_migration_durable(const struct ls_migration *m)
{
	return !m->pending;
}

// Of several that were started at once the first one wins.
static const char *busy(void *user, const Lockstep__V1__MigrationSpec *spec)
{
	struct ls_migrations *ms = user;
	struct ls_migration *self = spec->id[0] ? ls_migrations_find(ms, spec->id) : NULL;

	for (struct ls_migration *m = self ? self->older : ms->newest; m; m = m->older)
		if (ls_migration_occupies(m) && strcmp(ls_migration_spec(m)->vm, spec->vm) == 0)
			return ls_migration_spec(m)->id;
	return NULL;
}

const struct ls_planner_world *ls_migrations_world(const struct ls_migrations *ms)
{
	return &ms->world;
}

// ---- carrying out ----

static void on_planned(void *user, const Lockstep__V1__DryRunResponse *plan)
{
	struct ls_migration *m = user;
	uint8_t token[LS_TOKEN_SIZE];

	ls_fault(coordinator_plan_after);
	m->calls--;
	if (m->all->stopped)
		return;
	if (getrandom(token, sizeof(token), 0) != (ssize_t)sizeof(token))
		abort();
	ls_seq_planned(m->seq, plan, token, ls_migrations_now());
	ls_migration_drive(m);
}

static void on_timer(uv_timer_t *timer)
{
	struct ls_migration *m = timer->data;

	ls_seq_tick(m->seq, ls_migrations_now());
	ls_migration_drive(m);
}

static void set_timer(struct ls_migration *m)
{
	uint64_t at = ls_seq_deadline(m->seq), now = ls_now_ns();

	if (at == UINT64_MAX)
		uv_timer_stop(m->timer);
	else
		uv_timer_start(m->timer, on_timer, at <= now ? 0 : (at - now) / 1000000 + 1, 0);
}

void ls_migration_drive(struct ls_migration *m)
{
	struct ls_seq_action a;
	bool changed = false;

	if (m->driving)
		return;
	m->driving = true;
	while (ls_seq_next(m->seq, &a)) {
		switch (a.kind) {
		case LS_SEQ_PERSIST:
			ls_migration_persist(m, a.record);
			break;
		case LS_SEQ_PLAN:
			m->calls++;
			ls_fault(coordinator_plan_before);
			ls_planner_run(&m->all->world, ls_migration_spec(m), on_planned, m);
			break;
		case LS_SEQ_CHANGED:
			changed = true;
			break;
		default:
			ls_migration_call_agent(m, &a);
			break;
		}
	}
	m->driving = false;
	set_timer(m);
	if (changed)
		ls_migration_tell(m, NULL);
	ls_migrations_drop_ended(m->all);
}

// ---- the API's side ----

int ls_migrations_start(struct ls_migrations *ms, const Lockstep__V1__MigrationSpec *spec, const char *actor,
			struct ls_migration **ret, struct ls_error *err)
{
	if (ms->open >= OPEN_MAX_MIGRATIONS)
		return ls_fail(err, LS_E_LIMIT, EBUSY, "%u migrations are open: wait for some to end", ms->open);
	ms->open++;
	*ret = ls_migration_add(ms, ls_seq_new(spec, actor, ls_migrations_now()));
	ls_log(LS_LOG_INFO, "migration.started", "migration=%s vm=%s source=%s destination=%s", spec->id, spec->vm,
	       spec->source, spec->destination);
	ls_migration_drive(*ret);
	return 0;
}

int ls_migration_cancel(struct ls_migration *m, const char *actor, struct ls_error *err)
{
	int r = ls_seq_cancel(m->seq, actor, ls_migrations_now(), err);

	ls_migration_drive(m);
	return r;
}

int ls_migration_release(struct ls_migration *m, enum ls_gate gate, const char *actor, struct ls_error *err)
{
	int r = ls_seq_release(m->seq, gate, actor, ls_migrations_now(), err);

	ls_migration_drive(m);
	return r;
}

int ls_migration_resolve(struct ls_migration *m, Lockstep__V1__ResolveAction action,
			 const Lockstep__V1__FenceClaim *claim, const char *actor, struct ls_error *err)
{
	int r = ls_seq_resolve(m->seq, action, claim, actor, ls_migrations_now(), err);

	if (r == 0)
		ls_log(LS_LOG_WARN, "migration.resolve", "migration=%s action=%d actor=\"%s\"",
		       ls_migration_spec(m)->id, (int)action, actor);
	ls_migration_drive(m);
	return r;
}

// ---- start and end ----

static void on_store_failing(void *user, const struct ls_error *err)
{
	struct ls_migrations *ms = user;

	if (ms->stopped)
		return;
	ms->store_failing = err;
	if (err)
		ls_log_error("store.failing", err, "open=%u: nothing begins, and what has no consent yet is asked back",
			     ms->open);
	else
		ls_log(LS_LOG_INFO, "store.recovered", "open=%u", ms->open);
	ls_notify(err ? "STATUS=the store cannot be written: %s" : "STATUS=serves%.0s", err ? err->message : "");
	for (struct ls_migration *m = ms->newest, *older; m; m = older) {
		older = m->older;
		ls_seq_store_failing(m->seq, ms->store_failing, ls_migrations_now());
		ls_migration_drive(m);
	}
}

static int read_record(void *user, const char *id, const struct ls_blob *blob, bool last)
{
	struct ls_migrations *ms = user;
	ProtobufCMessage *msg;

	if (last) {
		if (!ms->reading)
			return 0;
		if (ls_migration_open(ms->reading))
			ms->open++;
		else
			ms->ended++;
		ls_migrations_learn(ms, ms->reading);
		ls_migration_add(ms, ms->reading)->stored = true;
		ms->reading = NULL;
		return 0;
	}
	if (ls_pb_unpack(&lockstep__store__record__descriptor, RECORD_BUDGET, blob->bytes, blob->len, &msg) < 0) {
		ls_log(LS_LOG_ERROR, "store.record", "migration=%s bytes=%zu malformed", id, blob->len);
		return -EBADMSG;
	}
	ls_fault(coordinator_restart_record);
	if (!ms->reading)
		ms->reading = ls_seq_restore((const Lockstep__Store__Record *)msg);
	else
		ls_seq_fold(ms->reading, (const Lockstep__Store__Record *)msg);
	ls_pb_free(msg);
	return ms->reading ? 0 : -EBADMSG;
}

int ls_migrations_new(uv_loop_t *loop, struct ls_agents *agents, struct ls_store *store, struct ls_migrations **ret,
		      struct ls_error *err)
{
	struct ls_migrations *ms = ls_msg_alloc(sizeof(*ms));
	int r;

	ms->loop = loop;
	ms->agents = agents;
	ms->store = store;
	ms->history = ls_history_new();
	ms->world = (struct ls_planner_world){.agents = agents, .history = ms->history, .busy = busy, .user = ms};
	r = ls_store_read(store, false, HISTORY_MOVES, read_record, ms, err);
	if (r == 0)
		r = ls_store_read(store, true, 0, read_record, ms, err);
	if (r < 0) {
		ls_fail(err, LS_E_LEDGER, -r, "store: a migration's records cannot be read");
		ls_migrations_free(ms);
		return r;
	}
	ls_store_on_failing(store, on_store_failing, ms);
	*ret = ms;
	return 0;
}

void ls_migrations_go_on(struct ls_migrations *ms)
{
	for (struct ls_migration *m = ms->newest; m; m = m->older) {
		if (!ls_migration_occupies(m) && !ls_seq_loose(m->seq))
			continue;
		if (!ls_migration_host(m, LS_SEQ_SOURCE) || !ls_migration_host(m, LS_SEQ_DEST)) {
			ls_log(LS_LOG_ERROR, "migration.orphan",
			       "migration=%s: its hosts %s and %s must be in the configuration to go on",
			       ls_migration_spec(m)->id, ls_migration_spec(m)->source,
			       ls_migration_spec(m)->destination);
			continue;
		}
		ls_log(LS_LOG_INFO, "migration.resumed", "migration=%s", ls_migration_spec(m)->id);
		ls_seq_go_on(m->seq, ls_migrations_now());
		ls_migration_drive(m);
	}
	ls_migrations_contact(ms);
}

void ls_migrations_stop(struct ls_migrations *ms)
{
	ms->stopped = true;
	for (struct ls_migration *m = ms->newest; m; m = m->older)
		uv_timer_stop(m->timer);
	ls_migrations_contact_end(ms);
}

void ls_migrations_free(struct ls_migrations *ms)
{
	if (!ms)
		return;
	while (ms->newest) {
		struct ls_migration *m = ms->newest;

		ls_migration_unlink(m);
		ls_migration_free(m);
	}
	ls_seq_free(ms->reading);
	ls_history_free(ms->history);
	free(ms->contacts);
	free(ms);
}
