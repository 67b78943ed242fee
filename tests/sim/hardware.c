// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

#include <string.h>

// At most one device without P2P, as every plan that passes has it.
void sim_hardware_init(struct world *w)
{
	static const unsigned with_p2p[] = { 3, 7 }, without[] = { 1, 5 };
	unsigned odd;

	w->n = 1 + (unsigned)sim_random(w, SIM_DEVICES);
	odd = sim_random(w, 2) ? (unsigned)sim_random(w, w->n) : UINT32_MAX;
	for (unsigned i = 0; i < w->n; i++) {
		unsigned flags = i == odd ? without[sim_random(w, 2)] : with_p2p[sim_random(w, 2)];
		w->reaches[i] = sim_random(w, 4) ? ((1u << w->n) - 1) & ~(1u << i) : (uint32_t)sim_random(w, 1u << w->n);
		for (unsigned h = 0; h < 2; h++)
			w->host[h].dev[i] = (struct sim_device){ .flags = flags, .state = LS_STATE_RUNNING, .live = !h };
	}
	w->host[0].vm = SIM_VM_RUNNING;
	w->host[1].vm = SIM_VM_INCOMING;
}

static void write_to(struct world *w, struct sim_host *h, unsigned from, unsigned to)
{
	struct sim_device *a = &h->dev[from], *b = &h->dev[to];

	a->sent[to]++;
	w->truth_sent[from][to]++;
	w->truth_got[to][from]++;
	w->writes++;
	if (ls_state_deaf((enum ls_state)b->state)) {
		if (b->state != LS_STATE_ERROR) // what a device in ERROR loses, nobody can keep (docs/kernel-contract.md)
			sim_violation(w, "%s: device %u in %s loses a write of device %u in %s", h->name, to,
				      ls_state_name(b->state), from, ls_state_name(a->state));
		w->truth_got[to][from]--;
		return;
	}
	b->got[from]++;
}

void sim_traffic(struct world *w)
{
	if (w->host[0].vm == SIM_VM_RUNNING && w->host[1].vm == SIM_VM_RUNNING)
		sim_violation(w, "the VM runs on both hosts");
	for (unsigned h = 0; h < 2; h++) {
		for (unsigned i = 0; i < w->n; i++) {
			struct sim_device *d = &w->host[h].dev[i];
			if (!d->live || !ls_state_initiates((enum ls_state)d->state))
				continue;
			if (h == 1 && sim_agent_word(w->agent[1]) != LS_WORD_COMMITTED &&
			    sim_agent_word(w->agent[1]) != LS_WORD_STARTED)
				sim_violation(w, "destination: device %u runs before COMMITTED is durable", i);
			for (unsigned k = 0; k < w->n; k++)
				if (k != i && w->reaches[i] & 1u << k)
					write_to(w, &w->host[h], i, k);
		}
	}
}

void sim_vm_resume(struct world *w, unsigned host)
{
	struct sim_host *h = &w->host[host];

	h->vm = SIM_VM_RUNNING;
	sim_trace(w, "%s: the VM runs", h->name);
	for (unsigned i = 0; i < w->n; i++) {
		const struct sim_device *d = &h->dev[i];
		if (d->state != LS_STATE_RUNNING)
			sim_violation(w, "%s: resumed with device %u in %s", h->name, i, ls_state_name(d->state));
		if (!d->live)
			continue; // was reset because it failed: its loss is reported, not hidden
		for (unsigned k = 0; k < w->n; k++)
			if (d->sent[k] != w->truth_sent[i][k] || d->got[k] != w->truth_got[i][k])
				sim_violation(w, "%s: device %u runs with another state than it had", h->name, i);
	}
	for (unsigned i = 0; i < w->n; i++)
		if (!h->dev[i].live) { // starts anew with the guest's driver
			h->dev[i].live = true;
			for (unsigned k = 0; k < w->n; k++) {
				h->dev[i].sent[k] = w->truth_sent[i][k];
				h->dev[i].got[k] = w->truth_got[i][k];
			}
		}
	if (sim_agent_word(w->agent[0]) == LS_WORD_RELEASED && host == 0)
		sim_violation(w, "source: resumed after RELEASED");
}

void sim_image_take(const struct world *w, unsigned host, unsigned device, uint64_t image[2 * SIM_DEVICES])
{
	const struct sim_device *d = &w->host[host].dev[device];

	memcpy(image, d->sent, sizeof(d->sent));
	memcpy(image + SIM_DEVICES, d->got, sizeof(d->got));
}

void sim_image_put(struct world *w, unsigned host, unsigned device, const uint64_t image[2 * SIM_DEVICES])
{
	struct sim_device *d = &w->host[host].dev[device];

	memcpy(d->sent, image, sizeof(d->sent));
	memcpy(d->got, image + SIM_DEVICES, sizeof(d->got));
	d->live = true; // it holds what its VM had begun
}

void sim_device_reset(struct world *w, unsigned host, unsigned device)
{
	struct sim_device *d = &w->host[host].dev[device];

	d->state = LS_STATE_RUNNING;
	d->live = d->session = false;
	memset(d->sent, 0, sizeof(d->sent));
	memset(d->got, 0, sizeof(d->got));
}
