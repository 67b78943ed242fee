// SPDX-License-Identifier: Apache-2.0
// The coordinator's store on a disk that fails or loses power at its n-th operation, for every n of a migration's
// records.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/store.h"
#include "tests/unit/fault_place.h"
#include "tests/unit/fault_vfs.h"

#define RECORDS 8u // of each of two migrations; the last closes it

struct kept {
	unsigned asked, acknowledged;
	uint64_t term;
	bool opened;
};

static void on_tick(uv_timer_t *timer)
{
}

static int append(struct place *p, struct ls_store *s, unsigned i)
{
	char id[8], text[16];
	bool first = i % RECORDS == 0, last = i % RECORDS == RECORDS - 1;
	struct ls_store_append a = { .id = id, .bytes = text, .created_ms = 1, .close = last };

	snprintf(id, sizeof(id), "m%u", i / RECORDS);
	a.len = (size_t)snprintf(text, sizeof(text), "r%u", i);
	a.vm = first ? "v" : NULL;
	a.summary = last ? "end" : NULL;
	a.summary_len = last ? 3 : 0;
	p->answered = false;
	ls_store_append(s, &a, fault_place_done, p);
	while (!p->answered && !fault_vfs_struck())
		uv_run(&p->loop, UV_RUN_ONCE);
	return p->answered ? p->status : -EIO;
}

static void keep(struct place *p, struct kept *k)
{
	struct ls_store *s;
	bool failed = false;

	for (unsigned life = 0; life < LIVES && !failed; life++) {
		struct ls_error err;
		if (ls_store_open(p->path, &s, &err) < 0)
			return;
		if (ls_store_set_term(s, life + 1, &err) == 0)
			k->term = life + 1;
		else
			failed = true;
		if (!failed && ls_store_start(s, &p->loop, &err) == 0) {
			uv_timer_init(&p->loop, &p->tick);
			uv_timer_start(&p->tick, on_tick, 1, 1);
			for (; !failed && k->asked < (life + 1) * RECORDS; k->acknowledged += !failed) {
				failed = append(p, s, k->asked) < 0;
				k->asked++;
			}
			uv_close((uv_handle_t *)&p->tick, NULL);
		}
		ls_store_free(s);
		uv_run(&p->loop, UV_RUN_DEFAULT);
	}
}

struct reading {
	unsigned n;
	bool wrong;
};

static int on_kept(void *user, const char *id, const struct ls_blob *record, bool last)
{
	struct reading *r = user;
	char want[16];

	if (last)
		return 0;
	snprintf(want, sizeof(want), "r%u", r->n++);
	r->wrong |= record->len != strlen(want) || memcmp(record->bytes, want, record->len) != 0;
	return 0;
}

static const char *store_after(struct place *p, const struct kept *k)
{
	struct reading r = { .n = 0 };
	struct ls_store *s;
	struct ls_error err;
	const char *wrong = NULL;

	if (ls_store_open(p->path, &s, &err) < 0)
		return "it cannot be opened any more";
	if (ls_store_term(s) < k->term)
		wrong = "the term is lost";
	else if (ls_store_read(s, false, 10, on_kept, &r, &err) < 0 || ls_store_read(s, true, 0, on_kept, &r, &err) < 0)
		wrong = "it cannot be read";
	else if (r.wrong)
		wrong = "records are not what was appended, in order";
	else if (r.n < k->acknowledged || r.n > k->asked)
		wrong = "a record is lost, or one that nobody appended is there";
	ls_store_free(s);
	uv_run(&p->loop, UV_RUN_DEFAULT);
	return wrong;
}

static const char *store_run(struct place *p, enum fault_kind kind, unsigned long at, enum fault_kept kept, bool lies,
			     struct kept *k)
{
	memset(k, 0, sizeof(*k));
	fault_place_remove(p);
	fault_vfs_begin(kind, at, kept, lies);
	keep(p, k);
	if (kind == FAULT_CUT)
		fault_place_lose_memory(p);
	fault_vfs_repair();
	return store_after(p, k);
}

static unsigned long store_operations(struct place *p)
{
	struct kept k = { .asked = 0 };

	fault_place_remove(p);
	fault_vfs_begin(FAULT_NONE, 0, KEPT_NOTHING, false);
	keep(p, &k);
	assert_int_equal(k.acknowledged, LIVES * RECORDS);
	return fault_vfs_count();
}

static void no_record_is_lost_whatever_the_disk_does(void **state)
{
	struct place *p = *state;
	unsigned long n = store_operations(p), runs = 0;
	struct kept k;

	for (enum fault_kind kind = FAULT_EIO_ONCE; kind < FAULT_KINDS; kind++)
		for (enum fault_kept kept = 0; kept < (kind == FAULT_CUT ? FAULT_KEPTS : 1); kept++)
			for (unsigned long at = 1; at <= n; at++, runs++) {
				const char *wrong = store_run(p, kind, at, kept, false, &k);
				if (wrong)
					fail_msg("kind %d, kept %d, operation %lu of %lu, %u of %u records there: %s",
						 kind, kept, at, n, k.acknowledged, k.asked, wrong);
			}
	print_message("%lu operations, %lu runs\n", n, runs);
}

static void the_store_notices_a_disk_that_lies(void **state)
{
	struct place *p = *state;
	unsigned long n = store_operations(p), noticed = 0;
	struct kept k;

	for (unsigned long at = 1; at <= n; at++)
		noticed += store_run(p, FAULT_CUT, at, KEPT_NOTHING, true, &k) != NULL;
	print_message("noticed at %lu of %lu operations\n", noticed, n);
	assert_true(noticed > n / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_record_is_lost_whatever_the_disk_does, fault_place_set_up,
						fault_place_tear_down),
		cmocka_unit_test_setup_teardown(the_store_notices_a_disk_that_lies, fault_place_set_up,
						fault_place_tear_down),
	};
	fault_vfs_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
