// SPDX-License-Identifier: Apache-2.0
// The test VMM's arithmetic against counting by hand: its verdicts stand on it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/vmm/program.h"

static const unsigned slots[5] = { 3, 0, 7, 12, 5 };

// Walks `laps` laps and compares each closed form with a running count.
static void walk(unsigned n, unsigned index, unsigned ring_size, unsigned laps)
{
	uint64_t sent[LSM_SLOTS] = { 0 }, ticks[LSM_VECTORS] = { 0 }, stamps = 0;
	struct tv_program p;
	struct tv_item item, lap_before;

	tv_program_init(&p, index, slots, n, ring_size);
	assert_true(p.ring <= ring_size && p.ring % p.block == 0 && p.ring > 0);
	for (uint64_t k = 0; k < (uint64_t)laps * p.ring; k++) {
		tv_program_item(&p, k, &item);
		if (item.kind == TV_P2P)
			assert_int_equal(item.number, ++sent[item.peer]);
		else if (item.kind == TV_DMA || item.kind == TV_FILL || item.kind == TV_TICK)
			assert_int_equal(item.number, ++stamps);
		else
			assert_int_equal(item.number, 0);
		if (item.kind == TV_TICK)
			ticks[item.vector]++;
		assert_int_equal(item.position, k % p.ring);
		assert_int_equal(tv_program_stamps(&p, k + 1), stamps);
		for (unsigned i = 0; i < p.n_peers; i++)
			assert_int_equal(tv_program_sent(&p, k + 1, p.peer[i]), sent[p.peer[i]]);
		for (unsigned v = 0; v < TV_TICK_VECTORS; v++)
			assert_int_equal(tv_program_ticks(&p, k + 1, v), ticks[v]);
		if (k >= p.ring) {
			// The ring is written once: a lap later the same descriptor stands there.
			uint8_t now[LSM_DESC_SIZE], then[LSM_DESC_SIZE];

			tv_program_item(&p, k - p.ring, &lap_before);
			tv_program_desc(&p, &item, now);
			tv_program_desc(&p, &lap_before, then);
			assert_memory_equal(now, then, sizeof(now));
		}
	}
}

static void what_the_program_says_is_what_counting_says(void **state)
{
	for (unsigned n = 1; n <= 5; n++)
		for (unsigned index = 0; index < n; index++)
			walk(n, index, 200, 5);
	walk(4, 2, 1024, 3);
}

static void areas_in_ram_do_not_touch_each_other(void **state)
{
	struct tv_program p[5];

	for (unsigned i = 0; i < 5; i++)
		tv_program_init(&p[i], i, slots, 5, 1000);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t end = i < 4 ? p[i + 1].ring_at : tv_program_ram(5, 1000);

		assert_true(p[i].ring_at >= TV_RAM_DEVICES);
		assert_true(p[i].ring_at + (uint64_t)p[i].ring * LSM_DESC_SIZE <= p[i].comp_at);
		assert_true(p[i].comp_at + (uint64_t)p[i].ring * LSM_COMP_SIZE <= p[i].cell_at);
		assert_true(p[i].cell_at + (uint64_t)p[i].ring * TV_CELL <= end);
	}
}

static void writes_of_different_senders_land_in_different_cells(void **state)
{
	struct tv_item item;
	uint32_t seen[5];

	for (unsigned i = 0; i < 5; i++) {
		struct tv_program p;

		tv_program_init(&p, i, slots, 5, 1000);
		tv_program_item(&p, 0, &item);
		assert_int_equal(item.kind, TV_P2P);
		assert_true(item.remote + TV_CELL <= TV_OUTBOX);
		seen[i] = item.remote;
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(seen[i], seen[j]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_program_says_is_what_counting_says),
		cmocka_unit_test(areas_in_ram_do_not_touch_each_other),
		cmocka_unit_test(writes_of_different_senders_land_in_different_cells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
