// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "role_world.h"

static const char *const fault_names[FAULT_COUNT] = {
	"none", "fail", "fail-applied", "cut", "cancel-source", "cancel-dest",
	"settle", "vmm-source", "vmm-dest", "late", "bent", "stuck", "reset",
	"crash-source", "crash-dest", "crash-source-applied", "crash-dest-applied",
	"bare-source", "bare-dest", "power-dest", "fence", "rest",
};

static const struct plan mixes[] = {
	{ .n = 1, .flags = { 3 } },
	{ .n = 1, .flags = { 1 } },
	{ .n = 1, .flags = { 7 }, .precopy = { true } },
	{ .n = 2, .flags = { 3, 7 }, .precopy = { false, true } },
	{ .n = 2, .flags = { 1, 3 } },
	{ .n = 3, .flags = { 5, 7, 3 }, .precopy = { true, true, false } },
	{ .n = 4, .flags = { 1, 3, 7, 7 }, .precopy = { false, false, true, true } },
};
#define N_MIXES (sizeof(mixes) / sizeof(mixes[0]))

static void complain(const struct plan *p, const struct outcome *o)
{
	fail_msg("%u devices, order %u, %s at %u, %s at %u: %s (source end %d runs %d %s, dest end %d runs %d %s)",
		 p->n, p->seed, fault_names[p->fault], p->at, fault_names[p->second], p->second_at, o->violation,
		 o->source, o->source_runs, ls_word_name(o->source_word), o->dest, o->dest_runs,
		 ls_word_name(o->dest_word));
}

static void a_good_move_ends_at_the_destination(void **state)
{
	for (unsigned m = 0; m < N_MIXES; m++) {
		for (unsigned seed = 0; seed < 50; seed++) {
			struct plan p = mixes[m];
			struct outcome o;
			p.seed = seed;
			p.at = p.second_at = ~0u;
			run_world(&p, &o);
			if (o.violation[0] || o.source != LS_END_DONE || o.dest != LS_END_DONE || o.source_runs ||
			    !o.dest_runs || o.source_word != LS_WORD_RELEASED || o.dest_word != LS_WORD_STARTED)
				complain(&p, &o);
		}
	}
}

static void any_one_fault_anywhere_leaves_at_most_one_side_running(void **state)
{
	unsigned runs = 0, returned = 0, moved = 0, operator = 0;

	for (unsigned m = 0; m < N_MIXES; m++)
		for (unsigned seed = 0; seed < 12; seed++)
			for (enum fault f = FAULT_FAIL; f < FAULT_COUNT; f++) {
				struct outcome o = { .completions = 1000 };
				for (unsigned at = 0; at <= o.completions; at++) {
					struct plan p = mixes[m];
					p.seed = seed;
					p.fault = f;
					p.at = at;
					p.second_at = ~0u;
					run_world(&p, &o);
					if (o.violation[0])
						complain(&p, &o);
					runs++;
					operator += o.source == LS_END_OPERATOR || o.dest == LS_END_OPERATOR;
					returned += o.source_runs;
					moved += o.dest_runs;
				}
			}
	print_message("one fault: %u runs, %u back, %u moved, %u for the operator\n", runs, returned, moved, operator);
	assert_true(runs > 1000 && returned && moved && operator);
}

static void any_two_faults_leave_at_most_one_side_running(void **state)
{
	unsigned runs = 0;

	for (unsigned m = 1; m < 4; m++)
		for (enum fault f = FAULT_FAIL; f < FAULT_COUNT; f++)
			for (enum fault g = FAULT_FAIL; g < FAULT_COUNT; g++) {
				struct outcome o = { .completions = 1000 };
				for (unsigned at = 0; at <= o.completions; at++) {
					unsigned last = o.completions;
					for (unsigned then = at; then <= last && then < at + 6; then++) {
						struct plan p = mixes[m];
						p.seed = (at + then) % 7;
						p.fault = f;
						p.at = at;
						p.second = g;
						p.second_at = then;
						run_world(&p, &o);
						if (o.violation[0])
							complain(&p, &o);
						runs++;
					}
				}
			}
	print_message("two faults: %u runs\n", runs);
}

// Everything that can be cancelled in time brings the VM back without an operator.
static void a_cancel_before_consent_returns_the_vm(void **state)
{
	for (unsigned m = 0; m < N_MIXES; m++) {
		struct outcome o = { .completions = 1000 };
		unsigned back = 0;
		for (unsigned at = 0; at <= o.completions; at++) {
			struct plan p = mixes[m];
			p.fault = FAULT_CANCEL_SOURCE;
			p.at = at;
			p.second_at = ~0u;
			run_world(&p, &o);
			if (o.violation[0] || o.source == LS_END_OPERATOR || o.source_runs == o.dest_runs)
				complain(&p, &o);
			back += o.source == LS_END_RETURNED && o.dest == LS_END_ABORTED && o.source_runs;
		}
		assert_true(back > 8);
	}
}

// It is an operator's while it hangs, and goes on by itself when it comes back, whichever call it was.
static void a_call_that_hung_and_came_back_is_no_end(void **state)
{
	unsigned back = 0, moved = 0;

	for (unsigned m = 0; m < N_MIXES; m++)
		for (unsigned seed = 0; seed < 4; seed++) {
			struct outcome o = { .completions = 1000 };
			for (unsigned at = 0; at <= o.completions; at++) {
				struct plan p = mixes[m];
				p.seed = seed;
				p.fault = FAULT_STUCK;
				p.at = at;
				p.second_at = ~0u;
				run_world(&p, &o);
				if (o.violation[0] || o.source == LS_END_OPERATOR || o.dest == LS_END_OPERATOR ||
				    o.source_runs == o.dest_runs)
					complain(&p, &o);
				back += o.source == LS_END_RETURNED;
				moved += o.source == LS_END_DONE;
			}
		}
	assert_true(back > 100 && moved > 100);
}

// As soon as it is known, while the VM stands still, and never after consent.
static void what_cannot_fit_turns_back_at_once(void **state)
{
	struct outcome o = { .completions = 1000 };
	unsigned back = 0, moved = 0;

	for (unsigned at = 0; at <= o.completions; at++) {
		struct plan p = mixes[3];
		p.fault = FAULT_REST;
		p.at = at;
		p.second_at = ~0u;
		run_world(&p, &o);
		if (o.violation[0] || o.source == LS_END_OPERATOR || o.source_runs == o.dest_runs)
			complain(&p, &o);
		back += o.source == LS_END_RETURNED;
		moved += o.source == LS_END_DONE;
	}
	assert_true(back > 4 && moved > 8); // before the pause there is no deadline yet
}

static void broken_rules_are_noticed(void **state)
{
	const struct {
		enum lie lie;
		enum fault fault;
	} lies[] = {
		{ LIE_RETURNING, FAULT_CANCEL_SOURCE },
		{ LIE_COMMITTED, FAULT_NONE },
		{ LIE_CONSENT, FAULT_NONE },
		{ LIE_ABORT, FAULT_NONE },
	};

	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		unsigned noticed = 0;
		struct outcome o = { .completions = 60 };
		for (unsigned at = 0; at <= 60; at++) {
			struct plan p = mixes[3];
			p.lie = lies[i].lie;
			p.fault = lies[i].fault;
			p.at = at;
			p.second_at = ~0u;
			run_world(&p, &o);
			noticed += o.violation[0] != 0;
		}
		if (!noticed)
			fail_msg("lie %u went unnoticed", lies[i].lie);
	}
}

// The real code without one of its rules.
static void a_missing_rule_is_noticed(void **state)
{
	static const struct {
		unsigned rule;
		enum fault from; // where to begin to look
	} rules[] = {
		{ 1, FAULT_NONE }, { 2, FAULT_BENT }, { 3, FAULT_NONE }, { 4, FAULT_NONE }, { 5, FAULT_SETTLE },
		{ 6, FAULT_FENCE }, { 8, FAULT_FENCE }, { 10, FAULT_FAIL },
	};

	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		unsigned runs = 0, noticed = 0;
		for (enum fault f = rules[i].from; f < FAULT_COUNT && !noticed; f++)
			for (enum fault g = FAULT_NONE; g < FAULT_COUNT && !noticed; g++) {
				struct outcome o = { .completions = 60 };
				for (unsigned at = 0; at <= o.completions && !noticed; at++)
					for (unsigned then = at; then < at + 8 && !noticed; then++) {
						struct plan p = mixes[0];
						p.rule_off = rules[i].rule;
						p.seed = at + then;
						p.fault = f;
						p.at = at;
						p.second = g;
						p.second_at = then;
						run_world(&p, &o);
						runs++;
						noticed += o.violation[0] != 0;
						if (noticed)
							print_message("without rule %u: run %u, %s\n", rules[i].rule,
								      runs, o.violation);
					}
			}
		if (!noticed)
			fail_msg("nobody missed rule %u in %u runs", rules[i].rule, runs);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_move_ends_at_the_destination),
		cmocka_unit_test(any_one_fault_anywhere_leaves_at_most_one_side_running),
		cmocka_unit_test(any_two_faults_leave_at_most_one_side_running),
		cmocka_unit_test(a_cancel_before_consent_returns_the_vm),
		cmocka_unit_test(a_call_that_hung_and_came_back_is_no_end),
		cmocka_unit_test(what_cannot_fit_turns_back_at_once),
		cmocka_unit_test(broken_rules_are_noticed),
		cmocka_unit_test(a_missing_rule_is_noticed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
