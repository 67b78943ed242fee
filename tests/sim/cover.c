// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/cover.h"

#include <stdio.h>
#include <string.h>

#include "tests/sim/agent.h"

void sim_cover_event(struct sim_cover *t, const struct world *w, unsigned *faults_seen)
{
	unsigned m = w->operator_->started - 1;
	enum ls_word s = w->agent[0]->durable[m].word, d = w->agent[w->dest]->durable[m].word;

	t->words[s][d]++;
	for (unsigned i = 0; i < w->n; i++) {
		t->state[0][w->host[0].dev[i].state]++;
		t->state[1][w->host[w->dest].dev[i].state]++;
	}
	for (; *faults_seen < w->faults.n; ++*faults_seen) {
		enum sim_fault kind = w->faults.fired[*faults_seen].kind;
		t->fault[kind]++;
		t->fault_at[kind][s][d]++;
	}
}

void sim_cover_run(struct sim_cover *t, const struct world *w)
{
	const struct sim_coordinator *c = sim_operator_asks(w);
	const struct ls_seq *q = c->seq[w->operator_->started - 1];

	t->runs++;
	t->events += w->events;
	t->writes += w->writes;
	t->fired += w->faults.n;
	t->faulty += w->faults.n > 0;
	for (unsigned m = 0; w->lied && m < w->operator_->started; m++)
		if (sim_both_have_it(w, m) && !w->rolled_back) {
			t->met++;
			t->said += w->conflict[0][m] && w->conflict[w->operator_->dest[m]][m];
		}
	t->lied += w->lied;
	t->vm_dead += w->vm_dead;
	t->second += w->operator_->started > 1;
	t->phase[q ? ls_seq_view(q)->phase % SIM_PHASES : 0]++;
	for (unsigned i = 0; i <= LS_EV_TIMER; i++)
		t->fed[i] += w->fed[i];
	if (w->events > t->longest)
		t->longest = w->events;
}

void sim_cover_add(struct sim_cover *to, const struct sim_cover *from)
{
	uint64_t longest = to->longest > from->longest ? to->longest : from->longest;
	uint64_t *a = (uint64_t *)to;
	const uint64_t *b = (const uint64_t *)from;

	for (size_t i = 0; i < offsetof(struct sim_cover, fault_at) / sizeof(*a); i++)
		a[i] += b[i];
	for (unsigned k = 0; k < SIM_FAULT_COUNT; k++)
		for (unsigned s = 0; s < LS_WORD_COUNT; s++)
			for (unsigned d = 0; d < LS_WORD_COUNT; d++)
				to->fault_at[k][s][d] += from->fault_at[k][s][d];
	to->longest = longest;
}

static void print_words(const struct sim_cover *t)
{
	unsigned n = 0;

	printf("words (source / destination), events:");
	for (unsigned s = 0; s < LS_WORD_COUNT; s++)
		for (unsigned d = 0; d < LS_WORD_COUNT; d++)
			if (t->words[s][d])
				printf("%s %s/%s %llu", n++ % 4 ? " " : "\n ", s ? ls_word_name((enum ls_word)s) : "-",
				       d ? ls_word_name((enum ls_word)d) : "-", (unsigned long long)t->words[s][d]);
	putchar('\n');
}

static void print_states(const struct sim_cover *t)
{
	for (unsigned h = 0; h < 2; h++) {
		printf("device states, %s:", h ? "destination" : "source");
		for (unsigned i = 0; i < LS_STATE_COUNT; i++)
			printf(" %s %llu", ls_state_name((int)i), (unsigned long long)t->state[h][i]);
		putchar('\n');
	}
}

static bool print_events(const struct sim_cover *t, uint64_t least)
{
	static const char *const names[LS_EV_TIMER + 1] = {
		"begin",     "restart", "persisted", "grant",  "unwind",  "stop", "stream",
		"job",       "vmm",     "vmm-lost",  "vmm-up", "resolve", "rest", "peer-up",
		"peer-lost", "letter",  "settle",    "mute",   "timer",
	};
	bool all = true;

	printf("events of roles:");
	for (unsigned i = 0; i <= LS_EV_TIMER; i++) {
		printf(" %s %llu", names[i], (unsigned long long)t->fed[i]);
		all = all && t->fed[i] >= least;
	}
	printf("\n%s", all ? "" : "an event came up too rarely\n");
	return all;
}

static unsigned places(const struct sim_cover *t, unsigned kind)
{
	unsigned n = 0;

	for (unsigned s = 0; s < LS_WORD_COUNT; s++)
		for (unsigned d = 0; d < LS_WORD_COUNT; d++)
			n += t->fault_at[kind][s][d] > 0;
	return n;
}

static bool print_faults(const struct sim_cover *t, uint64_t least)
{
	bool all = true;

	printf("faults: kind times (at so many pairs of words):");
	for (unsigned k = 0; k < SIM_FAULT_COUNT; k++) {
		printf("%s%s %llu (%u)", k % 4 ? "  " : "\n  ", sim_fault_name((enum sim_fault)k),
		       (unsigned long long)t->fault[k], places(t, k));
		all = all && t->fault[k] >= least;
	}
	putchar('\n');
	for (unsigned k = 0; k < SIM_FAULT_COUNT && !all; k++)
		if (t->fault[k] < least)
			printf("%s was met %llu times, %llu are wanted\n", sim_fault_name((enum sim_fault)k),
			       (unsigned long long)t->fault[k], (unsigned long long)least);
	return all;
}

bool sim_cover_print(const struct sim_cover *t, uint64_t least)
{
	static const char *const phases[SIM_PHASES] = { "forgotten (all was over when the store was lost)",
							"planning", "preparing", "precopy", "blackout", "unwinding",
							"releasing", "done", "returned", "refused", "operator" };

	printf("%llu seeds, %llu with faults, %llu faults; %llu events (at most %llu), %llu peer writes, none lost\nends:",
	       (unsigned long long)t->runs, (unsigned long long)t->faulty, (unsigned long long)t->fired,
	       (unsigned long long)t->events, (unsigned long long)t->longest, (unsigned long long)t->writes);
	for (unsigned i = 0; i < SIM_PHASES; i++)
		if (t->phase[i])
			printf(" %llu %s,", (unsigned long long)t->phase[i], phases[i]);
	printf(" %llu with a second migration, %llu VMs died\n", (unsigned long long)t->second,
	       (unsigned long long)t->vm_dead);
	printf("%llu false fences, %llu of a destination that had committed, %llu told as CONFLICT on both sides\n",
	       (unsigned long long)t->lied, (unsigned long long)t->met, (unsigned long long)t->said);
	print_words(t);
	print_states(t);
	if (t->said < least)
		printf("a false fence was told as CONFLICT %llu times, %llu are wanted\n", (unsigned long long)t->said,
		       (unsigned long long)least);
	bool events = print_events(t, least);
	return print_faults(t, least) && events && t->said >= least;
}
