// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

static const struct {
	const char *name;
	unsigned most;
} kinds[SIM_FAULT_COUNT] = {
#define X(id, name, rate) { name, rate },
	SIM_FAULTS(X)
#undef X
};

const char *sim_fault_name(enum sim_fault kind)
{
	return kinds[kind].name;
}

// A quarter of the runs go well; the others draw a few kinds of trouble.
void sim_faults_init(struct world *w)
{
	unsigned most = (unsigned)sim_random(w, 4), few = 6 + (unsigned)sim_random(w, 12);

	for (unsigned i = 0; i < SIM_FAULT_COUNT; i++) {
		uint64_t draw = sim_random(w, few), rate = sim_random(w, kinds[i].most);
		if (most && !draw)
			w->faults.rate[i] = 1 + (unsigned)rate;
	}
	w->faults.rate[SIM_FALSE_FENCE] = 3000; // of the few fences that there are
}

static uint64_t hash(uint64_t seed, uint64_t kind, uint64_t n)
{
	uint64_t z = seed * 0x9e3779b97f4a7c15ull ^ kind * 0xd1342543de82ef95ull ^ (n + 1) * 0xaf251af3b0f025b5ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static bool left_out(const struct sim_leave_out *l, enum sim_fault kind, uint64_t occasion)
{
	for (unsigned i = 0; l && i < l->n; i++)
		if (l->at[i].kind == kind && l->at[i].occasion == occasion)
			return true;
	return false;
}

bool sim_fault_likely(const struct world *w, enum sim_fault kind)
{
	return w->faults.rate[kind] || w->faults.moment[kind];
}

bool sim_fault(struct world *w, enum sim_fault kind)
{
	struct sim_faults *f = &w->faults;
	unsigned rate = f->rate[kind];

	if (!sim_fault_likely(w, kind))
		return false;
	uint64_t n = f->occasion[kind]++;
	if (rate < f->moment[kind] && sim_scene_moment(w))
		rate = f->moment[kind];
	if ((w->healed && kind != SIM_FALSE_FENCE) || hash(w->seed, kind, n) % 10000 >= rate || f->n == SIM_FIRED_MAX ||
	    left_out(f->leave_out, kind, n))
		return false;
	w->scene.spent |= w->scene.long_troubles && f->moment[kind] && f->rate[kind] < rate;
	f->fired[f->n++] = (struct sim_fired){ kind, n };
	sim_trace(w, "FAULT %s (its occasion %llu)", kinds[kind].name, (unsigned long long)n);
	return true;
}
