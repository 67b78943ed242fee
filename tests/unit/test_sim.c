// SPDX-License-Identifier: Apache-2.0
// A simulated device behaves as the kernel contract says, seen through its client.
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/provider.h"
#include "agent/sim/sim_client.h"
#include "kmod/model/lsm.h"
#include "tests/unit/simhost_fixture.h"

static struct simhost host;

static const char devices[] = "[device a]\ntype = stopcopy\nslot = 0\nmemory = 1M\n"
			      "[device b]\ntype = p2p\nslot = 1\nmemory = 1M\nnuma_node = 0\n"
			      "[device c]\ntype = full\nslot = 2\nmemory = 2M\nrate = 0\n"
			      "[device d]\ntype = full\nslot = 3\nmemory = 2M\nrate = 0\n";

static int get(int fd)
{
	int state = -1;
	assert_int_equal(ls_sim_get_state(fd, &state), 0);
	return state;
}

// A valid image, as a destination needs one to leave RESUMING.
static size_t image_of(int fd, uint8_t *buf, size_t size)
{
	int data_fd;
	size_t len = 0;
	assert_int_equal(ls_sim_set_state(fd, LS_STATE_STOP_COPY, &data_fd), 0);
	assert_true(data_fd >= 0);
	for (;;) {
		ssize_t n = ls_sim_read(data_fd, buf + len, size - len);
		assert_true(n >= 0);
		if (n == 0)
			break;
		len += (size_t)n;
	}
	close(data_fd);
	assert_int_equal(simhost_set(fd, LS_STATE_RUNNING), 0);
	return len;
}

// Brings a device from RUNNING to `state`, leaving *data_fd to its session.
static void bring_to(int fd, const char *name, int state, int *data_fd)
{
	*data_fd = -1;
	assert_int_equal(ls_sim_reset(fd), 0);
	if (state == LS_STATE_ERROR) {
		int none;
		assert_int_equal(ls_sim_debug(host.socket, name, "fail-error RUNNING_P2P STOP EIO"), 0);
		assert_int_equal(ls_sim_debug(host.socket, name, "fail-error RUNNING STOP EIO"), 0);
		assert_int_equal(ls_sim_set_state(fd, LS_STATE_STOP, &none), -EIO);
		assert_int_equal(ls_sim_debug(host.socket, name, "clear"), 0);
	} else {
		assert_int_equal(ls_sim_set_state(fd, state, data_fd), 0);
	}
	assert_int_equal(get(fd), state);
}

static void oracle_cell(int fd, const char *name, unsigned flags, int cur, int to, const char *next,
			const uint8_t *image, size_t image_len)
{
	int data_fd, new_fd;
	bring_to(fd, name, cur, &data_fd);
	if (cur == LS_STATE_RESUMING && data_fd >= 0)
		assert_int_equal(ls_sim_write(data_fd, image, image_len), image_len);
	int r = ls_sim_set_state(fd, to, &new_fd);
	if (strcmp(next, "EINVAL") == 0) {
		assert_int_equal(r, -EINVAL);
		assert_int_equal(get(fd), cur);
		assert_int_equal(new_fd, -1);
	} else {
		assert_int_equal(r, 0);
		assert_int_equal(get(fd), to);
		enum ls_state path[LS_FSM_PATH_MAX];
		int n = ls_fsm_path(flags, cur, to, path);
		assert_true(n >= 0);
		if (cur != to)
			assert_int_equal((int)path[0], atoi(next));
		bool session = n > 0 && ls_fsm_opens_session(n > 1 ? path[n - 2] : (enum ls_state)cur, path[n - 1]);
		assert_int_equal(new_fd >= 0, session);
	}
	if (new_fd >= 0)
		close(new_fd);
	if (data_fd >= 0)
		close(data_fd);
}

// The first arc of the walk is `next`: made to fail, it leaves the device where it was, and nothing else does.
static void oracle_first_arc(int fd, const char *name, int cur, int to, const char *next)
{
	char command[64];
	int data_fd, new_fd;
	if (strcmp(next, "EINVAL") == 0 || cur == to)
		return;
	bring_to(fd, name, cur, &data_fd);
	snprintf(command, sizeof(command), "fail %d %s ENOSPC", cur, next);
	assert_int_equal(ls_sim_debug(host.socket, name, command), 0);
	assert_int_equal(ls_sim_set_state(fd, to, &new_fd), -ENOSPC);
	assert_int_equal(get(fd), cur);
	if (data_fd >= 0)
		close(data_fd);
}

static void sim_follows_the_oracle_cell_by_cell(void **state)
{
	static const char *const names[8] = {[1] = "a", [3] = "b", [7] = "c"};
	FILE *f = fopen(FSM_ORACLE, "re");
	char line[128], next[16];
	static uint8_t image[8][4 << 20];
	size_t len[8] = {0};
	int fds[8];
	unsigned flags, cells = 0;
	int cur, to;
	assert_non_null(f);
	for (unsigned i = 1; i < 8; i++) {
		if (!names[i])
			continue;
		fds[i] = simhost_open(&host, names[i]);
		len[i] = image_of(fds[i], image[i], sizeof(image[i]));
		assert_true(len[i] > 0 && len[i] <= 1 << 20);
	}
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%u,%d,%d,%15s", &flags, &cur, &to, next) != 4 || !names[flags])
			continue;
		oracle_cell(fds[flags], names[flags], flags, cur, to, next, image[flags], len[flags]);
		oracle_first_arc(fds[flags], names[flags], cur, to, next);
		cells++;
	}
	fclose(f);
	for (unsigned i = 1; i < 8; i++)
		if (names[i])
			simhost_close(&host, fds[i], names[i]);
	print_message("%u cells\n", cells);
	assert_true(cells > 100);
}

static void a_device_can_be_opened_as_soon_as_it_was_closed(void **state)
{
	for (int i = 0; i < 300; i++) {
		int fd = ls_sim_open(host.socket, "a");
		if (fd < 0)
			fail_msg("opening %d: %s", i, strerror(-fd));
		close(fd);
	}
}

static void a_device_is_opened_once_and_its_dups_keep_it_open(void **state)
{
	int fd = simhost_open(&host, "a");
	assert_int_equal(ls_sim_open(host.socket, "a"), -EBUSY);
	assert_int_equal(ls_sim_open(host.socket, "nobody"), -ENOENT);
	assert_int_equal(simhost_set(fd, LS_STATE_STOP), 0);
	int other = dup(fd);
	close(fd);
	assert_int_equal(get(other), LS_STATE_STOP);
	assert_int_equal(ls_sim_open(host.socket, "a"), -EBUSY);
	simhost_close(&host, other, "a");
	fd = simhost_open(&host, "a");
	assert_int_equal(get(fd), LS_STATE_RUNNING);
	simhost_close(&host, fd, "a");
}

static void a_vmm_that_dies_closes_its_device(void **state)
{
	int out[2];
	char c;
	assert_int_equal(pipe(out), 0);
	pid_t vmm = fork();
	if (vmm == 0) {
		int fd = ls_sim_open(host.socket, "b");
		c = fd >= 0 && simhost_set(fd, LS_STATE_STOP) == 0 ? 'y' : 'n';
		if (write(out[1], &c, 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(out[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	assert_int_equal(ls_sim_open(host.socket, "b"), -EBUSY);
	kill(vmm, SIGKILL);
	waitpid(vmm, NULL, 0);
	assert_int_equal(ls_sim_debug(host.socket, "b", "wait-closed"), 0);
	simhost_close(&host, simhost_open(&host, "b"), "b");
	close(out[0]);
	close(out[1]);
}

struct slow {
	int fd, result;
};

static void *slow_set(void *arg)
{
	struct slow *s = arg;
	s->result = simhost_set(s->fd, LS_STATE_STOP);
	return NULL;
}

static void an_arc_that_hangs_blocks_state_calls_only(void **state)
{
	struct slow s = {.fd = simhost_open(&host, "b"), .result = 1};
	pthread_t t;
	uint32_t magic = 0;
	struct ls_sim_counters c;
	assert_int_equal(ls_sim_debug(host.socket, "b", "stick RUNNING_P2P STOP"), 0);
	pthread_create(&t, NULL, slow_set, &s);
	assert_int_equal(ls_sim_debug(host.socket, "b", "wait-stuck"), 0);
	assert_int_equal(ls_sim_region_read(s.fd, LS_SIM_BAR0, LSM_REG_MAGIC, &magic, 4), 0);
	assert_int_equal(magic, LSM_MAGIC);
	assert_int_equal(ls_sim_counters(host.socket, "b", &c), 0);
	assert_int_equal(c.state, LS_STATE_RUNNING_P2P);
	assert_int_equal(ls_sim_debug(host.socket, "b", "release"), 0);
	pthread_join(t, NULL);
	assert_int_equal(s.result, 0);
	simhost_close(&host, s.fd, "b");
}

static void without_a_free_fd_the_device_moves_and_the_stream_is_lost(void **state)
{
	int fd = simhost_open(&host, "a"), data_fd;
	int spare = dup(0);
	struct rlimit old, tight;
	assert_int_equal(get(fd), LS_STATE_RUNNING); // the thread's reply channel is there from now on
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	close(spare);
	tight = old;
	tight.rlim_cur = (rlim_t)spare;
	// Every number below `spare` is taken: it was the lowest free one.
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	int r = ls_sim_set_state(fd, LS_STATE_STOP_COPY, &data_fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r, -EMFILE);
	assert_int_equal(data_fd, -1);
	assert_int_equal(get(fd), LS_STATE_STOP_COPY);
	simhost_close(&host, fd, "a");
}

static void sessions_end_with_their_states(void **state)
{
	int fd = simhost_open(&host, "c"), data_fd, none;
	uint8_t buf[4096];
	uint64_t initial, dirty;
	assert_int_equal(ls_sim_set_state(fd, LS_STATE_PRE_COPY, &data_fd), 0);
	assert_int_equal(ls_sim_precopy_info(data_fd, &initial, &dirty), 0);
	ssize_t n;
	while ((n = ls_sim_read(data_fd, buf, sizeof(buf))) > 0)
		;
	assert_int_equal(n, -ENOMSG);
	assert_int_equal(ls_sim_set_state(fd, LS_STATE_STOP_COPY, &none), 0);
	assert_int_equal(none, -1);
	assert_int_equal(ls_sim_precopy_info(data_fd, &initial, &dirty), -EINVAL);
	assert_true(ls_sim_read(data_fd, buf, sizeof(buf)) > 0);
	assert_int_equal(ls_sim_write(data_fd, buf, 8), -EINVAL);
	assert_int_equal(ls_sim_reset(fd), 0); // as a guest may
	assert_int_equal(ls_sim_read(data_fd, buf, sizeof(buf)), -ENODEV);
	assert_int_equal(get(fd), LS_STATE_RUNNING);
	close(data_fd);
	assert_int_equal(ls_sim_set_state(fd, LS_STATE_RESUMING, &data_fd), 0);
	assert_int_equal(simhost_set(fd, LS_STATE_STOP), -EINVAL); // nothing was written
	assert_int_equal(get(fd), LS_STATE_RESUMING);
	memset(buf, 0x55, sizeof(buf));
	assert_int_equal(ls_sim_write(data_fd, buf, sizeof(buf)), -EINVAL);
	close(data_fd);
	simhost_close(&host, fd, "c");
}

static void versions_tell_what_does_not_fit(void **state)
{
	struct ls_sim_info info;
	char version[300], where[300], path[200];
	struct ls_dev_info dev;
	assert_int_equal(ls_sim_query(host.socket, "c", &info), 0);
	assert_string_equal(info.type, "full-2M");
	assert_int_equal(info.flags, 7);
	assert_string_equal(info.version, "1d55-1003-full-2.2"); // as the kernel driver says it
	assert_int_equal(ls_sim_check_version(host.socket, info.type, info.version), 0);
	assert_int_equal(ls_sim_check_version(host.socket, info.type, "1d55-1003-full-3.2"), -EOPNOTSUPP);
	snprintf(version, sizeof(version), "%s0", info.version);
	assert_int_equal(ls_sim_check_version(host.socket, info.type, version), -EFBIG);
	assert_int_equal(ls_sim_check_version(host.socket, "p2p-1M", info.version), -EMEDIUMTYPE);
	assert_int_equal(ls_sim_check_version(host.socket, info.type, "gibberish"), -EINVAL);
	assert_int_equal(ls_sim_check_version(host.socket, "other", info.version), -ENOENT);

	const struct ls_provider *p = ls_provider_find("sim");
	simhost_path(&host, "b", path);
	assert_int_equal(p->inspect(path, &dev, NULL), 0);
	assert_true(dev.present);
	assert_int_equal(dev.numa_node, 0);
	assert_int_equal(p->check_version(path, dev.type, dev.version, where, sizeof(where)), 1);
	assert_int_equal(p->check_version(path, "other", dev.version, where, sizeof(where)), 0);
	assert_int_equal(p->inspect(simhost_path(&host, "zzz", path), &dev, NULL), 0);
	assert_false(dev.present);
	assert_int_equal(p->inspect("nonsense", &dev, NULL), -EINVAL);
}

static void debug_commands_that_make_no_sense_are_refused(void **state)
{
	static const char *const bad[] = {"", "fly", "fail RUNNING", "fail RUNNING STOP EWHAT", "latency 9 1 5",
					  "slot 99", "rate fast", "stick RUNNING STOP 5", "rate -1"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ls_sim_debug(host.socket, "a", bad[i]), -EINVAL);
}

static void a_host_that_goes_down_answers_enodev(void **state)
{
	struct simhost other;
	int value;
	simhost_start(&other, "[device x]\ntype = stopcopy\nslot = 0\nmemory = 1M\n");
	int fd = ls_sim_open(other.socket, "x");
	assert_true(fd >= 0);
	simhost_kill(&other);
	assert_int_equal(ls_sim_get_state(fd, &value), -ENODEV);
	assert_int_equal(ls_sim_reset(fd), -ENODEV);
	close(fd);
}

static int start(void **state)
{
	simhost_start(&host, devices);
	return 0;
}

static int stop(void **state)
{
	simhost_stop(&host);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sim_follows_the_oracle_cell_by_cell),
		cmocka_unit_test(a_device_can_be_opened_as_soon_as_it_was_closed),
		cmocka_unit_test(a_device_is_opened_once_and_its_dups_keep_it_open),
		cmocka_unit_test(a_vmm_that_dies_closes_its_device),
		cmocka_unit_test(an_arc_that_hangs_blocks_state_calls_only),
		cmocka_unit_test(without_a_free_fd_the_device_moves_and_the_stream_is_lost),
		cmocka_unit_test(sessions_end_with_their_states),
		cmocka_unit_test(versions_tell_what_does_not_fit),
		cmocka_unit_test(debug_commands_that_make_no_sense_are_refused),
		cmocka_unit_test(a_host_that_goes_down_answers_enodev),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
