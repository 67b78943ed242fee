// SPDX-License-Identifier: Apache-2.0
// The sequencer in the world of seq_world.h: the good run, every run that differs in one or two places, and long
// random ones with many faults.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "seq_world.h"

#define STEPS_MAX 3000

// A run without faults but those at the given places: at step place[i] option choice[i] is taken, else the first.
struct script {
	unsigned n;
	unsigned place[2], choice[2];
	// out: how many options there were at each step
	unsigned steps;
	unsigned char options[STEPS_MAX];
};

static struct world *run(struct script *s, uint32_t held, bool feasible, bool refuse_source, bool refuse_dest)
{
	struct world *w = world_new(held, feasible, s->n);
	unsigned n, next = 0;

	w->agent[LS_SEQ_SOURCE].prepared_refuses = refuse_source;
	w->agent[LS_SEQ_DEST].prepared_refuses = refuse_dest;
	for (s->steps = 0; (n = world_options(w)) > 0; s->steps++) {
		unsigned choice = 0;

		if (s->steps >= STEPS_MAX)
			fail_msg("does not end\nafter: %s", w->trace);
		s->options[s->steps] = (unsigned char)(n > 255 ? 255 : n);
		if (next < s->n && s->place[next] == s->steps)
			choice = s->choice[next++] % n;
		world_do(w, choice);
	}
	world_check_end(w);
	return w;
}

static Lockstep__V1__Phase end_of(uint32_t held, bool feasible, bool refuse_source, bool refuse_dest)
{
	struct script s = {0};
	struct world *w = run(&s, held, feasible, refuse_source, refuse_dest);
	Lockstep__V1__Phase phase = ls_seq_view(w->q)->phase;

	world_free(w);
	return phase;
}

static void a_run_without_faults_is_done(void **state)
{
	assert_int_equal(end_of(0, true, false, false), LOCKSTEP__V1__PHASE__PHASE_DONE);
}

static void every_set_of_held_gates_is_done_after_its_releases(void **state)
{
	for (uint32_t held = 0; held < 16; held += 2)
		assert_int_equal(end_of(held, true, false, false), LOCKSTEP__V1__PHASE__PHASE_DONE);
}

static void what_is_not_feasible_is_refused(void **state)
{
	assert_int_equal(end_of(0, false, false, false), LOCKSTEP__V1__PHASE__PHASE_REFUSED);
}

static void a_refused_prepare_ends_in_returned(void **state)
{
	assert_int_equal(end_of(0, true, true, false), LOCKSTEP__V1__PHASE__PHASE_RETURNED);
	assert_int_equal(end_of(0, true, false, true), LOCKSTEP__V1__PHASE__PHASE_RETURNED);
}

// All runs with one deviation, and from each of them all with a second one.
static unsigned long explore(uint32_t held, bool feasible, bool refuse_source, bool refuse_dest, unsigned depth)
{
	struct script *base = calloc(1, sizeof(*base)), *one = calloc(1, sizeof(*one)), *two = calloc(1, sizeof(*two));
	unsigned long runs = 0;

	// With a budget of faults all options show in `options`.
	base->n = 1;
	base->place[0] = UINT32_MAX;
	world_free(run(base, held, feasible, refuse_source, refuse_dest));
	for (unsigned i = 0; i < base->steps; i++)
		for (unsigned a = 1; a < base->options[i]; a++) {
			*one = (struct script){.n = depth, .place = {i, UINT32_MAX}, .choice = {a}};
			world_free(run(one, held, feasible, refuse_source, refuse_dest));
			runs++;
			for (unsigned k = i + 1; depth > 1 && k < one->steps; k++)
				for (unsigned b = 1; b < one->options[k]; b++) {
					*two = (struct script){.n = 2, .place = {i, k}, .choice = {a, b}};
					world_free(run(two, held, feasible, refuse_source, refuse_dest));
					runs++;
				}
		}
	free(base);
	free(one);
	free(two);
	return runs;
}

static void every_single_deviation_ends_well(void **state)
{
	unsigned long runs = 0;

	for (uint32_t held = 0; held < 16; held += 2)
		runs += explore(held, true, false, false, 1);
	runs += explore(0, false, false, false, 1);
	runs += explore(0, true, true, false, 1);
	runs += explore(0, true, false, true, 1);
	print_message("%lu runs\n", runs);
	assert_true(runs > 1000);
}

static void every_pair_of_deviations_ends_well(void **state)
{
	unsigned long runs = explore(0, true, false, false, 2);

	runs += explore(1u << LS_GATE_DECIDE, true, false, false, 2);
	runs += explore(0, true, true, false, 2);
	print_message("%lu runs\n", runs);
	assert_true(runs > 10000);
}

static uint32_t next_random(uint32_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 17;
	*s ^= *s << 5;
	return *s;
}

static void long_runs_with_many_faults_end_well(void **state)
{
	unsigned ends[16] = {0};

	for (uint32_t seed = 1; seed <= 4000; seed++) {
		uint32_t r = seed * 2654435761u;
		struct world *w = world_new(next_random(&r) & 14, true, 12);
		unsigned n, steps = 0;

		while ((n = world_options(w)) > 0) {
			if (++steps > STEPS_MAX)
				fail_msg("seed %u does not end\nafter: %s", seed, w->trace);
			// Mostly the expected, so that runs get far.
			world_do(w, next_random(&r) % 4 ? 0 : next_random(&r) % n);
		}
		world_check_end(w);
		if (w->q)
			ends[ls_seq_view(w->q)->phase]++;
		world_free(w);
	}
	print_message("%u done, %u returned\n", ends[LOCKSTEP__V1__PHASE__PHASE_DONE],
		      ends[LOCKSTEP__V1__PHASE__PHASE_RETURNED]);
	assert_true(ends[LOCKSTEP__V1__PHASE__PHASE_DONE] > 100);
	assert_true(ends[LOCKSTEP__V1__PHASE__PHASE_RETURNED] > 100);
}

static void lost_stores_and_operators_end_well(void **state)
{
	unsigned done = 0, returned = 0, conflicts = 0, fenced = 0, forgotten = 0;

	for (uint32_t seed = 1; seed <= 6000; seed++) {
		uint32_t r = seed * 2654435761u;
		struct world *w = world_new(next_random(&r) & 14, true, 16);
		unsigned n, steps = 0;

		w->operators = true;
		while ((n = world_options(w)) > 0) {
			if (++steps > STEPS_MAX)
				fail_msg("seed %u does not end\nafter: %s", seed, w->trace);
			// Fences are for the time between consent and decision: there faults come thick.
			if (seed % 2 && strcmp(w->agent[LS_SEQ_SOURCE].word, "CONSENTED") == 0 && world_fence(w))
				continue;
			world_do(w, next_random(&r) % 5 ? 0 : next_random(&r) % n);
		}
		world_check_end(w);
		fenced += w->fenced;
		forgotten += w->forgotten;
		if (w->q && !w->crashed_early) {
			done += ls_seq_view(w->q)->phase == LOCKSTEP__V1__PHASE__PHASE_DONE;
			returned += ls_seq_view(w->q)->phase == LOCKSTEP__V1__PHASE__PHASE_RETURNED;
			conflicts += ls_seq_view(w->q)->phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR;
		}
		world_free(w);
	}
	print_message("%u done, %u returned, %u fenced of which %u falsely, %u forgotten\n", done, returned, fenced,
		      conflicts, forgotten);
	assert_true(done > 100 && returned > 100 && fenced > 20 && conflicts > 5);
}

// Does the first thing that happens, but nothing is heard from the destination.
static void without_dest(struct world *w)
{
	if (!world_cut_dest(w))
		world_do(w, 0);
}

static void a_false_fence_shows_even_after_the_end(void **state)
{
	struct world *w = world_new(0, true, 2000);

	w->operators = true;
	while (strcmp(w->agent[LS_SEQ_SOURCE].word, "CONSENTED") != 0)
		world_do(w, 0);
	while (strcmp(w->agent[LS_SEQ_DEST].word, "COMMITTED") != 0)
		without_dest(w);
	while (!w->fenced)
		if (!world_fence(w))
			without_dest(w);
	while (ls_seq_view(w->q)->phase != LOCKSTEP__V1__PHASE__PHASE_RETURNED)
		without_dest(w);
	assert_true(ls_seq_loose(w->q));
	w->faults = 0;
	for (unsigned steps = 0; world_options(w) > 0; steps++) {
		if (steps > STEPS_MAX)
			fail_msg("does not end\nafter: %s", w->trace);
		world_do(w, 0);
	}
	world_check_end(w);
	assert_int_equal(ls_seq_view(w->q)->phase, LOCKSTEP__V1__PHASE__PHASE_OPERATOR);
	world_free(w);
}

static struct world *committed(void)
{
	struct world *w = world_new(0, true, 0);

	while (strcmp(w->agent[LS_SEQ_DEST].word, "COMMITTED") != 0)
		world_do(w, 0);
	return w;
}

// Time passes only when nothing else can happen.
static uint64_t until_called(struct world *w)
{
	uint64_t began = w->now;

	while (ls_seq_view(w->q)->phase != LOCKSTEP__V1__PHASE__PHASE_OPERATOR)
		world_do(w, 0);
	return w->now - began;
}

static void an_operator_is_called_as_soon_as_one_agent_says_why(void **state)
{
	for (int side = 0; side < 2; side++) {
		struct world *w = committed();

		world_needs_operator(w, side, "ARC_FAILED");
		if (side == LS_SEQ_SOURCE)
			w->agent[LS_SEQ_DEST].ended = true; // it neither starts nor says so
		assert_int_equal(until_called(w), 0);
		assert_string_equal(ls_seq_view(w->q)->error->reason, "ARC_FAILED");
		world_free(w);
	}
}

static void an_agent_that_does_not_know_why_leaves_the_other_a_moment(void **state)
{
	struct world *w = committed();
	uint64_t waited;

	world_needs_operator(w, LS_SEQ_DEST, "PEER_ABORTED");
	waited = until_called(w);
	assert_true(waited > 0 && waited < 5000000000ull);
	assert_string_equal(ls_seq_view(w->q)->error->reason, "PEER_ABORTED");
	world_free(w);
	w = committed();
	world_needs_operator(w, LS_SEQ_DEST, "");
	world_needs_operator(w, LS_SEQ_SOURCE, "VMM_FAILED");
	until_called(w);
	assert_string_equal(ls_seq_view(w->q)->error->reason, "VMM_FAILED");
	world_free(w);
}

// The destination has started the VM and ended; the source goes on waiting to hear it (its ledger was set back, say).
static void a_last_word_that_the_source_cannot_hear_needs_an_operator(void **state)
{
	struct world *w = committed();

	w->agent[LS_SEQ_SOURCE].deaf = true;
	assert_true(until_called(w) >= 30000000000ull);
	assert_string_equal(ls_seq_view(w->q)->error->reason, "UNAVAILABLE");
	assert_string_equal(ls_seq_view(w->q)->source_word, "CONSENTED");
	assert_string_equal(ls_seq_view(w->q)->destination_word, "STARTED");
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_without_faults_is_done),
		cmocka_unit_test(every_set_of_held_gates_is_done_after_its_releases),
		cmocka_unit_test(what_is_not_feasible_is_refused),
		cmocka_unit_test(a_refused_prepare_ends_in_returned),
		cmocka_unit_test(every_single_deviation_ends_well),
		cmocka_unit_test(every_pair_of_deviations_ends_well),
		cmocka_unit_test(long_runs_with_many_faults_end_well),
		cmocka_unit_test(lost_stores_and_operators_end_well),
		cmocka_unit_test(a_false_fence_shows_even_after_the_end),
		cmocka_unit_test(an_operator_is_called_as_soon_as_one_agent_says_why),
		cmocka_unit_test(an_agent_that_does_not_know_why_leaves_the_other_a_moment),
		cmocka_unit_test(a_last_word_that_the_source_cannot_hear_needs_an_operator),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
