// SPDX-License-Identifier: Apache-2.0
/* What goes through data_fd. */
#include <sys/resource.h>

#include "kmod_test.h"

bool test_image_moves_to_another_device_and_traffic_goes_on(void)
{
	struct image x = { 0 }, y = { 0 }, z = { 0 };
	uint64_t tx;

	CHECK(fresh_pair());
	traffic(&a, 1);
	traffic(&b, 0);
	CHECK(irq_wait(&a, 50) && irq_wait(&b, 50));
	CHECK(both_to(LSM_RUNNING_P2P));
	tx = reg64(&a, LSM_REG_TX_SEQ + 8);
	CHECK_EQ(save(&a, &x), 0);
	CHECK_EQ(save(&b, &y), 0);
	/* The same functions, as new: the destination. */
	CHECK_EQ(reset(&a), 0);
	CHECK_EQ(reset(&b), 0);
	CHECK_EQ(load(&a, &x), 0);
	CHECK_EQ(load(&b, &y), 0);
	CHECK_EQ(get_state(&a), LSM_STOP);
	CHECK_EQ(save(&a, &z), 0);
	CHECK_EQ(z.len, x.len);
	CHECK(!memcmp(z.p, x.p, x.len));
	CHECK(vdev_start(&a) && vdev_start(&b));
	CHECK(both_to(LSM_RUNNING_P2P));
	CHECK_EQ(reg64(&a, LSM_REG_TX_SEQ + 8), tx);
	CHECK(both_to(LSM_RUNNING));
	CHECK(irq_wait(&a, 50) && irq_wait(&b, 50));
	CHECK(both_to(LSM_RUNNING_P2P));
	CHECK(reg64(&a, LSM_REG_TX_SEQ + 8) > tx);
	CHECK(no_loss(&b, 0, &a, 1) && no_loss(&a, 1, &b, 0));
	printf("# image %zu bytes\n", x.len);
	free(x.p);
	free(y.p);
	free(z.p);
	return true;
}

bool test_bad_images_are_refused_and_leave_the_device_as_it_was(void)
{
	static const struct {
		size_t at;	/* bent byte; from the end when above 1 << 30 */
		int want;
	} bends[] = {
		{ 0, -EINVAL }, { 8, -EOPNOTSUPP }, { 12, -EBADMSG }, { 100, -EPROTO }, { 200, -EBADMSG },
		{ (size_t)-1, -EBADMSG }, { (size_t)-200, -EBADMSG },
	};
	struct image x, cut;
	int fd;

	CHECK(fresh_pair());
	CHECK_EQ(window(&a, 0, &(uint8_t){ 7 }, 1, true), 0);
	memset(&x, 0, sizeof(x));
	CHECK_EQ(save(&a, &x), 0);
	for (size_t i = 0; i < sizeof(bends) / sizeof(bends[0]); i++) {
		size_t at = bends[i].at > 1u << 30 ? x.len + bends[i].at : bends[i].at;

		x.p[at] ^= 1;
		CHECK_EQ(reset(&a), 0);
		CHECK_EQ(load(&a, &x), bends[i].want);
		CHECK_EQ(get_state(&a), LSM_RESUMING);
		CHECK_EQ(set_state(&a, LSM_STOP, NULL), bends[i].want);
		x.p[at] ^= 1;
	}
	for (cut = x; cut.len > x.len - 60; cut.len -= 20) {
		int want = cut.len == x.len ? 0 : -ENODATA;

		CHECK_EQ(reset(&a), 0);
		CHECK_EQ(load(&a, &cut), want);
	}
	CHECK_EQ(reset(&a), 0);
	CHECK_EQ(set_state(&a, LSM_RESUMING, &fd), 0);
	CHECK_EQ(set_state(&a, LSM_STOP, NULL), -EINVAL);
	CHECK(write(fd, x.p, x.len) == (ssize_t)x.len);
	CHECK(write(fd, x.p, 1) < 0 && errno == E2BIG);
	CHECK_EQ(reset(&a), 0);
	CHECK(write(fd, x.p, 1) < 0 && errno == ENODEV);
	close(fd);
	CHECK_EQ(reset(&b), 0);
	CHECK_EQ(load(&b, &x), have_precopy ? -EMEDIUMTYPE : -EXDEV);
	CHECK_EQ(reset(&b), 0);
	free(x.p);
	return true;
}

bool test_data_fd_is_a_stream_that_dies_with_its_session(void)
{
	char buf[16];
	int fd;

	CHECK(fresh_pair());
	CHECK_EQ(set_state(&a, LSM_STOP_COPY, &fd), 0);
	CHECK(fd >= 0);
	CHECK(pread(fd, buf, 1, 0) < 0 && errno == ESPIPE);
	CHECK(lseek(fd, 0, SEEK_SET) < 0 && errno == ESPIPE);
	CHECK(write(fd, buf, 1) < 0 && errno == EBADF);
	CHECK(ioctl(fd, VM_GET_PRECOPY_INFO, &(struct vm_precopy_info){ .argsz = 24 }) < 0);
	CHECK(read(fd, buf, 16) == 16);
	CHECK_EQ(set_state(&a, LSM_STOP, NULL), 0);
	CHECK(read(fd, buf, 16) < 0 && errno == ENODEV);
	close(fd);
	CHECK_EQ(set_state(&a, LSM_RESUMING, &fd), 0);
	CHECK(read(fd, buf, 1) < 0 && errno == EBADF);
	CHECK(pwrite(fd, buf, 1, 0) < 0 && errno == ESPIPE);
	close(fd);
	CHECK_EQ(reset(&a), 0);
	return true;
}

bool test_without_a_free_fd_the_device_is_in_stop_copy_all_the_same(void)
{
	struct rlimit old, none;

	CHECK(fresh_pair());
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none);
	CHECK_EQ(set_state(&a, LSM_STOP_COPY, NULL), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
	CHECK_EQ(get_state(&a), LSM_STOP_COPY);
	CHECK_EQ(set_state(&a, LSM_RUNNING, NULL), 0);
	return true;
}

static bool precopy_info(int fd, uint64_t *initial, uint64_t *dirty)
{
	struct vm_precopy_info info = { .argsz = sizeof(info) };

	if (ioctl(fd, VM_GET_PRECOPY_INFO, &info))
		return false;
	*initial = info.initial_bytes;
	*dirty = info.dirty_bytes;
	return true;
}

bool test_precopy_rounds_carry_dirty_pages_and_the_rest_fits_together(void)
{
	uint64_t initial, dirty, first;
	struct image x = { 0 }, whole = { 0 };
	int fd, none;

	if (!have_precopy)
		return true;
	CHECK(fresh_pair());
	traffic(&a, 1);
	CHECK(irq_wait(&a, 20));
	CHECK_EQ(set_state(&a, LSM_PRE_COPY, &fd), 0);
	CHECK(precopy_info(fd, &first, &dirty) && first > 5 * 4096);
	CHECK_EQ(drain(fd, &x), -ENOMSG);
	CHECK(vdev_debug(&a, "quirks", "2"));
	CHECK_EQ(drain(fd, &x), 0);
	CHECK(vdev_debug(&a, "quirks", "0"));
	for (int round = 0; round < 5; round++) {
		/* Not those that came before the last round ended. */
		while (read(a.irq[0], &first, 8) == 8)
			;
		CHECK(irq_wait(&a, 5));
		CHECK(precopy_info(fd, &initial, &dirty));
		CHECK_EQ(initial, 0);
		CHECK(dirty >= 4 * 4096 && dirty < 12 * 4200);
		CHECK_EQ(drain(fd, &x), -ENOMSG);
	}
	CHECK_EQ(set_state(&a, LSM_PRE_COPY_P2P, &none), 0);
	CHECK_EQ(none, -1);
	CHECK(precopy_info(fd, &initial, &dirty));
	CHECK_EQ(drain(fd, &x), -ENOMSG);
	CHECK(precopy_info(fd, &initial, &dirty));
	CHECK_EQ(initial + dirty, 0);
	/* That was a permission for the next round; what is dirtied after it wants another. */
	CHECK_EQ(window(&a, 4096, &(uint8_t){ 1 }, 1, true), 0);
	CHECK_EQ(drain(fd, &x), -ENOMSG);
	CHECK_EQ(window(&a, 8192, &(uint8_t){ 1 }, 1, true), 0);
	first = x.len;
	CHECK_EQ(drain(fd, &x), -ENOMSG);
	CHECK_EQ(x.len, first);
	CHECK(precopy_info(fd, &initial, &dirty) && dirty >= 4096);
	CHECK_EQ(drain(fd, &x), -ENOMSG);
	CHECK(x.len > first);
	CHECK_EQ(set_state(&a, LSM_STOP_COPY, &none), 0);
	CHECK_EQ(none, -1);
	CHECK(!precopy_info(fd, &initial, &dirty) && errno == EINVAL);
	first = x.len;
	CHECK_EQ(drain(fd, &x), 0);
	CHECK(x.len - first < 2000);
	close(fd);
	CHECK_EQ(set_state(&a, LSM_STOP, NULL), 0);
	CHECK_EQ(save(&a, &whole), 0);
	CHECK_EQ(reset(&a), 0);
	CHECK_EQ(load(&a, &x), 0);
	free(x.p);
	memset(&x, 0, sizeof(x));
	CHECK_EQ(save(&a, &x), 0);
	CHECK_EQ(x.len, whole.len);
	CHECK(!memcmp(x.p, whole.p, x.len));
	free(x.p);
	free(whole.p);
	return true;
}

bool test_guest_reset_in_precopy_kills_the_fd_and_the_next_step_gives_another(void)
{
	char buf[4096];
	int fd, other;

	if (!have_precopy)
		return true;
	CHECK(fresh_pair());
	CHECK_EQ(set_state(&a, LSM_PRE_COPY, &fd), 0);
	CHECK(read(fd, buf, sizeof(buf)) > 0);
	CHECK(vdev_debug(&a, "reset", "1"));
	CHECK_EQ(get_state(&a), LSM_RUNNING);
	CHECK(read(fd, buf, sizeof(buf)) < 0 && errno == ENODEV);
	CHECK_EQ(set_state(&a, LSM_STOP_COPY, &other), 0);
	CHECK(other >= 0);
	close(fd);
	close(other);
	return true;
}

bool test_rates_hold(void)
{
	struct image x = { 0 };
	uint8_t page[4096];
	double begin;

	CHECK(fresh_pair());
	memset(page, 0x5a, sizeof(page));
	for (unsigned i = 0; i < 50; i++)
		CHECK_EQ(window(&a, i * 4096, page, sizeof(page), true), 0);
	CHECK(vdev_debug(&a, "save_rate", "400000"));
	begin = seconds();
	CHECK_EQ(save(&a, &x), 0);
	CHECK(seconds() - begin > 0.4);
	CHECK(vdev_debug(&a, "save_rate", "0") && vdev_debug(&a, "load_rate", "400000"));
	CHECK_EQ(reset(&a), 0);
	begin = seconds();
	CHECK_EQ(load(&a, &x), 0);
	CHECK(seconds() - begin > 0.4);
	CHECK(vdev_debug(&a, "load_rate", "0"));
	free(x.p);
	return true;
}
