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

#include "agent/ledger.h"
#include "common/fault.h"

struct place {
	char dir[32], path[64];
	uv_loop_t loop;
	struct ls_ledger *ledger;
	int status;
	unsigned n_done, n_records;
	struct ls_ledger_record last;
};

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/ledger-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->path, sizeof(p->path), "%s/ledger", p->dir);
	uv_loop_init(&p->loop);
	assert_int_equal(ls_ledger_open(&p->loop, p->path, &p->ledger, NULL), 0);
	*state = p;
	return 0;
}

static void close_ledger(struct place *p)
{
	ls_ledger_free(p->ledger);
	p->ledger = NULL;
	uv_run(&p->loop, UV_RUN_DEFAULT);
}

static int tear_down(void **state)
{
	static const char *const ends[] = { "", ".lock", "-wal", "-shm" };
	struct place *p = *state;
	char name[100];

	close_ledger(p);
	uv_loop_close(&p->loop);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%s%s", p->path, ends[i]);
		unlink(name);
	}
	rmdir(p->dir);
	free(p);
	return 0;
}

static void done(void *user, int status, const struct ls_error *err)
{
	struct place *p = user;

	p->status = status;
	p->n_done++;
	assert_true((status < 0) == (err != NULL));
}

static int wait_for(struct place *p, unsigned n)
{
	while (p->n_done < n)
		uv_run(&p->loop, UV_RUN_ONCE);
	return p->status;
}

static int begin(struct place *p, const char *id, const char *vm, enum ls_word word)
{
	struct ls_ledger_record record = { .side = ls_word_side(word), .word = word, .term = 3, .coordinator = "c",
					   .request = "xyz", .request_len = 3 };

	strcpy(record.migration, id);
	strcpy(record.vm, vm);
	ls_ledger_begin(p->ledger, &record, done, p);
	return wait_for(p, p->n_done + 1);
}

static int persist(struct place *p, const char *id, enum ls_word word)
{
	ls_ledger_persist(p->ledger, id, word, done, p);
	return wait_for(p, p->n_done + 1);
}

static void each(void *user, const struct ls_ledger_record *record)
{
	struct place *p = user;

	p->n_records++;
	p->last = *record;
	assert_int_equal(record->request_len, 3);
	assert_memory_equal(record->request, "xyz", 3);
}

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
			assert_int_equal(begin(p, id, vm, first), 0);
			if (from == LS_WORD_RETURNED)
				assert_int_equal(persist(p, id, LS_WORD_RETURNING), 0);
			if (from == LS_WORD_RELEASED)
				assert_int_equal(persist(p, id, LS_WORD_CONSENTED), 0);
			if (from == LS_WORD_STARTED || from == LS_WORD_LOST)
				assert_int_equal(persist(p, id, LS_WORD_COMMITTED), 0);
			if (from != first)
				assert_int_equal(persist(p, id, from), 0);
			assert_int_equal(persist(p, id, to) == 0, ls_word_may_follow(from, to));
		}
}

static void words_survive_a_restart(void **state)
{
	struct place *p = *state;
	char id[LS_LEDGER_ID_SIZE], coordinator[LS_NAME_MAX];
	uint64_t term;

	strcpy(id, ls_ledger_id(p->ledger));
	assert_int_equal(strlen(id), 32);
	assert_int_equal(begin(p, "m", "vm", LS_WORD_ACTIVE), 0);
	assert_int_equal(persist(p, "m", LS_WORD_CONSENTED), 0);
	close_ledger(p);
	assert_int_equal(ls_ledger_open(&p->loop, p->path, &p->ledger, NULL), 0);
	assert_string_equal(ls_ledger_id(p->ledger), id);
	ls_ledger_highest(p->ledger, &term, coordinator);
	assert_int_equal(term, 3);
	assert_string_equal(coordinator, "c");
	assert_int_equal(ls_ledger_each(p->ledger, each, p, NULL), 0);
	assert_int_equal(p->n_records, 1);
	assert_int_equal(p->last.word, LS_WORD_CONSENTED);
}

static void one_open_migration_per_vm(void **state)
{
	struct place *p = *state;

	assert_int_equal(begin(p, "m1", "vm", LS_WORD_UNDECIDED), 0);
	assert_int_equal(begin(p, "m2", "vm", LS_WORD_UNDECIDED), -EEXIST);
	assert_int_equal(persist(p, "m1", LS_WORD_ABORTED), 0);
	assert_int_equal(begin(p, "m1", "vm", LS_WORD_UNDECIDED), -EEXIST);
	assert_int_equal(begin(p, "m2", "vm", LS_WORD_UNDECIDED), 0);
}

static int close_record(struct place *p, const char *id)
{
	ls_ledger_close(p->ledger, id, done, p);
	return wait_for(p, p->n_done + 1);
}

static void a_closed_record_frees_the_vm_and_keeps_its_word(void **state)
{
	struct place *p = *state;

	assert_int_equal(begin(p, "m1", "vm", LS_WORD_ACTIVE), 0);
	assert_int_equal(persist(p, "m1", LS_WORD_CONSENTED), 0);
	assert_int_equal(begin(p, "m2", "vm", LS_WORD_ACTIVE), -EEXIST);
	assert_int_equal(close_record(p, "m1"), 0);
	assert_true(persist(p, "m1", LS_WORD_RETURNING) < 0);
	assert_int_equal(begin(p, "m2", "vm", LS_WORD_ACTIVE), 0);
}

static void each_claim(void *user, const struct ls_ledger_claim *claim)
{
	struct place *p = user;

	p->n_records++;
	assert_string_equal(claim->evidence, "pulled the plug");
	assert_int_equal(claim->method, 1);
}

static void a_claim_survives_a_restart(void **state)
{
	struct place *p = *state;
	struct ls_ledger_claim claim = { "m", "hb", "ann", 1, "pulled the plug", 7 };

	ls_ledger_claim(p->ledger, &claim, done, p);
	assert_true(wait_for(p, 1) < 0); // of nothing
	assert_int_equal(begin(p, "m", "vm", LS_WORD_ACTIVE), 0);
	ls_ledger_claim(p->ledger, &claim, done, p);
	assert_int_equal(wait_for(p, 3), 0);
	close_ledger(p);
	assert_int_equal(ls_ledger_open(&p->loop, p->path, &p->ledger, NULL), 0);
	assert_int_equal(ls_ledger_each_claim(p->ledger, each_claim, p, NULL), 0);
	assert_int_equal(p->n_records, 1);
}

static int conflict(struct place *p, const char *id)
{
	ls_ledger_conflict(p->ledger, id, done, p);
	return wait_for(p, p->n_done + 1);
}

static void reopen(struct place *p)
{
	close_ledger(p);
	p->n_records = 0;
	assert_int_equal(ls_ledger_open(&p->loop, p->path, &p->ledger, NULL), 0);
	assert_int_equal(ls_ledger_each(p->ledger, each, p, NULL), 0);
}

static void a_conflict_stands_until_an_operator_closes_it(void **state)
{
	struct place *p = *state;

	assert_int_equal(begin(p, "m", "vm", LS_WORD_ACTIVE), 0);
	assert_int_equal(persist(p, "m", LS_WORD_RETURNING), 0);
	assert_int_equal(persist(p, "m", LS_WORD_RETURNED), 0);
	reopen(p);
	assert_false(p->last.conflict);
	assert_int_equal(conflict(p, "m"), 0);
	reopen(p);
	assert_true(p->last.conflict && !p->last.done);
	assert_int_equal(close_record(p, "m"), 0);
	assert_int_equal(conflict(p, "m"), 0); // seen already
	reopen(p);
	assert_true(p->last.done && !p->last.conflict);
}

static int prune(struct place *p, unsigned keep)
{
	ls_ledger_prune(p->ledger, keep, done, p);
	return wait_for(p, p->n_done + 1);
}

static int heard(struct place *p, const char *id)
{
	ls_ledger_heard(p->ledger, id, done, p);
	return wait_for(p, p->n_done + 1);
}

static int set_term(struct place *p, uint64_t term)
{
	ls_ledger_term(p->ledger, term, "c", done, p);
	return wait_for(p, p->n_done + 1);
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

	close_ledger(p);
	assert_int_equal(ls_ledger_open(&p->loop, p->path, &p->ledger, NULL), 0);
	assert_int_equal(ls_ledger_each(p->ledger, each_kept, &k, NULL), 0);
	return k;
}

static void the_end(struct place *p, const char *id, enum ls_word first, enum ls_word second, enum ls_word last)
{
	assert_int_equal(begin(p, id, "vm", first), 0);
	if (second)
		assert_int_equal(persist(p, id, second), 0);
	assert_int_equal(persist(p, id, last), 0);
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
	assert_int_equal(conflict(p, "b-conflict"), 0);
	for (const char *const *id = (const char *const[]){ "a-aborted", "c-released", "d-started", "e-returned",
							     "g-newest", NULL }; *id; id++)
		assert_int_equal(close_record(p, *id), 0);
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
	assert_int_equal(begin(p, "a-aborted", "vm", LS_WORD_UNDECIDED), -EEXIST);
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
		"CREATE TABLE migration (id TEXT PRIMARY KEY, vm TEXT NOT NULL, side INTEGER NOT NULL, word TEXT NOT NULL,"
		"  term INTEGER NOT NULL, coordinator TEXT NOT NULL, created_ms INTEGER NOT NULL, request BLOB) STRICT;"
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

	close_ledger(p);
	unlink(p->path);
	assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, old, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(ls_ledger_open(&p->loop, p->path, &p->ledger, NULL), 0);
	assert_int_equal(ls_ledger_each(p->ledger, each, p, NULL), 0);
	assert_int_equal(p->n_records, 2);
	assert_true(p->last.done);
	assert_int_equal(persist(p, "m1", LS_WORD_RELEASED), 0);
	assert_true(persist(p, "m2", LS_WORD_COMMITTED) < 0);
}

// What release 2 wrote: its tables, rules and a claim.
static void a_ledger_without_conflicts_is_brought_up_to_date(void **state)
{
	static const char back[] = "DROP TRIGGER conflict_stays; DROP TRIGGER conflict_kept;"
				   "ALTER TABLE migration DROP COLUMN conflict; ALTER TABLE migration DROP COLUMN cause;"
				   "ALTER TABLE migration DROP COLUMN heard;"
				   "PRAGMA user_version = 2;";
	struct place *p = *state;
	struct ls_ledger_claim claim = { "m", "hb", "ann", 1, "pulled the plug", 7 };
	sqlite3 *db;

	assert_int_equal(begin(p, "m", "vm", LS_WORD_ACTIVE), 0);
	assert_int_equal(persist(p, "m", LS_WORD_CONSENTED), 0);
	ls_ledger_claim(p->ledger, &claim, done, p);
	assert_int_equal(wait_for(p, 3), 0);
	close_ledger(p);
	assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, back, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	reopen(p);
	assert_true(p->last.word == LS_WORD_CONSENTED && !p->last.conflict && !p->last.done);
	p->n_records = 0;
	assert_int_equal(ls_ledger_each_claim(p->ledger, each_claim, p, NULL), 0);
	assert_int_equal(p->n_records, 1);
	assert_int_equal(persist(p, "m", LS_WORD_RETURNING), 0);
	assert_int_equal(conflict(p, "m"), 0);
	reopen(p);
	assert_true(p->last.conflict);
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

	assert_int_equal(begin(p, "m", "vm", LS_WORD_ACTIVE), 0);
	close_ledger(p);
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
		cmocka_unit_test_setup_teardown(every_word_follows_the_rules_and_no_other, set_up, tear_down),
		cmocka_unit_test_setup_teardown(words_survive_a_restart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_open_migration_per_vm, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_closed_record_frees_the_vm_and_keeps_its_word, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_claim_survives_a_restart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_older_ledger_is_brought_up_to_date, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_ledger_without_conflicts_is_brought_up_to_date, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_conflict_stands_until_an_operator_closes_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_over_is_forgotten_only_when_no_rule_needs_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_second_agent_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_damaged_ledger_is_refused, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, log_fault_points, NULL);
}
