// SPDX-License-Identifier: Apache-2.0
// Rules 7 and 10 at a whole agent whose disk fails: nothing follows a term that is not on the disk, and after a write
// that failed nothing follows any more.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/agent.h"
#include "fault_vfs.h"

#define TERMS 3u

struct place {
	char dir[32];
	struct ls_agent_config config;
	struct ls_agent agent;
	uv_loop_t loop;
	bool answered, refused;
};

static void remove_files(struct place *p)
{
	static const char *const ends[] = { "", "-wal", "-shm", "-journal", ".lock" };
	char name[600];

	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", p->config.ledger, ends[i]);
		unlink(name);
	}
}

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/silent-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->config.ledger, sizeof(p->config.ledger), "%s/ledger", p->dir);
	snprintf(p->config.vmm, sizeof(p->config.vmm), "%s/vmm", p->dir);
	strcpy(p->config.host, "h");
	strcpy(p->config.listen, "127.0.0.1:0");
	strcpy(p->config.stream, "127.0.0.1:0");
	strcpy(p->config.plaintext, "loopback");
	p->config.arc_timeout_ms = 1000;
	p->config.keep_ended = 10;
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;

	remove_files(p);
	unlink(p->config.vmm);
	rmdir(p->dir);
	free(p);
	return 0;
}

static bool begin(struct place *p)
{
	uv_loop_init(&p->loop);
	return ls_agent_open(&p->agent, &p->loop, &p->config, NULL) == 0;
}

static void end(struct place *p)
{
	assert_true(ls_agent_leave(&p->agent));
	assert_int_equal(uv_loop_close(&p->loop), 0);
}

static void on_obeyed(void *user, const struct ls_error *err)
{
	struct place *p = user;

	p->answered = true;
	p->refused = err != NULL;
	if (!err)
		assert_int_equal(p->agent.term_durable, p->agent.term);
}

// Was it obeyed?
static bool order(struct place *p, uint64_t term)
{
	struct ls_error err;

	p->answered = false;
	if (ls_agent_obey(&p->agent, term, "c", on_obeyed, p, &err) < 0) {
		assert_int_equal(err.reason, LS_E_LEDGER);
		return false;
	}
	while (!p->answered)
		uv_run(&p->loop, UV_RUN_ONCE);
	return !p->refused;
}

static uint64_t found(struct place *p)
{
	uint64_t term;

	assert_true(begin(p));
	term = p->agent.term_durable;
	end(p);
	return term;
}

// Terms are ordered until the disk fails; the highest that was obeyed.
static uint64_t live(struct place *p)
{
	uint64_t obeyed = 0;
	bool failed = false;

	if (!begin(p)) {
		end(p);
		return 0;
	}
	for (uint64_t term = 1; term <= TERMS; term++) {
		bool yes = order(p, term);
		assert_false(failed && yes);
		failed = failed || !yes;
		assert_int_equal(p->agent.silent.reason != LS_E_NONE, failed);
		if (yes)
			obeyed = term;
	}
	if (failed) // even what was obeyed before
		assert_false(order(p, obeyed ? obeyed : 1));
	end(p);
	return obeyed;
}

static void an_order_follows_only_a_term_that_is_on_the_disk(void **state)
{
	struct place *p = *state;
	unsigned runs = 0, silent = 0;

	fault_vfs_begin(FAULT_NONE, 0, KEPT_NOTHING, false);
	assert_int_equal(live(p), TERMS);
	assert_int_equal(found(p), TERMS);
	unsigned long n = fault_vfs_count();
	for (enum fault_kind kind = FAULT_EIO_ONCE; kind < FAULT_CUT; kind++)
		for (unsigned long at = 1; at <= n; at++, runs++) {
			remove_files(p);
			fault_vfs_begin(kind, at, KEPT_NOTHING, false);
			uint64_t obeyed = live(p);
			fault_vfs_repair();
			if (found(p) < obeyed)
				fail_msg("kind %d, operation %lu of %lu: term %llu was obeyed, and is lost", (int)kind,
					 at, n, (unsigned long long)obeyed);
			silent += obeyed < TERMS;
		}
	print_message("%u runs, %u of them silent before the end\n", runs, silent);
	assert_true(silent > n / 2);
}

// Could the test above fail? A disk that says that it has synced, and has not, is noticed.
static void a_disk_that_lies_about_its_syncs_is_noticed(void **state)
{
	struct place *p = *state;
	unsigned noticed = 0;
	char name[600];

	snprintf(name, sizeof(name), "%s-shm", p->config.ledger);
	fault_vfs_begin(FAULT_NONE, 0, KEPT_NOTHING, false);
	assert_int_equal(live(p), TERMS);
	for (unsigned long at = 1, n = fault_vfs_count(); at <= n; at++) {
		remove_files(p);
		fault_vfs_begin(FAULT_CUT, at, KEPT_NOTHING, true);
		uint64_t obeyed = live(p);
		unlink(name);
		fault_vfs_repair();
		bool opens = begin(p);
		noticed += obeyed && (!opens || p->agent.term_durable < obeyed);
		end(p);
	}
	print_message("noticed %u times\n", noticed);
	assert_true(noticed > 0);
}

// A term that is known is obeyed at once, a lower one never, and one that comes from someone else neither.
static void a_known_term_needs_no_disk(void **state)
{
	struct place *p = *state;
	struct ls_error err;

	fault_vfs_begin(FAULT_NONE, 0, KEPT_NOTHING, false);
	assert_true(begin(p));
	assert_true(order(p, 7));
	p->answered = false;
	assert_int_equal(ls_agent_obey(&p->agent, 7, "c", on_obeyed, p, &err), 0);
	assert_true(p->answered && !p->refused);
	p->answered = false;
	assert_int_equal(ls_agent_obey(&p->agent, 8, "c", on_obeyed, p, &err), 0);
	assert_false(p->answered); // it is on its way
	assert_true(ls_agent_obey(&p->agent, 7, "c", on_obeyed, p, &err) < 0);
	assert_int_equal(err.reason, LS_E_STALE_COORDINATOR);
	assert_true(ls_agent_obey(&p->agent, 8, "d", on_obeyed, p, &err) < 0);
	while (!p->answered)
		uv_run(&p->loop, UV_RUN_ONCE);
	assert_false(p->refused);
	end(p);
}

// Overtaken while it was being written: it is not obeyed any more.
static void a_term_that_is_overtaken_on_its_way_is_not_obeyed(void **state)
{
	struct place *p = *state, later = { .answered = false };

	fault_vfs_begin(FAULT_NONE, 0, KEPT_NOTHING, false);
	assert_true(begin(p));
	assert_int_equal(ls_agent_obey(&p->agent, 3, "c", on_obeyed, p, NULL), 0);
	later.agent.term = later.agent.term_durable = 0;
	assert_int_equal(ls_agent_obey(&p->agent, 4, "d", on_obeyed, &later, NULL), 0);
	while (!later.answered)
		uv_run(&p->loop, UV_RUN_ONCE);
	assert_true(p->answered && p->refused && !later.refused);
	end(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_order_follows_only_a_term_that_is_on_the_disk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_disk_that_lies_about_its_syncs_is_noticed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_known_term_needs_no_disk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_term_that_is_overtaken_on_its_way_is_not_obeyed, set_up, tear_down),
	};
	fault_vfs_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
