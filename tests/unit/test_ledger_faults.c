// SPDX-License-Identifier: Apache-2.0
// The ledger on a disk that fails or loses power at its n-th operation, for every n of three migrations' words. What
// was acknowledged must be there at the next start, and nothing that the rules forbid.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/ledger.h"
#include "tests/unit/fault_place.h"
#include "tests/unit/fault_vfs.h"

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
		ls_ledger_begin(l, &record, fault_place_done, p);
	else
		ls_ledger_persist(l, o->migration, o->word, fault_place_done, p);
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

static const char *not_opened(const struct ls_error *err)
{
	print_message("%s\n", err->message);
	return "it cannot be opened any more";
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
		return not_opened(&err);
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
	fault_place_remove(p);
	fault_vfs_begin(kind, at, kept, lies);
	live(p, s);
	if (kind == FAULT_CUT)
		fault_place_lose_memory(p);
	fault_vfs_repair();
	return after(p, s);
}

static unsigned long ledger_operations(struct place *p)
{
	struct spoken s = { .asked = 0 };

	fault_place_remove(p);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_word_is_lost_whatever_the_disk_does, fault_place_set_up,
						fault_place_tear_down),
		cmocka_unit_test_setup_teardown(a_disk_that_lies_about_its_syncs_is_noticed, fault_place_set_up,
						fault_place_tear_down),
	};
	fault_vfs_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
