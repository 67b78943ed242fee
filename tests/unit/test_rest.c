// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "agent/rest.h"

#define MS 1000000ull

static void what_is_not_known_takes_no_time(void **state)
{
	struct ls_rest unknown = { 0 }, silent = { .total = 1000, .sending_ns = 500 * MS },
		       early = { .total = 1 << 30, .sent = 1, .sending_ns = LS_REST_MEASURE_NS - 1 };

	assert_int_equal(ls_rest_ns(&unknown, 1, 0), 0);
	assert_int_equal(ls_rest_ns(&silent, 1, 0), 0);
	assert_int_equal(ls_rest_ns(&early, 1, 0), 0);
	assert_int_equal(ls_rest_ns(&unknown, 0, 0), 0);
}

static void the_rest_goes_at_the_rate_of_what_went(void **state)
{
	struct ls_rest d = { .total = 4000, .sent = 1000, .sending_ns = 200 * MS };

	assert_int_equal(ls_rest_ns(&d, 1, 0), 600 * MS);
	assert_int_equal(ls_rest_ns(&d, 1, 50 * MS), 650 * MS);
	d.sent = 5000; // more than was known: it may end at any moment
	assert_int_equal(ls_rest_ns(&d, 1, 50 * MS), 50 * MS);
}

static void the_slowest_device_counts(void **state)
{
	struct ls_rest d[3] = { { .total = 2000, .sent = 1000, .sending_ns = 200 * MS },
				{ .total = 9000, .sent = 1000, .sending_ns = 200 * MS },
				{ .total = 0 } };

	assert_int_equal(ls_rest_ns(d, 3, 0), 1600 * MS);
}

static void what_was_sent_before_the_pause_is_not_sent_again_as_far_as_is_known(void **state)
{
	struct ls_rest d = { .total = 4000, .before = 2000, .sent = 1000, .sending_ns = 200 * MS };

	assert_int_equal(ls_rest_ns(&d, 1, 0), 200 * MS);
	d.before = 4000; // what is left is what the guest wrote meanwhile: nobody knows how much
	assert_int_equal(ls_rest_ns(&d, 1, 0), 0);
}

static void a_known_load_counts_before_anything_is_measured(void **state)
{
	struct ls_rest d = { .total = 4000 };

	assert_int_equal(ls_rest_ns(&d, 1, 30 * MS), 30 * MS);
	assert_int_equal(ls_rest_ns(&d, 0, 30 * MS), 30 * MS);
}

static void large_images_do_not_overflow(void **state)
{
	struct ls_rest d = { .total = 1ull << 46, .sent = 1ull << 45, .sending_ns = 3600000ull * MS };

	assert_int_equal(ls_rest_ns(&d, 1, 0) / MS, 3600000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_known_takes_no_time),
		cmocka_unit_test(the_rest_goes_at_the_rate_of_what_went),
		cmocka_unit_test(the_slowest_device_counts),
		cmocka_unit_test(what_was_sent_before_the_pause_is_not_sent_again_as_far_as_is_known),
		cmocka_unit_test(a_known_load_counts_before_anything_is_measured),
		cmocka_unit_test(large_images_do_not_overflow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
