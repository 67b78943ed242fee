// SPDX-License-Identifier: GPL-2.0-only
/* The parents, their functions' creation, and who keeps a parent alive. */
#include <linux/module.h>
#include <linux/slab.h>

#include "lsv.h"

#define LSV_PARENTS_MAX		8
#define LSV_INSTANCES_MAX	64

static unsigned int parents = 1;
module_param(parents, uint, 0444);
MODULE_PARM_DESC(parents, "Number of parent devices (1 to 8)");

static int nodes[LSV_PARENTS_MAX] = { [0 ... LSV_PARENTS_MAX - 1] = NUMA_NO_NODE };
module_param_array(nodes, int, NULL, 0444);
MODULE_PARM_DESC(nodes, "NUMA node of each parent (-1: none)");

static struct class *lsv_class;
static struct lsv_pf *pfs[LSV_PARENTS_MAX];

bool lsv_pf_get(struct lsv_pf *pf)
{
	bool alive;

	spin_lock(&pf->users_lock);
	alive = !pf->going;
	if (alive)
		pf->users++;
	spin_unlock(&pf->users_lock);
	return alive;
}

void lsv_pf_put(struct lsv_pf *pf)
{
	spin_lock(&pf->users_lock);
	if (!--pf->users)
		wake_up_all(&pf->users_wq);
	spin_unlock(&pf->users_lock);
}

void lsv_pf_add_vf(struct lsv_pf *pf, struct lsv_vf *vf)
{
	mutex_lock(&pf->vf_lock);
	list_add_tail(&vf->node, &pf->vfs);
	mutex_unlock(&pf->vf_lock);
}

void lsv_pf_del_vf(struct lsv_pf *pf, struct lsv_vf *vf)
{
	mutex_lock(&pf->vf_lock);
	list_del_init(&vf->node);
	mutex_unlock(&pf->vf_lock);
}

/* Gets fail from here on; returns when none is outstanding and all are disabled. */
void lsv_pf_disable(struct lsv_pf *pf)
{
	struct lsv_vf *vf;

	spin_lock(&pf->users_lock);
	pf->going = true;
	spin_unlock(&pf->users_lock);
	wait_event(pf->users_wq, !READ_ONCE(pf->users));
	/* The last put may still hold the lock. */
	spin_lock(&pf->users_lock);
	spin_unlock(&pf->users_lock);

	mutex_lock(&pf->vf_lock);
	list_for_each_entry(vf, &pf->vfs, node)
		lsv_vf_detach(vf);
	mutex_unlock(&pf->vf_lock);
}

/* The parent is back; its functions want a reset. */
void lsv_pf_enable(struct lsv_pf *pf)
{
	spin_lock(&pf->users_lock);
	pf->going = false;
	spin_unlock(&pf->users_lock);
}

static int vf_probe(struct mdev_device *mdev)
{
	struct lsv_vf *vf;
	int ret;

	vf = vfio_alloc_device(lsv_vf, vdev, &mdev->dev, &lsv_vfio_ops);
	if (IS_ERR(vf))
		return PTR_ERR(vf);
	mutex_lock(&vf->lock);
	lsv_config_init(vf);
	mutex_unlock(&vf->lock);
	dev_set_drvdata(&mdev->dev, vf);
	/* The core would do it too, and not notice that there was no memory. */
	ret = vfio_assign_device_set(&vf->vdev, vf);
	if (ret) {
		vfio_put_device(&vf->vdev);
		return ret;
	}
	/* Before anyone can open it: a parent that goes away must find it. */
	lsv_pf_add_vf(vf->pf, vf);
	ret = vfio_register_emulated_iommu_dev(&vf->vdev);
	if (ret) {
		lsv_pf_del_vf(vf->pf, vf);
		vfio_put_device(&vf->vdev);
		return ret;
	}
	lsv_dbg_add(vf);
	return 0;
}

static void vf_remove(struct mdev_device *mdev)
{
	struct lsv_vf *vf = dev_get_drvdata(&mdev->dev);

	vfio_unregister_group_dev(&vf->vdev);
	lsv_dbg_del(vf);
	lsv_pf_del_vf(vf->pf, vf);
	vfio_put_device(&vf->vdev);
}

static ssize_t show_description(struct mdev_type *mtype, char *buf)
{
	struct lsv_pf *pf = container_of(mtype->parent, struct lsv_pf, parent);
	const struct lsm_type_info *info =
		lsm_type_info(LSM_TYPE_STOPCOPY + (mtype - pf->types));

	return sysfs_emit(buf, "migration flags %u, local memory %u MiB\n",
			  info->mig_flags, info->mem_size >> 20);
}

struct mdev_driver lsv_mdev_driver = {
	.device_api = VFIO_DEVICE_API_PCI_STRING,
	.max_instances = LSV_INSTANCES_MAX,
	.probe = vf_probe,
	.remove = vf_remove,
	.show_description = show_description,
	.driver = {
		.name = "lockstep_vdev",
		.owner = THIS_MODULE,
		.mod_name = KBUILD_MODNAME,
		.dev_groups = lsv_vf_groups,
	},
};

static void pf_destroy(struct lsv_pf *pf)
{
	if (!pf)
		return;
	lsv_dbg_del_pf(pf);
	lsv_pf_disable(pf);
	mdev_unregister_parent(&pf->parent);
	device_unregister(pf->dev);
	kfree(pf);
}

static unsigned int pf_init_types(struct lsv_pf *pf)
{
	unsigned int i, n = 0;

	for (i = 0; i < LSV_NTYPES; i++) {
		const struct lsm_type_info *info = lsm_type_info(LSM_TYPE_STOPCOPY + i);

		if (!LSV_HAVE_PRE_COPY && info->mig_flags & LSM_MIG_PRE_COPY)
			continue;
		pf->types[i].sysfs_name = info->name;
		pf->types[i].pretty_name = info->name;
		pf->type_ptrs[n++] = &pf->types[i];
	}
	return n;
}

static struct lsv_pf *pf_create(unsigned int index)
{
	struct lsv_pf *pf = kzalloc(sizeof(*pf), GFP_KERNEL);
	unsigned int ntypes;
	int ret;

	if (!pf)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&pf->users_lock);
	init_waitqueue_head(&pf->users_wq);
	init_rwsem(&pf->cmd_sem);
	mutex_init(&pf->vf_lock);
	INIT_LIST_HEAD(&pf->vfs);
	ntypes = pf_init_types(pf);

	pf->dev = device_create_with_groups(lsv_class, NULL, MKDEV(0, 0), pf,
					    lsv_pf_groups, "lockstep-pf%u", index);
	if (IS_ERR(pf->dev)) {
		ret = PTR_ERR(pf->dev);
		goto err_free;
	}
	if (nodes[index] != NUMA_NO_NODE && nodes[index] >= 0 &&
	    nodes[index] < nr_node_ids && node_online(nodes[index]))
		set_dev_node(pf->dev, nodes[index]);
	ret = mdev_register_parent(&pf->parent, pf->dev, &lsv_mdev_driver,
				   pf->type_ptrs, ntypes);
	if (ret)
		goto err_device;
	lsv_dbg_add_pf(pf);
	return pf;

err_device:
	device_unregister(pf->dev);
err_free:
	kfree(pf);
	return ERR_PTR(ret);
}

static void pfs_destroy(void)
{
	int i;

	for (i = LSV_PARENTS_MAX - 1; i >= 0; i--)
		pf_destroy(pfs[i]);
}

static int __init lsv_init(void)
{
	unsigned int i;
	int ret;

	if (!parents || parents > LSV_PARENTS_MAX)
		return -EINVAL;
	lsv_class = lsv_class_create("lockstep");
	if (IS_ERR(lsv_class))
		return PTR_ERR(lsv_class);
	lsv_dbg_init();
	ret = mdev_register_driver(&lsv_mdev_driver);
	if (ret)
		goto err_class;
	for (i = 0; i < parents; i++) {
		struct lsv_pf *pf = pf_create(i);

		if (IS_ERR(pf)) {
			ret = PTR_ERR(pf);
			goto err_parents;
		}
		pfs[i] = pf;
	}
	return 0;

err_parents:
	pfs_destroy();
	mdev_unregister_driver(&lsv_mdev_driver);
err_class:
	lsv_dbg_exit();
	class_destroy(lsv_class);
	return ret;
}

static void __exit lsv_exit(void)
{
	pfs_destroy();
	mdev_unregister_driver(&lsv_mdev_driver);
	lsv_dbg_exit();
	class_destroy(lsv_class);
}

module_init(lsv_init);
module_exit(lsv_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Migratable virtual devices with peer-to-peer DMA");
MODULE_AUTHOR("The lockstep authors");
MODULE_VERSION("0.1.0");
