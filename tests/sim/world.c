// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sim_event {
	uint64_t at, order;
	sim_fn *fn;
	void *arg;
};

void *sim_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		abort();
	return p;
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
	struct sim_event t = *a;

	*a = *b;
	*b = t;
}

void sim_at(struct world *w, uint64_t delay_ns, sim_fn *fn, void *arg)
{
	if (w->n_events == w->room) {
		w->room = w->room ? w->room * 2 : 64;
		w->heap = realloc(w->heap, w->room * sizeof(*w->heap));
		if (!w->heap)
			abort();
	}
	unsigned i = w->n_events++;
	w->heap[i] = (struct sim_event){ w->now + delay_ns, w->order++, fn, arg };
	for (; i && before(&w->heap[i], &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&w->heap[i], &w->heap[(i - 1) / 2]);
}

bool sim_step(struct world *w)
{
	if (!w->n_events)
		return false;
	struct sim_event e = w->heap[0];
	w->heap[0] = w->heap[--w->n_events];
	for (unsigned i = 0;;) {
		unsigned least = i;
		for (unsigned c = 2 * i + 1; c <= 2 * i + 2 && c < w->n_events; c++)
			if (before(&w->heap[c], &w->heap[least]))
				least = c;
		if (least == i)
			break;
		swap(&w->heap[i], &w->heap[least]);
		i = least;
	}
	w->now = e.at;
	w->events++;
	e.fn(w, e.arg);
	free(e.arg);
	sim_traffic(w);
	return true;
}

// splitmix64
uint64_t sim_random(struct world *w, uint64_t below)
{
	uint64_t z = (w->random += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return below ? (z ^ (z >> 31)) % below : 0;
}

bool sim_chance(struct world *w, unsigned per_mille)
{
	if (!per_mille || sim_random(w, 1000) >= per_mille)
		return false;
	w->faults_hit++;
	return true;
}

uint64_t sim_latency(struct world *w)
{
	return 50 * US + sim_random(w, sim_random(w, 8) ? 500 * US : 20 * MS);
}

void sim_trace(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (!w->trace)
		return;
	printf("%10.3f ms  ", (double)w->now / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void sim_violation(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (*w->violation)
		return; // the first one counts
	va_start(ap, fmt);
	vsnprintf(w->violation, sizeof(w->violation), fmt, ap);
	va_end(ap);
	sim_trace(w, "VIOLATION %s", w->violation);
}

void world_init(struct world *w, uint64_t seed, enum sim_control control, bool trace)
{
	memset(w, 0, sizeof(*w));
	w->seed = w->random = seed;
	w->control = control;
	w->trace = trace;
	w->host[0].name = "source";
	w->host[1].name = "destination";
	sim_hardware_init(w);
	// A third of the runs go well; the others draw a few kinds of trouble.
	unsigned *kind = (unsigned *)&w->faults;
	if (sim_random(w, 3))
		for (unsigned i = 0; i < sizeof(w->faults) / sizeof(unsigned); i++)
			if (!sim_random(w, 4))
				kind[i] = 1 + (unsigned)sim_random(w, 60);
	if (!sim_random(w, 6))
		w->deadline_ms = 10 + sim_random(w, 200);
	w->hold_decide = !sim_random(w, 8);
	w->no_precopy = !sim_random(w, 4);
	w->agent[0] = sim_agent_new(w, 0);
	w->agent[1] = sim_agent_new(w, 1);
	w->coordinator = sim_coordinator_new(w);
}

void world_free(struct world *w)
{
	for (unsigned i = 0; i < w->n_events; i++)
		free(w->heap[i].arg);
	free(w->heap);
	sim_coordinator_free(w->coordinator);
	sim_agent_free(w->agent[0]);
	sim_agent_free(w->agent[1]);
}
