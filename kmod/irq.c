// SPDX-License-Identifier: GPL-2.0-only
/* MSI by eventfd. */
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "lsv.h"

void lsv_irq_raise(struct lsv_vf *vf, u32 vector)
{
	spin_lock(&vf->irq_lock);
	if (vf->irq[vector])
		lsv_eventfd_signal(vf->irq[vector]);
	spin_unlock(&vf->irq_lock);
}

static void irq_set(struct lsv_vf *vf, u32 vector, struct eventfd_ctx *ctx)
{
	struct eventfd_ctx *old;

	spin_lock(&vf->irq_lock);
	old = vf->irq[vector];
	vf->irq[vector] = ctx;
	spin_unlock(&vf->irq_lock);
	if (old)
		eventfd_ctx_put(old);
}

void lsv_irq_release(struct lsv_vf *vf)
{
	u32 i;

	for (i = 0; i < LSM_VECTORS; i++)
		irq_set(vf, i, NULL);
}

unsigned int lsv_irq_count(u32 index)
{
	return index == VFIO_PCI_MSI_IRQ_INDEX ? LSM_VECTORS : 0;
}

static int irq_set_eventfds(struct lsv_vf *vf, const struct vfio_irq_set *hdr,
			    const s32 *fds)
{
	u32 i;

	for (i = 0; i < hdr->count; i++) {
		struct eventfd_ctx *ctx = NULL;

		if (fds[i] < -1)
			return -EINVAL;
		if (fds[i] >= 0)
			ctx = eventfd_ctx_fdget(fds[i]);
		if (IS_ERR(ctx))
			return PTR_ERR(ctx);
		irq_set(vf, hdr->start + i, ctx);
	}
	return 0;
}

static int irq_trigger(struct lsv_vf *vf, const struct vfio_irq_set *hdr, void *data)
{
	const u8 *wanted = data;
	u32 i;

	switch (hdr->flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_NONE:
		if (!hdr->count)
			lsv_irq_release(vf);
		for (i = 0; i < hdr->count; i++)
			lsv_irq_raise(vf, hdr->start + i);
		return 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		for (i = 0; i < hdr->count; i++)
			if (wanted[i])
				lsv_irq_raise(vf, hdr->start + i);
		return 0;
	case VFIO_IRQ_SET_DATA_EVENTFD:
		return irq_set_eventfds(vf, hdr, data);
	default:
		return -EINVAL;
	}
}

int lsv_irq_ioctl(struct lsv_vf *vf, unsigned long arg)
{
	unsigned long minsz = offsetofend(struct vfio_irq_set, count);
	struct vfio_irq_set hdr;
	size_t size = 0;
	void *data = NULL;
	int ret;

	if (copy_from_user(&hdr, (void __user *)arg, minsz))
		return -EFAULT;
	ret = vfio_set_irqs_validate_and_prepare(&hdr, lsv_irq_count(hdr.index),
						 VFIO_PCI_NUM_IRQS, &size);
	if (ret)
		return ret;
	/* As vfio-pci answers what MSI has not: mask and unmask. */
	if ((hdr.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -ENOTTY;
	if (size) {
		data = memdup_user((void __user *)(arg + minsz), size);
		if (IS_ERR(data))
			return PTR_ERR(data);
	}
	ret = irq_trigger(vf, &hdr, data);
	kfree(data);
	return ret;
}
