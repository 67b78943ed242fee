// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "agent/role.h"
#include "common/cause.h"

static void what_says_by_itself_what_went_wrong_beats_what_follows_from_it(void **state)
{
	static const struct {
		enum ls_reason first, later;
		bool beats;
	} rows[] = {
		{ LS_E_NONE, LS_E_STREAM_BROKEN, true },
		{ LS_E_NONE, LS_E_ARC_FAILED, true },
		{ LS_E_STREAM_BROKEN, LS_E_PEER_ABORTED, true },
		{ LS_E_UNAVAILABLE, LS_E_PEER_ABORTED, true },
		{ LS_E_STREAM_BROKEN, LS_E_VMM_FAILED, true },
		{ LS_E_PEER_ABORTED, LS_E_VMM_FAILED, true },
		{ LS_E_PEER_ABORTED, LS_E_LOAD_FAILED, true },
		{ LS_E_STREAM_BROKEN, LS_E_UNAVAILABLE, false },
		{ LS_E_PEER_ABORTED, LS_E_STREAM_BROKEN, false },
		{ LS_E_VMM_FAILED, LS_E_PEER_ABORTED, false },
		{ LS_E_VMM_FAILED, LS_E_STREAM_BROKEN, false },
		{ LS_E_CANCELLED, LS_E_PEER_ABORTED, false },
		{ LS_E_CANCELLED, LS_E_ARC_FAILED, false },  // the first of its kind
		{ LS_E_ARC_FAILED, LS_E_VMM_FAILED, false },
		{ LS_E_DEADLINE, LS_E_CANCELLED, false },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (ls_cause_beats(rows[i].later, rows[i].first) != rows[i].beats)
			fail_msg("%s, then %s", ls_reason_name(rows[i].first), ls_reason_name(rows[i].later));
}

static void nothing_beats_itself_and_everything_beats_nothing(void **state)
{
	for (enum ls_reason reason = LS_E_NONE; reason < LS_E_COUNT; reason++) {
		assert_false(ls_cause_beats(reason, reason));
		assert_false(ls_cause_beats(LS_E_NONE, reason));
		assert_int_equal(ls_cause_beats(reason, LS_E_NONE), reason != LS_E_NONE);
	}
}

// ---- a source whose VMM dies, before or after other news of the same end

static struct ls_role *source(void)
{
	struct ls_role_params p = { .side = LS_SIDE_SOURCE, .migration = "m", .vm = "vm", .host = "a", .peer_host = "b",
				    .ledger_id = "s", .peer_ledger_id = "d" };
	struct ls_sched_device *d = &p.schedule.device[0];

	p.schedule.n_devices = 1;
	strcpy(d->source_name, "a0");
	strcpy(d->dest_name, "b0");
	d->source_flags = d->dest_flags = 3;
	p.state[0] = LS_STATE_RUNNING;
	assert_int_equal(ls_schedule_make(&p.schedule, NULL), 0);
	return ls_role_new(&p);
}

struct heard {
	enum ls_reason cause, end; // as last told
	enum ls_end how;
	bool reset, closed;
};

// Everything that is asked for succeeds at once.
static void feed(struct ls_role *r, struct ls_role_event event, struct heard *h)
{
	struct ls_role_actions todo = *ls_role_event(r, &event);

	for (unsigned i = 0; i < todo.n; i++) {
		const struct ls_role_action *a = &todo.at[i];
		struct ls_job_result job = { .kind = a->job, .state = LS_STATE_RUNNING };
		if (a->kind == LS_ACT_EMIT_ERROR)
			h->cause = a->error->reason;
		if (a->kind == LS_ACT_END) {
			h->how = a->how;
			h->end = a->error ? a->error->reason : LS_E_NONE;
		}
		h->reset |= a->kind == LS_ACT_JOB && a->job == LS_JOB_RESET;
		h->closed |= a->kind == LS_ACT_JOB && a->job == LS_JOB_CLOSE;
		if (a->kind == LS_ACT_PERSIST)
			feed(r, (struct ls_role_event){ .kind = LS_EV_PERSISTED, .word = a->word }, h);
		if (a->kind == LS_ACT_JOB && (a->job == LS_JOB_RESET || a->job == LS_JOB_CLOSE))
			feed(r, (struct ls_role_event){ .kind = LS_EV_JOB_DONE, .job = &job }, h);
	}
}

static void begin(struct ls_role *r, struct heard *h)
{
	feed(r, (struct ls_role_event){ .kind = LS_EV_BEGIN, .word = LS_WORD_ACTIVE }, h);
}

static void tell(struct ls_role *r, enum ls_reason reason, struct heard *h)
{
	struct ls_role_msg abort = { .kind = LS_MSG_ABORT };
	struct ls_job_result job = { .kind = LS_JOB_CONNECT, .state = LS_STATE_RUNNING, .status = -ECANCELED };
	struct ls_error err;

	switch (reason) {
	case LS_E_VMM_FAILED:
		feed(r, (struct ls_role_event){ .kind = LS_EV_VMM_LOST }, h);
		break;
	case LS_E_PEER_ABORTED:
		ls_fail(&abort.error, LS_E_LOAD_FAILED, 0, "refused");
		feed(r, (struct ls_role_event){ .kind = LS_EV_PEER, .msg = &abort }, h);
		break;
	case LS_E_NONE: // the connection under way comes to its end
		feed(r, (struct ls_role_event){ .kind = LS_EV_JOB_DONE, .job = &job }, h);
		break;
	default:
		ls_fail(&err, reason, 0, "told");
		feed(r, (struct ls_role_event){ .kind = reason == LS_E_STREAM_BROKEN ? LS_EV_PEER_LOST : LS_EV_UNWIND,
						.error = &err }, h);
		break;
	}
}

static void an_operator_hears_that_the_vmm_is_dead_whatever_was_heard_with_it(void **state)
{
	static const enum ls_reason others[] = { LS_E_PEER_ABORTED, LS_E_STREAM_BROKEN, LS_E_CANCELLED };

	for (unsigned i = 0; i < 3; i++)
		for (unsigned place = 0; place < 3; place++) {
			struct ls_role *r = source();
			struct heard h = { .how = LS_END_NONE };
			const enum ls_reason order[3][3] = { { LS_E_VMM_FAILED, others[i], LS_E_NONE },
						       { others[i], LS_E_VMM_FAILED, LS_E_NONE },
						       { others[i], others[(i + 1) % 3], LS_E_VMM_FAILED } };
			begin(r, &h);
			for (unsigned n = 0; n < 3; n++)
				tell(r, order[place][n], &h);
			if (place == 2)
				tell(r, LS_E_NONE, &h);
			if (h.how != LS_END_OPERATOR || h.end != LS_E_VMM_FAILED || !h.reset || !h.closed)
				fail_msg("%s, order %u: end %d, %s, reset %d, closed %d", ls_reason_name(others[i]),
					 place, h.how, ls_reason_name(h.end), h.reset, h.closed);
			ls_role_free(r);
		}
}

static void what_was_only_heard_of_gives_way_to_what_went_wrong_here(void **state)
{
	struct heard h = { .how = LS_END_NONE };
	struct ls_role *r = source();

	begin(r, &h);
	tell(r, LS_E_STREAM_BROKEN, &h);
	assert_int_equal(ls_role_cause(r)->reason, LS_E_STREAM_BROKEN);
	tell(r, LS_E_PEER_ABORTED, &h);
	assert_int_equal(ls_role_cause(r)->reason, LS_E_PEER_ABORTED);
	tell(r, LS_E_CANCELLED, &h);
	assert_int_equal(ls_role_cause(r)->reason, LS_E_CANCELLED);
	tell(r, LS_E_STREAM_BROKEN, &h);
	assert_int_equal(ls_role_cause(r)->reason, LS_E_CANCELLED);
	assert_int_equal(h.cause, LS_E_CANCELLED);
	ls_role_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_says_by_itself_what_went_wrong_beats_what_follows_from_it),
		cmocka_unit_test(nothing_beats_itself_and_everything_beats_nothing),
		cmocka_unit_test(an_operator_hears_that_the_vmm_is_dead_whatever_was_heard_with_it),
		cmocka_unit_test(what_was_only_heard_of_gives_way_to_what_went_wrong_here),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
