// SPDX-License-Identifier: Apache-2.0
// Provider `vfio` against kernels of every kind, played by this program: it stands where ioctl() stands (linked with
// --wrap=ioctl) and checks what is asked of it as strictly as the kernel does (K1).
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/compat_vfio.h"
#include "agent/provider.h"

// The kernel's side.
static struct kernel {
	bool device;            // the fd is a VFIO device's
	int migration;          // flags, or negative errno
	bool data_size, dma_logging;
	uint32_t n_regions;
	int v1_region;          // index, -1: none
	bool loop;              // a capability chain that bites its tail
	uint32_t state;
	unsigned sets;          // SET_STATE calls
} k;

int __wrap_ioctl(int fd, unsigned long request, ...);

static int refuse(int err)
{
	errno = err;
	return -1;
}

static int region_info(struct vfio_region_info *r)
{
	struct vfio_region_info_cap_type cap = { .header = { .id = VFIO_REGION_INFO_CAP_TYPE, .version = 1 },
						 .type = VFIO_REGION_TYPE_MIGRATION_DEPRECATED, .subtype = 1 };

	if (r->argsz < sizeof(*r) || r->index >= k.n_regions)
		return refuse(EINVAL);
	if ((int)r->index != k.v1_region)
		return 0;
	r->flags = VFIO_REGION_INFO_FLAG_CAPS;
	if (r->argsz < sizeof(*r) + sizeof(cap)) {
		r->argsz = sizeof(*r) + sizeof(cap);
		r->cap_offset = 0;
		return 0;
	}
	r->cap_offset = sizeof(*r);
	if (k.loop) {
		cap.header.next = sizeof(*r);
		cap.type = 1;
	}
	memcpy((char *)r + sizeof(*r), &cap, sizeof(cap));
	return 0;
}

// argsz counts the whole buffer; GET and SET exclude each other unless PROBE is set.
static int feature(struct vfio_device_feature *f)
{
	uint32_t number = f->flags & VFIO_DEVICE_FEATURE_MASK;
	bool get = f->flags & VFIO_DEVICE_FEATURE_GET, set = f->flags & VFIO_DEVICE_FEATURE_SET;
	bool probe = f->flags & VFIO_DEVICE_FEATURE_PROBE;
	size_t room = f->argsz - sizeof(*f), want = 0;

	if (f->argsz < sizeof(*f) || (get && set && !probe) || (!get && !set))
		return refuse(EINVAL);
	switch (number) {
	case VFIO_DEVICE_FEATURE_MIGRATION:
		if (k.migration < 0)
			return refuse(-k.migration);
		want = sizeof(struct vfio_device_feature_migration);
		break;
	case VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
		want = sizeof(struct vfio_device_feature_mig_state);
		break;
	case VFIO_DEVICE_FEATURE_MIG_DATA_SIZE:
		if (!k.data_size)
			return refuse(ENOTTY);
		want = sizeof(struct vfio_device_feature_mig_data_size);
		break;
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
		if (!k.dma_logging)
			return refuse(ENOTTY);
		break;
	default:
		return refuse(ENOTTY);
	}
	if (probe)
		return 0;
	if (room < want)
		return refuse(EINVAL);
	if (number == VFIO_DEVICE_FEATURE_MIGRATION) {
		struct vfio_device_feature_migration m = { .flags = (uint64_t)k.migration };
		memcpy(f->data, &m, sizeof(m));
	} else if (number == VFIO_DEVICE_FEATURE_MIG_DATA_SIZE) {
		struct vfio_device_feature_mig_data_size s = { .stop_copy_length = 12345 };
		memcpy(f->data, &s, sizeof(s));
	} else {
		struct vfio_device_feature_mig_state s;
		memcpy(&s, f->data, sizeof(s));
		if (set) {
			k.sets++;
			k.state = s.device_state;
		}
		s = (struct vfio_device_feature_mig_state){ .device_state = k.state, .data_fd = -1 };
		memcpy(f->data, &s, sizeof(s));
	}
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;

	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	if (!k.device)
		return refuse(ENOTTY);
	switch (request) {
	case VFIO_DEVICE_GET_INFO: {
		struct vfio_device_info *info = arg;
		if (info->argsz < offsetof(struct vfio_device_info, cap_offset))
			return refuse(EINVAL);
		info->num_regions = k.n_regions;
		return 0;
	}
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(arg);
	case VFIO_DEVICE_FEATURE:
		return feature(arg);
	default:
		return refuse(ENOTTY);
	}
}

static int probe(struct ls_dev_caps *caps, struct ls_error *err)
{
	struct ls_dev *dev;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(ls_provider_vfio.open("/sys/played", fd, &dev, err), 0);
	int status = ls_provider_vfio.probe(dev, caps, err);
	ls_provider_vfio.close(dev);
	return status;
}

static void what_a_kernel_offers_is_what_is_seen(void **state)
{
	static const unsigned flags[] = { 1, 3, 5, 7 };
	struct ls_dev_caps caps;
	struct ls_error err = { 0 };

	for (unsigned i = 0; i < 16; i++) {
		k = (struct kernel){ .device = true, .migration = (int)flags[i & 3], .n_regions = 9, .v1_region = -1,
				     .data_size = i & 4, .dma_logging = i & 8 };
		assert_int_equal(probe(&caps, &err), 0);
		assert_int_equal(caps.flags, flags[i & 3]);
		assert_int_equal(caps.size_known, (i & 4) != 0);
		assert_int_equal(caps.dirty_tracking, (i & 8) != 0);
		assert_false(caps.v1_only);
		assert_int_equal(k.sets, 0);
	}
}

static void flags_of_a_newer_kernel_are_not_taken_for_known_ones(void **state)
{
	struct ls_dev_caps caps;
	struct ls_error err = { 0 };

	k = (struct kernel){ .device = true, .migration = 0x70 | 3, .n_regions = 9, .v1_region = -1 };
	assert_int_equal(probe(&caps, &err), 0);
	assert_int_equal(caps.flags, 3);
}

static void a_device_without_migration_is_told(void **state)
{
	struct ls_dev_caps caps;
	struct ls_error err = { 0 };

	k = (struct kernel){ .device = true, .migration = -ENOTTY, .n_regions = 9, .v1_region = -1 };
	assert_int_equal(probe(&caps, &err), 0);
	assert_int_equal(caps.flags, 0);
	assert_false(caps.v1_only);
}

static void a_device_of_protocol_v1_only_is_told_apart_and_never_touched(void **state)
{
	struct ls_dev_caps caps;
	struct ls_error err = { 0 };

	for (int region = 0; region < 12; region += 11) {
		k = (struct kernel){ .device = true, .migration = -ENOTTY, .n_regions = 12, .v1_region = region };
		assert_int_equal(probe(&caps, &err), 0);
		assert_int_equal(caps.flags, 0);
		assert_true(caps.v1_only);
		assert_int_equal(k.sets, 0);
	}
	// Both protocols: v2 is what counts.
	k.migration = 3;
	assert_int_equal(probe(&caps, &err), 0);
	assert_int_equal(caps.flags, 3);
	assert_false(caps.v1_only);
}

static void a_chain_of_capabilities_that_bites_its_tail_ends(void **state)
{
	struct ls_dev_caps caps;
	struct ls_error err = { 0 };

	k = (struct kernel){ .device = true, .migration = -ENOTTY, .n_regions = 12, .v1_region = 3, .loop = true };
	assert_int_equal(probe(&caps, &err), 0);
	assert_false(caps.v1_only);
}

static void an_fd_of_something_else_is_refused(void **state)
{
	struct ls_dev_caps caps;
	struct ls_error err = { 0 };

	k = (struct kernel){ .device = false };
	assert_true(probe(&caps, &err) < 0);
	assert_int_not_equal(err.reason, LS_E_NONE);
}

static void size_and_state_come_as_the_kernel_gives_them(void **state)
{
	struct ls_dev *dev;
	struct ls_error err = { 0 };
	uint64_t size = 0;
	int now = -1, data_fd = 7;

	k = (struct kernel){ .device = true, .migration = 7, .data_size = true, .state = 42, .v1_region = -1 };
	assert_int_equal(ls_provider_vfio.open("/sys/played", open("/dev/null", O_RDWR | O_CLOEXEC), &dev, &err), 0);
	assert_int_equal(ls_provider_vfio.data_size(dev, &size), 0);
	assert_int_equal(size, 12345);
	assert_int_equal(ls_provider_vfio.get_state(dev, &now), 0);
	assert_int_equal(now, 42); // unknown here, and passed on as it is (K2)
	assert_int_equal(ls_provider_vfio.set_state(dev, LS_STATE_STOP, &data_fd), 0);
	assert_int_equal(data_fd, -1);
	k.data_size = false;
	assert_int_equal(ls_provider_vfio.data_size(dev, &size), -ENOTTY);
	ls_provider_vfio.close(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_kernel_offers_is_what_is_seen),
		cmocka_unit_test(flags_of_a_newer_kernel_are_not_taken_for_known_ones),
		cmocka_unit_test(a_device_without_migration_is_told),
		cmocka_unit_test(a_device_of_protocol_v1_only_is_told_apart_and_never_touched),
		cmocka_unit_test(a_chain_of_capabilities_that_bites_its_tail_ends),
		cmocka_unit_test(an_fd_of_something_else_is_refused),
		cmocka_unit_test(size_and_state_come_as_the_kernel_gives_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
