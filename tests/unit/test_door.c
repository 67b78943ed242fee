// SPDX-License-Identifier: Apache-2.0
// At the limit of file descriptors: who comes is sent away, the loop does not spin, and later all is as before.
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/door.h"

static uv_loop_t loop;
static struct ls_door door;
static struct sockaddr_un address;
static unsigned came;
static bool closed;

static void on_came(void *user, int fd, const struct sockaddr *from)
{
	came++;
	close(fd);
}

static void on_closed(void *user)
{
	closed = true;
}

static int make_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static void set_limit(rlim_t n)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = n;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

// No descriptor above those that are open now.
static rlim_t close_the_limit(void)
{
	struct rlimit limit;
	int next = dup(0);

	assert_true(next >= 0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	set_limit((rlim_t)next);
	return limit.rlim_cur;
}

static void open_door(void)
{
	int fd = make_socket();

	came = 0;
	closed = false;
	address.sun_family = AF_UNIX;
	int n = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "lockstep-test-door-%d", (int)getpid());
	address.sun_path[0] = 0;
	assert_int_equal(
		bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(uv_loop_init(&loop), 0);
	ls_door_open(&door, &loop, fd, "door", on_came, NULL);
	uv_run(&loop, UV_RUN_NOWAIT);
}

static void knock(int fd)
{
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address.sun_path + 1));

	assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
}

static void shut_door(void)
{
	ls_door_close(&door, on_closed);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(closed);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void who_comes_at_the_limit_is_sent_away(void **state)
{
	char byte;
	int client[3];

	open_door();
	for (unsigned i = 0; i < 3; i++)
		client[i] = make_socket();
	rlim_t was = close_the_limit();
	knock(client[0]);
	knock(client[1]);
	while (recv(client[1], &byte, 1, MSG_DONTWAIT) != 0)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(recv(client[0], &byte, 1, MSG_DONTWAIT), 0);
	assert_int_equal(came, 0);
	assert_true(door.spare >= 0);
	assert_true(uv_is_active((uv_handle_t *)&door.poll));
	set_limit(was);
	knock(client[2]);
	while (!came)
		uv_run(&loop, UV_RUN_ONCE);
	for (unsigned i = 0; i < 3; i++)
		close(client[i]);
	shut_door();
}

// Another thread was quicker to take what the spare had left.
static void without_a_spare_it_waits_and_does_not_spin(void **state)
{
	unsigned wakes = 0;
	int client, spare;

	open_door();
	client = make_socket();
	rlim_t was = close_the_limit();
	spare = door.spare;
	door.spare = -1;
	knock(client);
	uint64_t end = uv_hrtime() + 450000000;
	while (uv_hrtime() < end) {
		uv_run(&loop, UV_RUN_ONCE);
		wakes++;
	}
	assert_true(wakes <= 12); // two for each pause that is over
	assert_int_equal(came, 0);
	set_limit(was);
	while (!came)
		uv_run(&loop, UV_RUN_ONCE);
	assert_true(door.spare >= 0);
	close(spare);
	close(client);
	shut_door();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_comes_at_the_limit_is_sent_away),
		cmocka_unit_test(without_a_spare_it_waits_and_does_not_spin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
