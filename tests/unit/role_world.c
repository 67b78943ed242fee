// SPDX-License-Identifier: Apache-2.0
#include "role_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PENDING_MAX 160
#define STEPS_MAX 3000
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

static struct ls_role *make_role(struct world *w, int k);
static void feed(struct world *w, int side, struct ls_role_event event);
static void cut(struct world *w);

static void violate(struct world *w, const char *what)
{
	if (!w->out->violation[0])
		snprintf(w->out->violation, sizeof(w->out->violation), "completion %u: %s", w->n_completed, what);
}

static void check(struct world *w)
{
	struct side *s = &w->side[S], *d = &w->side[D];

	if (s->runs && d->runs && (!w->fenced || d->must_ask))
		violate(w, "both run");
	if (d->runs && (w->wrong_image || w->strayed))
		violate(w, "the destination runs with a wrong image");
	if (d->runs && d->disk != LS_WORD_COMMITTED && d->disk != LS_WORD_STARTED)
		violate(w, "the destination runs without COMMITTED on its disk");
	if (s->runs && s->paused && s->disk != LS_WORD_RETURNING && s->disk != LS_WORD_RETURNED)
		violate(w, "the source runs again without RETURNING on its disk");
	if ((d->disk == LS_WORD_COMMITTED || d->disk == LS_WORD_STARTED) && s->disk != LS_WORD_CONSENTED &&
	    s->disk != LS_WORD_RELEASED && !w->fenced)
		violate(w, "committed without consent");
	if (d->heard && s->disk == LS_WORD_CONSENTED)
		violate(w, "the destination forgets a word that the source waits for");
	if (s->disk == LS_WORD_RELEASED && d->disk != LS_WORD_STARTED)
		violate(w, "released before started");
	for (unsigned i = 0; i < w->plan->n; i++)
		if (d->state[i] != LS_STATE_RUNNING && ls_state_valid(d->state[i]) && !ls_state_deaf(d->state[i]) &&
		    d->disk != LS_WORD_COMMITTED && d->disk != LS_WORD_STARTED)
			violate(w, "a destination device left STOP before COMMITTED");
	for (int k = 0; k < 2; k++)
		for (unsigned i = 0; i < w->plan->n; i++)
			for (unsigned j = 0; j < w->plan->n; j++)
				if (w->side[k].runs && i != j && w->side[k].state[j] != LS_STATE_ERROR &&
				    ls_state_deaf(w->side[k].state[j]))
					violate(w, "vCPUs run with a device in STOP");
}

static struct pending *put(struct world *w, enum what what, int side)
{
	if (w->n_pending == PENDING_MAX)
		abort();
	struct pending *p = &w->pending[w->n_pending++];
	memset(p, 0, sizeof(*p));
	p->what = what;
	p->side = side;
	return p;
}

static void act(struct world *w, int k, const struct ls_role_action *a)
{
	struct side *me = &w->side[k];
	struct pending *p;

	if (me->silent && (a->kind == LS_ACT_JOB || a->kind == LS_ACT_VMM || a->kind == LS_ACT_PEER_SEND ||
			   a->kind == LS_ACT_PERSIST))
		violate(w, "acts after a failed sync");
	switch (a->kind) {
	case LS_ACT_PERSIST:
		put(w, WHAT_PERSIST, k)->word = a->word;
		break;
	case LS_ACT_JOB:
		p = put(w, WHAT_JOB, k);
		p->device = (unsigned)a->device;
		p->job = a->job;
		p->target = a->target;
		if (k == S && a->job == LS_JOB_ARC && a->unwind && me->disk != LS_WORD_RETURNING)
			violate(w, "an unwind arc before RETURNING");
		break;
	case LS_ACT_INTERRUPT:
		w->side[S].broken[a->device] = w->side[D].broken[a->device] = true;
		for (unsigned i = 0; i < w->n_pending; i++)
			if (w->pending[i].what == WHAT_JOB && w->pending[i].side == k &&
			    w->pending[i].device == (unsigned)a->device)
				w->pending[i].interrupted = true;
		break;
	case LS_ACT_VMM:
		if (!me->vmm_alive || me->vmm_away)
			violate(w, "talks to a dead VMM");
		put(w, WHAT_VMM, k)->op = a->op;
		break;
	case LS_ACT_PEER_CONNECT:
		put(w, WHAT_DIAL, S)->connection = ++w->next_connection;
		break;
	case LS_ACT_PEER_CLOSE:
		w->closing = true;
		break;
	case LS_ACT_PEER_SEND:
		p = put(w, WHAT_MSG, !k);
		p->connection = w->connection;
		ls_role_fill(me->role, a, &p->msg);
		if (a->msg == LS_MSG_CONSENT && me->disk != LS_WORD_CONSENTED)
			violate(w, "consent before CONSENTED");
		if (a->msg == LS_MSG_STARTED && me->disk != LS_WORD_STARTED)
			violate(w, "Started before STARTED");
		if (a->msg == LS_MSG_WORD && p->msg.word != me->disk)
			violate(w, "said a word that is not on the disk");
		if (a->msg == LS_MSG_ABORT && me->disk != LS_WORD_ABORTED && me->disk != LS_WORD_RETURNING &&
		    me->disk != LS_WORD_RETURNED)
			violate(w, "Abort before its word");
		break;
	case LS_ACT_END:
		if (me->ended && me->ended != LS_END_OPERATOR && a->how != LS_END_OPERATOR)
			violate(w, "ended twice");
		me->ended = a->how;
		break;
	case LS_ACT_CONFLICT:
		if (me->conflict)
			violate(w, "a conflict is written twice");
		me->conflict = true;
		break;
	case LS_ACT_HEARD:
		me->heard = true;
		break;
	case LS_ACT_DONE:
		if (me->conflict)
			violate(w, "a conflict is closed without an operator");
		if (me->done)
			violate(w, "done twice");
		me->done = true;
		break;
	default:
		break;
	}
}

static void feed(struct world *w, int k, struct ls_role_event event)
{
	struct ls_role_actions copy;

	event.time_ns = w->now;
	copy = *ls_role_event(w->side[k].role, &event);
	for (unsigned i = 0; i < copy.n; i++)
		act(w, k, &copy.at[i]);
	check(w);
	if (w->closing) {
		w->closing = false;
		cut(w);
	}
}

static struct pending *find_job(struct world *w, int side, unsigned device, enum ls_job_kind kind)
{
	for (unsigned i = 0; i < w->n_pending; i++) {
		struct pending *p = &w->pending[i];
		if (p->what == WHAT_JOB && p->side == side && p->device == device && p->job == kind)
			return p;
	}
	return NULL;
}

// May it complete now, as far as the other side is concerned?
static bool eligible(struct world *w, const struct pending *p)
{
	if (p->stuck)
		return false;
	if (p->what == WHAT_MSG) // in order within a connection
		for (const struct pending *q = w->pending; q < p; q++)
			if (q->what == WHAT_MSG && q->side == p->side)
				return false;
	if (p->what != WHAT_JOB || p->interrupted || w->side[p->side].broken[p->device])
		return true;
	if (p->job == LS_JOB_CONNECT)
		return w->side[D].sent[p->device]; // its ACCEPT is through
	if (p->job == LS_JOB_LOAD)
		return w->side[S].sent[p->device];
	return true;
}

static void cut(struct world *w)
{
	unsigned keep = 0;

	for (unsigned i = 0; i < w->plan->n; i++)
		w->side[S].broken[i] = w->side[D].broken[i] = true;
	for (unsigned i = 0; i < w->n_pending; i++)
		if (w->pending[i].what != WHAT_MSG)
			w->pending[keep++] = w->pending[i];
	w->n_pending = keep;
	if (!w->connection)
		return;
	w->connection = 0;
	feed(w, D, (struct ls_role_event){ .kind = LS_EV_PEER_LOST });
	feed(w, S, (struct ls_role_event){ .kind = LS_EV_PEER_LOST });
}

static void complete_job(struct world *w, struct pending p, bool fail, bool applied, bool bent, bool reset)
{
	struct side *me = &w->side[p.side];
	struct ls_job_result job = { .kind = p.job, .from_state = me->state[p.device], .begin_ns = w->now };
	bool waits = p.job == LS_JOB_CONNECT || p.job == LS_JOB_ACCEPT || p.job == LS_JOB_SEND ||
		     p.job == LS_JOB_LOAD || p.job == LS_JOB_PRECOPY;

	if (waits && p.interrupted) {
		job.status = ls_fail(&job.error, LS_E_CANCELLED, ECANCELED, "interrupted");
	} else if (fail || (waits && me->broken[p.device])) {
		job.status = ls_fail(&job.error, fail && !waits ? LS_E_ARC_FAILED : LS_E_STREAM_BROKEN, EIO, "failed");
		if (applied && p.job != LS_JOB_CLOSE)
			me->state[p.device] = LS_STATE_ERROR;
		if (waits)
			w->side[S].broken[p.device] = w->side[D].broken[p.device] = true;
	} else {
		switch (p.job) {
		case LS_JOB_ARC:
			if (me->state[p.device] == LS_STATE_ERROR ||
			    ls_fsm_next(7, me->state[p.device], (int)p.target) < 0)
				violate(w, "asks for an arc that does not exist");
			me->state[p.device] = p.target;
			if (reset && p.side == D && me->disk == LS_WORD_COMMITTED) {
				job.from_state = LS_STATE_RUNNING;
				w->strayed = true;
			} else if (reset && p.side == S && me->paused && me->disk == LS_WORD_ACTIVE) {
				me->state[p.device] = LS_STATE_RUNNING;
			}
			break;
		case LS_JOB_RESET:
			me->state[p.device] = LS_STATE_RUNNING;
			break;
		case LS_JOB_ADOPT:
			me->open |= 1u << p.device;
			break;
		case LS_JOB_CLOSE:
			me->open &= ~(1u << p.device);
			break;
		case LS_JOB_ACCEPT:
			w->side[D].sent[p.device] = true;
			break;
		case LS_JOB_SEND:
			w->side[S].sent[p.device] = true;
			break;
		case LS_JOB_LOAD:
			me->state[p.device] = LS_STATE_STOP;
			w->wrong_image = w->wrong_image || bent;
			break;
		default:
			break;
		}
		job.length = 1000 + p.device;
		job.digest[0] = (uint8_t)(p.device + 1 + bent);
	}
	job.state = me->state[p.device];
	job.end_ns = w->now;
	feed(w, p.side, (struct ls_role_event){ .kind = LS_EV_JOB_DONE, .device = p.device, .job = &job });
}

static void complete_vmm(struct world *w, struct pending p, bool fail)
{
	struct side *me = &w->side[p.side];
	struct ls_error err;

	if (!fail && p.op == LS_VMM_PAUSE) {
		me->runs = false;
		me->paused = true;
	}
	if (!fail && p.op == LS_VMM_RESUME)
		me->runs = true;
	ls_fail(&err, LS_E_VMM_FAILED, EIO, "failed");
	feed(w, p.side, (struct ls_role_event){ .kind = LS_EV_VMM_DONE, .op = p.op, .error = fail ? &err : NULL });
}

static void check_settled(struct world *w)
{
	const struct ls_role *r = w->side[D].role;

	if (ls_role_word(r) == LS_WORD_UNDECIDED && !ls_role_persisting(r) && !ls_role_mute(r))
		violate(w, "asked to settle, it leaves it undecided");
}

static bool lied(struct world *w, enum ls_word word)
{
	return (w->plan->lie == LIE_RETURNING && word == LS_WORD_RETURNING) ||
	       (w->plan->lie == LIE_COMMITTED && word == LS_WORD_COMMITTED);
}

static void complete(struct world *w, struct pending p, bool fail, bool applied, bool bent, bool reset)
{
	struct side *me = &w->side[p.side];

	switch (p.what) {
	case WHAT_PERSIST:
		if (!fail || applied) {
			if (!ls_word_may_follow(me->disk, p.word) && w->plan->lie == LIE_NONE)
				violate(w, "a word was taken back");
			if (!lied(w, p.word))
				me->disk = p.word;
		}
		me->silent = me->silent || fail;
		me->persist_failed = me->persist_failed || fail;
		feed(w, p.side, (struct ls_role_event){ .kind = LS_EV_PERSISTED, .word = p.word,
							.status = fail ? -EIO : 0 });
		break;
	case WHAT_JOB:
		complete_job(w, p, fail, applied, bent && p.job == LS_JOB_LOAD, reset);
		break;
	case WHAT_VMM:
		complete_vmm(w, p, fail);
		break;
	case WHAT_DIAL:
		if (fail || ls_role_mute(w->side[D].role)) {
			feed(w, S, (struct ls_role_event){ .kind = LS_EV_PEER_LOST });
			break;
		}
		w->connection = p.connection;
		feed(w, D, (struct ls_role_event){ .kind = LS_EV_PEER_UP, .ledger_id = "s" });
		feed(w, S, (struct ls_role_event){ .kind = LS_EV_PEER_UP, .ledger_id = "d" });
		break;
	case WHAT_MSG:
		if (fail) {
			cut(w);
			break;
		}
		if (w->plan->lie == LIE_CONSENT && p.msg.kind == LS_MSG_CONSENT_REQUEST) {
			struct ls_role_msg forged = p.msg;
			forged.kind = LS_MSG_CONSENT;
			feed(w, D, (struct ls_role_event){ .kind = LS_EV_PEER, .msg = &forged });
			break;
		}
		if (w->plan->lie == LIE_ABORT && p.msg.kind == LS_MSG_STARTED)
			p.msg.kind = LS_MSG_ABORT;
		feed(w, p.side, (struct ls_role_event){ .kind = LS_EV_PEER, .msg = &p.msg });
		if (p.side == D && p.msg.kind == LS_MSG_WORD_QUERY && p.msg.settle)
			check_settled(w);
		break;
	case WHAT_HELLO:
		me->vmm_away = false;
		feed(w, p.side, (struct ls_role_event){ .kind = LS_EV_VMM_UP, .vmm_runs = me->runs });
		break;
	}
	// A source's CONNECT shows at the destination as a stream to accept.
	for (unsigned i = 0; i < w->plan->n && !w->side[D].broken[i]; i++) {
		struct pending *connect = find_job(w, S, i, LS_JOB_CONNECT);
		if (connect && !connect->target) {
			connect->target = LS_STATE_STOP; // told
			feed(w, D, (struct ls_role_event){ .kind = LS_EV_STREAM, .device = i });
		}
	}
}

// What was under way when the agent died, and came to its end without it.
static void land(struct world *w, const struct pending *p)
{
	struct side *me = &w->side[p->side];

	if (p->what == WHAT_PERSIST && !lied(w, p->word))
		me->disk = p->word;
	if (p->what == WHAT_JOB && p->job == LS_JOB_ARC)
		me->state[p->device] = p->target;
	if (p->what == WHAT_JOB && p->job == LS_JOB_RESET)
		me->state[p->device] = LS_STATE_RUNNING;
	if (p->what == WHAT_JOB && p->job == LS_JOB_LOAD && eligible(w, p) && !me->broken[p->device])
		me->state[p->device] = LS_STATE_STOP;
	if (p->what == WHAT_VMM && p->op == LS_VMM_PAUSE) {
		me->runs = false;
		me->paused = true;
	}
	if (p->what == WHAT_VMM && p->op == LS_VMM_RESUME)
		me->runs = true;
}

static void crash(struct world *w, int k, bool kept, bool applied, bool rebooted)
{
	struct side *me = &w->side[k];
	bool linked = w->connection != 0;
	unsigned keep = 0;

	for (unsigned i = 0; applied && i < w->n_pending; i++)
		if (w->pending[i].side == k && !w->pending[i].stuck)
			land(w, &w->pending[i]);
	for (unsigned i = 0; i < w->n_pending; i++) {
		struct pending *p = &w->pending[i];
		if (p->what != WHAT_MSG && p->side != k)
			w->pending[keep++] = *p;
	}
	w->n_pending = keep;
	for (unsigned i = 0; i < w->plan->n; i++)
		w->side[S].broken[i] = w->side[D].broken[i] = true;
	w->connection = 0;
	w->strayed = w->strayed && k != D; // an agent that dies before it writes LOST leaves nothing to tell it by
	me->must_ask = w->fenced && !me->runs;
	ls_role_free(me->role);
	me->role = make_role(w, k);
	me->ended = LS_END_NONE;
	me->silent = false;
	if (rebooted)
		me->vmm_alive = me->runs = false;
	me->vmm_away = me->vmm_alive;
	if (!kept)
		me->open = 0;
	for (unsigned i = 0; rebooted && i < LS_MAX_DEVICES; i++)
		me->state[i] = LS_STATE_RUNNING;
	if (linked)
		feed(w, !k, (struct ls_role_event){ .kind = LS_EV_PEER_LOST });
	if (me->vmm_alive)
		put(w, WHAT_HELLO, k);
	feed(w, k, (struct ls_role_event){ .kind = LS_EV_RESTART, .word = me->disk,
					   .restart = { .done = me->done, .fenced = me->fenced, .conflict = me->conflict,
							.rebooted = rebooted, .vmm_lends = true,
							.held = me->open } });
}

static void resolve(struct world *w)
{
	const struct ls_role *r = w->side[S].role;
	bool lost = ls_role_may_resolve(r, LS_RESOLVE_RETURN_LOST, false, NULL) == 0;

	if (!lost && ls_role_may_resolve(r, LS_RESOLVE_RETURN_FENCED, true, NULL) < 0)
		return;
	w->fenced = !lost;
	w->side[S].fenced = !lost;
	w->side[S].ended = LS_END_NONE;
	feed(w, S, (struct ls_role_event){ .kind = LS_EV_RESOLVE, .claimed = !lost,
					   .resolve = lost ? LS_RESOLVE_RETURN_LOST : LS_RESOLVE_RETURN_FENCED });
}

static void strike(struct world *w, enum fault fault)
{
	struct ls_error cancel;
	int k = fault == FAULT_VMM_SOURCE ? S : D;

	ls_fail(&cancel, LS_E_CANCELLED, 0, "cancelled");
	switch (fault) {
	case FAULT_CUT:
		cut(w);
		break;
	case FAULT_CANCEL_SOURCE:
	case FAULT_CANCEL_DEST:
	case FAULT_SETTLE:
		feed(w, fault == FAULT_CANCEL_SOURCE ? S : D,
		     (struct ls_role_event){ .kind = fault == FAULT_SETTLE ? LS_EV_SETTLE : LS_EV_UNWIND,
					     .error = &cancel });
		if (fault == FAULT_SETTLE)
			check_settled(w);
		break;
	case FAULT_VMM_SOURCE:
	case FAULT_VMM_DEST:
		if (!w->side[k].vmm_alive)
			break;
		w->side[k].vmm_alive = w->side[k].runs = false;
		for (unsigned i = 0; i < w->n_pending; i++)
			if ((w->pending[i].what == WHAT_VMM || w->pending[i].what == WHAT_HELLO) &&
			    w->pending[i].side == k)
				w->pending[i--] = w->pending[--w->n_pending];
		if (!w->side[k].vmm_away)
			feed(w, k, (struct ls_role_event){ .kind = LS_EV_VMM_LOST });
		break;
	case FAULT_CRASH_SOURCE:
	case FAULT_CRASH_SOURCE_APPLIED:
	case FAULT_BARE_SOURCE:
		crash(w, S, fault != FAULT_BARE_SOURCE, fault == FAULT_CRASH_SOURCE_APPLIED, false);
		break;
	case FAULT_CRASH_DEST:
	case FAULT_CRASH_DEST_APPLIED:
	case FAULT_BARE_DEST:
		crash(w, D, fault != FAULT_BARE_DEST, fault == FAULT_CRASH_DEST_APPLIED, false);
		break;
	case FAULT_POWER_DEST:
		crash(w, D, false, false, true);
		break;
	case FAULT_REST:
		feed(w, S, (struct ls_role_event){ .kind = LS_EV_REST, .rest_ns = UINT64_MAX / 2 });
		break;
	case FAULT_FENCE:
		resolve(w);
		break;
	case FAULT_LATE:
		w->now += 100000 * MS;
		for (int i = 0; i < 2; i++)
			if (ls_role_deadline(w->side[i].role) <= w->now)
				feed(w, i, (struct ls_role_event){ .kind = LS_EV_TIMER });
		break;
	default:
		break;
	}
}

static int choose(struct world *w)
{
	unsigned ready[PENDING_MAX], n = 0;

	for (unsigned i = 0; i < w->n_pending; i++)
		if (eligible(w, &w->pending[i]))
			ready[n++] = i;
	if (n == 0)
		return -1;
	if (w->plan->seed == 0)
		return (int)ready[0];
	if (w->plan->seed == 1)
		return (int)ready[n - 1];
	w->random = w->random * 1103515245u + 12345u;
	return (int)ready[(w->random >> 16) % n];
}

// Nothing else will happen: a call that hung comes back after all.
static bool let_go(struct world *w)
{
	for (unsigned i = 0; i < w->n_pending; i++)
		if (w->pending[i].stuck) {
			w->pending[i].stuck = false;
			return true;
		}
	return false;
}

static bool step(struct world *w)
{
	const struct plan *plan = w->plan;
	enum fault now[2] = { w->n_completed == plan->at ? plan->fault : FAULT_NONE,
			      w->n_completed == plan->second_at ? plan->second : FAULT_NONE };
	for (int i = 0; i < 2; i++)
		if (((now[i] >= FAULT_CUT && now[i] <= FAULT_LATE) || now[i] >= FAULT_CRASH_SOURCE) && !w->struck[i]) {
			w->struck[i] = true; // while time passes no completion is counted
			strike(w, now[i]);
		}
	int i = choose(w);
	if (i < 0) {
		uint64_t at = LS_NO_DEADLINE;
		for (int k = 0; k < 2; k++)
			if (ls_role_deadline(w->side[k].role) < at)
				at = ls_role_deadline(w->side[k].role);
		if (at == LS_NO_DEADLINE || (w->side[D].ended == LS_END_OPERATOR && at > 3600000 * MS))
			return let_go(w);
		w->now = at > w->now ? at : w->now;
		for (int k = 0; k < 2; k++)
			if (ls_role_deadline(w->side[k].role) <= w->now)
				feed(w, k, (struct ls_role_event){ .kind = LS_EV_TIMER });
		return true;
	}
	struct pending p = w->pending[i];
	bool fail = false, applied = false, bent = false, reset = false;
	for (int k = 0; k < 2; k++) {
		fail = fail || now[k] == FAULT_FAIL || now[k] == FAULT_FAIL_APPLIED;
		applied = applied || now[k] == FAULT_FAIL_APPLIED;
		bent = bent || now[k] == FAULT_BENT;
		reset = reset || now[k] == FAULT_RESET;
		if (now[k] == FAULT_STUCK && p.what == WHAT_JOB && p.job != LS_JOB_CONNECT && p.job != LS_JOB_ACCEPT &&
		    p.job != LS_JOB_PRECOPY) { // the worker bounds the first two, the operator the third
			w->pending[i].stuck = true;
			w->n_completed++;
			return true;
		}
	}
	memmove(&w->pending[i], &w->pending[i + 1], sizeof(p) * (w->n_pending - (unsigned)i - 1));
	w->n_pending--;
	w->now += MS;
	w->out->hit = w->out->hit || (now[0] && (now[0] != FAULT_BENT || p.job == LS_JOB_LOAD));
	complete(w, p, fail, applied, bent, reset);
	w->n_completed++;
	return true;
}

static struct ls_role *make_role(struct world *w, int k)
{
	struct ls_role_params p = {
		.side = k == S ? LS_SIDE_SOURCE : LS_SIDE_DEST,
		.migration = "m", .vm = "vm", .schedule = w->schedule,
		.deadline_ns = 50000 * MS, .stuck_ns = 200000 * MS, .retry_ns = 500 * MS, .peer_ns = 60000 * MS,
		.vmm_ns = 30000 * MS, .rule_off = w->plan->rule_off,
	};
	snprintf(p.host, sizeof(p.host), "%s", k == S ? "hs" : "hd");
	snprintf(p.peer_host, sizeof(p.peer_host), "%s", k == S ? "hd" : "hs");
	snprintf(p.ledger_id, sizeof(p.ledger_id), "%s", k == S ? "s" : "d");
	snprintf(p.peer_ledger_id, sizeof(p.peer_ledger_id), "%s", k == S ? "d" : "s");
	for (unsigned i = 0; i < LS_MAX_DEVICES; i++)
		p.state[i] = w->side[k].state[i];
	return ls_role_new(&p);
}

static bool silent_conflict(const struct world *w)
{
	const struct side *s = &w->side[S], *d = &w->side[D];

	if ((d->disk != LS_WORD_COMMITTED && d->disk != LS_WORD_STARTED) || s->persist_failed || d->persist_failed)
		return false;
	if (s->disk != LS_WORD_RETURNING && s->disk != LS_WORD_RETURNED)
		return false;
	return !ls_role_conflict(s->role) || !ls_role_conflict(d->role);
}

void run_world(const struct plan *plan, struct outcome *ret)
{
	struct world *w = calloc(1, sizeof(*w));
	struct ls_error err;

	memset(ret, 0, sizeof(*ret));
	w->plan = plan;
	w->out = ret;
	w->random = plan->seed;
	w->now = 1000 * MS;
	w->schedule.n_devices = plan->n;
	for (unsigned i = 0; i < plan->n; i++) {
		struct ls_sched_device *d = &w->schedule.device[i];
		snprintf(d->source_name, sizeof(d->source_name), "a%u", i);
		snprintf(d->dest_name, sizeof(d->dest_name), "b%u", i);
		d->source_flags = d->dest_flags = plan->flags[i];
		d->precopy = plan->precopy[i];
		d->reaches = (1u << plan->n) - 1;
	}
	if (ls_schedule_make(&w->schedule, &err) < 0 || ls_schedule_verify(&w->schedule, &err) < 0) {
		snprintf(ret->violation, sizeof(ret->violation), "schedule: %s", err.message);
		free(w);
		return;
	}
	for (int k = 0; k < 2; k++) {
		for (unsigned i = 0; i < LS_MAX_DEVICES; i++)
			w->side[k].state[i] = LS_STATE_RUNNING;
		w->side[k].role = make_role(w, k);
		w->side[k].vmm_alive = true;
		w->side[k].open = (1u << plan->n) - 1;
		w->side[k].disk = k == S ? LS_WORD_ACTIVE : LS_WORD_UNDECIDED;
	}
	w->side[S].runs = true;
	for (int k = D; k >= S; k--) {
		feed(w, k, (struct ls_role_event){ .kind = LS_EV_BEGIN, .word = w->side[k].disk });
		feed(w, k, (struct ls_role_event){ .kind = LS_EV_GRANT, .gates = ~0u });
	}
	for (unsigned i = 0; i < STEPS_MAX && step(w); i++)
		;
	ret->completions = w->n_completed;
	ret->source = w->side[S].ended;
	ret->dest = w->side[D].ended;
	ret->source_runs = w->side[S].runs;
	ret->dest_runs = w->side[D].runs;
	if (!ret->violation[0] && w->fenced && silent_conflict(w))
		violate(w, "a false fence ends in silence");
	ret->conflict = ls_role_conflict(w->side[S].role) || ls_role_conflict(w->side[D].role);
	ret->source_word = w->side[S].disk;
	ret->dest_word = w->side[D].disk;
	if (!ret->violation[0] && ret->source_runs == ret->dest_runs && ret->source != LS_END_OPERATOR &&
	    ret->dest != LS_END_OPERATOR && w->side[S].vmm_alive && w->side[D].vmm_alive)
		violate(w, "nobody runs, and nobody calls the operator");
	if (!ret->violation[0] && (!ret->dest || (!ret->source && ret->dest != LS_END_OPERATOR)))
		violate(w, "has not come to an end");
	ls_role_free(w->side[S].role);
	ls_role_free(w->side[D].role);
	free(w);
}
