// SPDX-License-Identifier: Apache-2.0
// Provider vfio, as far as it goes without a kernel device: what it reads from sysfs, and K8's attributes.
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/provider.h"

static char root[64];
static const struct ls_provider *vfio;

static const char *at(const char *rest)
{
	static char path[4][300];
	static unsigned turn;
	char *p = path[turn++ % 4];
	snprintf(p, 300, "%s/%s", root, rest);
	return p;
}

static void make_dir(const char *rest)
{
	assert_int_equal(mkdir(at(rest), 0755), 0);
}

static void make_file(const char *rest, const char *text)
{
	FILE *f = fopen(at(rest), "we");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void make_link(const char *rest, const char *target)
{
	assert_int_equal(symlink(target, at(rest)), 0);
}

static void read_file(const char *rest, char *buf, size_t size)
{
	FILE *f = fopen(at(rest), "re");
	assert_non_null(f);
	size_t n = fread(buf, 1, size - 1, f);
	buf[n] = 0;
	fclose(f);
}

// A parent with a mediated device, and a PCI function, as sysfs shows them.
static int make_tree(void **state)
{
	strcpy(root, "/tmp/lockstep-vfio-XXXXXX");
	assert_non_null(mkdtemp(root));
	vfio = ls_provider_find("vfio");
	make_dir("parent");
	make_file("parent/numa_node", "1\n");
	make_dir("parent/mdev_supported_types");
	make_dir("parent/mdev_supported_types/new-type");
	make_dir("parent/mdev_supported_types/old-type");
	make_file("parent/mdev_supported_types/old-type/migration_version", "");
	make_dir("parent/migration_version");
	make_file("parent/migration_version/new-type", "");
	make_dir("parent/uuid");
	make_link("parent/uuid/mdev_type", "../mdev_supported_types/new-type");
	make_link("parent/uuid/driver", "/nowhere/drivers/some_vdev");
	make_link("parent/uuid/iommu_group", "/tmp");
	make_file("parent/uuid/migration_version", "8086-193b-x-1\n");
	make_dir("parent/plain");
	make_dir("bus");
	make_link("bus/uuid", "../parent/uuid");
	make_dir("bus/mdev");
	make_dir("bus/mdev/devices");
	make_dir("class");
	make_dir("class/mdev_bus");
	make_link("class/mdev_bus/pf0", "../../parent");
	make_dir("pci");
	make_file("pci/vendor", "0x15b3\n");
	make_file("pci/device", "0x101e\n");
	make_file("pci/subsystem_vendor", "0x15b3\n");
	make_file("pci/subsystem_device", "0x0001\n");
	make_file("pci/revision", "0x0a\n");
	make_file("pci/numa_node", "-1\n");
	make_link("pci/driver", "/nowhere/drivers/mlx5_vfio_pci");
	return 0;
}

static int drop_tree(void **state)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static void a_mediated_device_is_described(void **state)
{
	struct ls_dev_info info;
	assert_int_equal(vfio->inspect(at("bus/uuid"), &info, NULL), 0);
	assert_true(info.present);
	assert_string_equal(info.driver, "some_vdev");
	assert_string_equal(info.type, "new-type");
	assert_string_equal(info.version, "8086-193b-x-1");
	assert_int_equal(info.numa_node, 1);
}

static void a_pci_function_is_described_by_its_ids(void **state)
{
	struct ls_dev_info info;
	assert_int_equal(vfio->inspect(at("pci"), &info, NULL), 0);
	assert_string_equal(info.type, "15b3:101e:15b3:0001:0a");
	assert_string_equal(info.driver, "mlx5_vfio_pci");
	assert_string_equal(info.version, "");
	assert_int_equal(info.numa_node, -1);
	assert_false(info.present); // no IOMMU group: no VFIO device
}

static void an_absent_device_is_no_error(void **state)
{
	struct ls_dev_info info;
	struct ls_error err = {0};
	struct ls_dev *dev;
	assert_int_equal(vfio->inspect(at("bus/nobody"), &info, &err), 0);
	assert_false(info.present);
	assert_true(vfio->open(at("bus/nobody"), -1, &dev, &err) < 0);
	assert_int_equal(err.reason, LS_E_DEVICE_ABSENT);
	vfio->close(NULL);
}

static void a_device_is_asked_before_its_parent(void **state)
{
	char where[300], text[64];
	assert_int_equal(vfio->check_version(at("bus/uuid"), "new-type", "8086-193b-x-1", where, sizeof(where)), 1);
	assert_non_null(strstr(where, "/bus/uuid/migration_version"));
	read_file("parent/uuid/migration_version", text, sizeof(text));
	assert_string_equal(text, "8086-193b-x-1\n"); // written over the old bytes, as to a file
	read_file("parent/migration_version/new-type", text, sizeof(text));
	assert_string_equal(text, "");
}

static void before_the_device_exists_every_parent_that_could_make_it_is_asked(void **state)
{
	char where[300];
	assert_int_equal(vfio->check_version(at("bus/mdev/devices/new"), "new-type", "v1", where, sizeof(where)), 1);
	assert_non_null(strstr(where, "/class/mdev_bus/pf0/migration_version/new-type"));
	assert_int_equal(vfio->check_version(at("bus/mdev/devices/new"), "other", "v1", where, sizeof(where)), 0);
	assert_string_equal(where, "");
	// One that refuses decides.
	make_dir("other-parent");
	make_dir("other-parent/migration_version");
	make_dir("other-parent/migration_version/new-type"); // as good as a refusal: EISDIR
	make_link("class/mdev_bus/pf1", "../../other-parent");
	assert_int_equal(vfio->check_version(at("bus/mdev/devices/new"), "new-type", "v1", where, sizeof(where)),
			 -EISDIR);
	assert_non_null(strstr(where, "/pf1/"));
	// Nobody to ask.
	assert_int_equal(vfio->check_version(at("bus/nobody"), "new-type", "v1", where, sizeof(where)), 0);
}

static void versions_are_asked_of_the_parent(void **state)
{
	char where[300], text[64];
	// Of a device without an attribute of its own, and of the parent itself.
	assert_int_equal(vfio->check_version(at("parent/plain"), "new-type", "v1", where, sizeof(where)), 1);
	assert_non_null(strstr(where, "/parent/migration_version/new-type"));
	read_file("parent/migration_version/new-type", text, sizeof(text));
	assert_string_equal(text, "v1");
	assert_int_equal(vfio->check_version(at("parent"), "old-type", "v2", where, sizeof(where)), 1);
	assert_non_null(strstr(where, "/parent/mdev_supported_types/old-type/migration_version"));
	read_file("parent/mdev_supported_types/old-type/migration_version", text, sizeof(text));
	assert_string_equal(text, "v2");
}

static void no_attribute_is_told_apart_from_a_refusal(void **state)
{
	char where[300];
	assert_int_equal(vfio->check_version(at("parent"), "other", "v", where, sizeof(where)), 0);
	assert_int_equal(vfio->check_version(at("parent"), "../x", "v", where, sizeof(where)), -EINVAL);
	assert_int_equal(vfio->check_version(at("parent"), "new-type", "", where, sizeof(where)), -EINVAL);
	make_dir("parent/migration_version/broken");
	assert_int_equal(vfio->check_version(at("parent"), "broken", "v", where, sizeof(where)), -EISDIR);
}

static void an_fd_that_is_no_device_is_refused(void **state)
{
	struct ls_dev *dev;
	struct ls_dev_caps caps;
	struct ls_error err = {0};
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC), s, data_fd;
	assert_int_equal(vfio->open("x", fd, &dev, &err), 0);
	assert_true(vfio->probe(dev, &caps, &err) < 0);
	assert_int_equal(err.reason, LS_E_INVALID);
	assert_int_equal(vfio->get_state(dev, &s), -ENOTTY);
	assert_int_equal(vfio->set_state(dev, LS_STATE_STOP, &data_fd), -ENOTTY);
	assert_int_equal(data_fd, -1);
	vfio->close(dev);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_null(ls_provider_find("unheard-of"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mediated_device_is_described),
		cmocka_unit_test(a_pci_function_is_described_by_its_ids),
		cmocka_unit_test(an_absent_device_is_no_error),
		cmocka_unit_test(a_device_is_asked_before_its_parent),
		cmocka_unit_test(before_the_device_exists_every_parent_that_could_make_it_is_asked),
		cmocka_unit_test(versions_are_asked_of_the_parent),
		cmocka_unit_test(no_attribute_is_told_apart_from_a_refusal),
		cmocka_unit_test(an_fd_that_is_no_device_is_refused),
	};
	return cmocka_run_group_tests(tests, make_tree, drop_tree);
}
