// SPDX-License-Identifier: Apache-2.0
// lockstep-sim [--seeds N] [--from SEED] [--seed SEED (traced)] [--control NAME]
// Runs seeds one after the other; the first that breaks a promise is told with its number and ends the run with
// status 1. With --control a broken build is expected to be caught: status 0 if some seed does.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

static const char *const control_names[] = { "none", "skip-quiesce", "start-early", "return-anyway", "bend-image" };

struct totals {
	uint64_t runs, events, writes, faults, done, returned, waiting, faulty;
};

// The VM must be somewhere: at its source, at its destination, or an operator knows why it is not.
static void judge(struct world *w)
{
	const char *phase = sim_coordinator_phase(w->coordinator);
	const struct ls_role *s = sim_agent_role(w->agent[0]), *d = sim_agent_role(w->agent[1]);
	bool operator_asked = (s && ls_role_ended(s) == LS_END_OPERATOR) || (d && ls_role_ended(d) == LS_END_OPERATOR);
	bool at_source = w->host[0].vm == SIM_VM_RUNNING, at_dest = w->host[1].vm == SIM_VM_RUNNING;

	if (!sim_coordinator_ended(w->coordinator))
		sim_violation(w, "the coordinator never ends (%s)", phase);
	if (!strcmp(phase, "done") && !at_dest)
		sim_violation(w, "done, but the VM does not run at the destination");
	if (!strcmp(phase, "returned") && !at_source)
		sim_violation(w, "returned, but the VM does not run at the source");
	if (!at_source && !at_dest && !operator_asked)
		sim_violation(w, "the VM runs nowhere, and nobody says why");
	// Consented, and the destination can speak no word in this life (rule 10): it has to wait.
	bool waits = s && d && ls_role_word(s) == LS_WORD_CONSENTED && ls_role_mute(d);
	if (s && !ls_role_ended(s) && !waits)
		sim_violation(w, "the source never ends (%s)", ls_word_name(ls_role_word(s)));
	if (d && !ls_role_ended(d))
		sim_violation(w, "the destination never ends (%s)", ls_word_name(ls_role_word(d)));
}

static bool run(uint64_t seed, int control, bool trace, struct totals *t, char *why, size_t size)
{
	struct world w;

	world_init(&w, seed, (enum sim_control)control, trace);
	while (!*w.violation && w.events < 20000 && w.now < 600 * S && sim_step(&w))
		;
	if (!*w.violation)
		judge(&w);
	const char *phase = sim_coordinator_phase(w.coordinator);
	t->runs++;
	t->events += w.events;
	t->writes += w.writes;
	t->faults += w.faults_hit;
	t->faulty += w.faults_hit > 0;
	t->done += !strcmp(phase, "done");
	t->returned += !strcmp(phase, "returned");
	t->waiting += !strcmp(phase, "operator");
	sim_trace(&w, "ends: %s", phase);
	snprintf(why, size, "%s", w.violation);
	world_free(&w);
	return !*why;
}

static int usage(void)
{
	fprintf(stderr, "usage: lockstep-sim [--seeds N] [--from SEED] [--seed SEED] [--control NAME]\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t seeds = 1000, from = 1;
	bool trace = false;
	int control = 0;
	struct totals t = { 0 };
	char why[256];

	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			return usage();
		if (!strcmp(argv[i], "--seeds")) {
			seeds = strtoull(argv[i + 1], NULL, 10);
		} else if (!strcmp(argv[i], "--from")) {
			from = strtoull(argv[i + 1], NULL, 10);
		} else if (!strcmp(argv[i], "--seed")) {
			from = strtoull(argv[i + 1], NULL, 10);
			seeds = 1;
			trace = true;
		} else if (!strcmp(argv[i], "--control")) {
			for (control = SIM_CONTROL_COUNT - 1; control > 0; control--)
				if (!strcmp(argv[i + 1], control_names[control]))
					break;
			if (!control)
				return usage();
		} else {
			return usage();
		}
	}
	for (uint64_t seed = from; seed < from + seeds; seed++) {
		if (run(seed, control, trace, &t, why, sizeof(why)))
			continue;
		if (control)
			printf("control %s is caught by seed %llu: %s\n", control_names[control],
			       (unsigned long long)seed, why);
		else
			printf("seed %llu: %s\n  again, with a trace: lockstep-sim --seed %llu\n",
			       (unsigned long long)seed, why, (unsigned long long)seed);
		return control ? 0 : 1;
	}
	printf("%llu seeds (%llu with faults, %llu faults): %llu done, %llu returned, %llu wait for an operator; "
	       "%llu events, %llu peer writes, none lost\n",
	       (unsigned long long)t.runs, (unsigned long long)t.faulty, (unsigned long long)t.faults,
	       (unsigned long long)t.done, (unsigned long long)t.returned, (unsigned long long)t.waiting,
	       (unsigned long long)t.events, (unsigned long long)t.writes);
	if (control)
		printf("control %s was not caught\n", control_names[control]);
	return control ? 1 : 0;
}
