// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "common/fault.h"
#include "ledger_place.h"

static void every_word_follows_the_rules_and_no_other(void **state)
{
	struct place *p = *state;
	char id[16], vm[16];
	unsigned n = 0;

	for (enum ls_word from = LS_WORD_ACTIVE; from < LS_WORD_COUNT; from++)
		for (enum ls_word to = LS_WORD_ACTIVE; to < LS_WORD_COUNT; to++) {
			enum ls_word first = ls_word_side(from) == LS_SIDE_SOURCE ? LS_WORD_ACTIVE : LS_WORD_UNDECIDED;
			snprintf(id, sizeof(id), "m%u", ++n);
			snprintf(vm, sizeof(vm), "v%u", n);
			assert_int_equal(place_begin(p, id, vm, first), 0);
			if (from == LS_WORD_RETURNED)
				assert_int_equal(place_persist(p, id, LS_WORD_RETURNING), 0);
			if (from == LS_WORD_RELEASED)
				assert_int_equal(place_persist(p, id, LS_WORD_CONSENTED), 0);
			if (from == LS_WORD_STARTED || from == LS_WORD_LOST)
				assert_int_equal(place_persist(p, id, LS_WORD_COMMITTED), 0);
			if (from != first)
				assert_int_equal(place_persist(p, id, from), 0);
			assert_int_equal(place_persist(p, id, to) == 0, ls_word_may_follow(from, to));
		}
}

static void words_survive_a_restart(void **state)
{
	struct place *p = *state;
	char id[LS_LEDGER_ID_SIZE], coordinator[LS_NAME_MAX];
	uint64_t term;

	strcpy(id, ls_ledger_id(p->ledger));
	assert_int_equal(strlen(id), 32);
	assert_int_equal(place_begin(p, "m", "vm", LS_WORD_ACTIVE), 0);
	assert_int_equal(place_persist(p, "m", LS_WORD_CONSENTED), 0);
	place_close(p);
	assert_int_equal(ls_ledger_open(&p->loop, p->path, &p->ledger, NULL), 0);
	assert_string_equal(ls_ledger_id(p->ledger), id);
	ls_ledger_highest(p->ledger, &term, coordinator);
	assert_int_equal(term, 3);
	assert_string_equal(coordinator, "c");
	assert_int_equal(ls_ledger_each(p->ledger, place_each, p, NULL), 0);
	assert_int_equal(p->n_records, 1);
	assert_int_equal(p->last.word, LS_WORD_CONSENTED);
}

static void one_open_migration_per_vm(void **state)
{
	struct place *p = *state;

	assert_int_equal(place_begin(p, "m1", "vm", LS_WORD_UNDECIDED), 0);
	assert_int_equal(place_begin(p, "m2", "vm", LS_WORD_UNDECIDED), -EEXIST);
	assert_int_equal(place_persist(p, "m1", LS_WORD_ABORTED), 0);
	assert_int_equal(place_begin(p, "m1", "vm", LS_WORD_UNDECIDED), -EEXIST);
	assert_int_equal(place_begin(p, "m2", "vm", LS_WORD_UNDECIDED), 0);
}

static void a_closed_record_frees_the_vm_and_keeps_its_word(void **state)
{
	struct place *p = *state;

	assert_int_equal(place_begin(p, "m1", "vm", LS_WORD_ACTIVE), 0);
	assert_int_equal(place_persist(p, "m1", LS_WORD_CONSENTED), 0);
	assert_int_equal(place_begin(p, "m2", "vm", LS_WORD_ACTIVE), -EEXIST);
	assert_int_equal(place_close_record(p, "m1"), 0);
	assert_true(place_persist(p, "m1", LS_WORD_RETURNING) < 0);
	assert_int_equal(place_begin(p, "m2", "vm", LS_WORD_ACTIVE), 0);
}

static void a_claim_survives_a_restart(void **state)
{
	struct place *p = *state;
	struct ls_ledger_claim claim = { "m", "hb", "ann", 1, "pulled the plug", 7 };

	ls_ledger_claim(p->ledger, &claim, place_done, p);
	assert_true(place_wait(p, 1) < 0); // of nothing
	assert_int_equal(place_begin(p, "m", "vm", LS_WORD_ACTIVE), 0);
	ls_ledger_claim(p->ledger, &claim, place_done, p);
	assert_int_equal(place_wait(p, 3), 0);
	place_close(p);
	assert_int_equal(ls_ledger_open(&p->loop, p->path, &p->ledger, NULL), 0);
	assert_int_equal(ls_ledger_each_claim(p->ledger, place_each_claim, p, NULL), 0);
	assert_int_equal(p->n_records, 1);
}

static void a_conflict_stands_until_an_operator_closes_it(void **state)
{
	struct place *p = *state;

	assert_int_equal(place_begin(p, "m", "vm", LS_WORD_ACTIVE), 0);
	assert_int_equal(place_persist(p, "m", LS_WORD_RETURNING), 0);
	assert_int_equal(place_persist(p, "m", LS_WORD_RETURNED), 0);
	place_reopen(p);
	assert_false(p->last.conflict);
	assert_int_equal(place_conflict(p, "m"), 0);
	place_reopen(p);
	assert_true(p->last.conflict && !p->last.done);
	assert_int_equal(place_close_record(p, "m"), 0);
	assert_int_equal(place_conflict(p, "m"), 0); // seen already
	place_reopen(p);
	assert_true(p->last.done && !p->last.conflict);
}

static void pretend_a_boot(struct place *p)
{
	sqlite3 *db;

	place_close(p);
	assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "UPDATE identity SET boot = 'another'", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	place_reopen(p);
}

static void a_boot_is_known_in_every_life_until_something_begins(void **state)
{
	struct place *p = *state;

	assert_int_equal(place_begin(p, "m1", "vm1", LS_WORD_UNDECIDED), 0);
	place_reopen(p);
	assert_false(ls_ledger_rebooted(p->ledger));
	pretend_a_boot(p);
	assert_true(ls_ledger_rebooted(p->ledger));
	place_reopen(p); // this life ended before it had written anything
	assert_true(ls_ledger_rebooted(p->ledger));
	assert_int_equal(place_begin(p, "m2", "vm2", LS_WORD_UNDECIDED), 0);
	place_reopen(p);
	assert_false(ls_ledger_rebooted(p->ledger));
}

static void a_second_agent_is_refused(void **state)
{
	struct place *p = *state;
	struct ls_ledger *second;
	struct ls_error err;

	assert_int_equal(ls_ledger_open(&p->loop, p->path, &second, &err), -EBUSY);
	assert_int_equal(err.reason, LS_E_LEDGER);
}

static void a_damaged_ledger_is_refused(void **state)
{
	struct place *p = *state;
	struct ls_error err;
	FILE *f;

	assert_int_equal(place_begin(p, "m", "vm", LS_WORD_ACTIVE), 0);
	place_close(p);
	f = fopen(p->path, "r+");
	for (long at = 4096; at < 40000; at += 64) {
		fseek(f, at, SEEK_SET);
		fputs("damaged", f);
	}
	fclose(f);
	assert_true(ls_ledger_open(&p->loop, p->path, &p->ledger, &err) < 0);
	assert_int_equal(err.reason, LS_E_LEDGER);
	p->ledger = NULL;
}

// Each kind of write has fault points of its name, or there is an abort.
static int log_fault_points(void **state)
{
	struct ls_error err;

	setenv("LOCKSTEP_FAULT_LOG", "/dev/null", 1);
	return ls_fault_init("agent", &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LEDGER_TEST(every_word_follows_the_rules_and_no_other),
		LEDGER_TEST(words_survive_a_restart),
		LEDGER_TEST(one_open_migration_per_vm),
		LEDGER_TEST(a_closed_record_frees_the_vm_and_keeps_its_word),
		LEDGER_TEST(a_claim_survives_a_restart),
		LEDGER_TEST(a_conflict_stands_until_an_operator_closes_it),
		LEDGER_TEST(a_boot_is_known_in_every_life_until_something_begins),
		LEDGER_TEST(a_second_agent_is_refused),
		LEDGER_TEST(a_damaged_ledger_is_refused),
	};
	return cmocka_run_group_tests(tests, log_fault_points, NULL);
}
