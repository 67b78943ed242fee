// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel driver against its contract, in a guest: kmod_test ORACLE.CSV [group|cdev [TEST]]
 * Prints "ok N - name" or "not ok N - name" and a closing line.
 */
#include <time.h>

#include "kmod_test.h"

struct vm vm;
struct vdev a, b;
const char *oracle_path;
bool have_precopy;

double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

unsigned flags_of(const struct vdev *v)
{
	return !strcmp(v->type, "full") ? 7 : !strcmp(v->type, "p2p") ? 3 : 1;
}

bool fresh_pair(void)
{
	CHECK_EQ(reset(&a), 0);
	CHECK_EQ(reset(&b), 0);
	CHECK(vdev_start(&a) && vdev_start(&b));
	while (read(a.irq[0], &(uint64_t){ 0 }, 8) == 8 || read(b.irq[0], &(uint64_t){ 0 }, 8) == 8)
		;
	CHECK(vdev_attr(&a, "lockstep/rate", "5000") && vdev_attr(&b, "lockstep/rate", "5000"));
	return true;
}

void traffic(struct vdev *v, unsigned peer)
{
	ring_desc(&vm, v, 0, LSM_OP_FILL, LSM_DESC_STAMP, 0, 16384, 0x40000);
	ring_desc(&vm, v, 1, LSM_OP_P2P_WRITE, LSM_DESC_STAMP, peer, 256, 0x40000);
	ring_desc(&vm, v, 2, LSM_OP_DMA_WRITE, LSM_DESC_STAMP, 0, 64, 0x40000);
	ring_desc(&vm, v, 3, LSM_OP_DMA_READ, LSM_DESC_COMPLETE | LSM_DESC_IRQ, 0, 64, 0x50000);
	ring_start(v, 4);
}

bool both_to(unsigned state)
{
	CHECK_EQ(set_state(&a, state, NULL), 0);
	CHECK_EQ(set_state(&b, state, NULL), 0);
	return true;
}

bool no_loss(struct vdev *to, unsigned from_slot, struct vdev *from, unsigned to_slot)
{
	CHECK_EQ(reg64(to, LSM_REG_RX_SEQ + 8 * from_slot), reg64(from, LSM_REG_TX_SEQ + 8 * to_slot));
	CHECK_EQ(reg64(to, LSM_REG_RX_GAP + 8 * from_slot), 0);
	CHECK_EQ(reg64(to, LSM_REG_RX_OOO + 8 * from_slot), 0);
	return true;
}

int main(int argc, char **argv)
{
#define T(name) { #name, test_##name }
	static const struct {
		const char *name;
		bool (*fn)(void);
	} tests[] = {
		T(features),
		T(traffic_flows_and_every_write_arrives),
		T(interrupts_and_dma_are_counted_alike_on_both_sides),
		T(quiet_in_stop_and_no_write_heard),
		T(stopping_a_peer_early_loses_writes_and_shows_the_first),
		T(suspend_waits_for_what_is_outstanding),
		T(barriers_lose_nothing_however_often),
		T(image_moves_to_another_device_and_traffic_goes_on),
		T(without_bus_master_nothing_moves_and_bars_need_the_memory_bit),
		T(bad_images_are_refused_and_leave_the_device_as_it_was),
		T(data_fd_is_a_stream_that_dies_with_its_session),
		T(without_a_free_fd_the_device_is_in_stop_copy_all_the_same),
		T(precopy_rounds_carry_dirty_pages_and_the_rest_fits_together),
		T(guest_reset_in_precopy_kills_the_fd_and_the_next_step_gives_another),
		T(reset_makes_it_new),
		T(arcs_fail_and_wait_as_asked),
		T(rates_hold),
		T(fabric_and_slot_are_the_hosts),
		T(migration_version_compares_both_ways),
		T(migration_version_of_every_type_against_every_other),
		T(parent_that_goes_away_disables_its_functions_and_answers_enotconn),
		T(unreadable_ring_halts_and_reopening_starts_as_new),
		T(reset_against_every_arc_ends_in_one_of_the_two_orders),
		T(parent_reset_reaches_every_function_held_or_not),
		T(no_user_memory_holds_up_a_reset),
		T(a_waiting_reader_is_let_go_by_what_ends_its_session),
		T(no_bent_image_is_believed_and_a_reset_mends_all),
		T(an_image_of_the_version_before_is_taken),
		T(guest_reset_at_any_moment_of_precopy_is_seen_both_ways),
		T(quirk_poll_tells_when_there_is_something_to_read),
		T(sizes_and_places_beyond_all_bounds_are_refused),
		T(interrupts_are_set_up_as_vfio_pci_does_or_refused),
		T(memory_is_charged_to_whoever_opened_the_device),
		T(vfios_own_debugfs_tells_the_state_open_or_closed),
		T(every_allocation_may_fail),
		T(oracle_stopcopy),
		T(oracle_p2p),
		T(oracle_full),
		T(everything_goes_away),
	};
	unsigned i, n = sizeof(tests) / sizeof(tests[0]), passed = 0, tried = 0;

	oracle_path = argc > 1 ? argv[1] : "/fsm-oracle.csv";
	have_precopy = !access("/sys/class/mdev_bus/lockstep-pf0/migration_version/lockstep-full", F_OK);
	setvbuf(stdout, NULL, _IOLBF, 0);
	vm_init(&vm, argc > 2 && !strcmp(argv[2], "cdev"));
	if (!vdev_create(&a, have_precopy ? "full" : "p2p", 0, 1, 0) ||
	    !vdev_create(&b, "p2p", 1, 1, 1) ||
	    !vdev_open(&vm, &a) || !vdev_open(&vm, &b)) {
		perror("kmod_test: devices");
		return 1;
	}
	for (i = 0; i < n; i++) {
		bool skip = tests[i].fn == test_oracle_full && !have_precopy;
		bool ok;

		if (argc > 3 && strcmp(argv[3], tests[i].name))
			continue;
		if (argc > 3)
			printf("# %s begins\n", tests[i].name);
		ok = skip || tests[i].fn();
		passed += ok;
		tried++;
		printf("%s %u - %s%s\n", ok ? "ok" : "not ok", i + 1, tests[i].name,
		       skip ? " # skipped: no PRE_COPY in this kernel" : "");
	}
	printf("%u passed, %u failed\n", passed, tried - passed);
	return !tried || passed != tried;
}
