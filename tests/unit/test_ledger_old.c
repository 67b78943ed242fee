// SPDX-License-Identifier: Apache-2.0
// What a ledger forgets, and ledgers that earlier releases wrote.
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

#include "ledger_place.h"

static int prune(struct place *p, unsigned keep)
{
	ls_ledger_prune(p->ledger, keep, place_done, p);
	return place_wait(p, p->n_done + 1);
}

static int heard(struct place *p, const char *id)
{
	ls_ledger_heard(p->ledger, id, place_done, p);
	return place_wait(p, p->n_done + 1);
}

static int set_term(struct place *p, uint64_t term)
{
	ls_ledger_term(p->ledger, term, "c", place_done, p);
	return place_wait(p, p->n_done + 1);
}

struct kept_records {
	unsigned n, whole;
	char ids[200];
};

static void each_kept(void *user, const struct ls_ledger_record *record)
{
	struct kept_records *k = user;

	k->n++;
	k->whole += record->request_len > 0;
	strcat(strcat(k->ids, record->migration), " ");
}

static struct kept_records look(struct place *p)
{
	struct kept_records k = { .n = 0 };

	place_close(p);
	assert_int_equal(ls_ledger_open(&p->loop, p->path, &p->ledger, NULL), 0);
	assert_int_equal(ls_ledger_each(p->ledger, each_kept, &k, NULL), 0);
	return k;
}

static void the_end(struct place *p, const char *id, enum ls_word first, enum ls_word second, enum ls_word last)
{
	assert_int_equal(place_begin(p, id, "vm", first), 0);
	if (second)
		assert_int_equal(place_persist(p, id, second), 0);
	assert_int_equal(place_persist(p, id, last), 0);
}

// Under the present term a Prepare may still be under way: every word stays, what Prepare brought does not.
static void what_is_over_is_forgotten_only_when_no_rule_needs_it(void **state)
{
	struct place *p = *state;
	struct kept_records k;

	the_end(p, "a-aborted", LS_WORD_UNDECIDED, 0, LS_WORD_ABORTED);
	the_end(p, "b-conflict", LS_WORD_ACTIVE, LS_WORD_RETURNING, LS_WORD_RETURNED);
	the_end(p, "c-released", LS_WORD_ACTIVE, LS_WORD_CONSENTED, LS_WORD_RELEASED);
	the_end(p, "d-started", LS_WORD_UNDECIDED, LS_WORD_COMMITTED, LS_WORD_STARTED);
	the_end(p, "e-returned", LS_WORD_ACTIVE, LS_WORD_RETURNING, LS_WORD_RETURNED);
	the_end(p, "f-unfinished", LS_WORD_ACTIVE, LS_WORD_CONSENTED, LS_WORD_RELEASED);
	the_end(p, "g-newest", LS_WORD_UNDECIDED, 0, LS_WORD_ABORTED);
	assert_int_equal(place_conflict(p, "b-conflict"), 0);
	for (const char *const *id = (const char *const[]){ "a-aborted", "c-released", "d-started", "e-returned",
							     "g-newest", NULL }; *id; id++)
		assert_int_equal(place_close_record(p, *id), 0);
	assert_int_equal(prune(p, 5), 0);
	k = look(p);
	assert_int_equal(k.n, 7);
	assert_int_equal(k.whole, 7);
	assert_int_equal(heard(p, "a-aborted"), 0);
	assert_int_equal(prune(p, 1), 0);
	k = look(p);
	assert_int_equal(k.n, 7);
	assert_int_equal(k.whole, 4); // the newest, what is not over, and what the source may still ask for
	assert_int_equal(heard(p, "d-started"), 0);
	assert_int_equal(prune(p, 1), 0);
	k = look(p);
	assert_int_equal(k.n, 7);
	assert_int_equal(k.whole, 3);
	assert_int_equal(place_begin(p, "a-aborted", "vm", LS_WORD_UNDECIDED), -EEXIST);
	assert_int_equal(set_term(p, 4), 0);
	assert_int_equal(prune(p, 1), 0);
	k = look(p);
	assert_string_equal(k.ids, "b-conflict d-started f-unfinished g-newest ");
}

static void an_older_ledger_is_brought_up_to_date(void **state)
{
	static const char old[] =
		"CREATE TABLE identity (one INTEGER PRIMARY KEY, id TEXT NOT NULL, term INTEGER, coordinator TEXT);"
		"INSERT INTO identity VALUES (1, '00112233445566778899aabbccddeeff', 3, 'c');"
		"CREATE TABLE migration (id TEXT PRIMARY KEY, vm TEXT NOT NULL, side INTEGER NOT NULL,"
		"  word TEXT NOT NULL, term INTEGER NOT NULL, coordinator TEXT NOT NULL, created_ms INTEGER NOT NULL,"
		"  request BLOB) STRICT;"
		"CREATE UNIQUE INDEX one_open_per_vm ON migration (vm);"
		"CREATE TABLE word (migration TEXT NOT NULL, word TEXT NOT NULL, time_ms INTEGER NOT NULL) STRICT;"
		"CREATE TRIGGER words_stand BEFORE UPDATE OF word ON migration BEGIN SELECT RAISE(ABORT, ''); END;"
		"CREATE TRIGGER words_begin BEFORE INSERT ON migration BEGIN SELECT 1; END;"
		"CREATE TRIGGER words_first AFTER INSERT ON migration BEGIN SELECT 1; END;"
		"CREATE TRIGGER kept BEFORE DELETE ON migration BEGIN SELECT 1; END;"
		"INSERT INTO migration VALUES ('m1', 'v1', 1, 'CONSENTED', 3, 'c', 5, x'78797a');"
		"INSERT INTO migration VALUES ('m2', 'v2', 2, 'STARTED', 3, 'c', 6, x'78797a');"
		"PRAGMA user_version = 1;";
	struct place *p = *state;
	sqlite3 *db;

	place_close(p);
	unlink(p->path);
	assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, old, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(ls_ledger_open(&p->loop, p->path, &p->ledger, NULL), 0);
	assert_int_equal(ls_ledger_each(p->ledger, place_each, p, NULL), 0);
	assert_int_equal(p->n_records, 2);
	assert_true(p->last.done);
	assert_int_equal(place_persist(p, "m1", LS_WORD_RELEASED), 0);
	assert_true(place_persist(p, "m2", LS_WORD_COMMITTED) < 0);
}

// What release 2 wrote: its tables, rules and a claim.
static void a_ledger_without_conflicts_is_brought_up_to_date(void **state)
{
	static const char back[] = "DROP TRIGGER conflict_stays; DROP TRIGGER conflict_kept;"
				   "ALTER TABLE migration DROP COLUMN conflict;"
				   "ALTER TABLE migration DROP COLUMN cause;"
				   "ALTER TABLE migration DROP COLUMN heard;"
				   "PRAGMA user_version = 2;";
	struct place *p = *state;
	struct ls_ledger_claim claim = { "m", "hb", "ann", 1, "pulled the plug", 7 };
	sqlite3 *db;

	assert_int_equal(place_begin(p, "m", "vm", LS_WORD_ACTIVE), 0);
	assert_int_equal(place_persist(p, "m", LS_WORD_CONSENTED), 0);
	ls_ledger_claim(p->ledger, &claim, place_done, p);
	assert_int_equal(place_wait(p, 3), 0);
	place_close(p);
	assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, back, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	place_reopen(p);
	assert_true(p->last.word == LS_WORD_CONSENTED && !p->last.conflict && !p->last.done);
	p->n_records = 0;
	assert_int_equal(ls_ledger_each_claim(p->ledger, place_each_claim, p, NULL), 0);
	assert_int_equal(p->n_records, 1);
	assert_int_equal(place_persist(p, "m", LS_WORD_RETURNING), 0);
	assert_int_equal(place_conflict(p, "m"), 0);
	place_reopen(p);
	assert_true(p->last.conflict);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LEDGER_TEST(what_is_over_is_forgotten_only_when_no_rule_needs_it),
		LEDGER_TEST(an_older_ledger_is_brought_up_to_date),
		LEDGER_TEST(a_ledger_without_conflicts_is_brought_up_to_date),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
