// SPDX-License-Identifier: Apache-2.0
// Checks of one device and its counterpart.
#include <stdio.h>
#include <string.h>

#include "coordinator/plan_check.h"

// What an agent found wrong with a device -> a row's id and a remedy.
static const struct {
	enum ls_reason reason;
	const char *id, *remedy;
} problems[] = {
	{LS_E_DEVICE_ABSENT, "device.present", "create the device, or correct its path in the agent's configuration"},
	{LS_E_DEVICE_BUSY, "device.free", "close whatever holds it (see `fuser`), or let its VMM lend it"},
	{LS_E_V1_ONLY, "device.v2", "update its driver: it speaks only the withdrawn migration protocol v1"},
	{LS_E_NOT_MIGRATABLE, "device.v2", "use a driver with VFIO migration v2, or detach the device first"},
	{LS_E_BAD_STATE, "device.state", NULL},
	{LS_E_VM_BUSY, "device.free", "wait for the other migration, or cancel it"},
};

// While a migration of the VM is open its devices are where that one took them.
static const char *state_remedy(const struct ls_plan_input *in)
{
	return in->busy_with ? "leave it alone while the other migration is open: a reset would harm that one"
			     : "reset the device, or restart its VMM";
}

static void check_problem(const struct ls_plan_input *in, const Lockstep__V1__Device *d, const char *host,
			  Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {.id = "device.ready", .device = d->name, .result = ROW_FAIL};
	enum ls_reason reason;

	if (!d->problem) {
		row.result = ROW_PASS;
		ls_plan_add(out, row, "%s: %s %s, flags%s%s%s", host, d->driver, d->type,
			    d->flags & LS_CAP_STOP_COPY ? " STOP_COPY" : "", d->flags & LS_CAP_P2P ? " P2P" : "",
			    d->flags & LS_CAP_PRE_COPY ? " PRE_COPY" : "");
		return;
	}
	reason = ls_reason_parse(d->problem->reason);
	row.remedy = "see the agent's log on that host";
	for (size_t i = 0; i < sizeof(problems) / sizeof(problems[0]); i++)
		if (problems[i].reason == reason) {
			row.id = problems[i].id;
			row.remedy = reason == LS_E_BAD_STATE ? state_remedy(in) : problems[i].remedy;
		}
	ls_plan_add(out, row, "%s: %s%s%s%s", host, d->problem->message[0] ? d->problem->message : d->problem->reason,
		    d->problem->errno_value ? " (" : "",
		    d->problem->errno_value ? ls_errno_name(d->problem->errno_value) : "",
		    d->problem->errno_value ? ")" : "");
}

static void check_state(const struct ls_plan_input *in, const Lockstep__V1__Device *d, const char *host,
			Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {.id = "device.state",
				  .device = d->name,
				  .result = ROW_FAIL,
				  .remedy = state_remedy(in)};

	if (d->open && d->state != LS_STATE_RUNNING)
		ls_plan_add(out, row, "%s: in %s, should be in RUNNING", host, ls_state_name((int)d->state));
}

static void check_type(const Lockstep__V1__Device *s, const Lockstep__V1__Device *d, Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {.id = "pair.type", .device = s->name, .result = ROW_PASS};

	if (!d->type[0] && d->problem) {
		row.result = ROW_FAIL;
		row.remedy = "create one of the source's type; a driver or kernel that has no such type cannot take it";
		ls_plan_add(out, row, "%s here, none there yet", s->type);
	} else if (strcmp(s->type, d->type) != 0) {
		row.result = ROW_FAIL;
		row.remedy = "give the destination a device of the source's type in this slot";
		ls_plan_add(out, row, "%s here, %s (%s) there", s->type, d->type, d->name);
	} else {
		ls_plan_add(out, row, "%s on both hosts", s->type);
	}
}

// K8 where a driver offers no migration_version: what is known is compared, and it is said.
static void check_fallback(const Lockstep__V1__Device *s, const Lockstep__V1__Device *d,
			   Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {.id = "pair.version", .device = s->name, .result = ROW_WARN};

	if (strcmp(s->driver, d->driver) != 0) {
		row.result = ROW_FAIL;
		row.remedy = "use the same driver on both hosts";
		ls_plan_add(out, row, "no migration_version; drivers differ: %s here, %s there", s->driver, d->driver);
		return;
	}
	row.remedy = "make sure that firmware and driver versions agree: the devices cannot tell";
	ls_plan_add(out, row, "no migration_version on either host; fallback: driver %s, type %s, flags compared",
		    s->driver, s->type);
}

static void check_version(const Lockstep__V1__Device *s, const Lockstep__V1__Device *d,
			  const Lockstep__V1__CheckVersionResponse *v, Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {.id = "pair.version", .device = s->name, .result = ROW_FAIL};
	bool absent_there = v ? v->verdict == LOCKSTEP__V1__CHECK_VERSION_RESPONSE__VERDICT__ABSENT : !d->version[0];

	if (!s->version[0] && absent_there)
		return check_fallback(s, d, out);
	row.remedy = "bring both hosts to the same driver: only one of them offers migration_version";
	if (!s->version[0]) {
		ls_plan_add(out, row, "migration_version absent at the source, present at the destination");
	} else if (!v) {
		row.remedy = "try again; see the destination agent's log if it stays so";
		ls_plan_add(out, row, "the destination did not answer whether it takes %.64s", s->version);
	} else if (absent_there) {
		ls_plan_add(out, row, "migration_version present at the source, absent at the destination");
	} else if (v->verdict != LOCKSTEP__V1__CHECK_VERSION_RESPONSE__VERDICT__COMPATIBLE) {
		row.remedy = "update the older driver: the destination's refuses the source's version";
		ls_plan_add(out, row, "%.96s refused by %s (%s)", s->version,
			    v->where[0] ? v->where : "the destination",
			    v->errno_value ? ls_errno_name(v->errno_value) : "no errno");
	} else {
		row.result = ROW_PASS;
		ls_plan_add(out, row, "%.96s accepted by %s", s->version, v->where[0] ? v->where : "the destination");
	}
}

static void check_flags(const Lockstep__V1__Device *s, const Lockstep__V1__Device *d, Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {.id = "pair.flags", .device = s->name, .result = ROW_WARN};

	if (s->problem || d->problem)
		return;
	if (!(s->flags & LS_CAP_STOP_COPY) || !(d->flags & LS_CAP_STOP_COPY)) {
		row.result = ROW_FAIL;
		row.remedy = "use a driver with VFIO migration v2 on both hosts";
		ls_plan_add(out, row, "STOP_COPY is missing at %s",
			    s->flags & LS_CAP_STOP_COPY ? "the destination" : "the source");
	}
	if ((s->flags & LS_CAP_PRE_COPY) && !(d->flags & LS_CAP_PRE_COPY)) {
		row.result = ROW_WARN;
		row.remedy = "none needed: this device is moved without pre-copy, so its blackout is longer";
		ls_plan_add(out, row, "PRE_COPY at the source only");
	}
}

static void check_size(const Lockstep__V1__Device *s, const Lockstep__V1__Device *d, Lockstep__V1__DryRunResponse *out)
{
	struct ls_plan_row row = {.id = "size", .device = s->name, .result = ROW_PASS};

	if (s->problem || d->problem)
		return;
	if (!s->size_known) {
		row.result = ROW_WARN;
		row.remedy =
			"none needed: the driver does not say (Linux before 6.2, or no MIG_DATA_SIZE); no estimate";
		ls_plan_add(out, row, "size of the state unknown");
	} else if (d->max_image && s->size > d->max_image) {
		row.result = ROW_FAIL;
		row.remedy = "raise the destination's limit (max_image), or use a device that holds as much";
		ls_plan_add(out, row, "%llu bytes, the destination takes %llu", (unsigned long long)s->size,
			    (unsigned long long)d->max_image);
	} else {
		ls_plan_add(out, row, "%llu bytes", (unsigned long long)s->size);
	}
}

static void check_notes(const struct ls_plan_input *in, const struct ls_pair *pair, Lockstep__V1__DryRunResponse *out)
{
	const Lockstep__V1__Device *s = ls_plan_source(in, pair), *d = ls_plan_dest(in, pair);
	struct ls_plan_row row = {.device = s->name, .result = ROW_PASS};

	row.id = "precopy";
	if (ls_plan_precopies(in, pair))
		ls_plan_add(out, row, "takes part in pre-copy");
	else
		ls_plan_add(out, row, "no pre-copy: %s",
			    in->spec->precopy && in->spec->precopy->skip ? "skipped as asked"
			    : s->flags & LS_CAP_PRE_COPY		 ? "the destination lacks it"
									 : "the driver does not offer it");
	row.id = "dirty-tracking";
	ls_plan_add(out, row, "%s",
		    s->dirty_tracking ? "the device logs its DMA: RAM can be moved before the pause"
				      : "not offered: the RAM mover must assume that DMA dirties all mapped memory");
	row.id = "numa";
	if (s->numa_node >= 0 && d->numa_node >= 0)
		ls_plan_add(out, row, "node %d at the source, node %d at the destination", s->numa_node, d->numa_node);
	else
		ls_plan_add(out, row, "node unknown at %s: its thread may run on any",
			    s->numa_node >= 0	? "the destination"
			    : d->numa_node >= 0 ? "the source"
						: "both hosts");
}

static void check_pairing(const struct ls_plan_input *in, const struct ls_pair *pair, Lockstep__V1__DryRunResponse *out)
{
	const Lockstep__V1__Device *s = ls_plan_source(in, pair), *d = ls_plan_dest(in, pair);
	const Lockstep__V1__Device *one = s ? s : d;
	struct ls_plan_row row = {.id = "pair.slot", .device = one->name, .result = ROW_FAIL};

	if (s && d) {
		row.result = ROW_PASS;
		if (pair->by_name)
			ls_plan_add(out, row, "paired by name");
		else
			ls_plan_add(out, row, "slot %s: %s at the destination", s->slot, d->name);
		return;
	}
	row.remedy = s ? "give the destination a device with this slot"
		       : "detach it at the destination, or correct its slot";
	if (one->slot[0])
		ls_plan_add(out, row, "slot %s has no counterpart at the %s", one->slot, s ? "destination" : "source");
	else
		ls_plan_add(out, row, "no slot, and no device of this name at the %s", s ? "destination" : "source");
}

void ls_plan_check_device(const struct ls_plan_input *in, const struct ls_pair *pair, unsigned index,
			  Lockstep__V1__DryRunResponse *out)
{
	const Lockstep__V1__Device *s = ls_plan_source(in, pair), *d = ls_plan_dest(in, pair);

	check_pairing(in, pair, out);
	if (s)
		check_problem(in, s, in->source.name, out);
	if (s && !s->problem)
		check_state(in, s, in->source.name, out);
	if (d)
		check_problem(in, d, in->dest.name, out);
	if (d && !d->problem)
		check_state(in, d, in->dest.name, out);
	if (!s || !d)
		return;
	check_type(s, d, out);
	// A device that does not exist yet has no attribute; whether its parent has one, the verdict tells.
	if (d->type[0] || !d->problem || (in->verdict && in->verdict[index] && in->verdict[index]->where[0]))
		check_version(s, d, in->verdict ? in->verdict[index] : NULL, out);
	check_flags(s, d, out);
	check_size(s, d, out);
	if (!s->problem && !d->problem)
		check_notes(in, pair, out);
}
