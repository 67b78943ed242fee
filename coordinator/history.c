// SPDX-License-Identifier: Apache-2.0
#include "coordinator/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"

#define SAMPLES 4096u

enum what {
	ARC,	  // one device, ms, by target state and side
	RATE,	  // one move, bytes per ms from the last stop to the consent, wire and load together
	OVERHEAD, // one move, ms: what no arc and no transfer explains: pausing, deciding, resuming, news under way
	TAIL,	  // one move of just such devices, ms from the last byte sent to the request for consent
};

struct sample {
	char key[136]; // "driver/type"; empty: any
	enum what what;
	bool dest;
	uint32_t target;
	double value;
};

struct ls_history {
	unsigned n; // ever added; the ring holds the newest
	struct sample ring[SAMPLES];
};

struct ls_history *ls_history_new(void)
{
	return ls_msg_alloc(sizeof(struct ls_history));
}

void ls_history_free(struct ls_history *h)
{
	free(h);
}

static void key_of(const Lockstep__V1__Device *d, char *key, size_t size)
{
	snprintf(key, size, "%.64s/%.64s", d->driver, d->type);
}

static void add(struct ls_history *h, const char *key, enum what what, bool dest, uint32_t target, double value)
{
	struct sample *s = &h->ring[h->n++ % SAMPLES];

	*s = (struct sample){.what = what, .dest = dest, .target = target, .value = value};
	snprintf(s->key, sizeof(s->key), "%s", key);
}

static const Lockstep__V1__Device *by_name(Lockstep__V1__Device **devices, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(devices[i]->name, name) == 0)
			return devices[i];
	return NULL;
}

static void learn_arcs(struct ls_history *h, const Lockstep__V1__Migration *m, Lockstep__V1__Device **source,
		       Lockstep__V1__Device **dest)
{
	size_t n = m->schedule ? m->schedule->n_device : 0;
	char key[136];

	for (size_t i = 0; i < m->n_step; i++) {
		const Lockstep__V1__StepTime *t = m->step[i];
		bool at_dest = strcmp(t->host, m->spec->destination) == 0;
		const Lockstep__V1__Device *d = by_name(at_dest ? dest : source, n, t->device);

		if (!d || t->unwind || !t->step || t->step->kind != LOCKSTEP__V1__STEP_KIND__STEP_ARC ||
		    t->errno_value || t->end_ns < t->begin_ns)
			continue;
		key_of(d, key, sizeof(key));
		add(h, key, ARC, at_dest, t->step->target, (double)(t->end_ns - t->begin_ns) / 1e6);
	}
}

// The longest share of each step of arcs within the blackout, added up.
static double arcs_of(const Lockstep__V1__Migration *m)
{
	uint64_t pause = 0;
	double sum = 0;

	for (size_t i = 0; i < m->n_step; i++)
		if (m->step[i]->step && m->step[i]->step->kind == LOCKSTEP__V1__STEP_KIND__STEP_VMM_PAUSE)
			pause = m->step[i]->begin_ns;
	for (size_t i = 0; i < m->n_step; i++) {
		const Lockstep__V1__StepTime *t = m->step[i];
		bool at_dest = strcmp(t->host, m->spec->destination) == 0, longest = true;

		if (!t->device[0] || t->unwind || !t->step || t->step->kind != LOCKSTEP__V1__STEP_KIND__STEP_ARC ||
		    t->end_ns < t->begin_ns || (at_dest ? t->step->target == LS_STATE_RESUMING : t->begin_ns < pause))
			continue;
		for (size_t k = 0; k < m->n_step && longest; k++) {
			const Lockstep__V1__StepTime *o = m->step[k];
			uint64_t took = o->end_ns > o->begin_ns ? o->end_ns - o->begin_ns : 0;

			longest = k == i || !o->device[0] || o->unwind || o->index != t->index ||
				  strcmp(o->host, t->host) != 0 || took < t->end_ns - t->begin_ns ||
				  (took == t->end_ns - t->begin_ns && k > i);
		}
		if (longest)
			sum += (double)(t->end_ns - t->begin_ns) / 1e6;
	}
	return sum;
}

// Of all devices in order: what came before does not say anything about another VM.
static void key_of_all(Lockstep__V1__Device **devices, size_t n, char *key, size_t size)
{
	uint64_t hash = 14695981039346656037ull;
	char one[136];

	for (size_t i = 0; i < n; i++) {
		key_of(devices[i], one, sizeof(one));
		for (const char *at = one; at == one || at[-1]; at++)
			hash = (hash ^ (unsigned char)*at) * 1099511628211ull;
	}
	snprintf(key, size, "%zu devices %016llx", n, (unsigned long long)hash);
}

// All on the source's clock; negative: not known.
static double tail_of(const Lockstep__V1__Migration *m)
{
	uint64_t stopped = 0, sent = 0;

	for (size_t i = 0; i < m->n_step; i++) {
		const Lockstep__V1__StepTime *t = m->step[i];

		if (!t->step || t->unwind || strcmp(t->host, m->spec->source) != 0)
			continue;
		if (!t->device[0] && t->step->kind == LOCKSTEP__V1__STEP_KIND__STEP_ARC &&
		    t->step->target == LS_STATE_STOP_COPY)
			stopped = t->end_ns;
		if (t->device[0] && t->step->kind == LOCKSTEP__V1__STEP_KIND__STEP_CONSENT && t->end_ns > sent)
			sent = t->end_ns;
	}
	if (!stopped || sent < stopped)
		return -1;
	return m->blackout->transfer_load_ms - (double)(sent - stopped) / 1e6;
}

void ls_history_learn(struct ls_history *h, const Lockstep__V1__Migration *m, Lockstep__V1__Device **source,
		      Lockstep__V1__Device **dest)
{
	const Lockstep__V1__Blackout *b = m->blackout;
	double bytes = 0, rest;
	char key[136];

	if (m->phase != LOCKSTEP__V1__PHASE__PHASE_DONE)
		return;
	learn_arcs(h, m, source, dest);
	if (!b || b->total_ms <= 0 || !m->schedule)
		return;
	rest = b->total_ms - b->transfer_load_ms - arcs_of(m);
	add(h, "", OVERHEAD, false, 0, rest > 0 ? rest : 0);
	if (tail_of(m) >= 0) {
		key_of_all(source, m->schedule->n_device, key, sizeof(key));
		add(h, key, TAIL, false, 0, tail_of(m));
	}
	// Rated by the size that the plan knew, so that what pre-copy spares is learnt with it.
	for (size_t i = 0; i < m->schedule->n_device; i++)
		bytes += (double)source[i]->size;
	if (b->transfer_load_ms <= 0 || bytes <= 0)
		return;
	for (size_t i = 0; i < m->schedule->n_device; i++) {
		key_of(source[i], key, sizeof(key));
		add(h, key, RATE, false, m->schedule->device[i]->precopy, bytes / b->transfer_load_ms);
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static bool median(const struct ls_history *h, const char *key, enum what what, bool dest, uint32_t target, double *ret,
		   unsigned *count)
{
	unsigned held = h->n < SAMPLES ? h->n : SAMPLES, n = 0;
	double *v = ls_msg_alloc(held * sizeof(*v));

	for (unsigned i = 0; i < held; i++) {
		const struct sample *s = &h->ring[i];

		if (s->what == what && s->dest == dest && s->target == target && strcmp(s->key, key) == 0)
			v[n++] = s->value;
	}
	qsort(v, n, sizeof(*v), compare);
	if (n)
		*ret = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
	if (n && n < *count)
		*count = n;
	free(v);
	return n > 0;
}

struct gaps {
	char text[160]; // the first thing that is not known
	unsigned count; // fewest samples behind any figure
};

static void gap(struct gaps *g, const char *device, const char *what)
{
	if (!g->text[0])
		snprintf(g->text, sizeof(g->text), "not known: %s of %s", what, device);
}

// Steps add up; within a step the slowest device counts.
static void walk(const struct ls_history *h, const struct ls_schedule *s, bool dest, Lockstep__V1__Device **devices,
		 Lockstep__V1__Estimate *e, struct gaps *g)
{
	const struct ls_track *t = dest ? &s->dest : &s->source;
	bool counts = false; // from the pause (source) or the decision (destination) on

	for (unsigned k = 0; k < t->n; k++) {
		const struct ls_step *step = &t->step[k];
		double longest = 0, ms = 0;
		char key[136];

		counts |= step->kind == (dest ? LS_STEP_DECIDE : LS_STEP_VMM_PAUSE);
		if (!counts || step->kind != LS_STEP_ARC)
			continue;
		for (unsigned i = 0; i < s->n_devices; i++) {
			if (!(step->devices & (uint32_t)1 << i))
				continue;
			key_of(devices[i], key, sizeof(key));
			if (!median(h, key, ARC, dest, step->target, &ms, &g->count))
				gap(g, devices[i]->name, "arc times");
			else if (ms > longest)
				longest = ms;
		}
		if (dest)
			e->start_ms += longest;
		else if (ls_state_deaf(step->target))
			e->stop_ms += longest;
		else
			e->quiesce_ms += longest;
	}
}

// The least of all: it is to be counted on.
static double tail(const struct ls_history *h, const struct ls_schedule *s, Lockstep__V1__Device **source)
{
	unsigned held = h->n < SAMPLES ? h->n : SAMPLES;
	double least = 0;
	bool known = false;
	char key[136];

	key_of_all(source, s->n_devices, key, sizeof(key));
	for (unsigned i = 0; i < held; i++) {
		const struct sample *t = &h->ring[i];

		if (t->what != TAIL || strcmp(t->key, key) != 0 || (known && t->value >= least))
			continue;
		least = t->value;
		known = true;
	}
	return least;
}

static void transfer(const struct ls_history *h, const struct ls_schedule *s, Lockstep__V1__Device **source,
		     Lockstep__V1__Estimate *e, struct gaps *g)
{
	char key[136];

	for (unsigned i = 0; i < s->n_devices; i++) {
		double rate = 0;

		key_of(source[i], key, sizeof(key));
		if (!source[i]->size_known)
			gap(g, source[i]->name, "the size of the state");
		else if (!median(h, key, RATE, false, s->device[i].precopy, &rate, &g->count))
			gap(g, source[i]->name, "transfer rate");
		else if (rate > 0)
			e->transfer_ms += (double)source[i]->size / rate;
	}
}

Lockstep__V1__Estimate *ls_history_estimate(const struct ls_history *h, const struct ls_schedule *s,
					    Lockstep__V1__Device **source, Lockstep__V1__Device **dest)
{
	struct gaps g = {.count = SAMPLES};
	Lockstep__V1__Estimate *e;
	double overhead = 0;

	LS_MSG_NEW(e, LOCKSTEP__V1__ESTIMATE__INIT);
	if (!h || !h->n) {
		ls_msg_set(&e->basis, "not known: no move has been finished yet to learn from");
		return e;
	}
	walk(h, s, false, source, e, &g);
	walk(h, s, true, dest, e, &g);
	transfer(h, s, source, e, &g);
	if (!median(h, "", OVERHEAD, false, 0, &overhead, &g.count))
		gap(&g, "the VM", "pause, decision and resume times");
	e->least_load_ms = tail(h, s, source);
	e->known = !g.text[0];
	e->blackout_ms = e->quiesce_ms + e->stop_ms + e->transfer_ms + e->load_ms + e->start_ms + overhead;
	if (e->known) {
		ls_msg_setf(
			&e->basis,
			"medians of %u earlier sample%s or more per figure, by driver and type; transfer holds wire "
			"and load, measured together; %.1f ms for pause, decision and resume are in the sum",
			g.count, g.count == 1 ? "" : "s", overhead);
	} else {
		ls_msg_setf(&e->basis, "%s (no earlier move of such a device)", g.text);
		e->blackout_ms = 0;
	}
	return e;
}
