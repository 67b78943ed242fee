// SPDX-License-Identifier: Apache-2.0
// What a seed is about. Trouble of all kinds at any time rarely comes to the narrow places of docs/decision.md, so half
// of the seeds are about one of them: there, some kinds of fault are likelier, most of all at one moment, the time in
// which the disks hold certain words. Nothing here knows how the code under test is built.
#include <string.h>

#include "tests/sim/agent.h"
#include "tests/sim/operator.h"

enum scene {
	ANY,
	NIGHT,     // the destination falls silent around its decision, and an operator must act before it is back
	MOMENT,    // somebody dies or is cut off at one pair of words
	REINSTALL, // an agent gets a new ledger under a VM that lives on, and what was asked before comes again
	RULERS,    // two coordinators, and what the older one asked comes late
	HASTE,     // a second migration is begun before the first is over
	HARDWARE,  // devices, streams and VMMs
	STORE,     // the coordinator's disk
	SCENES
};

static const struct {
	const char *name;
	unsigned share; // of 100 seeds
} scenes[SCENES] = {
	[ANY] = { "any", 42 },           [NIGHT] = { "night", 17 },
	[MOMENT] = { "moment", 14 },     [REINSTALL] = { "reinstall", 5 },
	[RULERS] = { "rulers", 4 },      [HASTE] = { "haste", 4 },
	[HARDWARE] = { "hardware", 10 }, [STORE] = { "store", 4 },
};

// Rates per 10,000 occasions, at all times and at the moment.
static const struct {
	enum scene scene;
	enum sim_fault kind;
	unsigned rate, moment;
} likely[] = {
	{ NIGHT, SIM_ISOLATE_DEST, 0, 400 },
	{ NIGHT, SIM_KILL_DEST, 0, 200 },
	{ NIGHT, SIM_FREEZE_DEST, 0, 100 },
	{ NIGHT, SIM_FREEZE_DEST_HOST, 0, 200 },
	{ NIGHT, SIM_POWER_DEST, 0, 30 },
	{ NIGHT, SIM_FALSE_FENCE, 7000, 0 },
	{ MOMENT, SIM_KILL_SOURCE, 0, 150 },
	{ MOMENT, SIM_KILL_DEST, 0, 150 },
	{ MOMENT, SIM_KILL_COORD, 0, 50 },
	{ MOMENT, SIM_STOP_SOURCE, 0, 60 },
	{ MOMENT, SIM_STOP_DEST, 0, 60 },
	{ MOMENT, SIM_KILL_SOURCE_VMM, 0, 40 },
	{ MOMENT, SIM_KILL_DEST_VMM, 0, 40 },
	{ MOMENT, SIM_POWER_SOURCE, 0, 30 },
	{ MOMENT, SIM_POWER_DEST, 0, 30 },
	{ MOMENT, SIM_CUT_AGENTS, 0, 100 },
	{ MOMENT, SIM_LINK, 0, 300 },
	{ MOMENT, SIM_ISOLATE_DEST, 0, 40 },
	{ MOMENT, SIM_LEDGER_OLD_SOURCE, 0, 20 },
	{ MOMENT, SIM_LEDGER_OLD_DEST, 0, 20 },
	{ MOMENT, SIM_LEDGER_LOST_SOURCE, 0, 20 },
	{ MOMENT, SIM_LEDGER_LOST_DEST, 0, 20 },
	{ MOMENT, SIM_SYNC_LOST, 0, 300 },
	{ MOMENT, SIM_SYNC_KEPT, 0, 300 },
	{ REINSTALL, SIM_REINSTALL_SOURCE, 0, 60 },
	{ REINSTALL, SIM_REINSTALL_DEST, 0, 500 },
	{ REINSTALL, SIM_CALL_TWICE, 5000, 0 },
	{ RULERS, SIM_SECOND_COORD, 40, 200 },
	{ RULERS, SIM_CALL_LATE, 1000, 0 },
	{ RULERS, SIM_CALL_TWICE, 2000, 0 },
	{ RULERS, SIM_CANCEL, 200, 0 },
	{ HASTE, SIM_HASTE, 2000, 0 },
	{ HARDWARE, SIM_ARC_ERRNO, 60, 0 },
	{ HARDWARE, SIM_ARC_ERROR, 40, 0 },
	{ HARDWARE, SIM_ARC_SLOW, 100, 0 },
	{ HARDWARE, SIM_ARC_STUCK, 60, 0 },
	{ HARDWARE, SIM_READ_STUCK, 150, 0 },
	{ HARDWARE, SIM_TOO_SLOW, 5000, 0 },
	{ HARDWARE, SIM_GUEST_RESET, 1500, 0 },
	{ HARDWARE, SIM_STREAM, 60, 0 },
	{ HARDWARE, SIM_BENT, 600, 0 },
	{ HARDWARE, SIM_VMM_ERROR, 300, 0 },
	{ HARDWARE, SIM_DIAL, 500, 0 },
	{ STORE, SIM_STORE_SYNC, 60, 0 },
	{ STORE, SIM_STORE_FAILS, 100, 0 },
	{ STORE, SIM_STORE_LOST, 5, 30 },
	{ STORE, SIM_STORE_OLD, 5, 60 },
	{ STORE, SIM_KILL_COORD, 10, 100 },
};

// Pairs of words that a run with few other troubles comes through, or stays in.
static void draw_moment(struct world *w)
{
	static const enum ls_word pairs[][2] = {
		{ LS_WORD_NONE, LS_WORD_UNDECIDED },	  { LS_WORD_ACTIVE, LS_WORD_UNDECIDED },
		{ LS_WORD_CONSENTED, LS_WORD_UNDECIDED }, { LS_WORD_CONSENTED, LS_WORD_COMMITTED },
		{ LS_WORD_CONSENTED, LS_WORD_STARTED },   { LS_WORD_RETURNING, LS_WORD_UNDECIDED },
		{ LS_WORD_RETURNING, LS_WORD_ABORTED },   { LS_WORD_CONSENTED, LS_WORD_ABORTED },
	};
	uint64_t pair = sim_random(w, sizeof(pairs) / sizeof(pairs[0]));

	w->scene.source = pairs[pair][0];
	w->scene.dest = pairs[pair][1];
}

static enum scene draw(struct world *w)
{
	uint64_t at = sim_random(w, 100);
	unsigned s = ANY;

	while (s + 1 < SCENES && at >= scenes[s].share)
		at -= scenes[s++].share;
	return (enum scene)s;
}

void sim_scene_init(struct world *w)
{
	enum scene s = draw(w);

	w->scene.name = scenes[s].name;
	draw_moment(w);
	if (s == NIGHT || s == REINSTALL) {
		w->scene.source = LS_WORD_CONSENTED;
		w->scene.dest = sim_random(w, 8) ? LS_WORD_COMMITTED : LS_WORD_UNDECIDED;
	}
	w->scene.long_troubles = s == NIGHT;
	w->scene.at_night = s == NIGHT || (s == MOMENT && !sim_random(w, 4));
	w->scene.hasty = s == HASTE;
	if (s == NIGHT && sim_random(w, 4)) // hardly anything else
		memset(w->faults.rate, 0, sizeof(w->faults.rate));
	if (w->scene.at_night)
		w->heal_at = 70 * S + sim_random(w, 40 * S);
	sim_trace(w, "this seed is about: %s (%s / %s)", w->scene.name, ls_word_name(w->scene.source),
		  ls_word_name(w->scene.dest));
	for (unsigned i = 0; i < sizeof(likely) / sizeof(likely[0]); i++) {
		struct sim_faults *f = &w->faults;
		if (likely[i].scene != s)
			continue;
		if (f->rate[likely[i].kind] < likely[i].rate)
			f->rate[likely[i].kind] = likely[i].rate;
		f->moment[likely[i].kind] = likely[i].moment;
	}
}

bool sim_scene_moment(const struct world *w)
{
	const struct sim_agent *s = w->agent[0], *d = w->agent[w->dest];
	unsigned m = w->operator_ && w->operator_->started ? w->operator_->started - 1 : 0;

	return !w->scene.spent && s && d && s->durable[m].word == w->scene.source &&
	       d->durable[m].word == w->scene.dest;
}
