// SPDX-License-Identifier: Apache-2.0
// What a device fd of the kernel can do however it was opened.
#ifndef TV_DEV_VFIO_H
#define TV_DEV_VFIO_H

#include "tests/vmm/device.h"

int tv_vfio_regions(struct tv_device *dev, struct ls_error *err); // finds where they lie in the fd
int tv_vfio_read(struct tv_device *dev, enum tv_region region, uint64_t offset, void *buf, size_t len);
int tv_vfio_write(struct tv_device *dev, enum tv_region region, uint64_t offset, const void *buf, size_t len);
int tv_vfio_set_irqs(struct tv_device *dev);
int tv_vfio_reset(struct tv_device *dev);
void tv_vfio_close(struct tv_bus *bus);

#endif
