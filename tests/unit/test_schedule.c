// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/schedule.h"

static void mesh(struct ls_schedule *s, unsigned n, const unsigned *source_flags, const unsigned *dest_flags)
{
	memset(s, 0, sizeof(*s));
	s->n_devices = n;
	for (unsigned i = 0; i < n; i++) {
		snprintf(s->device[i].source_name, LS_NAME_MAX, "nic%u", i);
		snprintf(s->device[i].dest_name, LS_NAME_MAX, "dst%u", i);
		s->device[i].source_flags = source_flags[i];
		s->device[i].dest_flags = dest_flags[i];
		s->device[i].reaches = n == 32 ? UINT32_MAX : (UINT32_C(1) << n) - 1;
		s->device[i].precopy = source_flags[i] & LS_CAP_PRE_COPY;
	}
}

// "text; text; ..." of a track
static const char *told(const struct ls_schedule *s, const struct ls_track *t, bool dest)
{
	static char text[2000];
	char step[200];
	size_t used = 0;

	text[0] = 0;
	for (unsigned i = 0; i < t->n; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? "; " : "",
					 ls_step_text(s, &t->step[i], dest, step, sizeof(step)));
	return text;
}

static void make(struct ls_schedule *s)
{
	struct ls_error err;
	char text[600];

	if (ls_schedule_make(s, &err) < 0 || ls_schedule_verify(s, &err) < 0)
		fail_msg("%s", ls_error_text(&err, text, sizeof(text)));
}

static void devices_of_the_full_type(void **state)
{
	struct ls_schedule s;

	mesh(&s, 2, (unsigned[]){ 7, 7 }, (unsigned[]){ 7, 7 });
	make(&s);
	assert_string_equal(told(&s, &s.source, false),
			    "connect the streams; all -> PRE_COPY; pre-copy; gate before-pause; pause the VM; "
			    "all -> RUNNING_P2P; all -> STOP_COPY; gate stopped; last pass over RAM; consent; release");
	assert_string_equal(told(&s, &s.source_unwind, false), "reset; all -> RUNNING_P2P; all -> RUNNING; "
			    "resume the VM; note that the VM runs here again");
	assert_string_equal(told(&s, &s.dest, true),
			    "all -> RESUMING; load; hand config space to the VMM, wait until it is ready; gate decide; "
			    "ask for consent, decide; all -> RUNNING_P2P; all -> RUNNING; resume the VM; "
			    "tell that the VM runs here");
	assert_string_equal(told(&s, &s.dest_unwind, true), "reset; discard the VM");
}

static void one_of_each_type(void **state)
{
	struct ls_schedule s;

	mesh(&s, 4, (unsigned[]){ 1, 3, 7, 7 }, (unsigned[]){ 1, 3, 7, 7 });
	make(&s);
	assert_string_equal(told(&s, &s.source, false),
			    "connect the streams; nic2, nic3 -> PRE_COPY; pre-copy: nic2, nic3; gate before-pause; "
			    "pause the VM; nic1, nic2, nic3 -> RUNNING_P2P; nic0 -> STOP; all -> STOP_COPY; "
			    "gate stopped; last pass over RAM; consent; release");
	assert_string_equal(told(&s, &s.source_unwind, false),
			    "reset; nic1, nic2, nic3 -> RUNNING_P2P; nic0 -> RUNNING; all -> RUNNING; resume the VM; "
			    "note that the VM runs here again");
}

static void a_precopying_device_stays_in_its_session_on_the_way_forward_only(void **state)
{
	const struct ls_step quiesce = { .kind = LS_STEP_ARC, .target = LS_STATE_RUNNING_P2P };
	const struct ls_step stop = { .kind = LS_STEP_ARC, .target = LS_STATE_STOP };
	struct ls_schedule s;

	mesh(&s, 3, (unsigned[]){ 7, 3, 5 }, (unsigned[]){ 7, 3, 5 });
	make(&s);
	assert_int_equal(ls_step_target(&s, false, false, &quiesce, 0), LS_STATE_PRE_COPY_P2P);
	assert_int_equal(ls_step_target(&s, false, false, &quiesce, 1), LS_STATE_RUNNING_P2P);
	assert_int_equal(ls_step_target(&s, false, false, &stop, 2), LS_STATE_STOP_COPY);
	assert_int_equal(ls_step_target(&s, false, true, &quiesce, 0), LS_STATE_RUNNING_P2P);
	assert_int_equal(ls_step_target(&s, true, false, &quiesce, 0), LS_STATE_RUNNING_P2P);
	s.device[2].precopy = false;
	assert_int_equal(ls_step_target(&s, false, false, &stop, 2), LS_STATE_STOP);
}

static void p2p_on_one_side_only_orders_that_side_only(void **state)
{
	struct ls_schedule s;

	mesh(&s, 2, (unsigned[]){ 3, 3 }, (unsigned[]){ 1, 3 });
	make(&s);
	assert_non_null(strstr(told(&s, &s.source, false), "all -> RUNNING_P2P; all -> STOP_COPY"));
	assert_non_null(strstr(told(&s, &s.source_unwind, false), "all -> RUNNING_P2P; all -> RUNNING"));
	assert_non_null(strstr(told(&s, &s.dest, true), "dst1 -> RUNNING_P2P; dst0 -> RUNNING; all -> RUNNING"));
}

static void a_device_without_p2p_that_touches_nobody_costs_no_barrier(void **state)
{
	struct ls_schedule s;

	mesh(&s, 3, (unsigned[]){ 1, 3, 1 }, (unsigned[]){ 1, 3, 1 });
	s.device[0].reaches = s.device[1].reaches = s.device[2].reaches = 0;
	make(&s);
	assert_non_null(strstr(told(&s, &s.source, false), "nic1 -> RUNNING_P2P; all -> STOP_COPY"));
	// It only writes: stopped first, but started with the rest.
	s.device[0].reaches = 2;
	make(&s);
	assert_non_null(strstr(told(&s, &s.source, false), "nic1 -> RUNNING_P2P; nic0 -> STOP; all -> STOP_COPY"));
	assert_non_null(strstr(told(&s, &s.dest, true), "dst1 -> RUNNING_P2P; all -> RUNNING"));
	// It is only written to: the other way round.
	s.device[0].reaches = 0;
	s.device[1].reaches = 1;
	make(&s);
	assert_non_null(strstr(told(&s, &s.source, false), "nic1 -> RUNNING_P2P; all -> STOP_COPY"));
	assert_non_null(strstr(told(&s, &s.dest, true), "dst1 -> RUNNING_P2P; dst0 -> RUNNING; all -> RUNNING"));
}

static void two_without_p2p_are_refused_by_name_on_the_side_concerned(void **state)
{
	struct ls_schedule s;
	struct ls_error err;

	mesh(&s, 4, (unsigned[]){ 1, 3, 5, 7 }, (unsigned[]){ 3, 3, 7, 7 });
	assert_int_equal(ls_schedule_make(&s, &err), -EOPNOTSUPP);
	assert_int_equal(err.reason, LS_E_NOT_FEASIBLE);
	assert_string_equal(err.message,
			    "on the source these reach each other and lack P2P, so none can stop first: nic0, nic2");
	mesh(&s, 3, (unsigned[]){ 3, 3, 3 }, (unsigned[]){ 1, 3, 1 });
	assert_int_equal(ls_schedule_make(&s, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.message, "on the destination"));
	assert_non_null(strstr(err.message, ": dst0, dst2"));
}

static void thirty_two_devices(void **state)
{
	struct ls_schedule s;
	unsigned flags[32];
	char text[40];

	for (unsigned i = 0; i < 32; i++)
		flags[i] = 7;
	flags[31] = 1;
	mesh(&s, 32, flags, flags);
	make(&s);
	ls_step_text(&s, &s.source.step[1], false, text, sizeof(text));
	assert_true(strlen(text) < sizeof(text));
}

static void bad_devices_are_refused(void **state)
{
	struct ls_schedule s;
	struct ls_error err;

	mesh(&s, 2, (unsigned[]){ 3, 3 }, (unsigned[]){ 3, 3 });
#define REFUSED(field, value, word) do { \
		struct ls_schedule bad = s; \
		bad.field = value; \
		assert_int_equal(ls_schedule_make(&bad, &err), -EINVAL); \
		assert_int_equal(err.reason, LS_E_INVALID); \
		assert_non_null(strstr(err.message, word)); \
	} while (0)
	REFUSED(n_devices, 0, "0 devices");
	REFUSED(n_devices, 33, "33 devices");
	REFUSED(device[0].source_flags, 2, "flags 2");
	REFUSED(device[1].dest_flags, 0, "-> 0");
	REFUSED(device[0].dest_flags, 11, "-> 11");
	REFUSED(device[0].reaches, 4, "reaches");
	REFUSED(device[0].precopy, true, "pre-copy");
	REFUSED(device[1].source_name[3], '0', "one name");
	REFUSED(device[1].source_name[0], '/', "a name has");
	REFUSED(device[1].dest_name[0], 0, "a name has");
	memset(s.device[0].source_name, 'a', LS_NAME_MAX);
	assert_int_equal(ls_schedule_make(&s, &err), -EINVAL);
}

static void the_proof_says_where_and_who(void **state)
{
	struct ls_schedule good, s;
	struct ls_error err;

	mesh(&good, 2, (unsigned[]){ 3, 3 }, (unsigned[]){ 3, 3 });
	make(&good);
#define UNPROVED(track, index, field, value, words) do { \
		s = good; \
		s.track.step[index].field = value; \
		assert_int_equal(ls_schedule_verify(&s, &err), -EINVAL); \
		assert_int_equal(err.reason, LS_E_SCHEDULE_INVALID); \
		if (!strstr(err.message, words)) \
			fail_msg("'%s' lacks '%s'", err.message, words); \
	} while (0)
	UNPROVED(source, 3, devices, 1, "source step 4: nic1 in RUNNING may write to nic0 in STOP");
	UNPROVED(source, 3, target, LS_STATE_ERROR, "source step 3: nic0 has no way from RUNNING to ERROR");
	UNPROVED(source, 3, target, 8, "target 8");
	UNPROVED(source, 3, devices, 0, "devices 0x0");
	UNPROVED(source, 3, devices, 4, "devices 0x4");
	UNPROVED(source, 0, kind, 99, "'?' where 'streams' must come");
	UNPROVED(source, 4, devices, 2, "nic0 may be in RUNNING_P2P when 'gate' comes");
	UNPROVED(source, 8, devices, 2, "'release' has devices 0x2");
	UNPROVED(source, 0, kind, LS_STEP_ARC, "no arc may stand before 'streams'");
	UNPROVED(dest, 0, devices, 1, "destination step 1: dst1 may be in RUNNING after a reset when 'load' comes");
	UNPROVED(dest, 5, devices, 2, "destination step 6: dst1 in RUNNING may write to dst0 in STOP");
	UNPROVED(source_unwind, 1, devices, 1,
		 "source unwind step 2 (begun in step 4): nic0 in RUNNING may write to nic1");
	s = good;
	s.source.n = 8;
	assert_int_equal(ls_schedule_verify(&s, &err), -EINVAL);
	assert_non_null(strstr(err.message, "'release' is missing"));
	s.source.n = 25;
	assert_int_equal(ls_schedule_verify(&s, &err), -EINVAL);
	assert_non_null(strstr(err.message, "25 steps"));
}

static void an_unwind_leaves_alone_what_the_quiesce_never_reached(void **state)
{
	const struct ls_step quiet = { .kind = LS_STEP_ARC, .target = LS_STATE_RUNNING_P2P };
	const struct ls_step run = { .kind = LS_STEP_ARC, .target = LS_STATE_RUNNING };

	assert_true(ls_unwind_skips(&quiet, LS_STATE_RUNNING));
	assert_true(ls_unwind_skips(&quiet, LS_STATE_PRE_COPY));
	assert_false(ls_unwind_skips(&quiet, LS_STATE_PRE_COPY_P2P));
	assert_false(ls_unwind_skips(&quiet, LS_STATE_STOP));
	assert_false(ls_unwind_skips(&run, LS_STATE_PRE_COPY));
	assert_true(ls_unwind_resets(false, LS_STATE_ERROR));
	assert_true(ls_unwind_resets(false, 8));
	assert_false(ls_unwind_resets(false, LS_STATE_STOP_COPY));
	assert_true(ls_unwind_resets(true, LS_STATE_STOP));
}

static void gates_and_kinds_have_names(void **state)
{
	enum ls_gate gate;

	for (unsigned i = 1; i < LS_GATE_COUNT; i++) {
		assert_int_equal(ls_gate_parse(ls_gate_name(i), &gate), 0);
		assert_int_equal(gate, i);
	}
	assert_int_equal(ls_gate_parse("none", &gate), -EINVAL);
	assert_int_equal(ls_gate_parse("", &gate), -EINVAL);
	for (unsigned i = 0; i < LS_STEP_KIND_COUNT; i++)
		assert_non_null(ls_step_kind_name(i));
	assert_string_equal(ls_step_kind_name(LS_STEP_KIND_COUNT), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_of_the_full_type),
		cmocka_unit_test(one_of_each_type),
		cmocka_unit_test(a_precopying_device_stays_in_its_session_on_the_way_forward_only),
		cmocka_unit_test(p2p_on_one_side_only_orders_that_side_only),
		cmocka_unit_test(a_device_without_p2p_that_touches_nobody_costs_no_barrier),
		cmocka_unit_test(two_without_p2p_are_refused_by_name_on_the_side_concerned),
		cmocka_unit_test(thirty_two_devices),
		cmocka_unit_test(bad_devices_are_refused),
		cmocka_unit_test(the_proof_says_where_and_who),
		cmocka_unit_test(an_unwind_leaves_alone_what_the_quiesce_never_reached),
		cmocka_unit_test(gates_and_kinds_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
