// SPDX-License-Identifier: Apache-2.0
// Ledger and store on a disk that fails or loses power at its n-th operation, for every n of three migrations'
// words, and of a migration's records. What was acknowledged must be there at the next start, and nothing that the
// rules forbid.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/ledger.h"
#include "coordinator/store.h"
#include "tests/unit/fault_vfs.h"

#define LIVES 2

struct place {
	char dir[32], path[64];
	uv_loop_t loop;
	uv_timer_t tick; // the store retries in silence: somebody must look whether the disk has failed
	bool answered;
	int status;
};

static void remove_files(struct place *p)
{
	static const char *const ends[] = { "", ".lock", "-wal", "-shm", "-journal" };
	char name[100];

	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", p->path, ends[i]);
		unlink(name);
	}
}

static void lose_memory(struct place *p)
{
	char name[100];

	snprintf(name, sizeof(name), "%s-shm", p->path);
	unlink(name);
}

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/faults-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->path, sizeof(p->path), "%s/db", p->dir);
	uv_loop_init(&p->loop);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;

	uv_run(&p->loop, UV_RUN_DEFAULT);
	uv_loop_close(&p->loop);
	remove_files(p);
	rmdir(p->dir);
	free(p);
	return 0;
}

static void on_done(void *user, int status, const struct ls_error *err)
{
	struct place *p = user;

	p->answered = true;
	p->status = status;
}

// ---- the ledger ----

static const struct word_order {
	const char *migration, *vm;
	enum ls_word word;
	int life;
} words[] = {
	{ "m1", "v", LS_WORD_ACTIVE, 0 },    { "m1", "v", LS_WORD_CONSENTED, 0 }, { "m1", "v", LS_WORD_RELEASED, 0 },
	{ "m2", "v", LS_WORD_UNDECIDED, 0 }, { "m2", "v", LS_WORD_COMMITTED, 0 }, { "m2", "v", LS_WORD_STARTED, 1 },
	{ "m3", "v", LS_WORD_ACTIVE, 1 },    { "m3", "v", LS_WORD_RETURNING, 1 }, { "m3", "v", LS_WORD_RETURNED, 1 },
	{ "m4", "v", LS_WORD_UNDECIDED, 1 }, { "m4", "v", LS_WORD_ABORTED, 1 },
};
#define WORDS (sizeof(words) / sizeof(words[0]))

struct spoken {
	char id[LS_LEDGER_ID_SIZE]; // of the ledger, once it could be opened
	unsigned asked, acknowledged; // of words[], in order
	uint64_t term;
};

static int speak(struct place *p, struct ls_ledger *l, const struct word_order *o)
{
	struct ls_ledger_record record = { .side = ls_word_side(o->word), .word = o->word, .coordinator = "c" };

	p->answered = false;
	strcpy(record.migration, o->migration);
	strcpy(record.vm, o->vm);
	record.term = (uint64_t)(o - words) + 1;
	if (ls_word_may_follow(LS_WORD_NONE, o->word) && o->word != LS_WORD_ABORTED)
		ls_ledger_begin(l, &record, on_done, p);
	else
		ls_ledger_persist(l, o->migration, o->word, on_done, p);
	while (!p->answered)
		uv_run(&p->loop, UV_RUN_ONCE);
	return p->status;
}

// Lives of an agent until a word cannot be written: rule 10, it is mute from then on.
static void live(struct place *p, struct spoken *s)
{
	struct ls_ledger *l;
	bool mute = false;

	for (int life = 0; life < LIVES && !mute; life++) {
		if (ls_ledger_open(&p->loop, p->path, &l, NULL) < 0) {
			uv_run(&p->loop, UV_RUN_DEFAULT);
			return;
		}
		strcpy(s->id, ls_ledger_id(l));
		for (; !mute && s->asked < WORDS && words[s->asked].life <= life; s->acknowledged += !mute) {
			mute = speak(p, l, &words[s->asked]) < 0;
			s->asked++;
		}
		ls_ledger_free(l);
		uv_run(&p->loop, UV_RUN_DEFAULT);
	}
}

struct found {
	unsigned n;
	enum ls_word word[WORDS];
	char migration[WORDS][LS_NAME_MAX];
};

static void on_record(void *user, const struct ls_ledger_record *record)
{
	struct found *f = user;

	assert_true(f->n < WORDS);
	strcpy(f->migration[f->n], record->migration);
	f->word[f->n++] = record->word;
}

static enum ls_word word_of(const struct found *f, const char *migration)
{
	for (unsigned i = 0; i < f->n; i++)
		if (strcmp(f->migration[i], migration) == 0)
			return f->word[i];
	return LS_WORD_NONE;
}

// The words after `n` of them: is that what the ledger has?
static bool agrees(const struct found *f, unsigned n)
{
	struct found want = { .n = 0 };

	for (unsigned i = 0; i < n; i++) {
		unsigned k = 0;
		while (k < want.n && strcmp(want.migration[k], words[i].migration) != 0)
			k++;
		if (k == want.n)
			strcpy(want.migration[want.n++], words[i].migration);
		want.word[k] = words[i].word;
	}
	if (want.n != f->n)
		return false;
	for (unsigned i = 0; i < want.n; i++)
		if (word_of(f, want.migration[i]) != want.word[i])
			return false;
	return true;
}

// NULL: what was said stands. A word that failed may be there or not.
static const char *after(struct place *p, const struct spoken *s)
{
	struct ls_ledger *l;
	struct ls_error err;
	struct found f = { .n = 0 };
	const char *wrong = NULL;
	uint64_t term;
	char coordinator[LS_NAME_MAX];

	if (ls_ledger_open(&p->loop, p->path, &l, &err) < 0)
		return "it cannot be opened any more";
	ls_ledger_highest(l, &term, coordinator);
	if (s->acknowledged && strcmp(s->id, ls_ledger_id(l)) != 0)
		wrong = "it is another ledger now";
	else if (ls_ledger_each(l, on_record, &f, &err) < 0)
		wrong = "it cannot be read";
	else if (!agrees(&f, s->acknowledged) && !agrees(&f, s->asked))
		wrong = "a word is lost, or one that nobody spoke is there";
	else if (s->acknowledged && term < 1)
		wrong = "the term is lost";
	for (unsigned i = s->asked; !wrong && agrees(&f, s->asked) && i < WORDS; i++)
		if (speak(p, l, &words[i]) < 0)
			wrong = "it does not take the next word";
	ls_ledger_free(l);
	uv_run(&p->loop, UV_RUN_DEFAULT);
	return wrong;
}

static const char *ledger_run(struct place *p, enum fault_kind kind, unsigned long at, enum fault_kept kept, bool lies,
			      struct spoken *s)
{
	memset(s, 0, sizeof(*s));
	remove_files(p);
	fault_vfs_begin(kind, at, kept, lies);
	live(p, s);
	if (kind == FAULT_CUT)
		lose_memory(p);
	fault_vfs_repair();
	return after(p, s);
}

static unsigned long ledger_operations(struct place *p)
{
	struct spoken s = { .asked = 0 };

	remove_files(p);
	fault_vfs_begin(FAULT_NONE, 0, KEPT_NOTHING, false);
	live(p, &s);
	assert_int_equal(s.acknowledged, WORDS);
	return fault_vfs_count();
}

static void no_word_is_lost_whatever_the_disk_does(void **state)
{
	struct place *p = *state;
	unsigned long n = ledger_operations(p), runs = 0;
	struct spoken s;

	for (enum fault_kind kind = FAULT_EIO_ONCE; kind < FAULT_KINDS; kind++)
		for (enum fault_kept kept = 0; kept < (kind == FAULT_CUT ? FAULT_KEPTS : 1); kept++)
			for (unsigned long at = 1; at <= n; at++, runs++) {
				const char *wrong = ledger_run(p, kind, at, kept, false, &s);
				if (wrong)
					fail_msg("kind %d, kept %d, operation %lu of %lu, %u of %u words there: %s",
						 kind, kept, at, n, s.acknowledged, s.asked, wrong);
			}
	print_message("%lu operations, %lu runs\n", n, runs);
}

static void a_disk_that_lies_about_its_syncs_is_noticed(void **state)
{
	struct place *p = *state;
	unsigned long n = ledger_operations(p), noticed = 0;
	struct spoken s;

	for (unsigned long at = 1; at <= n; at++)
		noticed += ledger_run(p, FAULT_CUT, at, KEPT_NOTHING, true, &s) != NULL;
	print_message("noticed at %lu of %lu operations\n", noticed, n);
	assert_true(noticed > n / 4);
}

// ---- the store ----

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
	ls_store_append(s, &a, on_done, p);
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
	remove_files(p);
	fault_vfs_begin(kind, at, kept, lies);
	keep(p, k);
	if (kind == FAULT_CUT)
		lose_memory(p);
	fault_vfs_repair();
	return store_after(p, k);
}

static unsigned long store_operations(struct place *p)
{
	struct kept k = { .asked = 0 };

	remove_files(p);
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
		cmocka_unit_test_setup_teardown(no_word_is_lost_whatever_the_disk_does, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_disk_that_lies_about_its_syncs_is_noticed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_record_is_lost_whatever_the_disk_does, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_store_notices_a_disk_that_lies, set_up, tear_down),
	};
	fault_vfs_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
