// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "coordinator/store.h"

struct fixture {
	char dir[64], path[96];
	uv_loop_t loop;
	struct ls_store *store;
	unsigned done, failed;
	char read[4096]; // what was read, "id:bytes " each
};

static void open_store(struct fixture *f)
{
	struct ls_error err = {0};

	assert_int_equal(ls_store_open(f->path, &f->store, &err), 0);
}

static void start(struct fixture *f)
{
	struct ls_error err;

	uv_loop_init(&f->loop);
	assert_int_equal(ls_store_start(f->store, &f->loop, &err), 0);
}

static void stop(struct fixture *f)
{
	ls_store_free(f->store);
	f->store = NULL;
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/lockstep-store-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/store.db", f->dir);
	open_store(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
	char path[128];

	ls_store_free(f->store);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", f->path, ends[i]);
		unlink(path);
	}
	rmdir(f->dir);
	free(f);
	return 0;
}

static void on_done(void *user, int status, const struct ls_error *err)
{
	struct fixture *f = user;

	if (status < 0)
		f->failed++;
	f->done++;
	uv_stop(&f->loop);
}

static void on_blobs(void *user, int status, const struct ls_blob *blobs, size_t n, const struct ls_error *err)
{
	struct fixture *f = user;

	assert_int_equal(status, 0);
	for (size_t i = 0; i < n; i++)
		snprintf(f->read + strlen(f->read), sizeof(f->read) - strlen(f->read), "%.*s ", (int)blobs[i].len,
			 (const char *)blobs[i].bytes);
	f->done++;
	uv_stop(&f->loop);
}

static void wait_for(struct fixture *f, unsigned n)
{
	while (f->done < n)
		uv_run(&f->loop, UV_RUN_DEFAULT);
}

static void append(struct fixture *f, const char *id, const char *text, const char *vm, const char *summary, bool close)
{
	struct ls_store_append a = {
		.id = id, .bytes = text, .len = strlen(text), .vm = vm, .created_ms = 1, .close = close};

	if (summary) {
		a.summary = summary;
		a.summary_len = strlen(summary);
	}
	ls_store_append(f->store, &a, on_done, f);
}

static int on_record(void *user, const char *id, const struct ls_blob *b, bool last)
{
	struct fixture *f = user;

	snprintf(f->read + strlen(f->read), sizeof(f->read) - strlen(f->read), last ? "| " : "%s:%.*s ", id,
		 last ? 0 : (int)b->len, last ? "" : (const char *)b->bytes);
	return 0;
}

static void records_come_back_in_order_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct ls_error err;

	start(f);
	append(f, "m1", "one", "vm1", NULL, false);
	append(f, "m2", "other", "vm2", NULL, false);
	append(f, "m1", "two", NULL, NULL, false);
	append(f, "m1", "three", NULL, NULL, false);
	wait_for(f, 4);
	assert_int_equal(f->failed, 0);
	stop(f);
	open_store(f);
	assert_int_equal(ls_store_read(f->store, true, 0, on_record, f, &err), 0);
	assert_string_equal(f->read, "m1:one m1:two m1:three | m2:other | ");
}

static void ended_ones_are_listed_by_their_summary_newest_first(void **state)
{
	struct fixture *f = *state;
	struct ls_error err;

	start(f);
	append(f, "m1", "a", "vm1", NULL, false);
	append(f, "m1", "b", NULL, "sum1", true);
	append(f, "m2", "a", "vm2", NULL, false);
	append(f, "m2", "b", NULL, "sum2", true);
	append(f, "m3", "a", "vm1", NULL, false);
	append(f, "m3", "b", NULL, "sum3", true);
	append(f, "m4", "a", "vm1", NULL, false);
	append(f, "m4", "b", NULL, "operator", false);
	ls_store_list(f->store, NULL, 10, on_blobs, f);
	wait_for(f, 9);
	assert_string_equal(f->read, "sum3 sum2 sum1 ");
	f->read[0] = 0;
	ls_store_list(f->store, "vm1", 1, on_blobs, f);
	ls_store_get(f->store, "m2", on_blobs, f);
	ls_store_get(f->store, "m9", on_blobs, f);
	wait_for(f, 12);
	assert_string_equal(f->read, "sum3 a b ");
	stop(f);
	open_store(f);
	f->read[0] = 0;
	assert_int_equal(ls_store_read(f->store, false, 2, on_record, f, &err), 0);
	assert_string_equal(f->read, "m2:a m2:b | m3:a m3:b | ");
	f->read[0] = 0;
	assert_int_equal(ls_store_read(f->store, true, 0, on_record, f, &err), 0);
	assert_string_equal(f->read, "m4:a m4:b | ");
}

static void a_first_record_that_cannot_be_written_fails_and_the_rest_goes_on(void **state)
{
	struct fixture *f = *state;

	start(f);
	append(f, "m1", "a", "vm1", NULL, false);
	wait_for(f, 1);
	append(f, "m1", "again", "vm1", NULL, false); // the id is taken
	append(f, "m1", "b", NULL, NULL, false);
	wait_for(f, 3);
	assert_int_equal(f->failed, 1);
	ls_store_get(f->store, "m1", on_blobs, f);
	wait_for(f, 4);
	assert_string_equal(f->read, "a b ");
	stop(f);
}

static void many_records_share_commits_and_none_is_lost(void **state)
{
	struct fixture *f = *state;
	struct ls_error err;
	unsigned n = 0;

	start(f);
	append(f, "m1", "x", "vm1", NULL, false);
	for (unsigned i = 0; i < 1000; i++)
		append(f, "m1", "x", NULL, NULL, false);
	wait_for(f, 1001);
	stop(f);
	open_store(f);
	assert_int_equal(ls_store_read(f->store, true, 0, on_record, f, &err), 0);
	for (const char *p = f->read; (p = strstr(p, "m1:x")); p++)
		n++;
	assert_true(n > 500); // the buffer ends before the records do
}

static void the_term_survives(void **state)
{
	struct fixture *f = *state;
	struct ls_error err;

	assert_int_equal(ls_store_term(f->store), 0);
	assert_int_equal(ls_store_set_term(f->store, 7, &err), 0);
	start(f);
	ls_store_save_term(f->store, 9, on_done, f);
	wait_for(f, 1);
	stop(f);
	open_store(f);
	assert_int_equal(ls_store_term(f->store), 9);
}

static void a_second_coordinator_on_the_same_store_is_refused(void **state)
{
	struct fixture *f = *state;
	struct ls_store *second;
	struct ls_error err;

	assert_true(ls_store_open(f->path, &second, &err) < 0);
	assert_int_equal(err.reason, LS_E_LEDGER);
}

static void a_newer_schema_and_a_foreign_database_are_refused(void **state)
{
	struct fixture *f = *state;
	struct ls_error err;
	sqlite3 *db;

	ls_store_free(f->store);
	f->store = NULL;
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_true(ls_store_open(f->path, &f->store, &err) < 0);
	assert_non_null(strstr(err.message, "schema 99"));
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 0", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_true(ls_store_open(f->path, &f->store, &err) < 0);
	assert_non_null(strstr(err.message, "not a lockstep store"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(records_come_back_in_order_after_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(ended_ones_are_listed_by_their_summary_newest_first, setup, teardown),
		cmocka_unit_test_setup_teardown(a_first_record_that_cannot_be_written_fails_and_the_rest_goes_on, setup,
						teardown),
		cmocka_unit_test_setup_teardown(many_records_share_commits_and_none_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(the_term_survives, setup, teardown),
		cmocka_unit_test_setup_teardown(a_second_coordinator_on_the_same_store_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_newer_schema_and_a_foreign_database_are_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
