// SPDX-License-Identifier: Apache-2.0
#include "ledger_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

int ledger_place_set_up(void **state)
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

void place_close(struct place *p)
{
	ls_ledger_free(p->ledger);
	p->ledger = NULL;
	uv_run(&p->loop, UV_RUN_DEFAULT);
}

int ledger_place_tear_down(void **state)
{
	static const char *const ends[] = { "", ".lock", "-wal", "-shm" };
	struct place *p = *state;
	char name[100];

	place_close(p);
	uv_loop_close(&p->loop);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%s%s", p->path, ends[i]);
		unlink(name);
	}
	rmdir(p->dir);
	free(p);
	return 0;
}

void place_done(void *user, int status, const struct ls_error *err)
{
	struct place *p = user;

	p->status = status;
	p->n_done++;
	assert_true((status < 0) == (err != NULL));
}

int place_wait(struct place *p, unsigned n)
{
	while (p->n_done < n)
		uv_run(&p->loop, UV_RUN_ONCE);
	return p->status;
}

int place_begin(struct place *p, const char *id, const char *vm, enum ls_word word)
{
	struct ls_ledger_record record = { .side = ls_word_side(word), .word = word, .term = 3, .coordinator = "c",
					   .request = "xyz", .request_len = 3 };

	strcpy(record.migration, id);
	strcpy(record.vm, vm);
	ls_ledger_begin(p->ledger, &record, place_done, p);
	return place_wait(p, p->n_done + 1);
}

int place_persist(struct place *p, const char *id, enum ls_word word)
{
	ls_ledger_persist(p->ledger, id, word, place_done, p);
	return place_wait(p, p->n_done + 1);
}

int place_close_record(struct place *p, const char *id)
{
	ls_ledger_close(p->ledger, id, place_done, p);
	return place_wait(p, p->n_done + 1);
}

int place_conflict(struct place *p, const char *id)
{
	ls_ledger_conflict(p->ledger, id, place_done, p);
	return place_wait(p, p->n_done + 1);
}

void place_each(void *user, const struct ls_ledger_record *record)
{
	struct place *p = user;

	p->n_records++;
	p->last = *record;
	assert_int_equal(record->request_len, 3);
	assert_memory_equal(record->request, "xyz", 3);
}

void place_reopen(struct place *p)
{
	place_close(p);
	p->n_records = 0;
	assert_int_equal(ls_ledger_open(&p->loop, p->path, &p->ledger, NULL), 0);
	assert_int_equal(ls_ledger_each(p->ledger, place_each, p, NULL), 0);
}

void place_each_claim(void *user, const struct ls_ledger_claim *claim)
{
	struct place *p = user;

	p->n_records++;
	assert_string_equal(claim->evidence, "pulled the plug");
	assert_int_equal(claim->method, 1);
}
