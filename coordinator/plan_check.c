// SPDX-License-Identifier: Apache-2.0
// Checks of the whole migration: hosts, VM, VMMs, pairing, peer-to-peer.
#include "coordinator/plan_check.h"

#include <stdio.h>
#include <string.h>

static void check_host(const struct ls_plan_host *h, const char *side, Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {.id = "host.reachable", .result = ROW_FAIL};
	const Lockstep__V1__HelloResponse *hello = h->hello;

	if (!hello || !h->describe) {
		row.remedy = "start lockstep-agent there, or correct its address in the coordinator's configuration";
		ls_plan_add(out, row, "%s %s: %s", side, h->name,
			    h->error.message[0] ? h->error.message : "does not answer");
		return;
	}
	row.result = ROW_PASS;
	ls_plan_add(out, row, "%s %s: lockstep-agent %s, Linux %s", side, h->name,
		    hello->version[0] ? hello->version : "?", hello->kernel[0] ? hello->kernel : "?");

	row = (struct ls_plan_row){.id = "host.protocol", .result = ROW_PASS};
	if (hello->protocol_min > LS_PROTOCOL || hello->protocol_max < LS_PROTOCOL) {
		row.result = ROW_FAIL;
		row.remedy = "bring agent and coordinator within one release of each other";
	}
	ls_plan_add(out, row, "%s %s: protocol %u to %u, the coordinator speaks %u", side, h->name, hello->protocol_min,
		    hello->protocol_max, LS_PROTOCOL);
}

void ls_plan_check_hosts(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {.id = "vm.free", .result = ROW_PASS};

	check_host(&in->source, "source", out);
	check_host(&in->dest, "destination", out);

	if (in->busy_with) {
		row.result = ROW_FAIL;
		row.remedy = "wait for it, cancel it, or see its `status`";
		ls_plan_add(out, row, "migration %s of this VM is open", in->busy_with);
	} else {
		ls_plan_add(out, row, "no other migration of this VM is open");
	}

	if (strcmp(in->source.name, in->dest.name) == 0) {
		row = (struct ls_plan_row){
			.id = "host.distinct", .result = ROW_FAIL, .remedy = "name two different hosts"};
		ls_plan_add(out, row, "source and destination are both %s", in->source.name);
	} else if (in->source.hello && in->dest.hello && in->source.hello->ledger_id[0] &&
		   strcmp(in->source.hello->ledger_id, in->dest.hello->ledger_id) == 0) {
		row = (struct ls_plan_row){
			.id = "host.distinct",
			.result = ROW_FAIL,
			.remedy = "two hosts of the configuration lead to one agent: correct an address"};
		ls_plan_add(out, row, "%s and %s answer with the same ledger", in->source.name, in->dest.name);
	}
}

static const Lockstep__V1__VmmInfo *find_vmm(const struct ls_plan_host *h, const char *vm)
{
	for (size_t i = 0; i < h->describe->n_vmm; i++)
		if (strcmp(h->describe->vmm[i]->vm, vm) == 0)
			return h->describe->vmm[i];
	return NULL;
}

static void check_adapter(const struct ls_plan_host *h, const char *side, Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {
		.id = "vmm.adapter",
		.result = ROW_WARN,
		.remedy = "make sure that you pause and resume the VM yourself, or configure an adapter"};

	ls_plan_add(out, row, "%s %s: adapter none, nobody pauses the VM", side, h->name);
}

static void check_source_vmm(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out)
{
	const Lockstep__V1__VmmInfo *v = find_vmm(&in->source, in->spec->vm);
	struct ls_plan_row row = {.id = "vmm.source", .result = ROW_FAIL};

	if (v && strcmp(v->adapter, "none") == 0)
		return check_adapter(&in->source, "source", out);
	if (!v || !v->connected) {
		row.remedy = "start the VM's VMM with its lockstep socket, or configure an adapter for this VM";
		ls_plan_add(out, row, "no VMM of %s is connected at %s", in->spec->vm, in->source.name);
	} else if (v->incoming) {
		row.remedy = "exchange --from and --to: this VMM waits for a VM";
		ls_plan_add(out, row, "the VMM of %s at %s waits for a VM rather than runs one", in->spec->vm,
			    in->source.name);
	} else {
		row.result = ROW_PASS;
		ls_plan_add(out, row, "%s at %s, adapter %s", in->spec->vm, in->source.name, v->adapter);
	}
}

static void check_dest_vmm(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out)
{
	const Lockstep__V1__VmmInfo *v = find_vmm(&in->dest, in->spec->vm), *s;
	struct ls_plan_row row = {.id = "vmm.destination", .result = ROW_FAIL};

	if (v && strcmp(v->adapter, "none") == 0)
		return check_adapter(&in->dest, "destination", out);
	if (!v || !v->connected) {
		row.remedy = "start a VMM there that waits for this VM (incoming)";
		ls_plan_add(out, row, "no VMM waits for %s at %s", in->spec->vm, in->dest.name);
		return;
	}
	if (!v->incoming) {
		row.remedy = "stop it: the destination's VMM must wait for the VM, not run one";
		ls_plan_add(out, row, "a VMM runs %s at %s already", in->spec->vm, in->dest.name);
		return;
	}
	row.result = ROW_PASS;
	ls_plan_add(out, row, "%s is awaited at %s, adapter %s", in->spec->vm, in->dest.name, v->adapter);

	s = in->source.describe ? find_vmm(&in->source, in->spec->vm) : NULL;
	if (s && s->ram_bytes && v->ram_bytes && s->ram_bytes != v->ram_bytes) {
		row = (struct ls_plan_row){.id = "vmm.memory",
					   .result = ROW_FAIL,
					   .remedy = "start the destination's VMM with the source's memory size"};
		ls_plan_add(out, row, "%llu bytes of RAM at the source, %llu at the destination",
			    (unsigned long long)s->ram_bytes, (unsigned long long)v->ram_bytes);
	}
}

void ls_plan_check_vmms(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out)
{
	if (in->source.describe)
		check_source_vmm(in, out);
	if (in->dest.describe)
		check_dest_vmm(in, out);
}

static unsigned count(const struct ls_pairs *p, bool source)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->n; i++)
		n += (source ? p->pair[i].source : p->pair[i].dest) >= 0;
	return n;
}

void ls_plan_check_pairs(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out)
{
	unsigned at_source = count(in->pairs, true), at_dest = count(in->pairs, false);
	struct ls_plan_row row = {.id = "vm.known", .result = ROW_FAIL};

	if (!at_source) {
		row.remedy = "check the VM's name and the `vm` of each device in the agent's configuration";
		ls_plan_add(out, row, "%s has no device of VM %s", in->source.name, in->spec->vm);
		return;
	}
	row.result = ROW_PASS;
	ls_plan_add(out, row, "%s has %u device%s of VM %s", in->source.name, at_source, at_source == 1 ? "" : "s",
		    in->spec->vm);

	row = (struct ls_plan_row){.id = "device.count", .result = ROW_FAIL};
	if (in->pairs->over) {
		row.remedy = "detach devices: one migration takes up to 32";
		ls_plan_add(out, row, "%u devices more than the %d that one migration takes", in->pairs->over,
			    LS_MAX_DEVICES);
	} else if (at_source != at_dest) {
		row.remedy = "give the VM the same devices on both hosts";
		ls_plan_add(out, row, "%u at the source, %u at the destination", at_source, at_dest);
	} else {
		row.result = ROW_PASS;
		ls_plan_add(out, row, "%u on both hosts", at_source);
	}
}

// K3: one device without P2P can be stopped alone, before the others and started after; two cannot.
void ls_plan_check_p2p(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {.id = "p2p", .result = ROW_FAIL};
	unsigned without = 0;

	for (int pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < in->pairs->n; i++) {
			const Lockstep__V1__Device *s = ls_plan_source(in, &in->pairs->pair[i]);
			const Lockstep__V1__Device *d = ls_plan_dest(in, &in->pairs->pair[i]);
			bool lacks_s = s && (s->flags & LS_CAP_STOP_COPY) && !(s->flags & LS_CAP_P2P);
			bool lacks_d = d && (d->flags & LS_CAP_STOP_COPY) && !(d->flags & LS_CAP_P2P);

			if (!lacks_s && !lacks_d)
				continue;
			if (!pass) {
				without++;
				continue;
			}
			row.device = s ? s->name : d->name;
			row.result = without > 1 ? ROW_FAIL : ROW_PASS;
			row.remedy = "leave at most one device without P2P in the VM: detach it, or move it to a "
				     "driver with P2P";
			ls_plan_add(out, row, "no P2P at %s; %s",
				    lacks_s && lacks_d ? "both hosts"
				    : lacks_s	       ? "the source"
						       : "the destination",
				    without > 1 ? "one of several: none can stop before the other"
						: "the only one: it is stopped first and started last");
		}
	if (!without && in->pairs->n) {
		row.result = ROW_PASS;
		row.device = NULL;
		ls_plan_add(out, row, "every device has P2P");
	}
}
