// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/fsm.h"

#define UNLISTED (-1000)

static int oracle[8][LS_STATE_COUNT][LS_STATE_COUNT];

static int read_oracle(void **state)
{
	FILE *file = fopen(FSM_ORACLE, "r");
	unsigned flags, cur, to, rows = 0;
	char line[160], next[16];

	for (int *cell = &oracle[0][0][0]; cell < &oracle[0][0][0] + 8 * LS_STATE_COUNT * LS_STATE_COUNT; cell++)
		*cell = UNLISTED;
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%u,%u,%u,%15s", &flags, &cur, &to, next) != 4)
			continue;
		oracle[flags][cur][to] = strcmp(next, "EINVAL") == 0 ? -EINVAL : next[0] - '0';
		rows++;
	}
	fclose(file);
	return rows == 8 * (5 + 6 + 6 + 8) ? 0 : -1;
}

static void every_cell_is_the_kernel_s(void **state)
{
	for (unsigned flags = 0; flags < 8; flags++)
		for (int cur = 0; cur < LS_STATE_COUNT; cur++)
			for (int to = 0; to < LS_STATE_COUNT; to++) {
				int want = oracle[flags][cur][to] == UNLISTED ? -EINVAL : oracle[flags][cur][to];

				if (ls_fsm_next(flags, cur, to) != want)
					fail_msg("flags %u: %s -> %s gives %d, not %d", flags, ls_state_name(cur),
						 ls_state_name(to), ls_fsm_next(flags, cur, to), want);
			}
}

static void what_does_not_exist_is_refused(void **state)
{
	static const int bad[] = { -1, 8, 255, -2147483647 - 1, 2147483647 };

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(ls_fsm_next(7, bad[i], LS_STATE_STOP), -EINVAL);
		assert_int_equal(ls_fsm_next(7, LS_STATE_STOP, bad[i]), -EINVAL);
	}
	assert_int_equal(ls_fsm_next(8 | 7, LS_STATE_STOP, LS_STATE_RUNNING), -EINVAL);
	assert_int_equal(ls_fsm_next(6, LS_STATE_STOP, LS_STATE_RUNNING), -EINVAL);
}

static void every_walk_arrives_and_takes_saving_states_only_from_within(void **state)
{
	static const unsigned flags[] = { 1, 3, 5, 7 };
	enum ls_state path[LS_FSM_PATH_MAX];

	for (unsigned f = 0; f < 4; f++)
		for (int cur = 0; cur < LS_STATE_COUNT; cur++)
			for (int to = 0; to < LS_STATE_COUNT; to++) {
				int n = ls_fsm_path(flags[f], cur, to, path);

				if (ls_fsm_next(flags[f], cur, to) < 0) {
					assert_int_equal(n, -EINVAL);
					continue;
				}
				assert_int_equal(n == 0, cur == to);
				if (n > 0)
					assert_int_equal(path[n - 1], to);
				for (int i = 0; i < n - 1; i++)
					assert_true(!ls_state_saving(path[i]) || ls_state_saving(cur));
			}
}

static void walks_are_those_of_the_contract(void **state)
{
	enum ls_state path[LS_FSM_PATH_MAX];

	assert_int_equal(ls_fsm_path(7, LS_STATE_RUNNING, LS_STATE_STOP_COPY, path), 3);
	assert_int_equal(path[0], LS_STATE_RUNNING_P2P);
	assert_int_equal(path[1], LS_STATE_STOP);
	// hisi_acc: one request, or the session ends on the way over RUNNING (K3).
	assert_int_equal(ls_fsm_path(5, LS_STATE_PRE_COPY, LS_STATE_STOP_COPY, path), 1);
	assert_int_equal(ls_fsm_path(5, LS_STATE_PRE_COPY, LS_STATE_STOP, path), 2);
	assert_int_equal(path[0], LS_STATE_RUNNING);
	// The request on which Linux hangs (K2).
	assert_int_equal(ls_fsm_path(7, LS_STATE_STOP_COPY, LS_STATE_PRE_COPY, path), -EINVAL);
}

static void a_new_data_fd_comes_from_four_arcs_only(void **state)
{
	static const unsigned flags[] = { 1, 3, 5, 7 };
	unsigned seen = 0;

	for (unsigned f = 0; f < 4; f++)
		for (int cur = 1; cur < LS_STATE_COUNT; cur++)
			for (int to = 1; to < LS_STATE_COUNT; to++)
				if (cur != to && ls_fsm_next(flags[f], cur, to) == to && ls_fsm_opens_session(cur, to))
					seen |= (cur == LS_STATE_STOP && to == LS_STATE_STOP_COPY) ? 1 :
						(cur == LS_STATE_STOP && to == LS_STATE_RESUMING) ? 2 :
						(cur == LS_STATE_RUNNING && to == LS_STATE_PRE_COPY) ? 4 :
						(cur == LS_STATE_RUNNING_P2P && to == LS_STATE_PRE_COPY_P2P) ? 8 : 16;
	assert_int_equal(seen, 15);
}

static void names(void **state)
{
	assert_string_equal(ls_state_name(LS_STATE_PRE_COPY_P2P), "PRE_COPY_P2P");
	assert_string_equal(ls_state_name(8), "?");
	assert_string_equal(ls_state_name(-1), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(every_cell_is_the_kernel_s, read_oracle),
		cmocka_unit_test(what_does_not_exist_is_refused),
		cmocka_unit_test(every_walk_arrives_and_takes_saving_states_only_from_within),
		cmocka_unit_test(walks_are_those_of_the_contract),
		cmocka_unit_test(a_new_data_fd_comes_from_four_arcs_only),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
