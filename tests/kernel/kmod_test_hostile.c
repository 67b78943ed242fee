// SPDX-License-Identifier: Apache-2.0
/* Bent images, guest resets at any moment, allocations that fail, odd sizes. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "image_env.h"
#include "kmod_test.h"

static uint64_t seed = 20260101;

static uint32_t random_below(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 20) % n;
}

/* An image with pages, in p2p or full alike. */
static bool some_image(struct image *img)
{
	memset(img, 0, sizeof(*img));
	CHECK(fresh_pair());
	for (unsigned i = 0; i < 5; i++) {
		uint64_t word = i + 1;

		CHECK_EQ(window(&a, i * 8192, &word, 8, true), 0);
	}
	CHECK_EQ(save(&a, img), 0);
	return true;
}

/* One of: a bent bit, a cut, surplus, a piece repeated, a piece lost, a record head bent and sealed again. */
static void bend(const struct image *good, struct image *bad)
{
	uint32_t at = random_below((uint32_t)good->len), n = 1 + random_below(200), how = random_below(6);

	memcpy(bad->p, good->p, good->len);
	bad->len = good->len;
	if (at + n > good->len)
		n = (uint32_t)good->len - at;
	switch (how) {
	case 0:
		bad->p[at] ^= (uint8_t)(1u << random_below(8));
		break;
	case 1:
		bad->len = at;
		break;
	case 2:
		memcpy(bad->p + good->len, good->p + at, n);
		bad->len += n;
		break;
	case 3:
		memcpy(bad->p + at + n, good->p + at, good->len - at);
		bad->len += n;
		break;
	case 4:
		memmove(bad->p + at, bad->p + at + n, good->len - at - n);
		bad->len -= n;
		break;
	default:
		at = LSM_IMAGE_HEADER + random_below(2) * LSM_RECORD_HEAD + 4 * random_below(3);
		lsm_put32(bad->p + at, lsm_get32(bad->p + at) ^ 1u << random_below(32));
		image_seal(bad->p, bad->len);
		break;
	}
}

bool test_no_bent_image_is_believed_and_a_reset_mends_all(void)
{
	struct image good, bad, again = { 0 };
	unsigned refused = 0;

	CHECK(some_image(&good));
	bad.p = malloc(2 * good.len + 256);
	for (unsigned i = 0; i < 300; i++) {
		int rc;

		bend(&good, &bad);
		CHECK_EQ(reset(&a), 0);
		rc = load(&a, &bad);
		if (rc) {
			refused++;
			CHECK(get_state(&a) == LSM_RESUMING);
			CHECK_EQ(vdev_counter(&a, "pages "), 0);
			continue;
		}
		/* What still is a whole image (a page number changed and sealed) is taken as what it says. */
		CHECK_EQ(save(&a, &again), 0);
		CHECK_EQ(again.len, bad.len);
		CHECK(!memcmp(again.p, bad.p, bad.len));
		free(again.p);
		memset(&again, 0, sizeof(again));
	}
	printf("# %u of 300 bent images refused\n", refused);
	CHECK(refused > 200);
	CHECK_EQ(reset(&a), 0);
	CHECK_EQ(load(&a, &good), 0);
	CHECK_EQ(save(&a, &again), 0);
	CHECK(again.len == good.len && !memcmp(again.p, good.p, good.len));
	free(again.p);
	free(good.p);
	free(bad.p);
	return true;
}

bool test_an_image_of_the_version_before_is_taken(void)
{
	struct image img, again = { 0 };

	CHECK(some_image(&img));
	lsm_put32(img.p + 8, LSM_IMAGE_VERSION - 1);
	image_seal(img.p, img.len);
	CHECK_EQ(reset(&a), 0);
	CHECK_EQ(load(&a, &img), 0);
	CHECK_EQ(save(&a, &again), 0);
	CHECK_EQ(lsm_get32(again.p + 8), LSM_IMAGE_VERSION);
	lsm_put32(again.p + 8, LSM_IMAGE_VERSION - 1);
	image_seal(again.p, again.len);
	CHECK(again.len == img.len && !memcmp(again.p, img.p, img.len));
	lsm_put32(img.p + 8, LSM_IMAGE_VERSION);
	for (unsigned bit = 0; bit < 32; bit += 31) {
		lsm_put32(img.p + 32, 1u << bit);
		lsm_put32(img.p + 36, 0);
		image_seal(img.p, img.len);
		CHECK_EQ(reset(&a), 0);
		CHECK_EQ(load(&a, &img), -EOPNOTSUPP);
		lsm_put32(img.p + 32, 0);
		lsm_put32(img.p + 36, 1u << bit);
		image_seal(img.p, img.len);
		CHECK_EQ(reset(&a), 0);
		CHECK_EQ(load(&a, &img), 0);
	}
	free(img.p);
	free(again.p);
	return true;
}

struct reader {
	int fd;
	long bytes;
	int error;
};

/* Round after round, as an agent would, until the session dies. */
static void *precopy_reader(void *arg)
{
	struct reader *r = arg;
	static char buf[30000];

	for (;;) {
		struct vm_precopy_info info = { .argsz = sizeof(info) };
		ssize_t n = read(r->fd, buf, sizeof(buf));

		if (n > 0) {
			__atomic_fetch_add(&r->bytes, n, __ATOMIC_RELAXED);
			continue;
		}
		if (n < 0 && errno != ENOMSG)
			break;
		if (ioctl(r->fd, VM_GET_PRECOPY_INFO, &info))
			break;
	}
	r->error = errno;
	return NULL;
}

/* K5, under load: wherever the reset falls, the fd dies, the device runs, and the next step shows it too. */
bool test_guest_reset_at_any_moment_of_precopy_is_seen_both_ways(void)
{
	if (!have_precopy)
		return true;
	for (unsigned i = 0; i < 40; i++) {
		struct reader r = { 0 };
		struct image img = { 0 }, again = { 0 };
		long enough = random_below(200000);
		pthread_t thread;
		int fd;

		CHECK(fresh_pair());
		CHECK(vdev_attr(&a, "lockstep/rate", "20000"));
		traffic(&a, 1);
		traffic(&b, 0);
		CHECK(irq_wait(&a, 1 + random_below(5)));
		CHECK_EQ(set_state(&a, LSM_PRE_COPY, &r.fd), 0);
		pthread_create(&thread, NULL, precopy_reader, &r);
		while (__atomic_load_n(&r.bytes, __ATOMIC_RELAXED) < enough)
			sched_yield();
		if (i % 4 == 3)
			CHECK_EQ(set_state(&a, LSM_PRE_COPY_P2P, NULL), 0);
		CHECK(i % 2 ? vdev_debug(&a, "reset", "1") : !reset(&a));
		CHECK_EQ(get_state(&a), LSM_RUNNING);
		pthread_join(thread, NULL);
		CHECK_EQ(r.error, ENODEV);
		CHECK(read(r.fd, &(char){ 0 }, 1) < 0 && errno == ENODEV);
		close(r.fd);
		/* Its guest sets it up again and it works on; the agent, unaware, takes the next step. */
		CHECK(vdev_start(&a));
		traffic(&a, 1);
		CHECK(irq_wait(&a, 1));
		CHECK_EQ(set_state(&a, i % 3 ? LSM_PRE_COPY_P2P : LSM_STOP_COPY, &fd), 0);
		CHECK(fd >= 0);
		if (i % 3) {
			drain(fd, &img);
			CHECK_EQ(set_state(&a, LSM_STOP_COPY, NULL), 0);
		}
		CHECK_EQ(drain(fd, &img), 0);
		close(fd);
		CHECK_EQ(reset(&a), 0);
		CHECK_EQ(load(&a, &img), 0);
		CHECK_EQ(save(&a, &again), 0);
		free(img.p);
		free(again.p);
	}
	return true;
}

bool test_quirk_poll_tells_when_there_is_something_to_read(void)
{
	struct vm_precopy_info info = { .argsz = sizeof(info) };
	struct pollfd p = { .events = POLLIN };
	struct image img = { 0 };

	if (!have_precopy)
		return true;
	CHECK(fresh_pair());
	CHECK(vdev_debug(&a, "quirks", "8"));
	CHECK_EQ(set_state(&a, LSM_PRE_COPY, &p.fd), 0);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(drain(p.fd, &img), -ENOMSG);
	CHECK_EQ(ioctl(p.fd, VM_GET_PRECOPY_INFO, &info), 0);
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_EQ(window(&a, 0, &(uint8_t){ 9 }, 1, true), 0);
	CHECK_EQ(ioctl(p.fd, VM_GET_PRECOPY_INFO, &info), 0);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(drain(p.fd, &img), -ENOMSG);
	CHECK_EQ(set_state(&a, LSM_STOP_COPY, NULL), 0);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(drain(p.fd, &img), 0);
	CHECK_EQ(reset(&a), 0);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK(read(p.fd, img.p, 1) < 0 && errno == ENODEV);
	close(p.fd);
	CHECK(vdev_debug(&a, "quirks", "0"));
	free(img.p);
	return true;
}

/* Every allocation of a whole life fails once, one after the other (failslab; a kernel without it skips this). */
static int nth_fd(void)
{
	return open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
}

/*
 * Linux 6.12 itself warns when an allocation fails in here (vfio_group_release() finds iommu_group still set), so
 * failures stay away from it.
 */
static bool spare(const char *function)
{
	unsigned long long at, start = 0, end = ~0ull;
	FILE *symbols = fopen("/proc/kallsyms", "re");
	char name[200], text[32];

	for (int pass = 0; symbols && pass < 2; rewind(symbols), pass++)
		while (fscanf(symbols, "%llx %*c %199s%*[^\n]", &at, name) == 2)
			if (pass == 0 && !strcmp(name, function))
				start = at;
			else if (pass == 1 && at > start && at < end)
				end = at;
	if (symbols)
		fclose(symbols);
	snprintf(text, sizeof(text), "%llu", start);
	if (!start || !write_file("/sys/kernel/debug/failslab/reject-start", text))
		return false;
	snprintf(text, sizeof(text), "%llu", end);
	return write_file("/sys/kernel/debug/failslab/reject-end", text);
}

static int life(struct image *img)
{
	struct vdev v;
	int rc, fd = -1;

	if (!vdev_create(&v, "p2p", 8, 1, 7))
		return -errno;
	rc = vdev_open(&vm, &v) ? 0 : -errno;
	if (!rc)
		rc = set_state(&v, LSM_RESUMING, &fd);
	if (!rc && write(fd, img->p, img->len) != (ssize_t)img->len)
		rc = -errno;
	if (fd >= 0)
		close(fd);
	if (!rc)
		rc = set_state(&v, LSM_STOP_COPY, &fd);
	if (!rc && fd >= 0)
		close(fd);
	if (!rc)
		rc = set_state(&v, LSM_RUNNING, NULL);
	vdev_close(&v);
	if (!vdev_remove(&v) && !rc)
		rc = -errno;
	return rc;
}

bool test_every_allocation_may_fail(void)
{
	struct image img = { 0 };
	struct vdev v;
	unsigned n, failed = 0;
	char text[16];
	int fd = nth_fd();

	if (fd < 0) {
		printf("# no fault injection in this kernel: not tried\n");
		return true;
	}
	CHECK(vdev_create(&v, "p2p", 8, 1, 7) && vdev_open(&vm, &v) && vdev_start(&v));
	CHECK_EQ(window(&v, 4096, &(uint8_t){ 1 }, 1, true), 0);
	CHECK_EQ(save(&v, &img), 0);
	vdev_close(&v);
	CHECK(vdev_remove(&v));
	write_file("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	write_file("/sys/kernel/debug/failslab/verbose", "0");
	CHECK(spare("vfio_create_group"));
	for (n = 1; n < 3000; n++) {
		int rc;

		snprintf(text, sizeof(text), "%u", n);
		CHECK(pwrite(fd, text, strlen(text), 0) > 0);
		rc = life(&img);
		memset(text, 0, sizeof(text));
		CHECK(pread(fd, text, sizeof(text) - 1, 0) > 0);
		CHECK(pwrite(fd, "0", 1, 0) > 0);
		if (atoi(text))
			break;	/* never came so far: that was all */
		failed += rc != 0;
		if (rc) {
			/* Whatever is left of it goes away. */
			memset(&v, 0, sizeof(v));
			strcpy(v.uuid, "00000000-0000-4000-8000-000000000009");
			vdev_remove(&v);
		}
	}
	close(fd);
	free(img.p);
	printf("# %u allocations failed, %u of them were felt\n", n - 1, failed);
	CHECK(n > 50 && failed > 20);
	CHECK(fresh_pair());
	return true;
}

bool test_sizes_and_places_beyond_all_bounds_are_refused(void)
{
	static const off_t places[] = { -1, 1ll << 62, 9ll << 40, (2ll << 40) | 1ll << 39, (1ll << 40) - 1 };
	char *big = (char *)vm.ram, *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd;

	CHECK(fresh_pair());
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		CHECK(pread(a.fd, big, 8, places[i]) < 0);
		CHECK(pwrite(a.fd, big, 8, places[i]) < 0);
	}
	/* At the end of a region an access is cut short, not carried into the next. */
	CHECK_EQ(pread(a.fd, big, VM_RAM, (off_t)7 << 40), 256);
	CHECK_EQ(pread(a.fd, big, 4096, 0), 4096);
	CHECK_EQ(pread(a.fd, big, 8192, 0), 4096);
	CHECK(pread(a.fd, big, 3, 0) < 0 && errno == EINVAL);
	CHECK(read(a.fd, big, 0) <= 0);
	CHECK_EQ(set_state(&a, LSM_RESUMING, &fd), 0);
	CHECK_EQ(write(fd, big, 0), 0);
	CHECK(write(fd, nowhere, 100) < 0 && errno == EFAULT);
	CHECK(write(fd, big, 100) < 0);	/* zeros are no image */
	close(fd);
	CHECK_EQ(reset(&a), 0);
	CHECK_EQ(set_state(&a, LSM_STOP_COPY, &fd), 0);
	CHECK_EQ(read(fd, big, 0), 0);
	CHECK(read(fd, nowhere, 100) < 0 && errno == EFAULT);
	/* What could not be delivered is still there. */
	CHECK(read(fd, big, 8) == 8 && lsm_get64(big) == LSM_IMAGE_MAGIC);
	close(fd);
	munmap(nowhere, 4096);
	return true;
}
