// SPDX-License-Identifier: Apache-2.0
// lockstep-sim [--seeds N] [--from SEED] [--jobs N] [--least N] [--seed SEED (traced)] [--control NAME] [--shrink 1]
// Runs seeds; the first that breaks a promise is shrunk, told with its number and ends the run with status 1.
// --least: every kind of fault must have been met so often. With --control (a test build) a rule of the production
// code is switched off: status 0 if some seed notices; with --shrink 1 that one is shrunk as well.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/control.h"
#include "tests/sim/cover.h"

#define EVENTS_MOST 200000
#define GRACE_NS (45 * S)   // after all is healed, until an operator looks
#define OPERATOR_NS (150 * S)

struct run {
	char violation[256];
	const char *broken; // NULL: all promises were kept
	unsigned n, devices;
	struct sim_fired fired[SIM_FIRED_MAX];
};

// One seed. True if all promises were kept.
static bool run(uint64_t seed, const struct sim_leave_out *leave_out, bool trace, struct sim_cover *cover,
		struct run *ret)
{
	static struct world w;
	bool helped = false;
	unsigned seen = 0;

	world_init(&w, seed, leave_out, trace);
	while (!*w.violation && w.events < EVENTS_MOST && sim_step(&w)) {
		if (cover)
			sim_cover_event(cover, &w, &seen);
		if (sim_settled(&w) && (w.healed || !w.lied))
			break;
		if (w.healed && !helped && w.now > w.heal_at + GRACE_NS) {
			helped = true;
			sim_operator_called(&w);
		}
		if (w.now > w.heal_at + GRACE_NS + OPERATOR_NS)
			break;
	}
	if (!*w.violation)
		sim_judge(&w);
	if (cover)
		sim_cover_run(cover, &w);
	memcpy(ret->violation, w.violation, sizeof(ret->violation));
	ret->broken = w.broken;
	ret->n = w.faults.n;
	ret->devices = w.n;
	memcpy(ret->fired, w.faults.fired, sizeof(ret->fired));
	world_free(&w);
	return !*ret->violation;
}

static bool same(uint64_t seed, const struct sim_leave_out *out, const struct run *first, struct run *ret)
{
	return !run(seed, out, false, NULL, ret) && strcmp(ret->broken, first->broken) == 0;
}

// Leaves out devices, then one after the other every fault that the same failure does without.
static void shrink(uint64_t seed)
{
	struct sim_leave_out out = { 0 };
	struct run r, first, best;
	bool again = true;

	run(seed, &out, false, NULL, &first);
	best = first;
	for (unsigned n = 1; n < best.devices; n++) {
		out.devices = n;
		if (same(seed, &out, &first, &r)) {
			best = r;
			break;
		}
		out.devices = 0;
	}
	while (again) {
		again = false;
		for (unsigned i = best.n; i-- > 0 && out.n < SIM_FIRED_MAX;) {
			if (i >= best.n)
				continue;
			out.at[out.n++] = best.fired[i];
			if (!same(seed, &out, &first, &r)) {
				out.n--;
				continue;
			}
			again |= r.n < best.n;
			best = r;
		}
	}
	printf("  shrunk to %u devices and %u faults:", best.devices, best.n);
	for (unsigned i = 0; i < best.n; i++)
		printf(" %s", sim_fault_name(best.fired[i].kind));
	printf("\n  %s: %s\n", best.broken, best.violation);
	run(seed, &out, true, NULL, &r);
}

struct shared {
	uint64_t failed; // seed; 0: none
	char why[300];
	struct sim_cover cover;
};

static void work(struct shared *s, const struct shared *all, unsigned jobs, uint64_t from, uint64_t seeds)
{
	for (uint64_t seed = from; seed < from + seeds; seed += jobs) {
		struct run r;
		bool over = false;
		for (unsigned j = 0; j < jobs; j++)
			over |= all[j].failed && all[j].failed < seed;
		if (over)
			return;
		if (run(seed, NULL, false, &s->cover, &r))
			continue;
		snprintf(s->why, sizeof(s->why), "%s: %s", r.broken, r.violation);
		s->failed = seed;
		return;
	}
}

static void run_all(struct shared *all, unsigned jobs, uint64_t from, uint64_t seeds)
{
	for (unsigned j = 1; j < jobs; j++)
		if (fork() == 0) {
			work(&all[j], all, jobs, from + j, seeds > j ? seeds - j : 0);
			_exit(0);
		}
	work(&all[0], all, jobs, from, seeds);
	for (unsigned j = 1; j < jobs; j++) {
		int status = 0;
		wait(&status);
		if (status && !all[0].failed) {
			all[0].failed = from;
			snprintf(all[0].why, sizeof(all[0].why), "a worker died with status %d", status);
		}
	}
}

static int tell(struct shared *all, unsigned jobs, const char *control, uint64_t least, bool shrunk)
{
	struct shared *failed = NULL;

	for (unsigned j = 0; j < jobs; j++)
		if (all[j].failed && (!failed || all[j].failed < failed->failed))
			failed = &all[j];
	if (failed && control) {
		printf("control %s is caught by seed %llu: %s\n", control, (unsigned long long)failed->failed,
		       failed->why);
		if (shrunk)
			shrink(failed->failed);
		return 0;
	}
	if (failed) {
		printf("seed %llu: %s\n  again, with a trace: lockstep-sim --seed %llu\n",
		       (unsigned long long)failed->failed, failed->why, (unsigned long long)failed->failed);
		shrink(failed->failed);
		return 1;
	}
	for (unsigned j = 1; j < jobs; j++)
		sim_cover_add(&all[0].cover, &all[j].cover);
	bool enough = sim_cover_print(&all[0].cover, control ? 0 : least);
	if (control)
		printf("control %s was not caught\n", control);
	return control || !enough;
}

static int usage(void)
{
	fprintf(stderr, "usage: lockstep-sim [--seeds N] [--from SEED] [--jobs N] [--least N] [--seed SEED] "
			"[--control NAME] [--shrink 1]\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t seeds = 1000, from = 1, least = 0, one = 0, shrunk = 0;
	const char *control = NULL;
	unsigned jobs = 1;

	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			return usage();
		if (!strcmp(argv[i], "--seeds"))
			seeds = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--from"))
			from = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--least"))
			least = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--shrink"))
			shrunk = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--jobs"))
			jobs = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--seed"))
			one = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--control"))
			control = argv[i + 1];
		else
			return usage();
	}
	if (!jobs || jobs > 64)
		return usage();
	if (control) {
		setenv("LOCKSTEP_CONTROL", control, 1);
		if (!ls_control(control)) {
			fprintf(stderr, "lockstep-sim: controls are not compiled in (-DLOCKSTEP_CONTROLS=ON)\n");
			return 2;
		}
	}
	if (one) {
		struct run r;
		return run(one, NULL, true, NULL, &r) ? 0 : 1;
	}
	struct shared *all = mmap(NULL, jobs * sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		return 2;
	run_all(all, jobs, from, seeds);
	return tell(all, jobs, control, least, shrunk);
}
