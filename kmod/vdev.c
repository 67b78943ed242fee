// SPDX-License-Identifier: GPL-2.0-only
/* The function as user space sees it: open, regions, ioctls, in vfio-pci's API. */
#include <linux/memcontrol.h>
#include <linux/pci.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "lsv.h"

#define REGION_SHIFT		40
#define REGION_INDEX(pos)	((u64)(pos) >> REGION_SHIFT)
#define REGION_OFFSET(pos)	((u64)(pos) & ((1ULL << REGION_SHIFT) - 1))

static int vf_init(struct vfio_device *vdev)
{
	struct lsv_vf *vf = lsv_vf_of(vdev);

	mutex_init(&vf->state_mutex);
	mutex_init(&vf->lock);
	spin_lock_init(&vf->reset_lock);
	spin_lock_init(&vf->irq_lock);
	init_waitqueue_head(&vf->kick_wq);
	init_waitqueue_head(&vf->idle_wq);
	INIT_LIST_HEAD(&vf->node);
	lsv_dbg_init_vf(vf);
	vf->mdev = to_mdev_device(vdev->dev);
	vf->pf = container_of(vf->mdev->type->parent, struct lsv_pf, parent);
	vf->info = lsm_type_info(LSM_TYPE_STOPCOPY +
				 (vf->mdev->type - vf->pf->types));
	vf->rate = LSV_RATE_DEFAULT;
	vf->slot = -1;
	vf->state = LSM_RUNNING;
	vdev->mig_ops = &lsv_mig_ops;
	vdev->migration_flags = vf->info->mig_flags;
	return lsm_dev_init(&vf->model, vf->info->type, vf->info->mem_size,
			    &lsv_env, vf);
}

static void vf_release(struct vfio_device *vdev)
{
	struct lsv_vf *vf = lsv_vf_of(vdev);

	lsm_dev_free(&vf->model);
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	vfio_free_device(vdev);
#endif
}

static int vf_open(struct vfio_device *vdev)
{
	struct lsv_vf *vf = lsv_vf_of(vdev);
	int ret;

	if (!lsv_pf_get(vf->pf))
		return -ENOTCONN;
	mutex_lock(&vf->state_mutex);
	ret = lsv_fabric_join(vf);
	if (ret)
		goto out;
	vf->memcg = get_mem_cgroup_from_mm(current->mm);
	mutex_lock(&vf->lock);
	lsm_dev_set_slot(&vf->model, vf->slot < 0 ? LSM_NO_SLOT : vf->slot);
	mutex_unlock(&vf->lock);
	if (!(READ_ONCE(vf->dbg.quirks) & LSV_QUIRK_KEEP_STATE))
		lsv_vf_reset_locked(vf);
	ret = lsv_worker_start(vf);
	if (ret) {
		lsv_fabric_leave(vf);
		mem_cgroup_put(vf->memcg);
		vf->memcg = NULL;
		goto out;
	}
	vf->open = true;
out:
	lsv_state_unlock(vf);
	lsv_pf_put(vf->pf);
	return ret;
}

static void vf_close(struct vfio_device *vdev)
{
	struct lsv_vf *vf = lsv_vf_of(vdev);

	/* No own DMA any more, then none that arrives, then the memory. */
	lsv_worker_stop(vf);
	lsv_fabric_leave(vf);
	mutex_lock(&vf->state_mutex);
	lsv_disable_fds(vf);
	if (!(READ_ONCE(vf->dbg.quirks) & LSV_QUIRK_KEEP_STATE))
		lsv_vf_reset_locked(vf);
	lsv_irq_release(vf);
	vf->open = false;
	lsv_state_unlock(vf);
	mem_cgroup_put(vf->memcg);
	vf->memcg = NULL;
}

static u64 region_size(const struct lsv_vf *vf, u32 index)
{
	switch (index) {
	case VFIO_PCI_BAR0_REGION_INDEX:
		return LSM_BAR0_SIZE;
	case VFIO_PCI_BAR2_REGION_INDEX:
		return vf->model.mem_size;
	case VFIO_PCI_CONFIG_REGION_INDEX:
		return LSV_CONFIG_SIZE;
	default:
		return 0;
	}
}

/* One bounded access; vf->lock held; a BAR whose decode is off does not answer. */
static int region_access(struct lsv_vf *vf, u32 index, u32 off, void *buf, u32 len,
			 bool write)
{
	if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
		if (write)
			lsv_config_write(vf, off, buf, len);
		else
			memcpy(buf, vf->config + off, len);
		return 0;
	}
	if (!vf->model.memory)
		return -EIO;
	if (index == VFIO_PCI_BAR0_REGION_INDEX)
		return write ? lsm_regs_write(&vf->model, off, buf, len) :
			       lsm_regs_read(&vf->model, off, buf, len);
	return write ? lsm_window_write(&vf->model, off, buf, len) :
		       lsm_window_read(&vf->model, off, buf, len);
}

static ssize_t region_rw(struct lsv_vf *vf, char __user *buf, size_t count,
			 loff_t *ppos, bool write)
{
	u32 index = REGION_INDEX(*ppos);
	u64 off = REGION_OFFSET(*ppos), size = region_size(vf, index);
	size_t done = 0;
	void *bounce;
	int ret = 0;

	if (!size || off >= size)
		return -EINVAL;
	count = min_t(u64, count, size - off);
	bounce = kmalloc(min_t(size_t, max_t(size_t, count, 8), PAGE_SIZE), GFP_KERNEL);
	if (!bounce)
		return -ENOMEM;

	while (done < count && !ret) {
		u32 n = min_t(size_t, count - done, PAGE_SIZE);

		if (index == VFIO_PCI_BAR0_REGION_INDEX)
			n = min_t(u32, n, (off + done) % 8 ? 4 : 8);
		if (write && copy_from_user(bounce, buf + done, n)) {
			ret = -EFAULT;
			break;
		}
		mutex_lock(&vf->lock);
		ret = region_access(vf, index, off + done, bounce, n, write);
		mutex_unlock(&vf->lock);
		if (!ret && !write && copy_to_user(buf + done, bounce, n))
			ret = -EFAULT;
		if (!ret)
			done += n;
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	kfree(bounce);
	if (write && done && index != VFIO_PCI_BAR2_REGION_INDEX)
		lsv_worker_kick(vf);
	*ppos += done;
	return done ? done : ret;
}

static ssize_t vf_read(struct vfio_device *vdev, char __user *buf, size_t count,
		       loff_t *ppos)
{
	return region_rw(lsv_vf_of(vdev), buf, count, ppos, false);
}

static ssize_t vf_write(struct vfio_device *vdev, const char __user *buf,
			size_t count, loff_t *ppos)
{
	return region_rw(lsv_vf_of(vdev), (char __user *)buf, count, ppos, true);
}

static long get_info(unsigned long arg)
{
	unsigned long minsz = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static long get_region_info(struct lsv_vf *vf, unsigned long arg)
{
	unsigned long minsz = offsetofend(struct vfio_region_info, offset);
	struct vfio_region_info info;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info.size = region_size(vf, info.index);
	info.offset = (u64)info.index << REGION_SHIFT;
	info.cap_offset = 0;
	info.flags = info.size ? VFIO_REGION_INFO_FLAG_READ |
				 VFIO_REGION_INFO_FLAG_WRITE : 0;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static long get_irq_info(unsigned long arg)
{
	unsigned long minsz = offsetofend(struct vfio_irq_info, count);
	struct vfio_irq_info info;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info.count = lsv_irq_count(info.index);
	info.flags = info.count ? VFIO_IRQ_INFO_EVENTFD : 0;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static long vf_ioctl(struct vfio_device *vdev, unsigned int cmd, unsigned long arg)
{
	struct lsv_vf *vf = lsv_vf_of(vdev);

	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return get_info(arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return get_region_info(vf, arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return get_irq_info(arg);
	case VFIO_DEVICE_SET_IRQS:
		return lsv_irq_ioctl(vf, arg);
	case VFIO_DEVICE_RESET:
		return lsv_vf_reset(vf);
	default:
		return -ENOTTY;
	}
}

const struct vfio_device_ops lsv_vfio_ops = {
	.name = "lockstep_vdev",
	.init = vf_init,
	.release = vf_release,
	.open_device = vf_open,
	.close_device = vf_close,
	.read = vf_read,
	.write = vf_write,
	.ioctl = vf_ioctl,
#if LSV_HAVE_IOMMUFD_OPS
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
#endif
#if LSV_HAVE_DETACH_IOAS
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
#endif
};
