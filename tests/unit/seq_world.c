// SPDX-License-Identifier: Apache-2.0
// What may happen next, and how it must have ended.
#include "seq_world_internal.h"

enum what {
	PERSIST,
	PLANNED,
	REPLY,
	EVENT,
	STEP,
	RELEASE,
	TICK, // in this order without faults
	REPLY_LOST,
	CALL_LOST,
	WATCH_BREAKS,
	EVENT_AGAIN,
	FAILS,
	CANCEL,
	CRASH,
	FENCE,
	OLDER_STORE,
	EMPTY_STORE,
	N_WHAT
};

static bool may_fence(struct world *w)
{
	Lockstep__V1__ResolveResponse *r = ls_seq_explain(w->q);
	const Lockstep__V1__Migration *v = ls_seq_view(w->q);
	bool open = false;

	HOLDS(w, r->n_option == 5 && r->n_known >= 2);
	for (size_t i = 0; i < r->n_option; i++) {
		const Lockstep__V1__ResolveResponse__Option *o = r->option[i];

		HOLDS(w, o->effect[0] && o->open == !o->why_not[0]);
		if (o->action == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_FENCED)
			open = o->open;
	}
	HOLDS(w, !open || (strcmp(v->source_word, "CONSENTED") == 0 && strcmp(v->destination_word, "COMMITTED") != 0 &&
			   strcmp(v->destination_word, "STARTED") != 0));
	ls_msg_free(r);
	return open;
}

static bool can(struct world *w, enum what what, int side)
{
	struct world_agent *a = &w->agent[side];
	const Lockstep__V1__Migration *v = ls_seq_view(w->q);

	switch (what) {
	case PERSIST:
		return side == S && w->n_pending;
	case PLANNED:
		return side == S && w->planning;
	case REPLY:
		return a->calling;
	case EVENT:
		return a->watching && (a->told < a->n || a->ended);
	case STEP:
		return world_agent_step(w, side, false);
	case RELEASE:
		return side == S && v->waiting_at && (w->held & ~w->released);
	case TICK:
		return side == S && ls_seq_deadline(w->q) != UINT64_MAX;
	case REPLY_LOST:
	case CALL_LOST:
		return w->faults && a->calling;
	case WATCH_BREAKS:
		return w->faults && a->watching;
	case EVENT_AGAIN:
		return w->faults && a->watching && a->told;
	case FAILS:
		return w->faults && (side == S ? world_says(w, S, "ACTIVE") : world_says(w, D, "UNDECIDED"));
	case CANCEL:
		return w->faults && side == S && !w->cancelled;
	case FENCE:
		return w->operators && w->faults && side == S && !w->fenced && may_fence(w);
	case OLDER_STORE:
		return w->operators && w->faults && side == S && w->n_disk > 1;
	case EMPTY_STORE:
		return w->operators && w->faults && side == S && w->n_disk && !w->losses;
	default:
		return w->faults && side == S;
	}
}

bool world_over(const struct world *w)
{
	if (w->crashed_early || w->forgotten)
		return true;
	if (ls_seq_operator(w->q) && strcmp(ls_seq_view(w->q)->error->reason, "CONFLICT") == 0)
		return !w->n_pending;
	return (ls_seq_ended(w->q) && !ls_seq_operator(w->q) && !ls_seq_loose(w->q) && !w->n_pending);
}

unsigned world_options(struct world *w)
{
	unsigned n = 0;

	if (world_over(w))
		return 0;
	for (int what = 0; what < N_WHAT; what++)
		for (int side = 0; side < 2; side++)
			n += can(w, (enum what)what, side);
	return n;
}

static void release(struct world *w)
{
	enum ls_gate gate = (enum ls_gate)ls_seq_view(w->q)->waiting_at;
	struct ls_error err;

	world_note(w, "release%d ", gate);
	w->released |= 1u << gate;
	HOLDS(w, ls_seq_release(w->q, gate, "test", world_now(w), &err) == 0);
}

static void fence(struct world *w)
{
	Lockstep__V1__FenceClaim claim = LOCKSTEP__V1__FENCE_CLAIM__INIT;
	struct ls_error err;

	world_note(w, "FENCE ");
	w->fenced = true;
	claim.host = w->spec->destination;
	claim.method = LOCKSTEP__V1__FENCE_CLAIM__METHOD__POWERED_OFF;
	claim.evidence = (char *)(uintptr_t) "off";
	HOLDS(w, ls_seq_resolve(w->q, LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_FENCED, &claim, "op", world_now(w),
				&err) == 0);
}

static void happen(struct world *w, enum what what, int side)
{
	static const uint8_t token[LS_TOKEN_SIZE] = {1};
	struct ls_error err;

	if (what > TICK)
		w->faults--;
	switch (what) {
	case PERSIST:
		return world_persist_one(w);
	case PLANNED:
		w->planning = false;
		return ls_seq_planned(w->q, w->plan, token, world_now(w));
	case REPLY:
		return world_finish_call(w, side, ANSWERED);
	case EVENT:
		return world_deliver(w, side, false);
	case STEP:
		return (void)world_agent_step(w, side, true);
	case RELEASE:
		return release(w);
	case TICK:
		w->now = ls_seq_deadline(w->q) > w->now ? ls_seq_deadline(w->q) : w->now + 1;
		return ls_seq_tick(w->q, world_now(w));
	case REPLY_LOST:
		return world_finish_call(w, side, APPLIED_BUT_LOST);
	case CALL_LOST:
		return world_finish_call(w, side, NEVER_ARRIVED);
	case WATCH_BREAKS:
		world_note(w, "break%c ", side == S ? 'S' : 'D');
		w->agent[side].watching = false;
		return ls_seq_watch_ended(w->q, (enum ls_seq_side)side, world_now(w));
	case EVENT_AGAIN:
		return world_deliver(w, side, true);
	case FAILS:
		return world_agent_fails(w, side);
	case CANCEL:
		world_note(w, "cancel ");
		w->cancelled = true;
		w->cancel_refused = ls_seq_cancel(w->q, "test", world_now(w), &err) < 0;
		return;
	case FENCE:
		return fence(w);
	case OLDER_STORE:
		return world_lose_store(w, (w->n_disk + 1) / 2);
	case EMPTY_STORE:
		return world_lose_store(w, 0);
	default:
		return world_crash(w);
	}
}

bool world_fence(struct world *w)
{
	enum what what = can(w, FENCE, S) ? FENCE : WATCH_BREAKS;
	int side = what == FENCE ? S : D;

	if (w->fenced || w->faults < 2)
		return false;
	if (what != FENCE && w->agent[D].calling)
		what = CALL_LOST;
	if (!can(w, what, side))
		return false;
	happen(w, what, side);
	world_drain(w);
	return true;
}

bool world_cut_dest(struct world *w)
{
	if (!w->agent[D].calling && !w->agent[D].watching)
		return false;
	happen(w, w->agent[D].calling ? CALL_LOST : WATCH_BREAKS, D);
	world_drain(w);
	return true;
}

void world_do(struct world *w, unsigned i)
{
	for (int what = 0; what < N_WHAT; what++)
		for (int side = 0; side < 2; side++)
			if (can(w, (enum what)what, side) && i-- == 0) {
				happen(w, (enum what)what, side);
				if (w->q)
					world_drain(w);
				return;
			}
	fail_msg("no such option\nafter: %s", w->trace);
}

void world_check_end(struct world *w)
{
	const Lockstep__V1__Migration *v;

	if (w->crashed_early) {
		HOLDS(w, !w->agent[S].word[0] && !w->agent[D].word[0]);
		return;
	}
	if (w->forgotten)
		return;
	v = ls_seq_view(w->q);
	HOLDS(w, world_over(w));
	if (v->phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR) {
		// Only a false fence may end so, and it never ends in silence.
		HOLDS(w, w->fenced && strcmp(v->error->reason, "CONFLICT") == 0);
		HOLDS(w, world_says(w, D, "COMMITTED") || world_says(w, D, "STARTED"));
		return;
	}
	switch (v->phase) {
	case LOCKSTEP__V1__PHASE__PHASE_DONE:
		HOLDS(w, world_says(w, S, "RELEASED") && world_says(w, D, "STARTED"));
		break;
	case LOCKSTEP__V1__PHASE__PHASE_RETURNED:
		HOLDS(w, world_says(w, S, "RETURNED") || !w->agent[S].word[0]);
		HOLDS(w, world_says(w, D, "ABORTED") || !w->agent[D].word[0]);
		HOLDS(w, v->error != NULL);
		break;
	case LOCKSTEP__V1__PHASE__PHASE_REFUSED:
		HOLDS(w, !w->plan->feasible && !w->agent[S].word[0] && !w->agent[D].word[0] && v->error);
		break;
	default:
		fail_msg("ended in phase %d\nafter: %s", v->phase, w->trace);
	}
	HOLDS(w, v->waiting_at == LOCKSTEP__V1__GATE__GATE_NONE);
	HOLDS(w, ls_seq_deadline(w->q) == UINT64_MAX);
}

static Lockstep__V1__DryRunResponse *make_plan(bool feasible)
{
	Lockstep__V1__DryRunResponse *p;
	Lockstep__V1__Check *c;

	LS_MSG_NEW(p, LOCKSTEP__V1__DRY_RUN_RESPONSE__INIT);
	LS_MSG_NEW(c, LOCKSTEP__V1__CHECK__INIT);
	ls_msg_set(&c->id, "pair.type");
	c->result = feasible ? LOCKSTEP__V1__CHECK__RESULT__PASS : LOCKSTEP__V1__CHECK__RESULT__FAIL;
	LS_MSG_APPEND(p->n_check, p->check, c);
	p->feasible = feasible;
	if (feasible)
		LS_MSG_NEW(p->schedule, LOCKSTEP__V1__SCHEDULE__INIT);
	return p;
}

struct world *world_new(uint32_t held, bool feasible, unsigned faults)
{
	struct world *w = ls_msg_alloc(sizeof(*w));

	w->plan = make_plan(feasible);
	w->held = held;
	w->faults = faults;
	w->now = 1000000000;
	LS_MSG_NEW(w->spec, LOCKSTEP__V1__MIGRATION_SPEC__INIT);
	ls_msg_set(&w->spec->id, "m1");
	w->spec->hold = ls_msg_alloc(LS_GATE_COUNT * sizeof(w->spec->hold[0]));
	for (unsigned g = 1; g < LS_GATE_COUNT; g++)
		if (held & 1u << g)
			w->spec->hold[w->spec->n_hold++] = (Lockstep__V1__Gate)g;
	ls_msg_set(&w->spec->vm, "vm");
	ls_msg_set(&w->spec->source, "a");
	ls_msg_set(&w->spec->destination, "b");
	for (int i = 0; i < 2; i++) {
		Lockstep__V1__PrepareRequest *p;

		LS_MSG_NEW(p, LOCKSTEP__V1__PREPARE_REQUEST__INIT);
		LS_MSG_NEW(p->schedule, LOCKSTEP__V1__SCHEDULE__INIT);
		ls_msg_set(&p->vm, "vm");
		ls_msg_set(&p->peer_host, i == S ? "b" : "a");
		ls_msg_set(&p->peer_ledger_id, i == S ? "ledger-d" : "");
		p->side = i == S ? LOCKSTEP__V1__SIDE__SIDE_SOURCE : LOCKSTEP__V1__SIDE__SIDE_DESTINATION;
		p->n_hold = w->spec->n_hold;
		p->hold = ls_msg_alloc(LS_GATE_COUNT * sizeof(p->hold[0]));
		memcpy(p->hold, w->spec->hold, w->spec->n_hold * sizeof(p->hold[0]));
		w->prepare[i] = p;
	}
	w->q = ls_seq_new(w->spec, "test", world_now(w));
	world_drain(w);
	return w;
}

void world_free(struct world *w)
{
	world_drop_pending(w);
	for (unsigned i = 0; i < w->n_disk; i++)
		ls_msg_free(w->disk[i]);
	for (int a = 0; a < 2; a++)
		for (unsigned i = 0; i < w->agent[a].n; i++)
			ls_msg_free(w->agent[a].event[i]);
	ls_seq_free(w->q);
	ls_msg_free(w->prepare[S]);
	ls_msg_free(w->prepare[D]);
	ls_msg_free(w->plan);
	ls_msg_free(w->spec);
	free(w);
}
