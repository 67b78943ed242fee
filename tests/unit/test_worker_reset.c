// SPDX-License-Identifier: Apache-2.0
// K5: a guest that resets its device while it is being pre-copied. That device starts over, on both sides, and what is
// loaded in the end is what the device holds in the end.
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/sim/sim_client.h"
#include "tests/unit/worker_fixture.h"

#define MEMORY (4u << 20)

static const char devices[] = "[device s]\ntype = full\nslot = 0\nmemory = 4M\nfabric = 1\n"
			      "[device d]\ntype = full\nslot = 0\nmemory = 4M\nfabric = 2\n";

static struct rig s, d;
static int s_vmm, d_vmm;

static void enable_memory(int vmm)
{
	const uint8_t memory = 2;
	assert_int_equal(ls_sim_region_write(vmm, LS_SIM_CONFIG, 4, &memory, 1), 0);
}

static void fill(unsigned seed)
{
	uint8_t *buf = malloc(MEMORY);
	for (size_t i = 0; i < MEMORY; i++)
		buf[i] = (uint8_t)((i * 2654435761u + seed) >> 13);
	for (size_t at = 0; at < MEMORY; at += 1 << 20)
		assert_int_equal(ls_sim_region_write(s_vmm, LS_SIM_BAR2, at, buf + at, 1 << 20), 0);
	free(buf);
}

// As a guest's driver does it: reset, set up again, other contents.
static void reset_by_guest(unsigned seed)
{
	assert_int_equal(ls_sim_reset(s_vmm), 0);
	enable_memory(s_vmm);
	fill(seed);
}

// A provider that lets the guest in between the worker's look at the device and its request.
static struct ls_provider between;
static enum ls_state reset_before_set;
static unsigned resets_before_read;
static _Atomic unsigned holds_back; // reads that bring nothing
static unsigned asked, renew_every; // how often what is left was asked for; every so often initial data is there anew

static int set_state(struct ls_dev *dev, enum ls_state to, int *data_fd)
{
	if (to == reset_before_set) {
		reset_before_set = LS_STATE_ERROR;
		reset_by_guest(77);
	}
	return ls_provider_sim.set_state(dev, to, data_fd);
}

static ssize_t read_state(struct ls_dev *dev, int data_fd, void *buf, size_t len)
{
	if (holds_back && holds_back--)
		return -ENOMSG;
	ssize_t n = ls_provider_sim.read(dev, data_fd, buf, len);
	if (resets_before_read && n > 0) {
		resets_before_read--;
		reset_by_guest(resets_before_read);
	}
	return n;
}

static int precopy_info(struct ls_dev *dev, int data_fd, uint64_t *initial, uint64_t *dirty)
{
	int r = ls_provider_sim.precopy_info(dev, data_fd, initial, dirty);
	if (r == 0 && renew_every) {
		*dirty += 4096; // it is never enough
		if (++asked % renew_every == 0) {
			*initial += 4096;
			r = 1;
		}
	}
	return r;
}

static void begin_side(struct rig *r, int *vmm, const char *name)
{
	char path[200];
	*vmm = ls_sim_open(rig_host.socket, name);
	assert_true(*vmm >= 0);
	enable_memory(*vmm);
	rig_start(r, name, &between, simhost_path(&rig_host, name, path));
	assert_int_equal(rig_adopt(r, dup(*vmm)), 0);
}

// Up to a source in PRE_COPY and a destination that loads.
static void begin(void)
{
	between = ls_provider_sim;
	between.set_state = set_state;
	between.read = read_state;
	between.precopy_info = precopy_info;
	asked = renew_every = holds_back = 0;
	reset_before_set = LS_STATE_ERROR;
	resets_before_read = 0;
	begin_side(&s, &s_vmm, "s");
	begin_side(&d, &d_vmm, "d");
	fill(1);
	assert_int_equal(rig_arc(&d, LS_STATE_RESUMING), 0);
	rig_join(&s, &d);
	assert_int_equal(rig_arc(&s, LS_STATE_PRE_COPY), 0);
	rig_submit(&d, &(struct ls_job){.kind = LS_JOB_LOAD, .fd = -1});
}

static void precopy(void)
{
	struct ls_job job = rig_precopy_job(4, 0);
	assert_int_equal(rig_run(&s, &job), 0);
}

static void stop_and_send(void)
{
	assert_int_equal(rig_arc(&s, LS_STATE_PRE_COPY_P2P), 0);
	assert_int_equal(rig_arc(&s, LS_STATE_STOP_COPY), 0);
	rig_simple(&s, LS_JOB_SEND);
	rig_wait(&d);
}

static void check_same(void)
{
	uint8_t *a = malloc(MEMORY), *b = malloc(MEMORY);
	assert_int_equal(rig_arc(&s, LS_STATE_RUNNING), 0);
	assert_int_equal(rig_arc(&d, LS_STATE_RUNNING), 0);
	enable_memory(d_vmm);
	for (size_t at = 0; at < MEMORY; at += 1 << 20) {
		assert_int_equal(ls_sim_region_read(s_vmm, LS_SIM_BAR2, at, a + at, 1 << 20), 0);
		assert_int_equal(ls_sim_region_read(d_vmm, LS_SIM_BAR2, at, b + at, 1 << 20), 0);
	}
	assert_memory_equal(a, b, MEMORY);
	free(a);
	free(b);
}

static void assert_moved(unsigned restarts_there)
{
	assert_int_equal(s.res.status, 0);
	assert_int_equal(d.res.status, 0);
	assert_int_equal(s.res.length, d.res.length);
	assert_memory_equal(s.res.digest, d.res.digest, LS_DIGEST_SIZE);
	assert_int_equal(atomic_load(&ls_worker_progress(d.w)->restarts), restarts_there);
	check_same();
}

static void finish(void)
{
	rig_stop(&s);
	rig_stop(&d);
	close(s_vmm);
	close(d_vmm);
	assert_int_equal(ls_sim_debug(rig_host.socket, "s", "save-rate 0"), 0);
	assert_int_equal(ls_sim_debug(rig_host.socket, "s", "wait-closed"), 0);
	assert_int_equal(ls_sim_debug(rig_host.socket, "d", "wait-closed"), 0);
}

static void between_two_pieces_of_precopy(void **state)
{
	begin();
	resets_before_read = 1;
	precopy();
	assert_int_equal(s.res.state, LS_STATE_PRE_COPY);
	assert_int_equal(atomic_load(&ls_worker_progress(s.w)->restarts), 1);
	stop_and_send();
	assert_moved(1);
	finish();
}

static void before_precopy_has_sent_anything(void **state)
{
	begin();
	reset_by_guest(2);
	precopy();
	stop_and_send();
	assert_moved(0);
	finish();
}

static void while_the_gate_is_waited_for(void **state)
{
	begin();
	precopy();
	reset_by_guest(3);
	stop_and_send();
	assert_int_equal(atomic_load(&ls_worker_progress(s.w)->restarts), 1);
	assert_moved(1);
	finish();
}

static void between_get_and_set(void **state)
{
	static const enum ls_state targets[] = {LS_STATE_PRE_COPY_P2P, LS_STATE_STOP_COPY};
	for (unsigned i = 0; i < 2; i++) {
		begin();
		precopy();
		reset_before_set = targets[i];
		stop_and_send();
		assert_int_equal(reset_before_set, LS_STATE_ERROR);
		assert_moved(1);
		finish();
	}
}

static void twice_with_nothing_sent_in_between(void **state)
{
	begin();
	precopy();
	reset_by_guest(4);
	assert_int_equal(rig_arc(&s, LS_STATE_PRE_COPY_P2P), 0);
	reset_by_guest(5);
	assert_int_equal(rig_arc(&s, LS_STATE_STOP_COPY), 0);
	rig_simple(&s, LS_JOB_SEND);
	rig_wait(&d);
	assert_moved(1);
	finish();
}

static void again_and_again_is_sent_in_the_pause(void **state)
{
	begin();
	resets_before_read = 1000;
	precopy();
	assert_int_equal(s.res.state, LS_STATE_RUNNING);
	resets_before_read = 0;
	stop_and_send();
	assert_int_equal(d.res.status, 0);
	check_same();
	finish();
}

static void in_the_pause_it_is_an_error(void **state)
{
	begin();
	precopy();
	assert_int_equal(rig_arc(&s, LS_STATE_PRE_COPY_P2P), 0);
	assert_int_equal(rig_arc(&s, LS_STATE_STOP_COPY), 0);
	assert_int_equal(ls_sim_reset(s_vmm), 0);
	assert_true(rig_simple(&s, LS_JOB_SEND) < 0);
	// The others are deaf by now: nobody may start over.
	assert_true(s.res.error.reason == LS_E_GUEST_RESET || s.res.error.reason == LS_E_BAD_STATE);
	ls_worker_interrupt(d.w);
	rig_wait(&d);
	finish();
}

// Linux 7.2, REINIT: four rounds are allowed, and the last question of four finds new initial data each time.
static void initial_data_that_appears_anew_is_waited_for_within_bounds(void **state)
{
	begin();
	renew_every = 1000;
	precopy();
	assert_int_equal(asked, 5); // once before each round, and once more
	finish();
	begin();
	renew_every = 4;
	precopy();
	assert_true(asked > 20 && asked < 100);
	stop_and_send();
	assert_moved(0);
	finish();
}

// K5: the initial part is what a device needs time for; questions that bring nothing are no rounds.
static void initial_data_that_comes_late_is_waited_for(void **state)
{
	begin();
	holds_back = 6; // four rounds are allowed
	precopy();
	assert_int_equal(holds_back, 0);
	assert_int_equal(ls_worker_progress(s.w)->initial_left, 0);
	stop_and_send();
	assert_moved(0);
	finish();
}

static void initial_data_that_never_comes_goes_in_the_pause(void **state)
{
	begin();
	holds_back = UINT_MAX;
	precopy();
	assert_true(ls_worker_progress(s.w)->initial_left > 0);
	holds_back = 0;
	stop_and_send();
	assert_moved(0);
	finish();
}

static void an_interrupt_ends_the_wait_for_initial_data(void **state)
{
	struct ls_job job = rig_precopy_job(4, 0);

	begin();
	holds_back = UINT_MAX;
	rig_submit(&s, &job);
	while (holds_back > UINT_MAX - 3)
		uv_run(&rig_loop, UV_RUN_NOWAIT);
	ls_worker_interrupt(s.w);
	rig_wait(&s);
	assert_int_equal(s.res.error.reason, LS_E_CANCELLED);
	ls_worker_interrupt(d.w);
	rig_wait(&d);
	finish();
}

#ifdef LOCKSTEP_CONTROLS
static void without_the_marker_nothing_is_believed(void **state)
{
	assert_int_equal(setenv("LOCKSTEP_CONTROL", "forget-discard", 1), 0);
	begin();
	precopy();
	reset_by_guest(6);
	stop_and_send();
	assert_true(d.res.status < 0);
	assert_int_equal(d.res.state, LS_STATE_RESUMING);
	finish();
	assert_int_equal(unsetenv("LOCKSTEP_CONTROL"), 0);
}
#endif

static int start(void **state)
{
	return rig_host_start(devices);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(between_two_pieces_of_precopy),
		cmocka_unit_test(before_precopy_has_sent_anything),
		cmocka_unit_test(while_the_gate_is_waited_for),
		cmocka_unit_test(between_get_and_set),
		cmocka_unit_test(twice_with_nothing_sent_in_between),
		cmocka_unit_test(again_and_again_is_sent_in_the_pause),
		cmocka_unit_test(in_the_pause_it_is_an_error),
		cmocka_unit_test(initial_data_that_appears_anew_is_waited_for_within_bounds),
		cmocka_unit_test(initial_data_that_comes_late_is_waited_for),
		cmocka_unit_test(initial_data_that_never_comes_goes_in_the_pause),
		cmocka_unit_test(an_interrupt_ends_the_wait_for_initial_data),
#ifdef LOCKSTEP_CONTROLS
		cmocka_unit_test(without_the_marker_nothing_is_believed),
#endif
	};
	return cmocka_run_group_tests(tests, start, rig_host_stop);
}
