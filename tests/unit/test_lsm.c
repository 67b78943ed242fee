// SPDX-License-Identifier: Apache-2.0
/* The virtual device: engine, peers, states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/lsm_host.h"

static void test_ring_carries_out_every_op(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_FULL, 0, fabric);
	struct host *b = host_new(LSM_TYPE_P2P, 1, fabric);
	uint32_t all = LSM_DESC_COMPLETE | LSM_DESC_IRQ | LSM_DESC_STAMP;
	uint8_t w[16];

	desc(a, 0, LSM_OP_FILL, LSM_DESC_COMPLETE, 0, 8192, 0, 0);
	desc(a, 1, LSM_OP_DMA_WRITE, all, 0, 16, 0x20000, 0);
	desc(a, 2, LSM_OP_DMA_READ, LSM_DESC_COMPLETE, 0, 16, 0x20000, 0x5000);
	desc(a, 3, LSM_OP_P2P_WRITE, all, 1, 4096, 0, 0);
	desc(a, 4, LSM_OP_P2P_WRITE, all, 2, 64, 0, 0);
	desc(a, 5, (enum lsm_op)9, LSM_DESC_COMPLETE, 0, 16, 0, 0);
	desc(a, 6, LSM_OP_FILL, LSM_DESC_COMPLETE, 0, 4096, 0, (2u << 20) - 8);
	desc(a, 7, LSM_OP_DMA_WRITE, LSM_DESC_COMPLETE, 0, 16, RAM_SIZE - 8, 0);
	ring_start(a, 8, 0);
	assert_int_equal(run(a, 100), 0);
	set32(a, LSM_REG_DOORBELL, 8);
	assert_int_equal(run(a, 100), 8);

	assert_int_equal(lsm_get64(a->ram + 0x20000), 1);
	assert_true(lsm_get64(a->ram + 0x20008) == 0x1122334455667788ull);
	assert_int_equal(reg64(a, LSM_REG_STAMP), 2);
	lsm_window_read(&a->d, 0x5000, w, 16);
	assert_memory_equal(w, a->ram + 0x20000, 16);
	lsm_window_read(&b->d, 0x10, w, 16);
	assert_int_equal(lsm_get64(w), 1);
	assert_int_equal(reg64(b, LSM_REG_RX_SEQ), 2);
	assert_int_equal(reg64(b, LSM_REG_RX_COUNT), 1);
	assert_int_equal(reg64(a, LSM_REG_TX_SEQ + 8), 2);
	assert_int_equal(reg64(a, LSM_REG_TX_SEQ + 16), 2);
	assert_int_equal(a->irqs[3], 3);
	assert_int_equal(reg32(a, LSM_REG_IRQ_COUNT + 12), 3);
	for (uint32_t i = 0; i < 8; i++) {
		static const uint32_t want[8] = { 0, 0, 0, 0, LSM_NO_PEER,
			LSM_BAD_DESC, LSM_BAD_RANGE, LSM_DMA_FAULT };
		const uint8_t *c = a->ram + COMP + 16 * i;

		assert_int_equal(lsm_get32(c), i + 1);
		assert_int_equal(lsm_get32(c + 4), want[i]);
	}
	assert_int_equal(reg32(a, LSM_REG_ERRORS), 4);
	host_free(a);
	host_free(b);
}

static void test_no_dma_without_bus_master_and_halt_when_ring_unreadable(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_P2P, 0, fabric);

	ring_start(a, 1, LSM_CTRL_CYCLIC);
	assert_int_equal(run(a, 5), 5);
	lsm_dev_set_command(&a->d, true, false);
	assert_int_equal(run(a, 5), 0);
	lsm_dev_set_command(&a->d, true, true);
	lsm_set_initiator(&a->d, false);
	assert_int_equal(run(a, 5), 0);
	lsm_set_initiator(&a->d, true);
	set32(a, LSM_REG_CTRL, 0);
	set64(a, LSM_REG_RING_BASE, 1ull << 40);
	set32(a, LSM_REG_CTRL, LSM_CTRL_ENABLE | LSM_CTRL_CYCLIC);
	assert_int_equal(run(a, 5), 1);
	assert_int_equal(reg32(a, LSM_REG_STATUS), LSM_STATUS_HALTED);
	host_free(a);
}

/* The hazard that the project removes: a receiver that stops early loses writes. */
static void test_receiver_that_stops_early_shows_the_first_missing_number(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_P2P, 0, fabric);
	struct host *b = host_new(LSM_TYPE_P2P, 1, fabric);

	desc(a, 0, LSM_OP_P2P_WRITE, 0, 1, 64, 0, 0);
	ring_start(a, 1, LSM_CTRL_CYCLIC);
	assert_int_equal(run(a, 10), 10);
	lsm_set_responder(&b->d, false);
	assert_int_equal(run(a, 3), 3);
	assert_int_equal(reg64(b, LSM_REG_RX_SEQ), 0);
	set32(b, LSM_REG_CTRL, 3);
	lsm_set_responder(&b->d, true);
	assert_int_equal(reg32(b, LSM_REG_CTRL), 0);
	assert_int_equal(reg64(b, LSM_REG_RX_GAP), 0);
	assert_int_equal(run(a, 1), 1);
	assert_int_equal(reg64(b, LSM_REG_RX_GAP), 11);
	assert_int_equal(reg64(b, LSM_REG_RX_OOO), 1);
	assert_int_equal(reg64(b, LSM_REG_RX_COUNT), 11);
	assert_int_equal(b->d.stats.rx_dropped, 3);
	host_free(a);
	host_free(b);
}

static void test_reset_during_a_descriptor_leaves_no_trace(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_P2P, 0, fabric);

	desc(a, 0, LSM_OP_FILL, LSM_DESC_IRQ, 0, 4096, 0, 0);
	ring_start(a, 1, LSM_CTRL_CYCLIC);
	a->reset_on_dma = a;
	assert_int_equal(lsm_engine_step(&a->d), 1);
	a->reset_on_dma = NULL;
	assert_false(lsm_engine_busy(&a->d));
	assert_int_equal(a->d.r.done, 0);
	assert_int_equal(a->d.touched, 0);
	assert_int_equal(a->irqs[3], 0);
	host_free(a);
}

static void test_fsm_agrees_with_the_oracle_cell_by_cell(void **state)
{
	FILE *f = fopen(LSM_ORACLE, "r");
	unsigned flags, cur, to, cells = 0;
	char line[256], next[16];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		int want;

		if (sscanf(line, "%u,%u,%u,%15s", &flags, &cur, &to, next) != 4)
			continue;
		want = next[0] == 'E' ? -EINVAL : next[0] - '0';
		assert_int_equal(lsm_fsm_next(flags, cur, to), want);
		cells++;
	}
	fclose(f);
	assert_true(cells > 190);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(lsm_fsm_next(7, i, 8 + i), -EINVAL);
}

/* Every single step that any walk can take has something to do, and only those. */
static void test_every_step_of_every_walk_is_an_arc(void **state)
{
	static const uint32_t all[] = { 1, 3, 5, 7 };

	for (size_t k = 0; k < 4; k++)
		for (uint32_t cur = 0; cur < 8; cur++)
			for (uint32_t to = 0; to < 8; to++) {
				int next = lsm_fsm_next(all[k], cur, to);

				if (next < 0 || next == (int)cur)
					assert_int_equal(lsm_arc_actions(all[k], cur, to), 0);
				else
					assert_true(lsm_arc_actions(all[k], cur, (uint32_t)next));
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_carries_out_every_op),
		cmocka_unit_test(test_no_dma_without_bus_master_and_halt_when_ring_unreadable),
		cmocka_unit_test(test_receiver_that_stops_early_shows_the_first_missing_number),
		cmocka_unit_test(test_reset_during_a_descriptor_leaves_no_trace),
		cmocka_unit_test(test_fsm_agrees_with_the_oracle_cell_by_cell),
		cmocka_unit_test(test_every_step_of_every_walk_is_an_arc),
	};

	return cmocka_run_group_tests_name("lsm", tests, NULL, NULL);
}
