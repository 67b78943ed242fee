/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's tests share two devices on one fabric: a in slot 0, b in slot 1. */
#ifndef KMOD_TEST_H
#define KMOD_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kmod_vm.h"

extern struct vm vm;
extern struct vdev a, b;
extern const char *oracle_path;
extern bool have_precopy;	/* else a is of type p2p too */

#define CHECK(cond) do { if (!(cond)) { \
	printf("# %s:%d: %s (errno %d)\n", __func__, __LINE__, #cond, errno); return false; } } while (0)
#define CHECK_EQ(x, y) do { long long x_ = (long long)(x), y_ = (long long)(y); if (x_ != y_) { \
	printf("# %s:%d: %s is %lld, want %lld\n", __func__, __LINE__, #x, x_, y_); return false; } } while (0)

double seconds(void);
unsigned flags_of(const struct vdev *v);
/* Both as new, on the bus, no interrupt pending, 5000 descriptors per second. */
bool fresh_pair(void);
/* Each writes to the other, to RAM, and interrupts. */
void traffic(struct vdev *v, unsigned peer);
bool both_to(unsigned state);
/* Does the driver's debugfs say that this, as "STOP RUNNING_P2P now", is under way? */
bool under_way(struct vdev *v, const char *what);
bool wait_under_way(struct vdev *v, const char *what);	/* false after 60 s */
bool no_loss(struct vdev *to, unsigned from_slot, struct vdev *from, unsigned to_slot);

bool test_oracle_stopcopy(void);
bool test_oracle_p2p(void);
bool test_oracle_full(void);
bool test_features(void);
bool test_traffic_flows_and_every_write_arrives(void);
bool test_interrupts_and_dma_are_counted_alike_on_both_sides(void);
bool test_quiet_in_stop_and_no_write_heard(void);
bool test_stopping_a_peer_early_loses_writes_and_shows_the_first(void);
bool test_suspend_waits_for_what_is_outstanding(void);
bool test_barriers_lose_nothing_however_often(void);
bool test_image_moves_to_another_device_and_traffic_goes_on(void);
bool test_without_bus_master_nothing_moves_and_bars_need_the_memory_bit(void);
bool test_bad_images_are_refused_and_leave_the_device_as_it_was(void);
bool test_data_fd_is_a_stream_that_dies_with_its_session(void);
bool test_without_a_free_fd_the_device_is_in_stop_copy_all_the_same(void);
bool test_precopy_rounds_carry_dirty_pages_and_the_rest_fits_together(void);
bool test_guest_reset_in_precopy_kills_the_fd_and_the_next_step_gives_another(void);
bool test_reset_makes_it_new(void);
bool test_arcs_fail_and_wait_as_asked(void);
bool test_rates_hold(void);
bool test_fabric_and_slot_are_the_hosts(void);
bool test_migration_version_compares_both_ways(void);
bool test_migration_version_of_every_type_against_every_other(void);
bool test_parent_that_goes_away_disables_its_functions_and_answers_enotconn(void);
bool test_unreadable_ring_halts_and_reopening_starts_as_new(void);
bool test_reset_against_every_arc_ends_in_one_of_the_two_orders(void);
bool test_parent_reset_reaches_every_function_held_or_not(void);
bool test_no_user_memory_holds_up_a_reset(void);
bool test_a_waiting_reader_is_let_go_by_what_ends_its_session(void);
bool test_no_bent_image_is_believed_and_a_reset_mends_all(void);
bool test_an_image_of_the_version_before_is_taken(void);
bool test_guest_reset_at_any_moment_of_precopy_is_seen_both_ways(void);
bool test_quirk_poll_tells_when_there_is_something_to_read(void);
bool test_sizes_and_places_beyond_all_bounds_are_refused(void);
bool test_every_allocation_may_fail(void);
bool test_interrupts_are_set_up_as_vfio_pci_does_or_refused(void);
bool test_memory_is_charged_to_whoever_opened_the_device(void);
bool test_vfios_own_debugfs_tells_the_state_open_or_closed(void);
bool test_everything_goes_away(void);

#endif
