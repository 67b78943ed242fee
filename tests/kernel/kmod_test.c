// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel driver against its contract, in a guest: kmod_test ORACLE.CSV
 * Prints "ok N - name" or "not ok N - name" and a closing line.
 */
#include "kmod_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static struct vm vm;
static struct vdev a, b;
static const char *oracle_path;
static bool have_precopy;

#define CHECK(cond) do { if (!(cond)) { \
	printf("# %s:%d: %s (errno %d)\n", __func__, __LINE__, #cond, errno); return false; } } while (0)
#define CHECK_EQ(x, y) do { long long x_ = (long long)(x), y_ = (long long)(y); if (x_ != y_) { \
	printf("# %s:%d: %s is %lld, want %lld\n", __func__, __LINE__, #x, x_, y_); return false; } } while (0)

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned flags_of(const struct vdev *v)
{
	return !strcmp(v->type, "full") ? 7 : !strcmp(v->type, "p2p") ? 3 : 1;
}

/* The image is the caller's to free; the device ends up in RUNNING after a reset. */
static bool image_of(struct vdev *v, struct image *img)
{
	memset(img, 0, sizeof(*img));
	CHECK_EQ(reset(v), 0);
	CHECK_EQ(save(v, img), 0);
	CHECK_EQ(reset(v), 0);
	return true;
}

static bool bring_to(struct vdev *v, unsigned state, const struct image *img)
{
	CHECK_EQ(reset(v), 0);
	if (state == LSM_ERROR) {
		unsigned next = flags_of(v) & 2 ? LSM_RUNNING_P2P : LSM_STOP;
		char text[40];

		snprintf(text, sizeof(text), "RUNNING %u 5 error", next);
		CHECK(vdev_debug(v, "fail_arc", text));
		CHECK_EQ(set_state(v, LSM_STOP, NULL), -EIO);
	} else if (state == LSM_RESUMING) {
		int fd;

		CHECK_EQ(set_state(v, state, &fd), 0);
		CHECK(write(fd, img->p, img->len) == (ssize_t)img->len);
		close(fd);
	} else {
		CHECK_EQ(set_state(v, state, NULL), 0);
	}
	CHECK_EQ(get_state(v), state);
	return true;
}

/* The first step is shown by making just that one fail; then the whole walk. */
static bool check_cell(struct vdev *v, unsigned cur, unsigned to, int next, const struct image *img)
{
	char text[40];

	CHECK(bring_to(v, cur, img));
	if (next < 0) {
		CHECK_EQ(set_state(v, to, NULL), -EINVAL);
		CHECK_EQ(get_state(v), cur);
		return true;
	}
	if (cur != to) {
		snprintf(text, sizeof(text), "%u %d %d", cur, next, EDOM);
		CHECK(vdev_debug(v, "fail_arc", text));
		CHECK_EQ(set_state(v, to, NULL), -EDOM);
		CHECK_EQ(get_state(v), cur);
	}
	CHECK_EQ(set_state(v, to, NULL), 0);
	CHECK_EQ(get_state(v), to);
	return true;
}

static bool oracle_for(struct vdev *v)
{
	unsigned flags, cur, to, cells = 0;
	char line[256], next[16];
	struct image img;
	FILE *f = fopen(oracle_path, "r");

	CHECK(f);
	CHECK(image_of(v, &img));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%u,%u,%u,%15s", &flags, &cur, &to, next) != 4 || flags != flags_of(v))
			continue;
		if (!check_cell(v, cur, to, next[0] == 'E' ? -EINVAL : next[0] - '0', &img)) {
			printf("# cell: flags %u, %u -> %u\n", flags, cur, to);
			return false;
		}
		cells++;
	}
	fclose(f);
	free(img.p);
	printf("# %s: %u cells\n", v->type, cells);
	CHECK(cells >= 40);
	CHECK_EQ(set_state(v, 8, NULL), -EINVAL);
	CHECK_EQ(set_state(v, 0xffffffff, NULL), -EINVAL);
	return true;
}

static bool with_device(const char *type, bool (*fn)(struct vdev *))
{
	struct vdev v;
	bool ok;

	CHECK(vdev_create(&v, type, 8, 1, 7));
	CHECK(vdev_open(&vm, &v));
	ok = fn(&v);
	vdev_close(&v);
	CHECK(vdev_remove(&v));
	return ok;
}

static bool test_oracle_stopcopy(void)
{
	return with_device("stopcopy", oracle_for);
}

static bool test_oracle_p2p(void)
{
	return with_device("p2p", oracle_for);
}

static bool test_oracle_full(void)
{
	return with_device("full", oracle_for);
}

static bool fresh_pair(void)
{
	CHECK_EQ(reset(&a), 0);
	CHECK_EQ(reset(&b), 0);
	CHECK(vdev_start(&a) && vdev_start(&b));
	while (read(a.irq[0], &(uint64_t){ 0 }, 8) == 8 || read(b.irq[0], &(uint64_t){ 0 }, 8) == 8)
		;
	CHECK(vdev_attr(&a, "lockstep/rate", "5000") && vdev_attr(&b, "lockstep/rate", "5000"));
	return true;
}

static bool test_features(void)
{
	struct vfio_device_feature_migration m = { 0 };
	uint64_t size = 0, small = 0;

	CHECK(fresh_pair());
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, &m, sizeof(m)), 0);
	CHECK_EQ(m.flags, flags_of(&a));
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIGRATION, &m, sizeof(m)), -EINVAL);
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, &m, 4), -EINVAL);
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_GET | 999, &m, sizeof(m)), -ENOTTY);
	if (!have_precopy)
		return true;
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_GET | FEATURE_DATA_SIZE, &small, 8), 0);
	CHECK_EQ(set32(&a, LSM_REG_CTRL, 0), 0);
	CHECK_EQ(window(&a, 12345, &(uint8_t){ 1 }, 1, true), 0);
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_GET | FEATURE_DATA_SIZE, &size, 8), 0);
	CHECK(size >= small + 4096);
	return true;
}

/* Each writes to the other, to RAM, and interrupts. */
static void traffic(struct vdev *v, unsigned peer)
{
	ring_desc(&vm, v, 0, LSM_OP_FILL, LSM_DESC_STAMP, 0, 16384, 0x40000);
	ring_desc(&vm, v, 1, LSM_OP_P2P_WRITE, LSM_DESC_STAMP, peer, 256, 0x40000);
	ring_desc(&vm, v, 2, LSM_OP_DMA_WRITE, LSM_DESC_STAMP, 0, 64, 0x40000);
	ring_desc(&vm, v, 3, LSM_OP_DMA_READ, LSM_DESC_COMPLETE | LSM_DESC_IRQ, 0, 64, 0x50000);
	ring_start(v, 4);
}

static bool both_to(unsigned state)
{
	CHECK_EQ(set_state(&a, state, NULL), 0);
	CHECK_EQ(set_state(&b, state, NULL), 0);
	return true;
}

static bool no_loss(struct vdev *to, unsigned from_slot, struct vdev *from, unsigned to_slot)
{
	CHECK_EQ(reg64(to, LSM_REG_RX_SEQ + 8 * from_slot), reg64(from, LSM_REG_TX_SEQ + 8 * to_slot));
	CHECK_EQ(reg64(to, LSM_REG_RX_GAP + 8 * from_slot), 0);
	CHECK_EQ(reg64(to, LSM_REG_RX_OOO + 8 * from_slot), 0);
	return true;
}

static bool test_traffic_flows_and_every_write_arrives(void)
{
	uint64_t last;
	uint8_t word[8];

	CHECK(fresh_pair());
	traffic(&a, 1);
	traffic(&b, 0);
	CHECK(irq_wait(&a, 50) && irq_wait(&b, 50));
	CHECK(both_to(LSM_RUNNING_P2P));
	CHECK(no_loss(&b, 0, &a, 1));
	CHECK(no_loss(&a, 1, &b, 0));
	last = reg64(&a, LSM_REG_TX_SEQ + 8) - 1;
	CHECK(last >= 50);
	CHECK_EQ(window(&b, (unsigned)a.index * LSM_PAGE_SIZE, word, 8, false), 0);
	CHECK_EQ(lsm_get64(word), last);
	CHECK_EQ(reg32(&a, LSM_REG_ERRORS), 0);
	return true;
}

static bool test_interrupts_and_dma_are_counted_alike_on_both_sides(void)
{
	uint64_t stamp, got = 0, n = 50;
	uint32_t raised;

	CHECK(fresh_pair());
	traffic(&a, 1);
	CHECK(irq_wait(&a, n));
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	/* irq_wait() may have read more than it was asked for: compare differences. */
	while (read(a.irq[0], &got, 8) == 8)
		;
	raised = reg32(&a, LSM_REG_IRQ_COUNT);
	stamp = reg64(&a, LSM_REG_STAMP);
	CHECK_EQ(set_state(&a, LSM_RUNNING, NULL), 0);
	CHECK(irq_wait(&a, 1));
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK(reg32(&a, LSM_REG_IRQ_COUNT) > raised);
	CHECK(reg64(&a, LSM_REG_STAMP) > stamp);
	/* RAM holds the newest stamp, or the one before when FILL took the newest. */
	stamp = reg64(&a, LSM_REG_STAMP) - lsm_get64(vm.ram + VM_DATA(a.index));
	CHECK(stamp == 1 || stamp == 2);
	return true;
}

static bool test_quiet_in_stop_and_no_write_heard(void)
{
	uint8_t before[64], *ram = vm.ram + VM_DATA(a.index);
	uint64_t tx;

	CHECK(fresh_pair());
	traffic(&a, 1);
	traffic(&b, 0);
	CHECK(irq_wait(&a, 20) && irq_wait(&b, 20));
	CHECK_EQ(set_state(&a, LSM_STOP, NULL), 0);
	while (read(a.irq[0], &tx, 8) == 8)
		;
	memcpy(before, ram, sizeof(before));
	CHECK(irq_wait(&b, 40));
	CHECK(!memcmp(before, ram, sizeof(before)));
	CHECK(read(a.irq[0], &tx, 8) < 0);
	CHECK_EQ(reg64(&a, LSM_REG_RX_SEQ + 8), 0);
	CHECK_EQ(set32(&a, LSM_REG_CTRL, 0), 0);
	CHECK_EQ(config_read16(&a, 0), LSM_PCI_VENDOR);
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK_EQ(reg32(&a, LSM_REG_CTRL), LSM_CTRL_ENABLE | LSM_CTRL_CYCLIC);
	return true;
}

/* What the project exists for: b stops while a still writes. */
static bool test_stopping_a_peer_early_loses_writes_and_shows_the_first(void)
{
	uint64_t expected;

	CHECK(fresh_pair());
	traffic(&a, 1);
	traffic(&b, 0);
	CHECK(irq_wait(&a, 20) && irq_wait(&b, 20));
	CHECK_EQ(set_state(&b, LSM_STOP, NULL), 0);
	CHECK(irq_wait(&a, 40));
	CHECK(vdev_counter(&b, "rx_dropped ") > 0);
	CHECK_EQ(set_state(&b, LSM_RUNNING_P2P, NULL), 0);
	CHECK(irq_wait(&a, 40));
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK_EQ(set_state(&b, LSM_RUNNING_P2P, NULL), 0);
	expected = reg64(&b, LSM_REG_RX_GAP);
	CHECK(expected > 0 && expected < reg64(&b, LSM_REG_RX_SEQ));
	CHECK_EQ(reg64(&b, LSM_REG_RX_OOO), 1);
	return true;
}

static bool test_suspend_waits_for_what_is_outstanding(void)
{
	CHECK(fresh_pair());
	ring_desc(&vm, &a, 0, LSM_OP_P2P_WRITE, LSM_DESC_IRQ, 1, 64, 0);
	CHECK(vdev_debug(&a, "transfer_ms", "200"));
	ring_start(&a, 1);
	while (reg64(&a, LSM_REG_TX_SEQ + 8) == 1)
		;
	/* The first write has its number and is on its way. */
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK_EQ(reg32(&a, LSM_REG_STATUS), 0);
	CHECK_EQ(reg64(&b, LSM_REG_RX_COUNT), 1);
	CHECK(irq_wait(&a, 1));
	CHECK(no_loss(&b, 0, &a, 1));
	CHECK(vdev_debug(&a, "transfer_ms", "0"));
	return true;
}

static bool test_barriers_lose_nothing_however_often(void)
{
	CHECK(fresh_pair());
	traffic(&a, 1);
	traffic(&b, 0);
	for (int i = 0; i < 20; i++) {
		CHECK(irq_wait(&a, 10) && irq_wait(&b, 10));
		CHECK(both_to(LSM_RUNNING_P2P));
		CHECK(both_to(LSM_STOP));
		CHECK(both_to(LSM_STOP_COPY));
		CHECK(both_to(LSM_RUNNING_P2P));
		CHECK(no_loss(&b, 0, &a, 1) && no_loss(&a, 1, &b, 0));
		CHECK(both_to(LSM_RUNNING));
	}
	return true;
}

static bool test_image_moves_to_another_device_and_traffic_goes_on(void)
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

static bool test_without_bus_master_nothing_moves_and_bars_need_the_memory_bit(void)
{
	CHECK(fresh_pair());
	traffic(&a, 1);
	CHECK(irq_wait(&a, 5));
	CHECK_EQ(config_write16(&a, 4, 2), 0);
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	while (read(a.irq[0], &(uint64_t){ 0 }, 8) == 8)
		;
	CHECK_EQ(set_state(&a, LSM_RUNNING, NULL), 0);
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK(read(a.irq[0], &(uint64_t){ 0 }, 8) < 0);
	CHECK_EQ(config_write16(&a, 4, 0), 0);
	CHECK_EQ(set32(&a, LSM_REG_CTRL, 0), -EIO);
	CHECK_EQ(config_write16(&a, 4, 6), 0);
	CHECK_EQ(set_state(&a, LSM_RUNNING, NULL), 0);
	CHECK(irq_wait(&a, 5));
	return true;
}

static bool test_bad_images_are_refused_and_leave_the_device_as_it_was(void)
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

static bool test_data_fd_is_a_stream_that_dies_with_its_session(void)
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

static bool test_without_a_free_fd_the_device_is_in_stop_copy_all_the_same(void)
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

static bool test_precopy_rounds_carry_dirty_pages_and_the_rest_fits_together(void)
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
	for (int round = 0; round < 5; round++) {
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

static bool test_guest_reset_in_precopy_kills_the_fd_and_the_next_step_gives_another(void)
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

static bool test_reset_makes_it_new(void)
{
	int fd;

	CHECK(fresh_pair());
	traffic(&a, 1);
	CHECK(irq_wait(&a, 5));
	CHECK_EQ(set_state(&a, LSM_STOP_COPY, &fd), 0);
	CHECK_EQ(reset(&a), 0);
	CHECK(read(fd, &(char){ 0 }, 1) < 0 && errno == ENODEV);
	close(fd);
	CHECK_EQ(get_state(&a), LSM_RUNNING);
	CHECK_EQ(config_read16(&a, 4), 0);
	CHECK_EQ(config_write16(&a, 4, 6), 0);
	CHECK_EQ(reg32(&a, LSM_REG_CTRL), 0);
	CHECK_EQ(reg64(&a, LSM_REG_TX_SEQ + 8), 1);
	CHECK_EQ(vdev_counter(&a, "pages "), 0);
	return true;
}

static bool test_arcs_fail_and_wait_as_asked(void)
{
	double begin;

	CHECK(fresh_pair());
	CHECK(vdev_debug(&a, "fail_arc", "RUNNING_P2P STOP 71 sticky"));
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(set_state(&a, LSM_STOP, NULL), -71);
		CHECK_EQ(get_state(&a), LSM_RUNNING_P2P);
	}
	CHECK(vdev_debug(&a, "fail_arc", "RUNNING_P2P STOP 0"));
	CHECK_EQ(set_state(&a, LSM_STOP, NULL), 0);
	CHECK(vdev_debug(&a, "fail_arc", "STOP STOP_COPY 5 error"));
	CHECK_EQ(set_state(&a, LSM_STOP_COPY, NULL), -EIO);
	CHECK_EQ(get_state(&a), LSM_ERROR);
	CHECK_EQ(set_state(&a, LSM_RUNNING, NULL), -EINVAL);
	CHECK_EQ(reset(&a), 0);
	CHECK_EQ(get_state(&a), LSM_RUNNING);
	CHECK(vdev_debug(&a, "arc_latency", "2 5 300"));
	begin = seconds();
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK(seconds() - begin >= 0.29);
	CHECK(vdev_debug(&a, "arc_latency", "2 5 0"));
	CHECK(!vdev_debug(&a, "fail_arc", "RUNNING NOWHERE 5"));
	CHECK(!vdev_debug(&a, "arc_latency", "2 5 99999999"));
	return true;
}

static bool test_rates_hold(void)
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

static bool test_fabric_and_slot_are_the_hosts(void)
{
	struct vdev c, d;

	CHECK(!vdev_attr(&a, "lockstep/slot", "3") && errno == EBUSY);
	CHECK(!vdev_attr(&a, "lockstep/memory_mib", "8") && errno == EBUSY);
	CHECK(vdev_create(&c, "p2p", 3, 1, 0));
	CHECK(!vdev_open(&vm, &c) && errno == EBUSY);
	vdev_close(&c);
	CHECK(vdev_attr(&c, "lockstep/fabric", "2"));
	CHECK(vdev_open(&vm, &c) && vdev_start(&c));
	CHECK_EQ(reg32(&c, LSM_REG_SLOT), 0);
	CHECK(vdev_create(&d, "stopcopy", 4, -1 + 1, -1));
	CHECK(vdev_attr(&d, "lockstep/memory_mib", "64"));
	CHECK(!vdev_attr(&d, "lockstep/memory_mib", "65"));
	CHECK(vdev_open(&vm, &d) && vdev_start(&d));
	CHECK_EQ(reg32(&d, LSM_REG_MEM_SIZE), 64 << 20);
	CHECK_EQ((uint32_t)reg32(&d, LSM_REG_SLOT), LSM_NO_SLOT);
	/* Slot 1 of fabric 1 is b; on fabric 2 nobody answers. */
	ring_desc(&vm, &c, 0, LSM_OP_P2P_WRITE, LSM_DESC_COMPLETE | LSM_DESC_IRQ, 1, 64, 0);
	ring_start(&c, 1);
	CHECK(irq_wait(&c, 1));
	CHECK_EQ(lsm_get32(vm.ram + VM_COMP(3) + 4), LSM_NO_PEER);
	vdev_close(&c);
	vdev_close(&d);
	CHECK(vdev_remove(&c) && vdev_remove(&d));
	return true;
}

static bool test_migration_version_compares_both_ways(void)
{
	char text[64];
	const char *type = "/sys/class/mdev_bus/lockstep-pf0/migration_version/lockstep-p2p";

	CHECK(read_file(type, text, sizeof(text)));
	CHECK(write_file(type, text));
	CHECK(!strcmp(text, "1d55-1002-p2p-1.8\n"));
	CHECK(vdev_attr(&b, "migration_version", text));
	CHECK(!write_file(type, "nonsense") && errno == EINVAL);
	CHECK(!write_file(type, "8086-1002-p2p-1.8") && errno == ENODEV);
	CHECK(!write_file(type, "1d55-1001-stopcopy-1.4") && errno == EMEDIUMTYPE);
	CHECK(!write_file(type, "1d55-1002-p2p-2.8") && errno == EOPNOTSUPP);
	CHECK(write_file(type, "1d55-1002-p2p-1.16"));
	CHECK(!vdev_attr(&b, "migration_version", "1d55-1002-p2p-1.16"));
	CHECK(!write_file(type, "1d55-1002-p2p-1.8 and more") && errno == EINVAL);
	return true;
}

static void *slow_stop(void *result)
{
	*(int *)result = set_state(&a, LSM_STOP, NULL);
	return NULL;
}

/* The arc holds the state mutex: the reset is done by whoever lets go of it. */
static bool test_parent_reset_during_an_arc_is_deferred_and_done(void)
{
	pthread_t thread;
	double begin;
	int rc = 1;

	CHECK(fresh_pair());
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK_EQ(set_state(&b, LSM_STOP, NULL), 0);
	CHECK(vdev_debug(&a, "arc_latency", "RUNNING_P2P STOP 500"));
	begin = seconds();
	pthread_create(&thread, NULL, slow_stop, &rc);
	CHECK(write_file("/sys/class/mdev_bus/lockstep-pf0/reset", "1"));
	CHECK(seconds() - begin < 0.4);
	CHECK_EQ(get_state(&b), LSM_RUNNING);
	pthread_join(thread, NULL);
	CHECK(vdev_debug(&a, "arc_latency", "RUNNING_P2P STOP 0"));
	/* Reset before or after the arc: both are legal, a mixture is not. */
	CHECK_EQ(rc, 0);
	CHECK(get_state(&a) == LSM_RUNNING || get_state(&a) == LSM_STOP);
	CHECK_EQ(config_read16(&a, 4), 0);
	return true;
}

static bool test_parent_that_goes_away_disables_its_functions_and_answers_enotconn(void)
{
	const char *going = "/sys/kernel/debug/lockstep_vdev/lockstep-pf0/going";
	struct vdev c;
	int fd;

	CHECK(fresh_pair());
	traffic(&a, 1);
	CHECK(irq_wait(&a, 5));
	CHECK_EQ(set_state(&b, LSM_STOP_COPY, &fd), 0);
	CHECK(vdev_create(&c, "p2p", 6, 0, -1));
	CHECK(write_file(going, "1"));
	while (read(a.irq[0], &(uint64_t){ 0 }, 8) == 8)
		;
	CHECK(read(fd, &(char){ 0 }, 1) < 0 && errno == ENODEV);
	close(fd);
	CHECK_EQ(set_state(&a, LSM_STOP, NULL), -ENOTCONN);
	CHECK_EQ(set_state(&b, LSM_STOP_COPY, NULL), 0);
	CHECK_EQ(get_state(&a), LSM_RUNNING);
	CHECK_EQ(reset(&a), -ENOTCONN);
	CHECK(!vdev_open(&vm, &c) && errno == ENOTCONN);
	vdev_close(&c);
	CHECK(read(a.irq[0], &(uint64_t){ 0 }, 8) < 0);
	CHECK(write_file(going, "0"));
	CHECK(vdev_remove(&c));
	CHECK(fresh_pair());
	traffic(&a, 1);
	CHECK(irq_wait(&a, 5));
	return true;
}

static bool test_unreadable_ring_halts_and_reopening_starts_as_new(void)
{
	struct vdev c;

	CHECK(vdev_create(&c, "stopcopy", 5, 1, 5));
	CHECK(vdev_open(&vm, &c) && vdev_start(&c));
	set64(&c, LSM_REG_RING_BASE, 1ull << 40);
	set32(&c, LSM_REG_RING_SIZE, 4);
	set32(&c, LSM_REG_CTRL, 3);
	for (double end = seconds() + 10; seconds() < end && !(reg32(&c, LSM_REG_STATUS) & LSM_STATUS_HALTED);)
		;
	CHECK(reg32(&c, LSM_REG_STATUS) & LSM_STATUS_HALTED);
	CHECK_EQ(set_state(&c, LSM_STOP_COPY, NULL), 0);
	vdev_close(&c);
	CHECK(vdev_open(&vm, &c));
	CHECK_EQ(get_state(&c), LSM_RUNNING);
	CHECK(vdev_debug(&c, "quirks", "1"));
	CHECK_EQ(set_state(&c, LSM_STOP, NULL), 0);
	vdev_close(&c);
	CHECK(vdev_open(&vm, &c));
	CHECK_EQ(get_state(&c), LSM_STOP);
	vdev_close(&c);
	CHECK(vdev_remove(&c));
	return true;
}

static bool test_everything_goes_away(void)
{
	vdev_close(&a);
	vdev_close(&b);
	CHECK(vdev_remove(&a) && vdev_remove(&b));
	CHECK(!syscall(SYS_delete_module, "lockstep_vdev", O_NONBLOCK));
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
		T(parent_reset_during_an_arc_is_deferred_and_done),
		T(parent_that_goes_away_disables_its_functions_and_answers_enotconn),
		T(unreadable_ring_halts_and_reopening_starts_as_new),
		T(oracle_stopcopy),
		T(oracle_p2p),
		T(oracle_full),
		T(everything_goes_away),
	};
	unsigned i, n = sizeof(tests) / sizeof(tests[0]), passed = 0;

	oracle_path = argc > 1 ? argv[1] : "/fsm-oracle.csv";
	have_precopy = !access("/sys/class/mdev_bus/lockstep-pf0/migration_version/lockstep-full", F_OK);
	setvbuf(stdout, NULL, _IOLBF, 0);
	vm_init(&vm);
	if (!vdev_create(&a, have_precopy ? "full" : "p2p", 0, 1, 0) ||
	    !vdev_create(&b, "p2p", 1, 1, 1) ||
	    !vdev_open(&vm, &a) || !vdev_open(&vm, &b)) {
		perror("kmod_test: devices");
		return 1;
	}
	for (i = 0; i < n; i++) {
		bool skip = tests[i].fn == test_oracle_full && !have_precopy;
		bool ok = skip || tests[i].fn();

		passed += ok;
		printf("%s %u - %s%s\n", ok ? "ok" : "not ok", i + 1, tests[i].name,
		       skip ? " # skipped: no PRE_COPY in this kernel" : "");
	}
	printf("%u passed, %u failed\n", passed, n - passed);
	return passed != n;
}
