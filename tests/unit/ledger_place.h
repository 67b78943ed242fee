// SPDX-License-Identifier: Apache-2.0
// A ledger in a folder of its own, written and read one request at a time.
#ifndef LS_TESTS_LEDGER_PLACE_H
#define LS_TESTS_LEDGER_PLACE_H

#include "agent/ledger.h"

struct place {
	char dir[32], path[64];
	uv_loop_t loop;
	struct ls_ledger *ledger;
	int status;
	unsigned n_done, n_records;
	struct ls_ledger_record last;
};

int ledger_place_set_up(void **state); // open
int ledger_place_tear_down(void **state);
#define LEDGER_TEST(f) cmocka_unit_test_setup_teardown(f, ledger_place_set_up, ledger_place_tear_down)
void place_close(struct place *p);
void place_reopen(struct place *p); // and counts the records again

// For requests of the test's own: the callback, and the status once `n` of them are through in all.
void place_done(void *user, int status, const struct ls_error *err);
int place_wait(struct place *p, unsigned n);

// Each waits for its status.
int place_begin(struct place *p, const char *id, const char *vm, enum ls_word word);
int place_persist(struct place *p, const char *id, enum ls_word word);
int place_close_record(struct place *p, const char *id);
int place_conflict(struct place *p, const char *id);

// Count in n_records; the last one is kept, and what they hold is what the tests here write.
void place_each(void *user, const struct ls_ledger_record *record);
void place_each_claim(void *user, const struct ls_ledger_claim *claim);

#endif
