// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"

static void reasons_have_stable_names(void **state)
{
	for (unsigned i = 0; i < LS_E_COUNT; i++)
		assert_int_equal(ls_reason_parse(ls_reason_name(i)), i);
	assert_string_equal(ls_reason_name(LS_E_ARC_STUCK), "ARC_STUCK");
	assert_int_equal(ls_reason_parse("NEWER_THAN_US"), LS_E_INTERNAL);
	assert_int_equal(ls_reason_parse(NULL), LS_E_INTERNAL);
	assert_string_equal(ls_reason_name(LS_E_COUNT), "INTERNAL");
}

static void an_error_says_all_it_knows_in_one_line(void **state)
{
	struct ls_error err;
	char text[600];

	assert_int_equal(ls_fail(&err, LS_E_ARC_FAILED, ETIMEDOUT, "no answer in %d ms", 5), -ETIMEDOUT);
	assert_string_equal(ls_error_text(&err, text, sizeof(text)), "ARC_FAILED: no answer in 5 ms (ETIMEDOUT)");
	ls_error_at(&err, "nic0", "RUNNING -> STOP");
	ls_error_at(&err, NULL, NULL);
	snprintf(err.host, sizeof(err.host), "a");
	assert_string_equal(ls_error_text(&err, text, sizeof(text)),
			    "ARC_FAILED: host a: device nic0: RUNNING -> STOP: no answer in 5 ms (ETIMEDOUT)");
	err.err = 524;
	assert_non_null(strstr(ls_error_text(&err, text, sizeof(text)), "(ENOTSUPP 524)"));
	assert_string_equal(ls_error_text(&err, text, 4), "ARC");
	assert_int_equal(ls_fail(NULL, LS_E_INVALID, 0, "x"), -EIO);
	ls_fail(&err, LS_E_INVALID, 0, "again: %s", err.message);
	assert_string_equal(err.message, "again: no answer in 5 ms");
	assert_string_equal(err.device, "");
	assert_string_equal(ls_errno_name(4000), "unknown errno");
}

static char logged[4096];

static void capture(void (*say)(void))
{
	int pipes[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_int_equal(pipe(pipes), 0);
	dup2(pipes[1], STDERR_FILENO);
	say();
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(pipes[1]);
	n = read(pipes[0], logged, sizeof(logged) - 1);
	logged[n > 0 ? n : 0] = 0;
	close(pipes[0]);
}

static void say_event(void)
{
	ls_log(LS_LOG_INFO, "devices.stopped", "device=%s note=%s", "nic0", LS_Q("a \"b\"\nc"));
	ls_log(LS_LOG_DEBUG, "never.seen", "x=%d", 1);
}

static void say_error(void)
{
	struct ls_error err;

	ls_fail(&err, LS_E_ARC_FAILED, EIO, "it broke");
	ls_error_at(&err, "nic0", "RUNNING -> STOP");
	ls_log_error("arc.failed", &err, "migration=%s", "m1");
}

static void say_much(void)
{
	char much[5000];

	memset(much, 'x', sizeof(much) - 1);
	much[sizeof(much) - 1] = 0;
	ls_log(LS_LOG_WARN, "much", "%s\n%s", much, LS_Q(much));
}

static void events_are_single_lines_with_fields(void **state)
{
	ls_log_init("test", LS_LOG_INFO);
	capture(say_event);
	assert_non_null(strstr(logged, "Z test info devices.stopped device=nic0 note=\"a \\\"b\\\"\\x0ac\"\n"));
	assert_null(strstr(logged, "never.seen"));
	capture(say_error);
	assert_non_null(strstr(logged, " error arc.failed migration=m1 reason=ARC_FAILED device=nic0 "
			       "arc=\"RUNNING -> STOP\" errno=EIO(5) message=\"it broke\"\n"));
	capture(say_much);
	assert_int_equal(strlen(logged), 2047);
	assert_ptr_equal(strchr(logged, '\n'), logged + strlen(logged) - 1);
}

static void levels(void **state)
{
	enum ls_log_level level;

	assert_int_equal(ls_log_level_parse("warn", &level), 0);
	assert_int_equal(level, LS_LOG_WARN);
	assert_int_equal(ls_log_level_parse("loud", &level), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reasons_have_stable_names),
		cmocka_unit_test(an_error_says_all_it_knows_in_one_line),
		cmocka_unit_test(events_are_single_lines_with_fields),
		cmocka_unit_test(levels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
