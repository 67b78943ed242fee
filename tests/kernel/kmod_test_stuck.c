// SPDX-License-Identifier: Apache-2.0
/*
 * Users whose memory answers late. Their buffer's first page is missing (userfaultfd), so a read or write is caught
 * exactly between device and user; a reset that comes then must not wait for them, and what they get is one of the two
 * orders.
 */
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "kmod_test.h"

struct stuck {
	int uffd, fd;
	uint8_t *page;
	off_t at;		/* -1: a stream */
	bool write;
	ssize_t rc;
	int error;
};

static bool have_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void *stuck_io(void *arg)
{
	struct stuck *s = arg;

	if (s->at < 0)
		s->rc = s->write ? write(s->fd, s->page, 4096) : read(s->fd, s->page, 4096);
	else
		s->rc = s->write ? pwrite(s->fd, s->page, 4096, s->at) : pread(s->fd, s->page, 4096, s->at);
	s->error = errno;
	return NULL;
}

static bool begin(struct stuck *s, pthread_t *thread)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffd_msg msg;

	s->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	s->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(s->page != MAP_FAILED);
	reg.range.start = (uintptr_t)s->page;
	reg.range.len = 4096;
	CHECK(!ioctl(s->uffd, UFFDIO_API, &api) && !ioctl(s->uffd, UFFDIO_REGISTER, &reg));
	pthread_create(thread, NULL, stuck_io, s);
	CHECK(read(s->uffd, &msg, sizeof(msg)) == sizeof(msg));
	CHECK_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
	return true;
}

static bool finish(struct stuck *s, pthread_t thread)
{
	struct uffdio_zeropage zero = { .range = { .start = (uintptr_t)s->page, .len = 4096 } };

	CHECK(!ioctl(s->uffd, UFFDIO_ZEROPAGE, &zero));
	pthread_join(thread, NULL);
	close(s->uffd);
	munmap(s->page, 4096);
	return true;
}

static bool reset_by(struct vdev *v, int way)
{
	if (way == 0)
		return !reset(v);
	if (way == 1)
		return vdev_debug(v, "reset", "1");
	return write_file("/sys/class/mdev_bus/lockstep-pf0/reset", "1");
}

bool test_no_user_memory_holds_up_a_reset(void)
{
	if (!have_userfaultfd()) {
		printf("# no userfaultfd in this kernel: not tried\n");
		return true;
	}
	for (int way = 0; way < 3; way++) {
		for (int what = 0; what < 4; what++) {
			struct stuck s = { .fd = a.fd, .at = (off_t)2 << 40, .write = what & 1 };
			bool stream = what >= 2;
			pthread_t thread;

			CHECK(fresh_pair());
			CHECK_EQ(window(&a, 0, &(uint8_t){ 7 }, 1, true), 0);
			if (stream) {
				CHECK_EQ(set_state(&a, s.write ? LSM_RESUMING : LSM_STOP_COPY, &s.fd), 0);
				s.at = -1;
			}
			CHECK(begin(&s, &thread));
			CHECK(reset_by(&a, way));
			CHECK_EQ(get_state(&a), LSM_RUNNING);
			CHECK_EQ(config_read16(&a, 4), 0);
			CHECK(finish(&s, thread));
			if (stream) {
				CHECK(s.rc < 0 && s.error == ENODEV);
				close(s.fd);
			} else if (s.write) {
				/* The reset came first: nothing decodes any more. */
				CHECK(s.rc < 0 && s.error == EIO);
			} else {
				/* The read came first. */
				CHECK_EQ(s.rc, 4096);
			}
			CHECK_EQ(vdev_counter(&a, "pages "), 0);
		}
	}
	return true;
}

static void *throttled_read(void *arg)
{
	struct stuck *s = arg;
	char buf[64];

	while ((s->rc = read(s->fd, buf, sizeof(buf))) > 0)
		;
	s->error = errno;
	return NULL;
}

/* A reader that the throttle holds back is let go by whatever ends its session. */
bool test_a_waiting_reader_is_let_go_by_what_ends_its_session(void)
{
	for (int way = 0; way < 4; way++) {
		struct stuck s = { 0 };
		pthread_t thread;
		double begun;

		CHECK(fresh_pair());
		CHECK(vdev_debug(&a, "save_rate", "1"));
		CHECK_EQ(set_state(&a, LSM_STOP_COPY, &s.fd), 0);
		pthread_create(&thread, NULL, throttled_read, &s);
		begun = seconds();
		CHECK(way == 3 ? !set_state(&a, LSM_STOP, NULL) : reset_by(&a, way));
		pthread_join(thread, NULL);
		/* The whole image would take twenty minutes. */
		CHECK(seconds() - begun < 60);
		CHECK(s.rc < 0 && s.error == ENODEV);
		close(s.fd);
		CHECK(vdev_debug(&a, "save_rate", "0"));
	}
	return true;
}
