// SPDX-License-Identifier: Apache-2.0
#include "coordinator/plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/plan_check.h"
#include "proto/wire/sched_pb.h"

static bool of_vm(const Lockstep__V1__Device *d, const char *vm)
{
	return strcmp(d->vm, vm) == 0;
}

static int find_dest(const Lockstep__V1__DescribeResponse *dest, const char *vm, const Lockstep__V1__Device *s,
		     const struct ls_pairs *taken, bool by_name)
{
	for (size_t i = 0; i < dest->n_device; i++) {
		const Lockstep__V1__Device *d = dest->device[i];
		bool used = false;

		if (!of_vm(d, vm) || (by_name ? strcmp(d->name, s->name) != 0 : strcmp(d->slot, s->slot) != 0))
			continue;
		// Two devices that both have slots are never paired by name against their slots.
		if (by_name && d->slot[0] && s->slot[0])
			continue;
		for (unsigned k = 0; k < taken->n; k++)
			used |= taken->pair[k].dest == (int)i;
		if (!used)
			return (int)i;
	}
	return -1;
}

static void add_pair(struct ls_pairs *p, int source, int dest, unsigned limit)
{
	if (p->n >= limit)
		p->over++;
	else
		p->pair[p->n++] = (struct ls_pair){.source = source, .dest = dest};
}

void ls_plan_pair(const char *vm, const Lockstep__V1__DescribeResponse *source,
		  const Lockstep__V1__DescribeResponse *dest, struct ls_pairs *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < source->n_device; i++)
		if (of_vm(source->device[i], vm))
			add_pair(ret, (int)i, -1, LS_MAX_DEVICES);
	for (int by_name = 0; by_name <= 1; by_name++)
		for (unsigned k = 0; k < ret->n; k++) {
			struct ls_pair *p = &ret->pair[k];
			const Lockstep__V1__Device *s = source->device[p->source];

			if (p->dest >= 0 || (!by_name && !s->slot[0]))
				continue;
			p->dest = find_dest(dest, vm, s, ret, by_name);
			p->by_name = by_name && p->dest >= 0;
		}
	for (size_t i = 0; i < dest->n_device; i++) {
		bool used = false;

		for (unsigned k = 0; k < ret->n; k++)
			used |= ret->pair[k].dest == (int)i;
		if (!used && of_vm(dest->device[i], vm))
			add_pair(ret, -1, (int)i, 2 * LS_MAX_DEVICES);
	}
}

void ls_plan_add(Lockstep__V1__DryRunResponse *out, struct ls_plan_row row, const char *fmt, ...)
{
	Lockstep__V1__Check *c;
	va_list ap;
	char seen[512];

	va_start(ap, fmt);
	vsnprintf(seen, sizeof(seen), fmt, ap);
	va_end(ap);
	LS_MSG_NEW(c, LOCKSTEP__V1__CHECK__INIT);
	ls_msg_set(&c->id, row.id);
	ls_msg_set(&c->device, row.device);
	ls_msg_set(&c->seen, seen);
	c->result = row.result;
	if (row.result != ROW_PASS)
		ls_msg_set(&c->remedy, row.remedy);
	LS_MSG_APPEND(out->n_check, out->check, c);
}

const Lockstep__V1__Device *ls_plan_source(const struct ls_plan_input *in, const struct ls_pair *p)
{
	return p->source < 0 ? NULL : in->source.describe->device[p->source];
}

const Lockstep__V1__Device *ls_plan_dest(const struct ls_plan_input *in, const struct ls_pair *p)
{
	return p->dest < 0 ? NULL : in->dest.describe->device[p->dest];
}

bool ls_plan_precopies(const struct ls_plan_input *in, const struct ls_pair *p)
{
	const Lockstep__V1__Device *s = ls_plan_source(in, p), *d = ls_plan_dest(in, p);

	return !(in->spec->precopy && in->spec->precopy->skip) && s && d && (s->flags & LS_CAP_PRE_COPY) &&
	       (d->flags & LS_CAP_PRE_COPY);
}

static bool failed(const Lockstep__V1__DryRunResponse *out)
{
	for (size_t i = 0; i < out->n_check; i++)
		if (out->check[i]->result == ROW_FAIL)
			return true;
	return false;
}

static void fill_schedule(const struct ls_plan_input *in, struct ls_schedule *s)
{
	memset(s, 0, sizeof(*s));
	s->n_devices = in->pairs->n;
	for (unsigned i = 0; i < in->pairs->n; i++) {
		const struct ls_pair *p = &in->pairs->pair[i];
		struct ls_sched_device *sd = &s->device[i];

		snprintf(sd->source_name, sizeof(sd->source_name), "%s", ls_plan_source(in, p)->name);
		snprintf(sd->dest_name, sizeof(sd->dest_name), "%s", ls_plan_dest(in, p)->name);
		sd->source_flags = ls_plan_source(in, p)->flags;
		sd->dest_flags = ls_plan_dest(in, p)->flags;
		// Who can reach whom is the platform's secret: assume everyone, everyone.
		sd->reaches = (uint32_t)(((uint64_t)1 << in->pairs->n) - 1) & ~((uint32_t)1 << i);
		sd->precopy = ls_plan_precopies(in, p);
	}
}

static void make_schedule(const struct ls_plan_input *in, struct ls_schedule *s, Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {.id = "schedule",
				  .result = ROW_FAIL,
				  .remedy = "report this: a schedule must exist "
					    "once all other checks pass"};
	struct ls_error err = {0};

	fill_schedule(in, s);
	if (ls_schedule_make(s, &err) < 0 || ls_schedule_verify(s, &err) < 0) {
		ls_plan_add(out, row, "%s", err.message);
		return;
	}
	row.result = ROW_PASS;
	ls_plan_add(out, row, "%u steps at the source, %u at the destination, proven free of lost peer writes",
		    s->source.n, s->dest.n);
}

static void check_deadline(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out)
{
	const Lockstep__V1__Estimate *e = out->estimate;
	double deadline = (double)in->spec->deadline_ms;
	struct ls_plan_row row = {.id = "deadline", .result = ROW_PASS};

	if (!in->spec->deadline_ms) {
		ls_plan_add(out, row, "none asked");
	} else if (!e->known) {
		row.result = ROW_WARN;
		row.remedy = "the deadline is kept all the same: the VM returns to the source if it cannot be met";
		ls_plan_add(out, row, "%.0f ms asked, no estimate to compare with", deadline);
	} else if (e->blackout_ms > deadline) {
		row.result = ROW_FAIL;
		row.remedy = "allow a longer --deadline, or move when the devices hold less state";
		ls_plan_add(out, row, "%.0f ms asked, about %.0f ms expected", deadline, e->blackout_ms);
	} else {
		ls_plan_add(out, row, "%.0f ms asked, about %.0f ms expected", deadline, e->blackout_ms);
	}
}

static void list_devices(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out)
{
	for (unsigned i = 0; i < in->pairs->n; i++) {
		const struct ls_pair *p = &in->pairs->pair[i];

		if (p->source >= 0)
			LS_MSG_APPEND(out->n_source_device, out->source_device, ls_msg_clone(ls_plan_source(in, p)));
		if (p->dest >= 0)
			LS_MSG_APPEND(out->n_destination_device, out->destination_device,
				      ls_msg_clone(ls_plan_dest(in, p)));
	}
}

Lockstep__V1__DryRunResponse *ls_plan_make(const struct ls_plan_input *in, struct ls_schedule *sched)
{
	struct ls_schedule own;
	struct ls_schedule *s = sched ? sched : &own;
	Lockstep__V1__DryRunResponse *out;

	LS_MSG_NEW(out, LOCKSTEP__V1__DRY_RUN_RESPONSE__INIT);
	ls_plan_check_hosts(in, out);
	ls_plan_check_vmms(in, out);
	if (in->pairs) {
		ls_plan_check_pairs(in, out);
		for (unsigned i = 0; i < in->pairs->n; i++)
			ls_plan_check_device(in, &in->pairs->pair[i], i, out);
		ls_plan_check_p2p(in, out);
		list_devices(in, out);
	}
	if (!failed(out)) {
		make_schedule(in, s, out);
		if (!failed(out)) {
			out->estimate =
				ls_history_estimate(in->history, s, out->source_device, out->destination_device);
			check_deadline(in, out);
		}
	}
	out->feasible = !failed(out);
	if (out->feasible && ls_schedule_to_pb(s, &out->schedule) < 0)
		abort();
	return out;
}

void ls_plan_error(const Lockstep__V1__DryRunResponse *plan, struct ls_error *ret)
{
	const Lockstep__V1__Check *first = NULL;
	unsigned more = 0;
	enum ls_reason reason = LS_E_NOT_FEASIBLE;
	char others[32] = "";

	for (size_t i = 0; i < plan->n_check; i++)
		if (plan->check[i]->result == ROW_FAIL) {
			if (!first)
				first = plan->check[i];
			else
				more++;
		}
	if (!first)
		return (void)ls_fail(ret, LS_E_INTERNAL, 0, "the plan is feasible");
	if (strcmp(first->id, "vm.free") == 0)
		reason = LS_E_VM_BUSY;
	else if (strcmp(first->id, "host.reachable") == 0)
		reason = LS_E_UNAVAILABLE;
	if (more)
		snprintf(others, sizeof(others), ", and %u more", more);
	ls_fail(ret, reason, 0, "%s%s%s: %.160s%s", first->id, first->device[0] ? " " : "", first->device, first->seen,
		others);
	ls_error_at(ret, first->device[0] ? first->device : NULL, NULL);
}
