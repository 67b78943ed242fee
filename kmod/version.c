// SPDX-License-Identifier: GPL-2.0-only
/*
 * migration_version: "<vendor>-<device>-<type>-<image version>.<MiB>". Read where
 * the device is, written where it shall go; success says compatible.
 */
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "lsv.h"

ssize_t lsv_version_show(const struct lsm_type_info *info, u32 mem_size, char *buf)
{
	return sysfs_emit(buf, "%04x-%04x-%s-%u.%u\n", LSM_PCI_VENDOR,
			  info->pci_device, info->name, LSM_IMAGE_VERSION,
			  mem_size >> 20);
}

/*
 * EINVAL wrong format, ENODEV other hardware, EMEDIUMTYPE other type,
 * EOPNOTSUPP image version, EFBIG memory size.
 */
int lsv_version_check(const struct lsm_type_info *info, u32 mem_size, const char *buf)
{
	unsigned int vendor, device, version, mib;
	char type[16];
	int end = -1;

	if (sscanf(buf, "%4x-%4x-%15[a-z0-9]-%9u.%9u%n", &vendor, &device, type,
		   &version, &mib, &end) != 5 || end < 0 ||
	    (buf[end] && strcmp(buf + end, "\n")))
		return -EINVAL;
	/* Each of our types has a device id of its own: a known one is a type. */
	if (vendor != LSM_PCI_VENDOR || device < 0x1001 || device > 0x1003)
		return -ENODEV;
	if (device != info->pci_device || strcmp(type, info->name))
		return -EMEDIUMTYPE;
	if (version != LSM_IMAGE_VERSION)
		return -EOPNOTSUPP;
	if (mem_size && mib != mem_size >> 20)
		return -EFBIG;
	return 0;
}
