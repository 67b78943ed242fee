// SPDX-License-Identifier: GPL-2.0-only
/*
 * migration_version: "<vendor>-<device>-<type>-<image version>.<MiB>". Read where
 * the device is, written where it shall go; success says compatible.
 */
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "lsv.h"

ssize_t lsv_version_show(const struct lsm_type_info *info, u32 mem_size, char *buf)
{
	return sysfs_emit(buf, "%04x-%04x-%s-%u.%u\n", LSM_PCI_VENDOR,
			  info->pci_device, info->name, LSM_IMAGE_VERSION,
			  mem_size >> 20);
}

struct version {
	u16 vendor, device;
	const char *type;
	u32 image, mib;
};

/* Cuts line into its words; whatever is left over is an error. */
static int parse(char *line, struct version *ret)
{
	const char *vendor, *device, *image;

	line = strim(line);
	vendor = strsep(&line, "-");
	device = strsep(&line, "-");
	ret->type = strsep(&line, "-");
	image = strsep(&line, ".");
	if (!line || kstrtou16(vendor, 16, &ret->vendor) ||
	    kstrtou16(device, 16, &ret->device) ||
	    kstrtou32(image, 10, &ret->image) || kstrtou32(line, 10, &ret->mib))
		return -EINVAL;
	return 0;
}

static int compare(const struct version *v, const struct lsm_type_info *info,
		   u32 mem_size)
{
	/* Each of our types has a device id of its own: a known one is a type. */
	if (v->vendor != LSM_PCI_VENDOR || v->device < 0x1001 || v->device > 0x1003)
		return -ENODEV;
	if (v->device != info->pci_device || strcmp(v->type, info->name))
		return -EMEDIUMTYPE;
	if (v->image != LSM_IMAGE_VERSION)
		return -EOPNOTSUPP;
	if (mem_size && v->mib != mem_size >> 20)
		return -EFBIG;
	return 0;
}

/*
 * EINVAL wrong format, ENODEV other hardware, EMEDIUMTYPE other type,
 * EOPNOTSUPP image version, EFBIG memory size.
 */
int lsv_version_check(const struct lsm_type_info *info, u32 mem_size, const char *buf)
{
	struct version v;
	char *line;
	int ret;

	line = kstrdup(buf, GFP_KERNEL);
	if (!line)
		return -ENOMEM;
	ret = parse(line, &v);
	if (!ret)
		ret = compare(&v, info, mem_size);
	kfree(line);
	return ret;
}
