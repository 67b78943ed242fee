// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "kmod/model/lsm.h"
#include "tests/sim/agent.h"
#include "tests/sim/world.h"

// At most one device without P2P, as every plan that passes has it.
void sim_hardware_init(struct world *w)
{
	static const unsigned with_p2p[] = { 3, 7 }, without[] = { 1, 5 };
	unsigned odd, drawn;

	drawn = 1 + (unsigned)sim_random(w, SIM_DEVICES);
	w->n = w->faults.leave_out && w->faults.leave_out->devices ? w->faults.leave_out->devices : drawn;
	odd = sim_random(w, 2) ? (unsigned)sim_random(w, w->n) : UINT32_MAX;
	for (unsigned i = 0; i < w->n; i++) {
		unsigned flags = i == odd ? without[sim_random(w, 2)] : with_p2p[sim_random(w, 2)];
		w->reaches[i] =
			sim_random(w, 4) ? ((1u << w->n) - 1) & ~(1u << i) : (uint32_t)sim_random(w, 1u << w->n);
		for (unsigned h = 0; h < SIM_HOSTS; h++)
			w->host[h].dev[i] = (struct sim_device){ .flags = flags, .state = LS_STATE_RUNNING, .live = !h,
							       .initiator = true, .responder = true };
	}
	for (unsigned h = 0; h < SIM_HOSTS; h++)
		w->host[h].vm = h ? SIM_VM_INCOMING : SIM_VM_RUNNING;
}

static void write_to(struct world *w, struct sim_host *h, unsigned from, unsigned to)
{
	struct sim_device *a = &h->dev[from], *b = &h->dev[to];

	a->sent[to]++;
	w->truth_sent[from][to]++;
	w->truth_got[to][from]++;
	w->writes++;
	if (!b->responder) {
		if (b->state != LS_STATE_ERROR) // what a device in ERROR loses, nobody can keep (docs/kernel-contract.md)
			sim_violation(w, "peer-write", "%s: device %u in %s loses a write of device %u in %s", h->name,
				      to, ls_state_name(b->state), from, ls_state_name(a->state));
		w->truth_got[to][from]--;
		return;
	}
	b->got[from]++;
}

// True if something of the VM moves there.
static bool busy(struct world *w, unsigned host)
{
	struct sim_host *h = &w->host[host];
	bool moves = h->vm == SIM_VM_RUNNING;

	if (!sim_runs(w, SIM_HOST + host))
		return false;
	for (unsigned i = 0; i < w->n; i++) {
		const struct sim_device *d = &h->dev[i];
		if (!d->live || !d->initiator)
			continue;
		moves = true;
		w->ran_away |= host != 0;
		if (!sim_agent_may_run(w->agent[host]))
			sim_violation(w, "committed-first", "%s: device %u runs before COMMITTED is durable", h->name,
				      i);
		for (unsigned k = 0; k < w->n; k++)
			if (k != i && w->reaches[i] & 1u << k)
				write_to(w, h, i, k);
	}
	return moves;
}

void sim_traffic(struct world *w)
{
	unsigned places = 0;

	for (unsigned h = 0; h < SIM_HOSTS; h++)
		places += busy(w, h);
	w->split |= sim_promise_split(w);
	if (places > 1 && !w->split)
		sim_violation(w, "one-host", "the VM runs on two hosts");
}

void sim_vm_resume(struct world *w, unsigned host)
{
	struct sim_host *h = &w->host[host];

	h->vm = SIM_VM_RUNNING;
	sim_trace(w, "%s: the VM runs", h->name);
	for (unsigned i = 0; i < w->n && w->older && !host; i++) {
		memcpy(w->truth_sent[i], h->dev[i].sent, sizeof(w->truth_sent[i]));
		memcpy(w->truth_got[i], h->dev[i].got, sizeof(w->truth_got[i]));
	}
	for (unsigned i = 0; i < w->n; i++) {
		const struct sim_device *d = &h->dev[i];
		if (d->state != LS_STATE_RUNNING)
			sim_violation(w, "all-running", "%s: resumed with device %u in %s", h->name, i,
				      ls_state_name(d->state));
		if (!d->live)
			continue; // was reset because it failed: its loss is reported, not hidden
		for (unsigned k = 0; k < w->n; k++)
			if ((d->sent[k] != w->truth_sent[i][k] || d->got[k] != w->truth_got[i][k]) && !w->split)
				sim_violation(w, "right-image", "%s: device %u runs with another state than it had",
					      h->name, i);
	}
	for (unsigned i = 0; i < w->n; i++)
		if (!h->dev[i].live) { // starts anew with the guest's driver
			h->dev[i].live = true;
			memcpy(h->dev[i].sent, w->truth_sent[i], sizeof(h->dev[i].sent));
			memcpy(h->dev[i].got, w->truth_got[i], sizeof(h->dev[i].got));
		}
	if (sim_agent_released(w->agent[host]))
		sim_violation(w, "released", "%s: resumed after RELEASED", h->name);
}

void sim_image_take(const struct world *w, unsigned host, unsigned device, uint64_t image[SIM_IMAGE])
{
	const struct sim_device *d = &w->host[host].dev[device];

	memcpy(image, d->sent, sizeof(d->sent));
	memcpy(image + SIM_DEVICES, d->got, sizeof(d->got));
	image[SIM_IMAGE - 1] = d->live;
}

void sim_image_put(struct world *w, unsigned host, unsigned device, const uint64_t image[SIM_IMAGE])
{
	struct sim_device *d = &w->host[host].dev[device];

	memcpy(d->sent, image, sizeof(d->sent));
	memcpy(d->got, image + SIM_DEVICES, sizeof(d->got));
	d->live = image[SIM_IMAGE - 1];
}

void sim_device_reset(struct world *w, unsigned host, unsigned device)
{
	struct sim_device *d = &w->host[host].dev[device];

	d->state = LS_STATE_RUNNING;
	d->live = d->session = false;
	d->initiator = d->responder = true;
	memset(d->sent, 0, sizeof(d->sent));
	memset(d->got, 0, sizeof(d->got));
}

// A call in the kernel has it open, too.
void sim_device_left(struct world *w, unsigned host, unsigned device)
{
	if (!w->agent[host]->stored && w->host[host].vm == SIM_VM_NONE && !w->host[host].dev[device].op.busy)
		sim_device_reset(w, host, device);
}

// The guest's own driver begins anew: what was sent in pre-copy is void (K5), what it held so far is of no account.
void sim_guest_resets(struct world *w, unsigned host, unsigned device)
{
	struct sim_device *d = &w->host[host].dev[device];

	sim_trace(w, "%s: the guest resets device %u", w->host[host].name, device);
	d->state = LS_STATE_RUNNING;
	d->session = false;
	d->initiator = d->responder = true;
}

// One arc as the model of our device carries it out (kmod/model). False: it has no such arc.
bool sim_device_arc(struct world *w, unsigned host, unsigned device, enum ls_state next)
{
	struct sim_device *d = &w->host[host].dev[device];
	uint32_t acts = lsm_arc_actions(d->flags, (uint32_t)d->state, next);

	if (!acts || lsm_fsm_next(d->flags, (uint32_t)d->state, next) != (int)next)
		return false;
	if (acts & LSM_DO_SUSPEND_INITIATOR)
		d->initiator = false;
	if (acts & LSM_DO_SUSPEND_RESPONDER)
		d->responder = false;
	if (acts & LSM_DO_SAVE_END)
		d->session = false;
	if (acts & (LSM_DO_SAVE_BEGIN | LSM_DO_PRECOPY_BEGIN))
		d->session = true;
	if (acts & LSM_DO_RESUME_RESPONDER)
		d->responder = true;
	if (acts & LSM_DO_RESUME_INITIATOR)
		d->initiator = true;
	d->state = (int)next;
	return true;
}

void sim_device_fails(struct world *w, unsigned host, unsigned device)
{
	struct sim_device *d = &w->host[host].dev[device];

	d->state = LS_STATE_ERROR;
	d->initiator = d->responder = false;
}

// Is the VM lost for good if this host loses what it has of it? Until D's COMMITTED the source's copy is the VM, and as
// long as D has not started, it may be had back.
void sim_vm_dies(struct world *w, unsigned host)
{
	struct sim_host *h = &w->host[host];

	if (h->vm == SIM_VM_RUNNING || (host == 0 && h->vm == SIM_VM_PAUSED && !sim_agent_decided(w))) {
		w->vm_dead = true;
		sim_trace(w, "%s: the VM there is dead", h->name);
	} else if (h->vm == SIM_VM_PAUSED || sim_agent_started(w->agent[host])) {
		w->copy_dead = true;
	}
	h->vm = SIM_VM_NONE;
}
