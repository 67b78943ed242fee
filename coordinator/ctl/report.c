// SPDX-License-Identifier: Apache-2.0
// Checks, schedules and migrations as text.
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/schedule.h"
#include "coordinator/ctl/ctl.h"
#include "proto/wire/sched_pb.h"

const char *ctl_phase(Lockstep__V1__Phase phase)
{
	static const char *const name[] = {"none",	"planning", "preparing", "pre-copy", "blackout", "unwinding",
					   "releasing", "done",	    "returned",	 "refused",  "operator"};

	return (unsigned)phase < sizeof(name) / sizeof(name[0]) ? name[phase] : "?";
}

bool ctl_ended(const Lockstep__V1__Migration *m)
{
	return m->phase >= LOCKSTEP__V1__PHASE__PHASE_DONE;
}

int ctl_exit_code(const Lockstep__V1__Migration *m)
{
	switch (m->phase) {
	case LOCKSTEP__V1__PHASE__PHASE_RETURNED:
		return CTL_FAILED;
	case LOCKSTEP__V1__PHASE__PHASE_REFUSED:
		return CTL_NOT_FEASIBLE;
	case LOCKSTEP__V1__PHASE__PHASE_OPERATOR:
		return CTL_OPERATOR;
	default:
		return CTL_DONE;
	}
}

static void print_track(const struct ls_schedule *s, const struct ls_track *t, bool dest, const char *title)
{
	struct ctl_table table = {.right = {true}};
	char text[512];

	printf("%s\n", title);
	for (unsigned i = 0; i < t->n; i++)
		ctl_row(&table, "%6u\t%s", i + 1, ls_step_text(s, &t->step[i], dest, text, sizeof(text)));
	ctl_table_end(&table);
}

void ctl_print_schedule(const Lockstep__V1__Schedule *schedule, const char *source, const char *dest)
{
	struct ls_schedule s;
	struct ls_error err;
	char title[160];

	if (ls_schedule_from_pb(schedule, &s, &err) < 0) {
		ctl_wrap(0, "Schedule: ", err.message);
		return;
	}
	snprintf(title, sizeof(title), "Schedule at the source, %s (a barrier between any two steps)", source);
	print_track(&s, &s.source, false, title);
	snprintf(title, sizeof(title), "Schedule at the destination, %s", dest);
	print_track(&s, &s.dest, true, title);
	snprintf(title, sizeof(title), "If it fails: at the source, %s", source);
	print_track(&s, &s.source_unwind, false, title);
	snprintf(title, sizeof(title), "If it fails: at the destination, %s", dest);
	print_track(&s, &s.dest_unwind, true, title);
}

void ctl_print_estimate(const Lockstep__V1__Estimate *e)
{
	char a[16], b[16], c[16], d[16], f[16], g[16];

	if (e->known)
		printf("Blackout  about %s: quiesce %s, stop %s,\n          transfer %s, load %s, start %s\n",
		       ctl_ms(e->blackout_ms, a), ctl_ms(e->quiesce_ms, b), ctl_ms(e->stop_ms, c),
		       ctl_ms(e->transfer_ms, d), ctl_ms(e->load_ms, f), ctl_ms(e->start_ms, g));
	ctl_wrap(0, e->known ? "          " : "Blackout  ", e->basis);
}

void ctl_print_problem(const Lockstep__V1__ErrorDetail *e)
{
	char label[64], text[800];

	snprintf(label, sizeof(label), "%.32s: ", e->reason);
	snprintf(text, sizeof(text), "%s%s%s%s%s%s%s%s%s%s", e->host[0] ? "host " : "", e->host, e->host[0] ? ", " : "",
		 e->device[0] ? "device " : "", e->device, e->device[0] ? ": " : "", e->message,
		 e->errno_value ? " (" : "", e->errno_value ? ls_errno_name(e->errno_value) : "",
		 e->errno_value ? ")" : "");
	if (e->arc[0])
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " [%s]", e->arc);
	ctl_wrap(CTL_INDENT, label, text);
}

static void print_devices(const Lockstep__V1__Migration *m)
{
	struct ctl_table t = {.right = {false, false, false, true, true}};
	char a[16], b[16];

	if (!m->n_device)
		return;
	printf("Devices\n");
	ctl_row(&t, "  DEVICE\tSOURCE\tDESTINATION\tSENT\tLOADED\tROUNDS");
	for (size_t i = 0; i < m->n_device; i++) {
		const Lockstep__V1__DeviceProgress *d = m->device[i];

		ctl_row(&t, "  %s\t%s\t%s\t%s\t%s\t%u", d->name, ls_state_name((int)d->source_state),
			ls_state_name((int)d->destination_state), ctl_size(d->bytes_sent, a),
			ctl_size(d->bytes_loaded, b), d->rounds);
	}
	ctl_table_end(&t);
	for (size_t i = 0; i < m->n_device; i++)
		if (m->device[i]->error)
			ctl_print_problem(m->device[i]->error);
}

static void print_steps(const Lockstep__V1__Migration *m, const struct ls_schedule *s, const char *host, bool dest)
{
	struct ctl_table t = {.right = {true, true}};
	uint64_t zero = 0;
	char text[512], took[24];
	unsigned n = 0;

	for (size_t i = 0; i < m->n_step; i++) {
		const Lockstep__V1__StepTime *st = m->step[i];

		if (strcmp(st->host, host) != 0 || st->device[0] || !st->step)
			continue;
		if (!zero || st->begin_ns < zero)
			zero = st->begin_ns;
		n++;
	}
	if (!n)
		return;
	printf("Steps at %s (milliseconds)\n", host);
	ctl_row(&t, "     AT\tTOOK\tSTEP");
	for (size_t i = 0; i < m->n_step; i++) {
		const Lockstep__V1__StepTime *st = m->step[i];
		struct ls_step step;

		if (strcmp(st->host, host) != 0 || st->device[0] || !st->step)
			continue;
		step = (struct ls_step){.kind = (enum ls_step_kind)st->step->kind,
					.devices = st->step->devices,
					.target = (enum ls_state)st->step->target,
					.gate = (enum ls_gate)st->step->gate};
		snprintf(took, sizeof(took), "-");
		if (st->end_ns >= st->begin_ns && st->end_ns)
			snprintf(took, sizeof(took), "%.2f", (double)(st->end_ns - st->begin_ns) / 1e6);
		ctl_row(&t, "%.2f\t%s\t%s%s%s%s", (double)(st->begin_ns - zero) / 1e6, took,
			st->unwind ? "unwind: " : "", ls_step_text(s, &step, dest, text, sizeof(text)),
			st->errno_value ? ": " : "", st->errno_value ? ls_errno_name(st->errno_value) : "");
	}
	ctl_table_end(&t);
}

static void print_blackout(const Lockstep__V1__Blackout *b)
{
	char t[7][16];

	printf("Blackout %s: pause %s, quiesce %s, stop %s,\n  transfer and load %s, decide %s, start %s\n",
	       ctl_ms(b->total_ms, t[0]), ctl_ms(b->pause_ms, t[1]), ctl_ms(b->quiesce_ms, t[2]),
	       ctl_ms(b->stop_ms, t[3]), ctl_ms(b->transfer_load_ms, t[4]), ctl_ms(b->decide_ms, t[5]),
	       ctl_ms(b->start_ms, t[6]));
}

static void print_verdict(const Lockstep__V1__Migration *m)
{
	char text[512], ms[16];

	switch (m->phase) {
	case LOCKSTEP__V1__PHASE__PHASE_DONE:
		snprintf(text, sizeof(text), "%s runs at %s%s%s", m->spec->vm, m->spec->destination,
			 m->blackout && m->blackout->total_ms > 0 ? "; it stood still for " : "",
			 m->blackout && m->blackout->total_ms > 0 ? ctl_ms(m->blackout->total_ms, ms) : "");
		ctl_wrap(0, "DONE: ", text);
		return;
	case LOCKSTEP__V1__PHASE__PHASE_RETURNED:
		snprintf(text, sizeof(text), "not moved; %s runs at %s as before, nothing is left at %s", m->spec->vm,
			 m->spec->source, m->spec->destination);
		ctl_wrap(0, "RETURNED: ", text);
		return;
	case LOCKSTEP__V1__PHASE__PHASE_REFUSED:
		snprintf(text, sizeof(text), "not feasible, nothing was touched; %s runs at %s", m->spec->vm,
			 m->spec->source);
		ctl_wrap(0, "REFUSED: ", text);
		return;
	case LOCKSTEP__V1__PHASE__PHASE_OPERATOR:
		if (m->closed_by[0]) {
			snprintf(text, sizeof(text), "closed by %s; nothing more is done about it", m->closed_by);
			ctl_wrap(0, "OPERATOR: ", text);
			return;
		}
		snprintf(text, sizeof(text), "%s needs you. Source's word: %s. Destination's word: %s.", m->spec->vm,
			 m->source_word[0] ? m->source_word : "none",
			 m->destination_word[0] ? m->destination_word : "none");
		ctl_wrap(0, "OPERATOR: ", text);
		printf("What you may decide: lockstepctl resolve %s\n", m->spec->id);
		return;
	default:
		snprintf(text, sizeof(text), "%s, %s -> %s", m->spec->vm, m->spec->source, m->spec->destination);
		printf("IN PROGRESS (%s): %s\n", ctl_phase(m->phase), text);
	}
}

void ctl_print_report(const Lockstep__V1__Migration *m)
{
	struct ls_schedule s;
	struct ls_error err;

	if (m->schedule && ls_schedule_from_pb(m->schedule, &s, &err) == 0) {
		print_steps(m, &s, m->spec->source, false);
		print_steps(m, &s, m->spec->destination, true);
		print_devices(m);
	} else {
		ctl_print_checks(m->check, m->n_check, CTL_PASSES_NONE);
	}
	if (m->blackout && m->blackout->total_ms > 0)
		print_blackout(m->blackout);
	if (m->error) {
		printf("Cause\n");
		ctl_print_problem(m->error);
	}
	if (m->waiting_at)
		printf("Waits at the gate %s: lockstepctl release %s %s\n", ls_gate_name((enum ls_gate)m->waiting_at),
		       m->spec->id, ls_gate_name((enum ls_gate)m->waiting_at));
	print_verdict(m);
}
