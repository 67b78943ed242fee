// SPDX-License-Identifier: Apache-2.0
// The coordinator's shell in seq_world.h: its disk, its calls, its crashes.
#include "seq_world_internal.h"

void world_drain(struct world *w)
{
	struct ls_seq_action a;

	while (ls_seq_next(w->q, &a)) {
		struct world_agent *g = &w->agent[a.side];

		switch (a.kind) {
		case LS_SEQ_PERSIST:
			HOLDS(w, w->n_pending < WORLD_RECORDS);
			w->pending[w->n_pending++] = a.record;
			break;
		case LS_SEQ_PLAN:
			HOLDS(w, !w->planning);
			w->planning = true;
			break;
		case LS_SEQ_CHANGED:
			break;
		case LS_SEQ_WATCH:
			HOLDS(w, !g->watching);
			g->watching = true;
			g->told = (unsigned)a.after;
			break;
		default:
			HOLDS(w, !g->calling);
			world_check_call(w, a.side, &a);
			g->calling = true;
			g->call = a;
			break;
		}
	}
}

void world_drop_pending(struct world *w)
{
	for (unsigned i = 0; i < w->n_pending; i++)
		ls_msg_free(w->pending[i]);
	w->n_pending = 0;
}

void world_crash(struct world *w)
{
	if (!w->n_disk && w->losses)
		return world_lose_store(w, 0); // what was learnt was not durable: the agents tell again
	world_note(w, "CRASH ");
	w->life++;
	ls_seq_free(w->q);
	world_drop_pending(w);
	w->planning = w->cancelled = false;
	// What was not durable was not promised: clients ask again.
	for (unsigned i = 0; i < w->n_disk; i++)
		if (w->disk[i]->kind_case == LOCKSTEP__STORE__RECORD__KIND_ASKED)
			w->cancelled |= w->disk[i]->asked->cancel;
	w->released = world_released(w);
	for (int i = 0; i < 2; i++)
		w->agent[i].calling = w->agent[i].watching = false;
	if (!w->n_disk) {
		// Nobody was told that it exists.
		w->q = NULL;
		w->crashed_early = true;
		return;
	}
	w->q = ls_seq_restore(w->disk[0]);
	for (unsigned i = 1; i < w->n_disk; i++)
		ls_seq_fold(w->q, w->disk[i]);
	ls_seq_go_on(w->q, world_now(w));
}

void world_lose_store(struct world *w, unsigned keep)
{
	Lockstep__V1__ListAgentMigrationsResponse__Entry e = LOCKSTEP__V1__LIST_AGENT_MIGRATIONS_RESPONSE__ENTRY__INIT;
	int side = w->agent[S].word[0] && !ls_seq_last_word(w->agent[S].word) ? S : D;

	world_note(w, "LOST>%u ", keep);
	w->losses++;
	while (w->n_disk > keep)
		ls_msg_free(w->disk[--w->n_disk]);
	if (keep)
		return world_crash(w);
	ls_seq_free(w->q);
	world_drop_pending(w);
	w->planning = w->cancelled = false;
	w->released = 0;
	w->life++;
	for (int i = 0; i < 2; i++)
		w->agent[i].calling = w->agent[i].watching = false;
	w->q = NULL;
	w->forgotten = !w->agent[side].word[0] || ls_seq_last_word(w->agent[side].word);
	if (w->forgotten)
		return;
	e.migration = w->spec->id;
	e.side = side == S ? LOCKSTEP__V1__SIDE__SIDE_SOURCE : LOCKSTEP__V1__SIDE__SIDE_DESTINATION;
	e.word = w->agent[side].word;
	e.ledger_id = (char *)(uintptr_t)(side == S ? "ledger-s" : "ledger-d");
	e.prepare = w->prepare[side];
	w->q = ls_seq_rebuild(&e, side == S ? "a" : "b", world_now(w));
	HOLDS(w, w->q);
}

void world_persist_one(struct world *w)
{
	Lockstep__Store__Record *r = w->pending[0];

	memmove(w->pending, w->pending + 1, --w->n_pending * sizeof(w->pending[0]));
	HOLDS(w, w->n_disk < WORLD_RECORDS);
	w->disk[w->n_disk++] = r;
	ls_seq_persisted(w->q, r, world_now(w));
}

void world_deliver(struct world *w, int side, bool again)
{
	struct world_agent *a = &w->agent[side];

	if (again)
		ls_seq_agent_event(w->q, (enum ls_seq_side)side, a->event[a->told - 1], world_now(w));
	else if (a->told < a->n)
		ls_seq_agent_event(w->q, (enum ls_seq_side)side, a->event[a->told++], world_now(w));
	else {
		a->watching = false;
		ls_seq_watch_ended(w->q, (enum ls_seq_side)side, world_now(w));
	}
}
