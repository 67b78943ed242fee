// SPDX-License-Identifier: Apache-2.0
#ifndef LS_COORDINATOR_MIGRATIONS_INTERNAL_H
#define LS_COORDINATOR_MIGRATIONS_INTERNAL_H

#include "coordinator/migrations.h"

struct pending {
	struct pending *next;
	Lockstep__Store__Record *record;
	struct ls_migration *migration;
};

struct ls_migration {
	struct ls_migrations *all;
	struct ls_migration *older, *newer;
	struct ls_seq *seq;
	struct pending *pending, **pending_tail; // records on their way to the disk, in order
	unsigned calls;				 // callbacks that still point here
	uv_timer_t *timer;
	struct ls_listener *listener;
	bool stored; // its first record is durable
	bool driving;
	unsigned telling;
	struct watch {
		struct ls_migration *migration;
		enum ls_seq_side side;
		bool on;
	} watch[2];
};

struct ls_migrations {
	uv_loop_t *loop;
	struct ls_agents *agents;
	struct ls_store *store;
	struct ls_history *history;
	struct ls_planner_world world;
	struct ls_migration *newest, *oldest;
	struct ls_seq *reading; // while the store is read
	unsigned open, ended; // as ls_migration_open() says
	bool stopped;
	bool store_failing;
	struct contact *contacts; // one a host
	unsigned n_contacts;
};

struct ls_seq_time ls_migrations_now(void);

// ---- migrations_list.c

bool ls_migration_occupies(const struct ls_migration *m); // its VM: no other migration of it may begin
// Something is still to be done or decided: it goes on, waits for an operator, or has a loose end.
bool ls_migration_open(const struct ls_seq *q);
void ls_migrations_drop_ended(struct ls_migrations *ms); // but the newest, from memory
struct ls_migration *ls_migration_add(struct ls_migrations *ms, struct ls_seq *seq);
// Asks every agent for open migrations that the store does not know, now and every 30 seconds (migrations_recover.c).
void ls_migrations_contact(struct ls_migrations *ms);
void ls_migrations_contact_end(struct ls_migrations *ms);
// Answers as soon as the host's agent has told once in this life what it holds open, perhaps inside the call. `err`:
// it cannot be asked now.
typedef void ls_heard_fn(void *user, const struct ls_error *err);
void ls_migrations_hear(struct ls_migrations *ms, const struct ls_host *host, ls_heard_fn *fn, void *user);
// A migration that an agent tells of and the store does not know goes on from here.
void ls_migrations_adopt(struct ls_migrations *ms, const char *host,
			 const Lockstep__V1__ListAgentMigrationsResponse__Entry *e);
bool ls_migrations_ours(const struct ls_migrations *ms, const Lockstep__V1__ListAgentMigrationsResponse__Entry *e);
const Lockstep__V1__MigrationSpec *ls_migration_spec(const struct ls_migration *m);
void ls_migration_tell(struct ls_migration *m, const struct ls_error *lost);
void ls_migration_unlink(struct ls_migration *m);
void ls_migration_free(struct ls_migration *m); // unlinked
// Takes the record; it goes to ls_seq_persisted() when it is durable.
void ls_migration_persist(struct ls_migration *m, Lockstep__Store__Record *record);
void ls_migrations_learn(struct ls_migrations *ms, const struct ls_seq *q);
struct ls_host *ls_migration_host(const struct ls_migration *m, enum ls_seq_side side);
// Carries out all actions that wait, then sets the timer.
void ls_migration_drive(struct ls_migration *m);
// One of PREPARE .. WATCH.
void ls_migration_call_agent(struct ls_migration *m, const struct ls_seq_action *a);

#endif
