// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/agent.h"
#include "tests/sim/call.h"
#include "tests/sim/control.h"
#include "tests/sim/operator.h"

struct sim_event {
	uint64_t at, order, life;
	enum sim_who who;
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

static struct sim_event *room_for(struct sim_event **list, unsigned *n, unsigned *room)
{
	if (*n == *room) {
		*room = *room ? *room * 2 : 64;
		*list = realloc(*list, *room * sizeof(**list));
		if (!*list)
			abort();
	}
	return &(*list)[(*n)++];
}

static void push(struct world *w, struct sim_event e)
{
	unsigned i = w->n_events;

	*room_for(&w->heap, &w->n_events, &w->room) = e;
	for (; i && before(&w->heap[i], &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&w->heap[i], &w->heap[(i - 1) / 2]);
}

void sim_at(struct world *w, enum sim_who who, uint64_t delay_ns, sim_fn *fn, void *arg)
{
	if (!w->process[who].up) {
		free(arg);
		return;
	}
	push(w, (struct sim_event){ w->now + delay_ns, w->order++, w->process[who].life, who, fn, arg });
}

static struct sim_event pop(struct world *w)
{
	struct sim_event e = w->heap[0];

	w->heap[0] = w->heap[--w->n_events];
	for (unsigned i = 0;;) {
		unsigned least = i;
		for (unsigned c = 2 * i + 1; c <= 2 * i + 2 && c < w->n_events; c++)
			if (before(&w->heap[c], &w->heap[least]))
				least = c;
		if (least == i)
			return e;
		swap(&w->heap[i], &w->heap[least]);
		i = least;
	}
}

bool sim_step(struct world *w)
{
	while (w->n_events) {
		struct sim_event e = pop(w);
		struct sim_process *p = &w->process[e.who];
		w->now = e.at;
		if (e.life != p->life) {
			free(e.arg);
			continue;
		}
		if (p->frozen) {
			*room_for(&p->waiting, &p->n, &p->room) = e;
			continue;
		}
		w->events++;
		e.fn(w, e.arg);
		free(e.arg);
		sim_traffic(w);
		sim_plot(w);
		return true;
	}
	return false;
}

void sim_kill(struct world *w, enum sim_who who)
{
	struct sim_process *p = &w->process[who];

	for (unsigned i = 0; i < p->n; i++)
		free(p->waiting[i].arg);
	p->n = 0;
	p->life++;
	p->up = p->frozen = false;
}

void sim_start(struct world *w, enum sim_who who)
{
	w->process[who].life++;
	w->process[who].up = true;
	w->process[who].frozen = false;
}

void sim_freeze(struct world *w, enum sim_who who)
{
	w->process[who].frozen = true;
}

void sim_thaw(struct world *w, enum sim_who who)
{
	struct sim_process *p = &w->process[who];

	p->frozen = false;
	for (unsigned i = 0; i < p->n; i++) {
		struct sim_event e = p->waiting[i];
		e.at = w->now;
		e.order = w->order++;
		push(w, e);
	}
	p->n = 0;
}

bool sim_runs(const struct world *w, enum sim_who who)
{
	return w->process[who].up && !w->process[who].frozen;
}

const char *sim_who_name(enum sim_who who)
{
	static const char *const name[SIM_WHO_COUNT] = {
		"world",	      "coordinator",   "second coordinator", "source agent", "destination agent",
		"third agent",	      "source VMM",    "destination VMM",    "third VMM",    "source host",
		"destination host",   "third host",
	};

	return name[who];
}

// splitmix64
uint64_t sim_random(struct world *w, uint64_t below)
{
	uint64_t z = (w->random += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return below ? (z ^ (z >> 31)) % below : 0;
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
	printf("%11.3f ms  ", (double)w->now / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void sim_violation(struct world *w, const char *promise, const char *fmt, ...)
{
	va_list ap;

	if (*w->violation)
		return; // the first one counts
	w->broken = promise;
	va_start(ap, fmt);
	vsnprintf(w->violation, sizeof(w->violation), fmt, ap);
	va_end(ap);
	sim_trace(w, "VIOLATION of %s: %s", promise, w->violation);
}

void world_init(struct world *w, uint64_t seed, const struct sim_leave_out *leave_out, bool trace)
{
	static const char *const hosts[SIM_HOSTS] = { "source", "destination", "third" };

	memset(w, 0, sizeof(*w));
	w->seed = w->random = seed;
	w->trace = trace;
	w->faults.leave_out = leave_out;
	for (unsigned i = 0; i < SIM_WHO_COUNT; i++)
		w->process[i].up = i != SIM_COORD + 1;
	for (unsigned h = 0; h < SIM_HOSTS; h++)
		w->host[h].name = hosts[h];
	sim_hardware_init(w);
	sim_faults_init(w);
	sim_plot_init(w);
	sim_scene_init(w);
	if (!sim_random(w, 6))
		w->deadline_ms = 10 + sim_random(w, 200);
	w->hold_decide = !sim_random(w, 8);
	w->no_precopy = !sim_random(w, 4) || w->scene.hasty;
	w->hold_pause = !sim_random(w, 12) || w->scene.hasty;
	for (unsigned h = 0; h < SIM_HOSTS; h++)
		w->agent[h] = sim_agent_new(w, h);
	w->coordinator[0] = sim_coordinator_new(w, 0);
	w->coordinator[1] = sim_coordinator_new(w, 1);
	w->operator_ = sim_operator_new(w);
}

void world_free(struct world *w)
{
	for (unsigned i = 0; i < w->n_events; i++)
		free(w->heap[i].arg);
	free(w->heap);
	for (unsigned i = 0; i < SIM_WHO_COUNT; i++) {
		for (unsigned k = 0; k < w->process[i].n; k++)
			free(w->process[i].waiting[k].arg);
		free(w->process[i].waiting);
	}
	sim_calls_free(w);
	free(w->operator_);
	for (unsigned c = 0; c < 2; c++)
		sim_coordinator_free(w->coordinator[c]);
	for (unsigned h = 0; h < SIM_HOSTS; h++)
		sim_agent_free(w->agent[h]);
}
