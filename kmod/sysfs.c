// SPDX-License-Identifier: GPL-2.0-only
/* sysfs: what the host sets per function before it is opened; parent's reset. */
#include <linux/log2.h>
#include <linux/kstrtox.h>
#include <linux/sysfs.h>

#include "lsv.h"

/* What the host decides stays as it is while the function is open. */
static ssize_t set_closed(struct device *dev, size_t count,
			  int (*apply)(struct lsv_vf *, u32), u32 value)
{
	struct lsv_vf *vf = dev_get_drvdata(dev);
	int ret;

	mutex_lock(&vf->state_mutex);
	ret = vf->open ? -EBUSY : apply(vf, value);
	lsv_state_unlock(vf);
	return ret ? ret : count;
}

static ssize_t fabric_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct lsv_vf *vf = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", vf->fabric_id);
}

static int set_fabric(struct lsv_vf *vf, u32 id)
{
	vf->fabric_id = id;
	return 0;
}

static ssize_t fabric_store(struct device *dev, struct device_attribute *attr,
			    const char *buf, size_t count)
{
	u32 id;
	int ret;

	ret = kstrtou32(buf, 0, &id);
	return ret ? ret : set_closed(dev, count, set_fabric, id);
}
static DEVICE_ATTR_RW(fabric);

static ssize_t slot_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct lsv_vf *vf = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%d\n", vf->slot);
}

static int set_slot(struct lsv_vf *vf, u32 slot)
{
	vf->slot = (s32)slot;
	return 0;
}

static ssize_t slot_store(struct device *dev, struct device_attribute *attr,
			  const char *buf, size_t count)
{
	s32 slot;
	int ret;

	ret = kstrtos32(buf, 0, &slot);
	if (ret)
		return ret;
	if (slot < -1 || slot >= (s32)LSM_SLOTS)
		return -ERANGE;
	return set_closed(dev, count, set_slot, slot);
}
static DEVICE_ATTR_RW(slot);

static ssize_t memory_mib_show(struct device *dev, struct device_attribute *attr,
			       char *buf)
{
	struct lsv_vf *vf = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", vf->model.mem_size >> 20);
}

/* The size changes by building another device in place of the closed one. */
static int resize(struct lsv_vf *vf, u32 size)
{
	struct lsm_dev fresh;
	int ret;

	ret = lsm_dev_init(&fresh, vf->info->type, size, &lsv_env, vf);
	if (ret)
		return ret;
	mutex_lock(&vf->lock);
	lsm_dev_free(&vf->model);
	vf->model = fresh;
	lsv_config_init(vf);
	mutex_unlock(&vf->lock);
	vf->state = LSM_RUNNING;
	return 0;
}

static ssize_t memory_mib_store(struct device *dev, struct device_attribute *attr,
				const char *buf, size_t count)
{
	u32 mib;
	int ret;

	ret = kstrtou32(buf, 0, &mib);
	if (ret)
		return ret;
	if (!is_power_of_2(mib) || mib > LSM_MEM_MAX >> 20)
		return -ERANGE;
	return set_closed(dev, count, resize, mib << 20);
}
static DEVICE_ATTR_RW(memory_mib);

static ssize_t rate_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct lsv_vf *vf = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", READ_ONCE(vf->rate));
}

static ssize_t rate_store(struct device *dev, struct device_attribute *attr,
			  const char *buf, size_t count)
{
	struct lsv_vf *vf = dev_get_drvdata(dev);
	u32 rate;
	int ret;

	ret = kstrtou32(buf, 0, &rate);
	if (ret)
		return ret;
	if (rate > LSV_RATE_MAX)
		return -ERANGE;
	WRITE_ONCE(vf->rate, rate);
	return count;
}
static DEVICE_ATTR_RW(rate);

static ssize_t migration_version_show(struct device *dev,
				      struct device_attribute *attr, char *buf)
{
	struct lsv_vf *vf = dev_get_drvdata(dev);

	return lsv_version_show(vf->info, vf->model.mem_size, buf);
}

static ssize_t migration_version_store(struct device *dev,
				       struct device_attribute *attr,
				       const char *buf, size_t count)
{
	struct lsv_vf *vf = dev_get_drvdata(dev);
	int ret = lsv_version_check(vf->info, vf->model.mem_size, buf);

	return ret ? ret : count;
}
static DEVICE_ATTR_RW(migration_version);

static struct attribute *lockstep_attrs[] = {
	&dev_attr_fabric.attr,
	&dev_attr_slot.attr,
	&dev_attr_memory_mib.attr,
	&dev_attr_rate.attr,
	NULL
};

static const struct attribute_group lockstep_group = {
	.name = "lockstep",
	.attrs = lockstep_attrs,
};

static ssize_t numa_node_show(struct device *dev, struct device_attribute *attr,
			      char *buf)
{
	return sysfs_emit(buf, "%d\n", dev_to_node(dev));
}
static DEVICE_ATTR_RO(numa_node);

static struct attribute *device_attrs[] = {
	&dev_attr_migration_version.attr,
	&dev_attr_numa_node.attr,
	NULL
};

static const struct attribute_group device_group = {
	.attrs = device_attrs,
};

const struct attribute_group *lsv_vf_groups[] = {
	&lockstep_group,
	&device_group,
	NULL
};

/* ---- parent ---- */

static ssize_t reset_store(struct device *dev, struct device_attribute *attr,
			   const char *buf, size_t count)
{
	struct lsv_pf *pf = dev_get_drvdata(dev);
	struct lsv_vf *vf;

	if (!sysfs_streq(buf, "1"))
		return -EINVAL;
	/* A reset would bring functions back to life that the parent disabled. */
	if (!lsv_pf_get(pf))
		return -ENOTCONN;
	mutex_lock(&pf->vf_lock);
	down_write(&pf->cmd_sem);
	list_for_each_entry(vf, &pf->vfs, node)
		lsv_vf_reset_done(vf);
	up_write(&pf->cmd_sem);
	mutex_unlock(&pf->vf_lock);
	lsv_pf_put(pf);
	return count;
}
static DEVICE_ATTR_WO(reset);

static struct attribute *pf_attrs[] = {
	&dev_attr_reset.attr,
	&dev_attr_numa_node.attr,
	NULL
};

static const struct attribute_group pf_group = {
	.attrs = pf_attrs,
};

/* One file per type, for the core lets no driver add to a type's own folder. */
static const struct lsm_type_info *type_of(struct device_attribute *attr);

static ssize_t type_version_show(struct device *dev, struct device_attribute *attr,
				 char *buf)
{
	const struct lsm_type_info *info = type_of(attr);

	return lsv_version_show(info, info->mem_size, buf);
}

static ssize_t type_version_store(struct device *dev, struct device_attribute *attr,
				  const char *buf, size_t count)
{
	int ret = lsv_version_check(type_of(attr), 0, buf);

	return ret ? ret : count;
}

#define TYPE_ATTR(_var, _name) \
	static struct device_attribute type_attr_##_var = \
		__ATTR(_name, 0644, type_version_show, type_version_store)
TYPE_ATTR(stopcopy, lockstep-stopcopy);
TYPE_ATTR(p2p, lockstep-p2p);
#if LSV_HAVE_PRE_COPY
TYPE_ATTR(full, lockstep-full);
#endif

static const struct lsm_type_info *type_of(struct device_attribute *attr)
{
	if (attr == &type_attr_stopcopy)
		return lsm_type_info(LSM_TYPE_STOPCOPY);
	if (attr == &type_attr_p2p)
		return lsm_type_info(LSM_TYPE_P2P);
	return lsm_type_info(LSM_TYPE_FULL);
}

static struct attribute *type_attrs[] = {
	&type_attr_stopcopy.attr,
	&type_attr_p2p.attr,
#if LSV_HAVE_PRE_COPY
	&type_attr_full.attr,
#endif
	NULL
};

static const struct attribute_group type_version_group = {
	.name = "migration_version",
	.attrs = type_attrs,
};

const struct attribute_group *lsv_pf_groups[] = {
	&pf_group,
	&type_version_group,
	NULL
};
