// SPDX-License-Identifier: Apache-2.0
/* migration_version, and images of other releases. */
#include "kmod_test.h"

#define PARENT "/sys/class/mdev_bus/lockstep-pf0/migration_version/lockstep-"

/* 0, or the errno that the attribute answered. */
static int answer(const char *path, const char *text)
{
	errno = 0;
	return write_file(path, text) ? 0 : errno;
}

bool test_migration_version_compares_both_ways(void)
{
	static const struct {
		const char *text;
		int before, after;	/* the device exists: what parent and device answer */
	} cases[] = {
		{ "1d55-1002-p2p-2.8", 0, 0 },
		{ "1d55-1002-p2p-2.8\n", 0, 0 },
		{ "1d55-1002-p2p-1.8", 0, 0 },
		{ "1d55-1002-p2p-2.16", 0, EFBIG },
		{ "nonsense", EINVAL, EINVAL },
		{ "1d55-1002-p2p-2.8 and more", EINVAL, EINVAL },
		{ "8086-1002-p2p-2.8", ENODEV, ENODEV },
		{ "1d55-1001-stopcopy-2.4", EMEDIUMTYPE, EMEDIUMTYPE },
		{ "1d55-1002-p2p-3.8", EOPNOTSUPP, EOPNOTSUPP },
		{ "1d55-1002-p2p-0.8", EOPNOTSUPP, EOPNOTSUPP },
	};
	char text[4096], big[4097];

	CHECK(read_file(PARENT "p2p", text, sizeof(text)));
	CHECK(!strcmp(text, "1d55-1002-p2p-2.8\n"));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CHECK_EQ(answer(PARENT "p2p", cases[i].text), cases[i].before);
		CHECK_EQ(vdev_attr(&b, "migration_version", cases[i].text) ? 0 : errno, cases[i].after);
	}
	memset(big, '1', 4095);
	big[4095] = 0;
	CHECK_EQ(answer(PARENT "p2p", big), EINVAL);
	return true;
}

/* What each device says goes to every other one, and to every type of the parent. */
bool test_migration_version_of_every_type_against_every_other(void)
{
	static const char *const types[] = { "stopcopy", "p2p", "full" };
	unsigned n = have_precopy ? 3 : 2;

	CHECK(have_precopy == !access(PARENT "full", F_OK));
	for (unsigned i = 0; i < n; i++) {
		struct vdev from;
		char path[160], text[64];

		CHECK(vdev_create(&from, types[i], 8, 0, -1));
		snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/migration_version", from.uuid);
		CHECK(read_file(path, text, sizeof(text)));
		for (unsigned j = 0; j < n; j++) {
			struct vdev to;

			snprintf(path, sizeof(path), PARENT "%s", types[j]);
			CHECK_EQ(answer(path, text), i == j ? 0 : EMEDIUMTYPE);
			CHECK(vdev_create(&to, types[j], 9, 0, -1));
			CHECK_EQ(vdev_attr(&to, "migration_version", text) ? 0 : errno, i == j ? 0 : EMEDIUMTYPE);
			CHECK(vdev_remove(&to));
		}
		CHECK(vdev_remove(&from));
	}
	return true;
}
