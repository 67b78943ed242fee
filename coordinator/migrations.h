// SPDX-License-Identifier: Apache-2.0
// The shell around the sequencers: all open migrations and the newest ended ones. Carries out what they ask for,
// feeds them what comes back, and tells whoever waits for or watches them.
#ifndef LS_COORDINATOR_MIGRATIONS_H
#define LS_COORDINATOR_MIGRATIONS_H

#include "coordinator/planner.h"
#include "coordinator/sequencer.h"

struct ls_migrations;
struct ls_migration;

// Reads the store: open migrations go on at ls_migrations_go_on(), finished ones teach the history.
int ls_migrations_new(uv_loop_t *loop, struct ls_agents *agents, struct ls_store *store, struct ls_migrations **ret,
		      struct ls_error *err);
void ls_migrations_go_on(struct ls_migrations *ms);
// Nothing is driven and nobody told any more; waiting calls have been answered by then or are dropped. Before
// the agents and the store are freed.
void ls_migrations_stop(struct ls_migrations *ms);
void ls_migrations_free(struct ls_migrations *ms); // after them

const struct ls_planner_world *ls_migrations_world(const struct ls_migrations *ms);

// Those that go on, wait for an operator or have a loose end; at most 1024, the rest is refused.
unsigned ls_migrations_open(const struct ls_migrations *ms);
// In memory: all open ones, and the newest that have ended.
struct ls_migration *ls_migrations_find(struct ls_migrations *ms, const char *id);
struct ls_migration *ls_migrations_newest(struct ls_migrations *ms);
struct ls_migration *ls_migration_older(const struct ls_migration *m);

// Rule 7: before an id that is not known here begins, both its hosts tell what they hold open, and whether they have
// ever heard of this id; what they tell of is a migration here by the time of the answer. Answers exactly once, perhaps
// inside. `err`: UNAVAILABLE, an agent cannot be asked; ALREADY_EXISTS, another coordinator's.
typedef void ls_migrations_asked_fn(void *user, const struct ls_error *err);
void ls_migrations_ask(struct ls_migrations *ms, const Lockstep__V1__MigrationSpec *spec, ls_migrations_asked_fn *fn,
		       void *user);
// An id that is not known here may be open at an agent that has not told in this life: every one of them tells first.
// Answers exactly once, perhaps inside. `err`: UNAVAILABLE, with the host whose agent cannot be asked.
void ls_migrations_hear_all(struct ls_migrations *ms, ls_migrations_asked_fn *fn, void *user);
// LIMIT: too many open ones. The first change comes when it is durable, or with an error when it cannot be.
int ls_migrations_start(struct ls_migrations *ms, const Lockstep__V1__MigrationSpec *spec, const char *actor,
			struct ls_migration **ret, struct ls_error *err);
int ls_migration_cancel(struct ls_migration *m, const char *actor, struct ls_error *err);
int ls_migration_release(struct ls_migration *m, enum ls_gate gate, const char *actor, struct ls_error *err);
int ls_migration_resolve(struct ls_migration *m, Lockstep__V1__ResolveAction action,
			 const Lockstep__V1__FenceClaim *claim, const char *actor, struct ls_error *err);

const struct ls_seq *ls_migration_seq(const struct ls_migration *m);
// Is everything that was asked of it on the disk?
bool ls_migration_durable(const struct ls_migration *m);

// Runs at every change, until removed. `lost` (not NULL): the migration could not be stored and is gone with this
// call. The callback may remove its own listener, no other.
struct ls_listener {
	void (*changed)(struct ls_listener *l, struct ls_migration *m, const struct ls_error *lost);
	struct ls_listener *next;
};
void ls_migration_listen(struct ls_migration *m, struct ls_listener *l);
void ls_migration_unlisten(struct ls_migration *m, struct ls_listener *l);

#endif
