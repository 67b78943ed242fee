// SPDX-License-Identifier: GPL-2.0-only
/*
 * migration_version: read where the device is, written where it shall go;
 * success says compatible. Form and reasons: model/lsm_image.h.
 */
#include <linux/sysfs.h>

#include "lsv.h"

ssize_t lsv_version_show(const struct lsm_type_info *info, u32 mem_size, char *buf)
{
	char text[LSM_VERSION_MAX];

	lsm_version_print(info, LSM_IMAGE_VERSION, mem_size, text);
	return sysfs_emit(buf, "%s\n", text);
}

int lsv_version_check(const struct lsm_type_info *info, u32 mem_size, const char *buf)
{
	return lsm_version_check(info, LSM_IMAGE_VERSION, mem_size, buf);
}
