// SPDX-License-Identifier: Apache-2.0
// <linux/vfio.h>, and what older headers lack of migration v2 (K1: Debian 12 ships 6.1's). Defining a number here says
// nothing of the running kernel: that is probed.
#ifndef LS_AGENT_COMPAT_VFIO_H
#define LS_AGENT_COMPAT_VFIO_H

#include <linux/vfio.h>

#ifndef VFIO_MIGRATION_PRE_COPY
#define VFIO_MIGRATION_PRE_COPY (1 << 2) // 6.2
#endif

#ifndef VFIO_MIG_GET_PRECOPY_INFO
#define VFIO_MIG_GET_PRECOPY_INFO _IO(VFIO_TYPE, VFIO_BASE + 21) // 6.2
struct vfio_precopy_info {
	__u32 argsz;
	__u32 flags;
	__aligned_u64 initial_bytes;
	__aligned_u64 dirty_bytes;
};
#endif

#ifndef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE
#define VFIO_DEVICE_FEATURE_MIG_DATA_SIZE 9 // 6.2
struct vfio_device_feature_mig_data_size {
	__aligned_u64 stop_copy_length;
};
#endif

// The deprecated v1 interface: known only to be named and left alone.
#ifndef VFIO_REGION_TYPE_MIGRATION_DEPRECATED
#define VFIO_REGION_TYPE_MIGRATION_DEPRECATED 3
#define VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED 1
#endif

#endif
