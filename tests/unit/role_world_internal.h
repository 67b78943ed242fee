// SPDX-License-Identifier: Apache-2.0
// Shared by role_world*.c only.
#ifndef LS_TESTS_ROLE_WORLD_INTERNAL_H
#define LS_TESTS_ROLE_WORLD_INTERNAL_H

#include "role_world.h"

#define PENDING_MAX 160
#define MS 1000000ull

enum { S, D };
enum what { WHAT_PERSIST, WHAT_JOB, WHAT_VMM, WHAT_DIAL, WHAT_MSG, WHAT_HELLO };

struct pending {
	enum what what;
	int side; // who is told of the completion
	enum ls_word word;
	unsigned device;
	enum ls_job_kind job;
	enum ls_state target;
	bool interrupted, stuck;
	enum ls_vmm_op op;
	unsigned connection; // DIAL, MSG
	struct ls_role_msg msg;
};

struct side {
	struct ls_role *role;
	enum ls_word disk;
	bool silent;       // a failed sync: nothing may be said or started
	bool vmm_alive, runs, paused;
	bool vmm_away;     // alive, not connected
	bool done, fenced, conflict, heard;
	bool must_ask;     // restarted after the fence: asked first, it never starts
	uint32_t open;     // devices whose fd the agent has
	int state[LS_MAX_DEVICES];
	bool broken[LS_MAX_DEVICES]; // the device's stream
	bool sent[LS_MAX_DEVICES];
	enum ls_end ended;
	bool persist_failed;
};

struct world {
	const struct plan *plan;
	struct outcome *out;
	struct ls_schedule schedule;
	uint64_t now;
	struct side side[2];
	struct pending pending[PENDING_MAX];
	unsigned n_pending, n_completed;
	unsigned connection; // the live control connection; 0: none
	unsigned next_connection;
	unsigned random;
	bool closing, struck[2];
	bool fenced; // on a claim that may be false: what follows must end in CONFLICT, not in silence
	bool strayed;     // a committed device of the destination was reset, and the agent's present life has seen it
	bool wrong_image; // a destination device holds something else than was sent
};

// role_world.c
struct ls_role *world_make_role(struct world *w, int side);
void world_feed(struct world *w, int side, struct ls_role_event event); // and carries out what is asked for

// role_world_rules.c
void world_violate(struct world *w, const char *what); // the first one counts
void world_check(struct world *w);
void world_check_settled(struct world *w);
bool world_silent_conflict(const struct world *w);
struct pending *world_put(struct world *w, enum what what, int side);
void world_act(struct world *w, int side, const struct ls_role_action *action);

// role_world_complete.c
bool world_eligible(struct world *w, const struct pending *p);
void world_cut(struct world *w); // every connection
bool world_lied(struct world *w, enum ls_word word);
void world_complete(struct world *w, struct pending p, bool fail, bool applied, bool bent, bool reset);

// role_world_fault.c
void world_strike(struct world *w, enum fault fault);

#endif
