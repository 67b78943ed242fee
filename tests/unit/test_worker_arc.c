// SPDX-License-Identifier: Apache-2.0
// A worker asks of a device only what K2 allows, and says where the device is when an arc failed.
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/sim/sim_client.h"
#include "tests/unit/worker_fixture.h"

static const char devices[] = "[device a]\ntype = full\nslot = 0\nmemory = 1M\n"
			      "[device b]\ntype = stopcopy\nslot = 1\nmemory = 1M\n";

static void begin(struct rig *r, const char *name, int fd)
{
	char path[200];
	rig_start(r, name, &ls_provider_sim, simhost_path(&rig_host, name, path));
	assert_int_equal(rig_adopt(r, fd), 0);
}

static void finish(struct rig *r, const char *name)
{
	rig_stop(r);
	assert_int_equal(ls_sim_debug(rig_host.socket, name, "clear"), 0);
	assert_int_equal(ls_sim_debug(rig_host.socket, name, "wait-closed"), 0);
}

static void a_busy_or_absent_device_is_named(void **state)
{
	struct rig a, b;
	char path[200];
	begin(&a, "a", -1);
	rig_start(&b, "b", &ls_provider_sim, simhost_path(&rig_host, "a", path));
	assert_int_equal(rig_adopt(&b, -1), -EBUSY);
	assert_int_equal(b.res.error.reason, LS_E_DEVICE_BUSY);
	assert_string_equal(b.res.error.device, "b");
	assert_int_equal(b.res.state, -1);
	assert_true(rig_arc(&b, LS_STATE_STOP) < 0);
	assert_int_equal(b.res.error.reason, LS_E_BAD_STATE);
	rig_stop(&b);
	rig_start(&b, "b", &ls_provider_sim, simhost_path(&rig_host, "nobody", path));
	assert_true(rig_adopt(&b, -1) < 0);
	assert_int_equal(b.res.error.reason, LS_E_DEVICE_ABSENT);
	// Not a device at all: the fd is taken and closed all the same.
	int fd = open("/dev/null", O_RDONLY);
	assert_true(rig_adopt(&b, fd) < 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	rig_stop(&b);
	finish(&a, "a");
}

static void a_failed_arc_says_where_the_device_is(void **state)
{
	struct rig r;
	begin(&r, "a", -1);
	assert_int_equal(ls_sim_debug(rig_host.socket, "a", "fail RUNNING_P2P STOP ETIMEDOUT"), 0);
	assert_int_equal(rig_arc(&r, LS_STATE_STOP), -ETIMEDOUT);
	assert_int_equal(r.res.error.reason, LS_E_ARC_FAILED);
	assert_string_equal(r.res.error.arc, "RUNNING -> STOP");
	assert_int_equal(r.res.from_state, LS_STATE_RUNNING);
	assert_int_equal(r.res.state, LS_STATE_RUNNING_P2P);
	assert_int_equal(rig_arc(&r, LS_STATE_STOP), 0);
	finish(&r, "a");
}

static void error_is_left_by_reset_alone(void **state)
{
	struct rig r;
	begin(&r, "a", -1);
	assert_int_equal(ls_sim_debug(rig_host.socket, "a", "fail-error RUNNING_P2P STOP EIO"), 0);
	assert_int_equal(rig_arc(&r, LS_STATE_STOP), -EIO);
	assert_int_equal(r.res.state, LS_STATE_ERROR);
	assert_int_equal(rig_arc(&r, LS_STATE_RUNNING), -EIO);
	assert_int_equal(r.res.error.reason, LS_E_BAD_STATE);
	assert_int_equal(rig_simple(&r, LS_JOB_RESET), 0);
	assert_int_equal(r.res.state, LS_STATE_RUNNING);
	finish(&r, "a");
}

static void what_the_device_cannot_do_is_not_asked(void **state)
{
	struct rig r;
	begin(&r, "a", -1);
	assert_int_equal(rig_arc(&r, LS_STATE_STOP_COPY), 0);
	assert_int_equal(rig_arc(&r, LS_STATE_PRE_COPY), -EINVAL);
	assert_int_equal(r.res.error.reason, LS_E_BAD_STATE);
	assert_int_equal(rig_arc(&r, LS_STATE_PRE_COPY_P2P), -EINVAL);
	assert_int_equal(rig_arc(&r, LS_STATE_RUNNING), 0);
	assert_int_equal(rig_arc(&r, LS_STATE_RESUMING), 0);
	assert_int_equal(rig_arc(&r, LS_STATE_STOP), -EINVAL); // an incomplete image would be believed
	assert_int_equal(r.res.state, LS_STATE_RESUMING);
	finish(&r, "a");
	begin(&r, "b", -1);
	assert_int_equal(rig_arc(&r, LS_STATE_RUNNING_P2P), -EINVAL);
	assert_int_equal(rig_arc(&r, LS_STATE_RUNNING), 0);
	finish(&r, "b");
}

// Every number that the process may use is taken but for those that the worker has set aside.
static void the_pause_does_not_fail_for_lack_of_fds(void **state)
{
	struct rig r;
	struct rlimit old, tight;
	int taken[64], n = 0;
	begin(&r, "b", -1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	while (n < 64 && (taken[n] = dup(0)) >= 0)
		n++;
	assert_true(n < 64);
	int status = rig_arc(&r, LS_STATE_STOP_COPY);
	int again = rig_arc(&r, LS_STATE_RUNNING);
	int third = rig_arc(&r, LS_STATE_STOP_COPY);
	while (n > 0)
		close(taken[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(status, 0);
	assert_int_equal(again, 0);
	assert_int_equal(third, 0);
	finish(&r, "b");
}

static void a_device_that_its_guest_reset_begins_another_session(void **state)
{
	struct rig r;
	int vmm = ls_sim_open(rig_host.socket, "a");
	begin(&r, "a", dup(vmm));
	assert_int_equal(rig_arc(&r, LS_STATE_PRE_COPY), 0);
	assert_int_equal(ls_sim_reset(vmm), 0);
	assert_int_equal(rig_arc(&r, LS_STATE_STOP_COPY), 0);
	assert_int_equal(r.res.from_state, LS_STATE_RUNNING);
	assert_int_equal(r.res.state, LS_STATE_STOP_COPY);
	assert_int_equal(atomic_load(&ls_worker_progress(r.w)->restarts), 1);
	rig_stop(&r);
	close(vmm);
	assert_int_equal(ls_sim_debug(rig_host.socket, "a", "wait-closed"), 0);
}

static void an_arc_that_hangs_shows_since_when(void **state)
{
	struct rig r;
	begin(&r, "a", -1);
	assert_int_equal(ls_sim_debug(rig_host.socket, "a", "stick RUNNING RUNNING_P2P"), 0);
	rig_submit(&r, &(struct ls_job){.kind = LS_JOB_ARC, .target = LS_STATE_STOP, .fd = -1});
	assert_int_equal(ls_sim_debug(rig_host.socket, "a", "wait-stuck"), 0);
	assert_true(atomic_load(&ls_worker_progress(r.w)->busy_since_ns) > 0);
	assert_int_equal(ls_worker_submit(r.w, &(struct ls_job){.kind = LS_JOB_CLOSE, .fd = -1}), -EBUSY);
	ls_worker_interrupt(r.w); // does not touch an arc
	assert_int_equal(ls_sim_debug(rig_host.socket, "a", "release"), 0);
	rig_wait(&r);
	assert_int_equal(r.res.status, 0);
	assert_int_equal(r.res.state, LS_STATE_STOP);
	finish(&r, "a");
}

// ---- a driver that does what no simulated device does ----

static int odd_state = 42, odd_sets, odd_fd;

static int odd_inspect(const char *path, struct ls_dev_info *info, struct ls_error *err)
{
	return 0;
}

static int odd_open(const char *path, int fd, struct ls_dev **ret, struct ls_error *err)
{
	*ret = (struct ls_dev *)&odd_state;
	return 0;
}

static void odd_close(struct ls_dev *dev)
{
}

static int odd_probe(struct ls_dev *dev, struct ls_dev_caps *ret, struct ls_error *err)
{
	*ret = (struct ls_dev_caps){.flags = 7};
	return 0;
}

static int odd_get(struct ls_dev *dev, int *ret)
{
	*ret = odd_state;
	return 0;
}

static int odd_set(struct ls_dev *dev, enum ls_state to, int *data_fd)
{
	odd_sets++;
	odd_state = (int)to;
	*data_fd = odd_fd ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;
	return 0;
}

static const struct ls_provider odd = {.name = "odd", .inspect = odd_inspect, .open = odd_open, .close = odd_close,
				       .probe = odd_probe, .get_state = odd_get, .set_state = odd_set};

static void a_state_that_we_do_not_know_is_not_left_by_set(void **state)
{
	struct rig r;
	odd_state = 42;
	odd_sets = 0;
	rig_start(&r, "odd", &odd, "x");
	assert_int_equal(rig_adopt(&r, -1), 0);
	assert_int_equal(r.res.state, 42);
	assert_int_equal(rig_arc(&r, LS_STATE_STOP), -EINVAL);
	assert_int_equal(r.res.error.reason, LS_E_BAD_STATE);
	assert_int_equal(odd_sets, 0);
	rig_stop(&r);
}

static void a_new_stream_within_a_session_is_a_guest_reset(void **state)
{
	struct rig r;
	odd_state = LS_STATE_RUNNING;
	odd_fd = 1;
	rig_start(&r, "odd", &odd, "x");
	assert_int_equal(rig_adopt(&r, -1), 0);
	assert_int_equal(rig_arc(&r, LS_STATE_PRE_COPY), 0);
	assert_int_equal(rig_arc(&r, LS_STATE_STOP_COPY), 0);
	assert_int_equal(r.res.from_state, LS_STATE_PRE_COPY);
	assert_int_equal(atomic_load(&ls_worker_progress(r.w)->restarts), 1);
	rig_stop(&r);
}

static void a_driver_that_hands_out_no_stream_is_an_error(void **state)
{
	struct rig r;
	odd_state = LS_STATE_RUNNING;
	odd_fd = 0;
	rig_start(&r, "odd", &odd, "x");
	assert_int_equal(rig_adopt(&r, -1), 0);
	assert_int_equal(rig_arc(&r, LS_STATE_STOP_COPY), -EBADF);
	assert_int_equal(r.res.error.reason, LS_E_ARC_FAILED);
	rig_stop(&r);
}

static int start(void **state)
{
	return rig_host_start(devices);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_busy_or_absent_device_is_named),
		cmocka_unit_test(a_failed_arc_says_where_the_device_is),
		cmocka_unit_test(error_is_left_by_reset_alone),
		cmocka_unit_test(what_the_device_cannot_do_is_not_asked),
		cmocka_unit_test(the_pause_does_not_fail_for_lack_of_fds),
		cmocka_unit_test(a_device_that_its_guest_reset_begins_another_session),
		cmocka_unit_test(an_arc_that_hangs_shows_since_when),
		cmocka_unit_test(a_state_that_we_do_not_know_is_not_left_by_set),
		cmocka_unit_test(a_new_stream_within_a_session_is_a_guest_reset),
		cmocka_unit_test(a_driver_that_hands_out_no_stream_is_an_error),
	};
	return cmocka_run_group_tests(tests, start, rig_host_stop);
}
