// SPDX-License-Identifier: Apache-2.0
// Carries out a role's actions against the simulated hardware, disk, VMM and network.
#include "tests/sim/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/report.h"

// What travels on a device's connection.
struct wire {
	bool open, complete, bent;
	uint64_t image[2 * SIM_DEVICES];
	struct ls_image sum;
};

struct job {
	bool busy, waiting; // waiting: for the other side
	enum ls_job_kind kind;
	enum ls_state target;
	int from;
	uint64_t begin_ns, number; // number: tells a late event from a current one
};

struct sim_agent {
	struct world *w;
	unsigned side;
	struct sim_agent *peer;
	struct ls_role *role;
	enum ls_word durable;
	struct job job[SIM_DEVICES];
	struct wire wire[SIM_DEVICES]; // the destination's: what arrives
	bool linked;
	uint64_t link, timer, numbers; // generations
	struct sim_report report;
};

static void feed(struct sim_agent *a, struct ls_role_event e);

struct sim_agent *sim_agent_new(struct world *w, unsigned side)
{
	struct sim_agent *a = sim_alloc(sizeof(*a));

	a->w = w;
	a->side = side;
	return a;
}

void sim_agent_free(struct sim_agent *a)
{
	if (!a)
		return;
	ls_role_free(a->role);
	sim_report_free(&a->report);
	free(a);
}

const struct ls_role *sim_agent_role(const struct sim_agent *a)
{
	return a->role;
}

enum ls_word sim_agent_word(const struct sim_agent *a)
{
	return a ? a->durable : LS_WORD_NONE;
}

bool sim_agent_events(struct sim_agent *a, uint64_t after, void (*each)(void *user, const void *event), void *user)
{
	sim_report_each(&a->report, after, each, user);
	return a->role && ls_role_ended(a->role) != LS_END_NONE;
}

static struct sim_agent *peer_of(struct sim_agent *a)
{
	return a->w->agent[!a->side];
}

static struct sim_device *device_of(struct sim_agent *a, unsigned i)
{
	return &a->w->host[a->side].dev[i];
}

// ---- devices

struct job_event {
	struct sim_agent *a;
	unsigned device;
	uint64_t number;
	int status;
	enum ls_reason reason;
};

static void job_done(struct sim_agent *a, unsigned i, int status, enum ls_reason reason)
{
	struct job *j = &a->job[i];
	struct ls_job_result r = { .kind = j->kind, .status = status, .from_state = j->from,
				   .state = device_of(a, i)->state, .begin_ns = j->begin_ns, .end_ns = a->w->now };

	if (status < 0) {
		ls_fail(&r.error, reason, -status, "simulated");
		ls_error_at(&r.error, ls_role_device_name(a->role, i), NULL);
	}
	if (j->kind == LS_JOB_SEND || j->kind == LS_JOB_LOAD) {
		const struct wire *wire = &a->w->agent[1]->wire[i];
		r.length = wire->sum.length;
		memcpy(r.digest, wire->sum.digest, sizeof(r.digest));
	}
	j->busy = j->waiting = false;
	j->number = 0;
	feed(a, (struct ls_role_event){ .kind = LS_EV_JOB_DONE, .device = i, .job = &r });
}

static void on_job_event(struct world *w, void *arg)
{
	struct job_event *e = arg;

	if (e->a->job[e->device].number == e->number)
		job_done(e->a, e->device, e->status, e->reason);
}

static void finish_in(struct sim_agent *a, unsigned i, uint64_t delay, int status, enum ls_reason reason)
{
	struct job_event *e = sim_alloc(sizeof(*e));

	*e = (struct job_event){ a, i, a->job[i].number, status, reason };
	a->job[i].waiting = false;
	sim_at(a->w, delay, on_job_event, e);
}

// One arc of a walk is over; the next begins, or the job is done.
static void on_arc(struct world *w, void *arg)
{
	struct job_event *e = arg;
	struct sim_agent *a = e->a;
	struct sim_device *d = device_of(a, e->device);
	struct job *j = &a->job[e->device];
	enum ls_reason reason = j->kind == LS_JOB_LOAD ? LS_E_LOAD_FAILED : LS_E_ARC_FAILED;

	if (j->number != e->number)
		return;
	bool decided = a->durable == LS_WORD_COMMITTED || a->durable == LS_WORD_RETURNING;
	if (!decided && sim_chance(w, w->faults.arc_error_state)) {
		d->state = LS_STATE_ERROR;
		job_done(a, e->device, -EIO, reason);
		return;
	}
	if (!decided && sim_chance(w, w->faults.arc_errno)) {
		job_done(a, e->device, -EBUSY, reason);
		return;
	}
	int next = ls_fsm_next(d->flags, d->state, j->target);
	if (next < 0) {
		sim_violation(w, "%s: device %u was asked %s -> %s", w->host[a->side].name, e->device,
			      ls_state_name(d->state), ls_state_name(j->target));
		return;
	}
	if (d->session && !ls_state_saving((enum ls_state)next))
		d->session = false;
	if (ls_fsm_opens_session((enum ls_state)d->state, (enum ls_state)next))
		d->session = ls_state_saving((enum ls_state)next);
	if (j->kind == LS_JOB_LOAD && d->state == LS_STATE_RESUMING)
		sim_image_put(w, a->side, e->device, a->wire[e->device].image);
	d->state = next;
	if (next == (int)j->target) {
		job_done(a, e->device, 0, LS_E_NONE);
		return;
	}
	struct job_event *again = sim_alloc(sizeof(*again));
	*again = *e;
	sim_at(w, 100 * US + sim_random(w, 3 * MS), on_arc, again);
}

static void walk(struct sim_agent *a, unsigned i, enum ls_state target)
{
	struct world *w = a->w;
	struct job_event *e = sim_alloc(sizeof(*e));

	a->job[i].target = target;
	*e = (struct job_event){ .a = a, .device = i, .number = a->job[i].number };
	a->job[i].waiting = false;
	uint64_t slow = sim_chance(w, w->faults.arc_slow) ? sim_random(w, 300 * MS) : 0;
	if (device_of(a, i)->state == (int)target)
		finish_in(a, i, 10 * US, 0, LS_E_NONE), free(e);
	else
		sim_at(w, 100 * US + sim_random(w, 3 * MS) + slow, on_arc, e);
}

static void on_reset(struct world *w, void *arg)
{
	struct job_event *e = arg;

	if (e->a->job[e->device].number != e->number)
		return;
	sim_device_reset(w, e->a->side, e->device);
	job_done(e->a, e->device, 0, LS_E_NONE);
}

static void load_if_here(struct sim_agent *dest, unsigned i)
{
	struct job *j = &dest->job[i];

	if (j->busy && j->waiting && j->kind == LS_JOB_LOAD && dest->wire[i].complete)
		walk(dest, i, LS_STATE_STOP);
}

static void on_sent(struct world *w, void *arg)
{
	struct job_event *e = arg;
	struct sim_agent *dest = peer_of(e->a);
	struct wire *wire = &dest->wire[e->device];

	if (e->a->job[e->device].number != e->number)
		return;
	if (device_of(e->a, e->device)->state != LS_STATE_STOP_COPY || !wire->open) {
		job_done(e->a, e->device, -EPIPE, LS_E_STREAM_BROKEN);
		return;
	}
	sim_image_take(w, e->a->side, e->device, wire->image);
	wire->sum.length = sizeof(wire->image);
	memcpy(wire->sum.digest, wire->image, sizeof(wire->sum.digest));
	wire->sum.digest[15] ^= (uint8_t)wire->image[SIM_DEVICES];
	if (w->control == SIM_CONTROL_BEND_IMAGE)
		wire->image[SIM_DEVICES]++;
	wire->complete = true;
	job_done(e->a, e->device, 0, LS_E_NONE);
	load_if_here(dest, e->device);
}

static void break_stream(struct sim_agent *a, unsigned i)
{
	struct sim_agent *both[2] = { a, peer_of(a) };

	a->w->agent[1]->wire[i] = (struct wire){ 0 };
	for (unsigned k = 0; k < 2; k++) {
		struct job *j = &both[k]->job[i];
		bool stream = j->kind == LS_JOB_CONNECT || j->kind == LS_JOB_PRECOPY || j->kind == LS_JOB_SEND ||
			      j->kind == LS_JOB_LOAD;
		if (j->busy && j->waiting && stream)
			finish_in(both[k], i, 100 * US, k ? -EPIPE : -ECANCELED,
				  k ? LS_E_STREAM_BROKEN : LS_E_CANCELLED);
	}
}

static void start_job(struct sim_agent *a, unsigned i, enum ls_job_kind kind, enum ls_state target)
{
	struct world *w = a->w;
	struct job *j = &a->job[i];
	struct sim_agent *other = peer_of(a);
	struct job_event *e;

	if (j->busy)
		sim_violation(w, "%s: two jobs for device %u", w->host[a->side].name, i);
	*j = (struct job){ .busy = true, .waiting = true, .kind = kind, .from = device_of(a, i)->state,
			   .begin_ns = w->now, .number = ++a->numbers };
	bool on_stream = kind == LS_JOB_CONNECT || kind == LS_JOB_ACCEPT || kind == LS_JOB_PRECOPY ||
			 kind == LS_JOB_SEND || kind == LS_JOB_LOAD;
	if (on_stream && sim_chance(w, w->faults.stream)) {
		break_stream(a, i);
		finish_in(a, i, sim_latency(w), -EPIPE, LS_E_STREAM_BROKEN);
		return;
	}
	switch (kind) {
	case LS_JOB_ARC:
		walk(a, i, target);
		return;
	case LS_JOB_RESET:
	case LS_JOB_SEND:
		e = sim_alloc(sizeof(*e));
		*e = (struct job_event){ .a = a, .device = i, .number = j->number };
		sim_at(w, 100 * US + sim_random(w, 5 * MS), kind == LS_JOB_SEND ? on_sent : on_reset, e);
		return;
	case LS_JOB_CONNECT:
		if (!other->role || ls_role_unwinding(other->role)) {
			finish_in(a, i, sim_latency(w), -ECONNREFUSED, LS_E_UNAVAILABLE);
			return;
		}
		feed(other, (struct ls_role_event){ .kind = LS_EV_STREAM, .device = i });
		return;
	case LS_JOB_ACCEPT:
		a->wire[i] = (struct wire){ .open = true };
		finish_in(a, i, 50 * US, 0, LS_E_NONE);
		if (other->job[i].busy && other->job[i].kind == LS_JOB_CONNECT)
			finish_in(other, i, sim_latency(w), 0, LS_E_NONE);
		return;
	case LS_JOB_PRECOPY:
		finish_in(a, i, sim_random(w, 30 * MS), 0, LS_E_NONE);
		return;
	case LS_JOB_LOAD:
		load_if_here(a, i);
		return;
	default:
		finish_in(a, i, 50 * US, 0, LS_E_NONE);
		return;
	}
}

// ---- the VMM

struct vmm_event {
	struct sim_agent *a;
	enum ls_vmm_op op;
	bool fails;
};

static void on_vmm(struct world *w, void *arg)
{
	struct vmm_event *e = arg;
	struct sim_host *h = &w->host[e->a->side];
	struct ls_error err;

	ls_fail(&err, LS_E_VMM_FAILED, EIO, "simulated");
	if (!e->fails)
		switch (e->op) {
		case LS_VMM_PAUSE:
			h->vm = SIM_VM_PAUSED;
			break;
		case LS_VMM_RESUME:
			sim_vm_resume(w, e->a->side);
			break;
		case LS_VMM_GONE:
		case LS_VMM_DISCARD:
			h->vm = SIM_VM_NONE;
			break;
		default:
			break;
		}
	feed(e->a, (struct ls_role_event){ .kind = LS_EV_VMM_DONE, .op = e->op, .error = e->fails ? &err : NULL });
}

static void start_vmm(struct sim_agent *a, enum ls_vmm_op op)
{
	struct vmm_event *e = sim_alloc(sizeof(*e));
	bool may_fail = op == LS_VMM_PAUSE || op == LS_VMM_FINAL || op == LS_VMM_READY;

	*e = (struct vmm_event){ a, op, may_fail && sim_chance(a->w, a->w->faults.vmm) };
	sim_at(a->w, 100 * US + sim_random(a->w, 4 * MS), on_vmm, e);
}

// ---- the disk

struct disk_event {
	struct sim_agent *a;
	enum ls_word word;
	int status;
};

static void on_disk(struct world *w, void *arg)
{
	struct disk_event *e = arg;

	sim_trace(w, "%s: %s %s", w->host[e->a->side].name, ls_word_name(e->word), e->status ? "cannot be written" : "");
	if (!e->status && !(w->control == SIM_CONTROL_START_EARLY && e->word == LS_WORD_COMMITTED))
		e->a->durable = e->word;
	feed(e->a, (struct ls_role_event){ .kind = LS_EV_PERSISTED, .word = e->word, .status = e->status });
}

static void start_persist(struct sim_agent *a, enum ls_word word)
{
	struct disk_event *e = sim_alloc(sizeof(*e));

	if (!ls_word_may_follow(a->durable, word))
		sim_violation(a->w, "%s: %s after %s", a->w->host[a->side].name, ls_word_name(word),
			      ls_word_name(a->durable));
	*e = (struct disk_event){ a, word, sim_chance(a->w, a->w->faults.persist) ? -EIO : 0 };
	sim_at(a->w, 200 * US + sim_random(a->w, 5 * MS), on_disk, e);
}

// ---- the agents' connection

static void lose_link(struct world *w)
{
	struct sim_agent *s = w->agent[0], *d = w->agent[1];

	if (!s->linked)
		return;
	s->linked = d->linked = false;
	s->link++;
	sim_trace(w, "the agents lose each other");
	for (unsigned i = 0; i < w->n; i++)
		break_stream(s, i);
	if (w->control == SIM_CONTROL_RETURN_ANYWAY && s->durable == LS_WORD_CONSENTED) {
		struct ls_role_msg lie = { .kind = LS_MSG_WORD, .word = LS_WORD_ABORTED };
		strcpy(lie.ledger_id, "destination-ledger");
		feed(s, (struct ls_role_event){ .kind = LS_EV_PEER, .msg = &lie });
	}
	feed(s, (struct ls_role_event){ .kind = LS_EV_PEER_LOST });
	feed(d, (struct ls_role_event){ .kind = LS_EV_PEER_LOST });
}

static void on_hung_up(struct world *w, void *arg)
{
	lose_link(w);
}

static void on_dialled(struct world *w, void *arg)
{
	struct sim_agent *s = w->agent[0], *d = w->agent[1];
	struct ls_error err;

	if (!d->role || sim_chance(w, w->faults.cut)) {
		ls_fail(&err, LS_E_UNAVAILABLE, ECONNREFUSED, "simulated");
		feed(s, (struct ls_role_event){ .kind = LS_EV_PEER_LOST, .error = &err });
		return;
	}
	s->linked = d->linked = true;
	s->link++;
	feed(d, (struct ls_role_event){ .kind = LS_EV_PEER_UP, .ledger_id = "source-ledger" });
	feed(s, (struct ls_role_event){ .kind = LS_EV_PEER_UP, .ledger_id = "destination-ledger" });
}

struct letter {
	struct sim_agent *to;
	uint64_t link;
	struct ls_role_msg msg;
};

static void on_letter(struct world *w, void *arg)
{
	struct letter *l = arg;

	if (!w->agent[0]->linked || w->agent[0]->link != l->link)
		return;
	if (sim_chance(w, w->faults.cut)) {
		lose_link(w);
		return;
	}
	feed(l->to, (struct ls_role_event){ .kind = LS_EV_PEER, .msg = &l->msg });
}

static void send_letter(struct sim_agent *a, const struct ls_role_action *act)
{
	static const char *const names[] = { "blobs", "may I?", "consent", "started", "abort", "what is your word?",
					     "my word" };
	struct letter *l = sim_alloc(sizeof(*l));

	l->to = peer_of(a);
	l->link = a->w->agent[0]->link;
	ls_role_fill(a->role, act, &l->msg);
	sim_trace(a->w, "%s: says %s", a->w->host[a->side].name, names[act->msg]);
	sim_at(a->w, 300 * US, on_letter, l); // one connection: order is kept
}

// ---- the role

static void on_timer(struct world *w, void *arg)
{
	struct { struct sim_agent *a; uint64_t timer; } *e = arg;

	if (e->a->timer == e->timer)
		feed(e->a, (struct ls_role_event){ .kind = LS_EV_TIMER });
}

static void set_timer(struct sim_agent *a)
{
	uint64_t at = ls_role_deadline(a->role);
	struct { struct sim_agent *a; uint64_t timer; } *e;

	a->timer++;
	if (at == LS_NO_DEADLINE)
		return;
	e = sim_alloc(sizeof(*e));
	e->a = a;
	e->timer = a->timer;
	sim_at(a->w, at > a->w->now ? at - a->w->now : 0, on_timer, e);
}

static void carry_out(struct sim_agent *a, const struct ls_role_action *act)
{
	switch (act->kind) {
	case LS_ACT_PERSIST:
		start_persist(a, act->word);
		break;
	case LS_ACT_JOB:
		start_job(a, (unsigned)act->device, act->job, act->target);
		break;
	case LS_ACT_INTERRUPT:
		break_stream(a, (unsigned)act->device);
		break;
	case LS_ACT_VMM:
		start_vmm(a, act->op);
		break;
	case LS_ACT_PEER_CONNECT:
		sim_at(a->w, sim_latency(a->w), on_dialled, NULL);
		break;
	case LS_ACT_PEER_CLOSE:
		sim_at(a->w, 100 * US, on_hung_up, NULL);
		break;
	case LS_ACT_PEER_SEND:
		if (a->linked)
			send_letter(a, act);
		break;
	default:
		if (act->kind == LS_ACT_EMIT_STEP && act->device < 0 && !act->end_ns) {
			char text[80];
			sim_trace(a->w, "%s: %s%s", a->w->host[a->side].name, act->unwind ? "unwind: " : "",
				  ls_step_text(ls_role_schedule(a->role), act->step, a->side, text, sizeof(text)));
		}
		if (act->kind == LS_ACT_END)
			sim_trace(a->w, "%s: ends (%d)", a->w->host[a->side].name, act->how);
		sim_report_add(&a->report, a->role, a->w->host[a->side].name, act, a->w->now);
		if (a->w->coordinator)
			sim_coordinator_news(a->w->coordinator, a->side);
		break;
	}
}

static void feed(struct sim_agent *a, struct ls_role_event e)
{
	struct ls_role_actions *todo;

	if (!a->role)
		return;
	e.time_ns = a->w->now;
	// Copied: carrying out an action may feed the other role, never this one at once.
	todo = sim_alloc(sizeof(*todo));
	*todo = *ls_role_event(a->role, &e);
	for (unsigned i = 0; i < todo->n; i++)
		carry_out(a, &todo->at[i]);
	free(todo);
	set_timer(a);
}

// ---- what the coordinator asks for

static void on_begun(struct world *w, void *arg)
{
	struct disk_event *e = arg;

	if (e->status) {
		sim_trace(w, "%s: cannot write its first word", w->host[e->a->side].name);
		return;
	}
	e->a->durable = e->word;
	feed(e->a, (struct ls_role_event){ .kind = LS_EV_BEGIN, .word = e->word });
}

int sim_agent_prepare(struct sim_agent *a, const struct ls_schedule *s)
{
	struct ls_role_params p = { .side = a->side ? LS_SIDE_DEST : LS_SIDE_SOURCE, .migration = "m1", .vm = "vm1",
				    .stuck_ns = 2 * S, .retry_ns = 100 * MS, .peer_ns = 5 * S };
	struct disk_event *e;

	if (a->role)
		return 0;
	if (a->durable == LS_WORD_ABORTED)
		return -EPERM; // settled before it was heard of
	strcpy(p.host, a->side ? "destination" : "source");
	strcpy(p.peer_host, a->side ? "source" : "destination");
	strcpy(p.ledger_id, a->side ? "destination-ledger" : "source-ledger");
	strcpy(p.peer_ledger_id, a->side ? "" : "destination-ledger");
	p.schedule = *s;
	p.deadline_ns = a->w->deadline_ms * MS;
	p.skip_quiesce = a->w->control == SIM_CONTROL_SKIP_QUIESCE;
	for (unsigned i = 0; i < a->w->n; i++)
		p.state[i] = device_of(a, i)->state;
	a->role = ls_role_new(&p);
	if (!a->role)
		abort();
	e = sim_alloc(sizeof(*e));
	*e = (struct disk_event){ .a = a, .word = a->side ? LS_WORD_UNDECIDED : LS_WORD_ACTIVE };
	// The answer goes out after the first word is durable, so this is done at once.
	on_begun(a->w, e);
	free(e);
	return 0;
}

int sim_agent_grant(struct sim_agent *a, uint32_t gates)
{
	feed(a, (struct ls_role_event){ .kind = LS_EV_GRANT, .gates = gates });
	return a->role ? 0 : -ENOENT;
}

int sim_agent_unwind(struct sim_agent *a)
{
	struct ls_error err;

	ls_fail(&err, LS_E_CANCELLED, 0, "the client changed its mind");
	if (!a->role)
		return -ENOENT;
	feed(a, (struct ls_role_event){ .kind = LS_EV_UNWIND, .error = &err });
	return ls_role_unwinding(a->role) ? 0 : -EPERM;
}

int sim_agent_settle(struct sim_agent *a)
{
	struct ls_error err;

	ls_fail(&err, LS_E_PEER_ABORTED, 0, "settled by the coordinator");
	if (!a->role) {
		a->durable = LS_WORD_ABORTED;
		return 0;
	}
	feed(a, (struct ls_role_event){ .kind = LS_EV_SETTLE, .error = &err });
	return 0;
}
