// SPDX-License-Identifier: Apache-2.0
// Devices and their streams. What is inside the kernel goes on when the agent dies or freezes.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/control.h"
#include "proto/wire/digest.h"
#include "tests/sim/agent.h"

struct job_event {
	unsigned host, migration, device;
	uint64_t number;
	int status;
	enum ls_reason reason;
};

static struct sim_device *device_of(const struct sim_mig *m, unsigned i)
{
	return &m->a->w->host[m->a->host].dev[i];
}

// The job that an event is about, if it is still the same one.
static struct sim_mig *current(struct world *w, const struct job_event *e)
{
	struct sim_mig *m = w->agent[e->host]->mig[e->migration];

	return m && m->job[e->device].busy && m->job[e->device].number == e->number ? m : NULL;
}

static struct job_event *event_of(const struct sim_mig *m, unsigned i, int status, enum ls_reason reason)
{
	struct job_event *e = sim_alloc(sizeof(*e));

	*e = (struct job_event){ m->a->host, m->request.migration, i, m->job[i].number, status, reason };
	return e;
}

static struct sim_wire *wire_of(struct sim_mig *m, unsigned i)
{
	struct sim_mig *dest = m->request.side == LS_SIDE_DEST ? m : sim_peer(m);

	return dest ? &dest->wire[i] : NULL;
}

static void on_done(struct world *w, void *arg)
{
	struct job_event *e = arg;
	struct sim_mig *m = current(w, e);
	unsigned i = e->device;

	if (!m)
		return;
	struct sim_job *j = &m->job[i];
	struct ls_job_result r = { .kind = j->kind, .status = e->status, .from_state = j->from,
				   .state = device_of(m, i)->state, .begin_ns = j->begin_ns, .end_ns = w->now };
	if (e->status < 0) {
		ls_fail(&r.error, e->reason, -e->status, "simulated");
		ls_error_at(&r.error, ls_role_device_name(m->role, i), NULL);
	} else if (j->kind == LS_JOB_SEND || j->kind == LS_JOB_LOAD) {
		const struct ls_image *sum = j->kind == LS_JOB_SEND ? &m->sent[i] : &m->wire[i].sum;
		r.length = sum->length;
		memcpy(r.digest, sum->digest, sizeof(r.digest));
	} else if (j->kind == LS_JOB_ADOPT) {
		r.caps.flags = device_of(m, i)->flags;
	}
	m->a->stored |= 1u << i;
	if (j->kind == LS_JOB_CLOSE)
		m->a->stored &= ~(1u << i);
	j->busy = j->waiting = false;
	sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_JOB_DONE, .device = i, .job = &r });
}

static void finish_in(struct sim_mig *m, unsigned i, uint64_t delay, int status, enum ls_reason reason)
{
	m->job[i].waiting = false;
	sim_at(m->a->w, SIM_AGENT + m->a->host, delay, on_done, event_of(m, i, status, reason));
}

// ---- inside the kernel

struct kernel_event {
	struct job_event job;
	uint64_t op;
	enum ls_job_kind kind;
	bool loads;
	uint64_t image[SIM_IMAGE];
};

static void out_of_kernel(struct world *w, const struct kernel_event *k, int status)
{
	struct job_event *e = sim_alloc(sizeof(*e));

	w->host[k->job.host].dev[k->job.device].op = (struct sim_kernel_op){ 0 };
	if (!w->process[SIM_AGENT + k->job.host].up)
		sim_device_left(w, k->job.host, k->job.device);
	*e = k->job;
	e->status = status;
	e->reason = k->kind == LS_JOB_LOAD ? LS_E_LOAD_FAILED : LS_E_ARC_FAILED;
	sim_at(w, SIM_AGENT + e->host, 0, on_done, e);
}

static void on_arc(struct world *w, void *arg)
{
	struct kernel_event *k = arg, *again;
	struct sim_device *d = &w->host[k->job.host].dev[k->job.device];

	if (d->op.number != k->op)
		return;
	if (sim_fault(w, SIM_ARC_ERROR)) {
		sim_device_fails(w, k->job.host, k->job.device);
		out_of_kernel(w, k, -EIO);
		return;
	}
	if (sim_fault(w, SIM_ARC_ERRNO)) {
		out_of_kernel(w, k, -EBUSY);
		return;
	}
	int next = ls_fsm_next(d->flags, d->state, d->op.target);
	if (next < 0) {
		sim_violation(w, "arc", "%s: device %u was asked %s -> %s", w->host[k->job.host].name, k->job.device,
			      ls_state_name(d->state), ls_state_name(d->op.target));
		return;
	}
	bool loading = k->loads && d->state == LS_STATE_RESUMING;
	if (!sim_device_arc(w, k->job.host, k->job.device, (enum ls_state)next)) {
		sim_violation(w, "arc", "the model of the device has no arc %s -> %s", ls_state_name(d->state),
			      ls_state_name(next));
		return;
	}
	if (loading)
		sim_image_put(w, k->job.host, k->job.device, k->image);
	if (next == (int)d->op.target) {
		out_of_kernel(w, k, 0);
		return;
	}
	again = sim_alloc(sizeof(*again));
	*again = *k;
	sim_at(w, SIM_HOST + k->job.host, 100 * US + sim_random(w, 3 * MS), on_arc, again);
}

static void on_reset(struct world *w, void *arg)
{
	struct kernel_event *k = arg;

	if (w->host[k->job.host].dev[k->job.device].op.number != k->op)
		return;
	sim_device_reset(w, k->job.host, k->job.device);
	out_of_kernel(w, k, 0);
}

static void into_kernel(struct sim_mig *m, unsigned i, enum ls_state target, sim_fn *fn)
{
	struct world *w = m->a->w;
	struct sim_device *d = device_of(m, i);
	struct kernel_event *k = sim_alloc(sizeof(*k));
	uint64_t slow = 0;

	m->job[i].waiting = false;
	if (sim_fault(w, SIM_ARC_SLOW))
		slow = sim_random(w, 300 * MS);
	else if (fn == on_arc && sim_fault(w, SIM_ARC_STUCK))
		slow = 3 * S + sim_random(w, 20 * S);
	d->op = (struct sim_kernel_op){
		.busy = true, .number = ++w->numbers, .kind = m->job[i].kind, .target = target
	};
	*k = (struct kernel_event){ .job = { m->a->host, m->request.migration, i, m->job[i].number, 0, LS_E_NONE },
				    .op = d->op.number, .kind = m->job[i].kind };
	if (m->job[i].kind == LS_JOB_LOAD) {
		k->loads = true;
		memcpy(k->image, m->wire[i].image, sizeof(k->image));
		if (ls_control("bend-image")) // behind every digest
			k->image[SIM_DEVICES]++;
	}
	sim_at(w, SIM_HOST + m->a->host, 100 * US + sim_random(w, 3 * MS) + slow, fn, k);
}

static void walk(struct sim_mig *m, unsigned i, enum ls_state target)
{
	if (device_of(m, i)->state == (int)target)
		finish_in(m, i, 10 * US, 0, LS_E_NONE);
	else
		into_kernel(m, i, target, on_arc);
}

// GET waits for the driver's lock, which a dead process's call may still hold.
static void on_adopt(struct world *w, void *arg)
{
	struct job_event *e = arg, *again;
	struct sim_mig *m = current(w, e);

	if (!m)
		return;
	if (!device_of(m, e->device)->op.busy) {
		m->job[e->device].from = device_of(m, e->device)->state;
		finish_in(m, e->device, 50 * US, 0, LS_E_NONE);
		return;
	}
	again = sim_alloc(sizeof(*again));
	*again = *e;
	sim_at(w, SIM_AGENT + e->host, 20 * MS, on_adopt, again);
}

// ---- streams

static void load_if_here(struct sim_mig *m, unsigned i)
{
	struct sim_job *j = &m->job[i];

	if (j->busy && j->waiting && j->kind == LS_JOB_LOAD && m->wire[i].complete)
		walk(m, i, LS_STATE_STOP);
}

static void on_arrived(struct world *w, void *arg)
{
	struct job_event *e = arg;

	if (w->agent[e->host]->mig[e->migration])
		load_if_here(w->agent[e->host]->mig[e->migration], e->device);
}

static struct ls_image sum_of(const uint64_t image[SIM_IMAGE])
{
	struct ls_image sum = { .length = SIM_IMAGE * sizeof(image[0]) };

	ls_digest_of(image, SIM_IMAGE * sizeof(image[0]), sum.digest);
	return sum;
}

static void on_sent(struct world *w, void *arg)
{
	struct job_event *e = arg;
	struct sim_mig *m = current(w, e), *dest = m ? sim_peer(m) : NULL;

	if (!m)
		return;
	if (device_of(m, e->device)->state != LS_STATE_STOP_COPY || !dest || !dest->wire[e->device].open ||
	    !sim_reaches(w, SIM_HOST + m->a->host, SIM_HOST + dest->a->host)) {
		finish_in(m, e->device, 0, -EPIPE, LS_E_STREAM_BROKEN);
		return;
	}
	if (!device_of(m, e->device)->session)
		sim_violation(w, "arc", "%s: device %u is read without a session", w->host[m->a->host].name, e->device);
	struct sim_wire *wire = &dest->wire[e->device];
	sim_image_take(w, m->a->host, e->device, wire->image);
	m->sent[e->device] = sum_of(wire->image);
	if (sim_fault(w, SIM_BENT))
		wire->image[sim_random(w, SIM_IMAGE - 1)]++;
	wire->sum = sum_of(wire->image); // the destination's own, of what it got
	wire->complete = true;
	finish_in(m, e->device, 0, 0, LS_E_NONE);
	sim_at(w, SIM_AGENT + dest->a->host, 0, on_arrived, event_of(dest, e->device, 0, LS_E_NONE));
}

static bool on_stream(enum ls_job_kind kind)
{
	return kind == LS_JOB_CONNECT || kind == LS_JOB_ACCEPT || kind == LS_JOB_PRECOPY || kind == LS_JOB_SEND ||
	       kind == LS_JOB_LOAD;
}

static void end_waiting(struct sim_mig *m, unsigned i, uint64_t delay, int status, enum ls_reason reason)
{
	if (m->job[i].busy && m->job[i].waiting && on_stream(m->job[i].kind))
		finish_in(m, i, delay, status, reason);
}

static void break_stream(struct sim_mig *m, unsigned i)
{
	struct sim_mig *other = sim_peer(m);
	struct sim_wire *wire = wire_of(m, i);

	if (wire)
		*wire = (struct sim_wire){ 0 };
	if (other)
		end_waiting(other, i, sim_latency(m->a->w), -EPIPE, LS_E_STREAM_BROKEN);
}

void sim_job_interrupt(struct sim_mig *m, unsigned i)
{
	m->job[i].interrupted = true;
	break_stream(m, i);
	end_waiting(m, i, 100 * US, -ECANCELED, LS_E_CANCELLED);
}

void sim_jobs_lose_streams(struct world *w, unsigned host)
{
	for (unsigned k = 0; k < SIM_MIGRATIONS; k++)
		for (unsigned i = 0; w->agent[host]->mig[k] && i < w->n; i++)
			break_stream(w->agent[host]->mig[k], i);
}

// The source's hello has arrived at the destination's agent.
static void on_connect(struct world *w, void *arg)
{
	struct job_event *e = arg;
	struct sim_mig *m = current(w, e), *dest = m ? sim_peer(m) : NULL;

	if (!m)
		return;
	if (!dest || ls_role_unwinding(dest->role) || ls_role_ended(dest->role) || dest->streamed[e->device] ||
	    !sim_reaches(w, SIM_HOST + m->a->host, SIM_HOST + dest->a->host)) {
		finish_in(m, e->device, sim_latency(w), -ECONNREFUSED, LS_E_UNAVAILABLE);
		return;
	}
	dest->streamed[e->device] = true;
	sim_agent_feed(dest, (struct ls_role_event){ .kind = LS_EV_STREAM, .device = e->device });
}

static void accepted(struct sim_mig *m, unsigned i)
{
	struct sim_mig *source = sim_peer(m);

	m->wire[i] = (struct sim_wire){ .open = true };
	finish_in(m, i, 50 * US, 0, LS_E_NONE);
	if (source && source->job[i].busy && source->job[i].kind == LS_JOB_CONNECT)
		finish_in(source, i, sim_latency(m->a->w), 0, LS_E_NONE);
}

static void precopy(struct sim_mig *m, unsigned i)
{
	struct world *w = m->a->w;
	struct sim_device *d = device_of(m, i);

	// Seen by PRECOPY itself, which starts the device over, or by the next arc.
	if (w->host[m->a->host].vm == SIM_VM_RUNNING && d->state == LS_STATE_PRE_COPY &&
	    sim_fault(w, SIM_GUEST_RESET)) {
		sim_guest_resets(w, m->a->host, i);
		if (sim_random(w, 2)) {
			d->state = LS_STATE_PRE_COPY;
			d->session = true;
		}
	}
	finish_in(m, i, sim_random(w, 30 * MS), 0, LS_E_NONE);
}

static void carry_on(struct sim_mig *m, unsigned i);

void sim_job_start(struct sim_mig *m, unsigned i, enum ls_job_kind kind, enum ls_state target)
{
	struct world *w = m->a->w;
	struct sim_job *j = &m->job[i];

	if (j->busy)
		sim_violation(w, "one-job", "%s: two jobs for device %u", w->host[m->a->host].name, i);
	*j = (struct sim_job){ .busy = true, .waiting = true, .kind = kind, .target = target,
			       .from = device_of(m, i)->state, .begin_ns = w->now, .number = ++w->numbers };
	if (on_stream(kind) && sim_fault(w, SIM_STREAM)) {
		break_stream(m, i);
		finish_in(m, i, sim_latency(w), -EPIPE, LS_E_STREAM_BROKEN);
		return;
	}
	if (!sim_job_hangs(m, i, carry_on))
		carry_on(m, i);
}

static void carry_on(struct sim_mig *m, unsigned i)
{
	struct world *w = m->a->w;
	struct sim_job *j = &m->job[i];

	j->waiting = true;
	if (j->interrupted) {
		end_waiting(m, i, 10 * US, -ECANCELED, LS_E_CANCELLED);
		return;
	}
	switch (j->kind) {
	case LS_JOB_ADOPT:
		sim_at(w, SIM_AGENT + m->a->host, 50 * US, on_adopt, event_of(m, i, 0, LS_E_NONE));
		break;
	case LS_JOB_ARC:
		walk(m, i, j->target);
		break;
	case LS_JOB_RESET:
		into_kernel(m, i, LS_STATE_RUNNING, on_reset);
		break;
	case LS_JOB_CONNECT:
		if (m->request.side == LS_SIDE_SOURCE && sim_peer(m))
			sim_at(w, SIM_AGENT + m->request.peer, sim_latency(w), on_connect,
			       event_of(m, i, 0, LS_E_NONE));
		else
			finish_in(m, i, sim_latency(w), -ECONNREFUSED, LS_E_UNAVAILABLE);
		break;
	case LS_JOB_ACCEPT:
		accepted(m, i);
		break;
	case LS_JOB_PRECOPY:
		precopy(m, i);
		break;
	case LS_JOB_SEND:
		sim_job_rest(m);
		sim_at(w, SIM_AGENT + m->a->host, 100 * US + sim_random(w, 5 * MS), on_sent,
		       event_of(m, i, 0, LS_E_NONE));
		break;
	case LS_JOB_LOAD:
		load_if_here(m, i);
		break;
	default:
		finish_in(m, i, 50 * US, 0, LS_E_NONE);
		break;
	}
}
