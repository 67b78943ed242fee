/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between the kernels that this driver builds on, 6.1 to 6.18. */
#ifndef LSV_COMPAT_H
#define LSV_COMPAT_H

#include <linux/eventfd.h>
#include <linux/device.h>
#include <linux/version.h>
#include <linux/vfio.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

/* It would build there, and have no regions. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
#error "From 6.19 on VFIO asks for regions by get_region_info_caps, which is not here yet."
#endif

#ifdef VFIO_MIG_GET_PRECOPY_INFO
#define LSV_HAVE_PRE_COPY	1
#else
#define LSV_HAVE_PRE_COPY	0
#endif

#ifdef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE
#define LSV_HAVE_DATA_SIZE	1
#else
#define LSV_HAVE_DATA_SIZE	0
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define LSV_HAVE_IOMMUFD_OPS	1
#else
#define LSV_HAVE_IOMMUFD_OPS	0
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define LSV_HAVE_DETACH_IOAS	1
#else
#define LSV_HAVE_DETACH_IOAS	0
#endif

static inline void lsv_eventfd_signal(struct eventfd_ctx *ctx)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	eventfd_signal(ctx);
#else
	eventfd_signal(ctx, 1);
#endif
}

static inline struct class *lsv_class_create(const char *name)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	return class_create(name);
#else
	return class_create(THIS_MODULE, name);
#endif
}

/* 6.12 went without; a stream has none by stream_open(). */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#define LSV_NO_LLSEEK .llseek = no_llseek,
#else
#define LSV_NO_LLSEEK
#endif

#endif
