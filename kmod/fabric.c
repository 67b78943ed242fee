// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fabrics: who can reach whom. The host names a fabric and a slot per device
 * before it is opened, so that a guest can name only slots of its own fabric.
 */
#include <linux/slab.h>
#include <linux/srcu.h>

#include "lsv.h"

struct lsv_fabric {
	struct list_head node;
	u32 id;
	unsigned int members;
	struct lsv_vf __rcu *slots[LSM_SLOTS];
};

static LIST_HEAD(fabrics);
static DEFINE_MUTEX(fabrics_lock);
DEFINE_STATIC_SRCU(fabric_srcu);

static struct lsv_fabric *fabric_get(u32 id)
{
	struct lsv_fabric *f;

	list_for_each_entry(f, &fabrics, node)
		if (f->id == id)
			return f;
	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (f) {
		f->id = id;
		list_add(&f->node, &fabrics);
	}
	return f;
}

static void fabric_put(struct lsv_fabric *f)
{
	if (f->members)
		return;
	list_del(&f->node);
	kfree(f);
}

int lsv_fabric_join(struct lsv_vf *vf)
{
	struct lsv_fabric *f;
	int ret = 0;

	if (!vf->fabric_id || vf->slot < 0)
		return 0;

	mutex_lock(&fabrics_lock);
	f = fabric_get(vf->fabric_id);
	if (!f) {
		ret = -ENOMEM;
	} else if (rcu_access_pointer(f->slots[vf->slot])) {
		ret = -EBUSY;
	} else {
		f->members++;
		vf->fabric = f;
		rcu_assign_pointer(f->slots[vf->slot], vf);
	}
	mutex_unlock(&fabrics_lock);
	return ret;
}

void lsv_fabric_leave(struct lsv_vf *vf)
{
	struct lsv_fabric *f = vf->fabric;

	if (!f)
		return;
	mutex_lock(&fabrics_lock);
	RCU_INIT_POINTER(f->slots[vf->slot], NULL);
	mutex_unlock(&fabrics_lock);

	/* Deliveries to this device have ended when this returns. */
	synchronize_srcu(&fabric_srcu);

	mutex_lock(&fabrics_lock);
	f->members--;
	fabric_put(f);
	mutex_unlock(&fabrics_lock);
	vf->fabric = NULL;
}

int lsv_fabric_deliver(struct lsv_vf *vf, u32 to, u32 from, u64 seq, u32 off,
		       const void *buf, u32 len)
{
	struct lsv_vf *peer;
	int idx, ret = -ENXIO;

	if (!vf->fabric || to >= LSM_SLOTS)
		return -ENXIO;
	lockdep_assert_not_held(&vf->lock);

	idx = srcu_read_lock(&fabric_srcu);
	peer = srcu_dereference(vf->fabric->slots[to], &fabric_srcu);
	if (peer) {
		mutex_lock(&peer->lock);
		ret = lsm_p2p_receive(&peer->model, from, seq, off, buf, len);
		mutex_unlock(&peer->lock);
	}
	srcu_read_unlock(&fabric_srcu, idx);
	return ret;
}
