// SPDX-License-Identifier: GPL-2.0-only
/* Migration states: each arc is a few commands to the parent (lsm_arc_actions). */
#include <linux/file.h>

#include "lsv.h"

static_assert((int)LSM_RUNNING_P2P == (int)VFIO_DEVICE_STATE_RUNNING_P2P);
static_assert(LSM_MIG_P2P == VFIO_MIGRATION_P2P);
#if LSV_HAVE_PRE_COPY
static_assert((int)LSM_PRE_COPY_P2P == (int)VFIO_DEVICE_STATE_PRE_COPY_P2P);
static_assert(LSM_MIG_PRE_COPY == VFIO_MIGRATION_PRE_COPY);
#endif

static int arc_save_begin(struct lsv_vf *vf, bool precopy, struct file **ret_file)
{
	struct lsv_migf *migf;
	u64 size;
	int ret;

	ret = lsv_cmd_query(vf, &size);
	if (ret)
		return ret;
	migf = lsv_migf_save(vf, precopy);
	if (IS_ERR(migf))
		return PTR_ERR(migf);
	vf->saving = migf;
	*ret_file = get_file(migf->filp);
	return 0;
}

static int arc_load_begin(struct lsv_vf *vf, struct file **ret_file)
{
	struct lsv_migf *migf = lsv_migf_resume(vf);

	if (IS_ERR(migf))
		return PTR_ERR(migf);
	vf->resuming = migf;
	*ret_file = get_file(migf->filp);
	return 0;
}

static int arc_load_commit(struct lsv_vf *vf)
{
	int ret;

	ret = vf->resuming ? lsv_cmd_load(vf, vf->resuming) : -ENODEV;
	if (!ret)
		lsv_disable_fds(vf);
	return ret;
}

static int arc_action(struct lsv_vf *vf, u32 action, struct file **ret_file)
{
	switch (action) {
	case LSM_DO_SUSPEND_INITIATOR:
		return lsv_cmd_suspend_initiator(vf);
	case LSM_DO_SUSPEND_RESPONDER:
		return lsv_cmd_suspend_responder(vf);
	case LSM_DO_SAVE_END:
		lsv_disable_fds(vf);
		return 0;
	case LSM_DO_SAVE_BEGIN:
		return arc_save_begin(vf, false, ret_file);
	case LSM_DO_PRECOPY_BEGIN:
		return arc_save_begin(vf, true, ret_file);
	case LSM_DO_SAVE_FINAL:
		return vf->saving ? lsv_cmd_save_final(vf, vf->saving) : -ENODEV;
	case LSM_DO_LOAD_BEGIN:
		return arc_load_begin(vf, ret_file);
	case LSM_DO_LOAD_COMMIT:
		return arc_load_commit(vf);
	case LSM_DO_RESUME_RESPONDER:
		return lsv_cmd_resume_responder(vf);
	case LSM_DO_RESUME_INITIATOR:
		return lsv_cmd_resume_initiator(vf);
	default:
		return -EINVAL;
	}
}

static void enter_error(struct lsv_vf *vf)
{
	lsv_initiator_quiesce(vf);
	mutex_lock(&vf->lock);
	lsm_set_responder(&vf->model, false);
	mutex_unlock(&vf->lock);
	lsv_disable_fds(vf);
	vf->state = LSM_ERROR;
}

static struct file *step(struct lsv_vf *vf, u32 next)
{
	unsigned long actions = lsm_arc_actions(vf->vdev.migration_flags,
						vf->state, next);
	struct file *file = NULL;
	bool to_error = false;
	unsigned int bit;
	int ret;

	if (WARN_ON_ONCE(!actions))
		return ERR_PTR(-EINVAL);
	ret = lsv_dbg_arc(vf, vf->state, next, &to_error);
	if (to_error)
		enter_error(vf);
	if (ret)
		return ERR_PTR(ret);

	for_each_set_bit(bit, &actions, 32) {
		ret = arc_action(vf, BIT(bit), &file);
		if (!ret)
			continue;
		/* Half an arc is no state: what is suspended may not be called running. */
		if (actions & (BIT(bit) - 1))
			enter_error(vf);
		return ERR_PTR(ret);
	}
	return file;
}

/* Requests that the core's helper must not see: it warns, or never returns. */
static bool refused(u32 cur, u32 new)
{
	return cur == LSM_ERROR || new == LSM_ERROR || new >= LSV_STATES ||
	       (cur == LSM_STOP_COPY &&
		(new == LSM_PRE_COPY || new == LSM_PRE_COPY_P2P));
}

static struct file *set_state(struct vfio_device *vdev,
			      enum vfio_device_mig_state new_state)
{
	struct lsv_vf *vf = lsv_vf_of(vdev);
	struct file *file = NULL;
	u32 target = new_state;

	mutex_lock(&vf->state_mutex);
	if (refused(vf->state, target))
		file = ERR_PTR(-EINVAL);
	while (!IS_ERR(file) && target != vf->state) {
		enum vfio_device_mig_state next;
		u64 begin = ktime_get_ns();
		u32 cur = vf->state;
		int ret;

		ret = vfio_mig_get_next_state(vdev, vf->state, new_state, &next);
		if (ret) {
			file = ERR_PTR(ret);
			break;
		}
		WRITE_ONCE(vf->dbg.now, LSV_NOW_ARC(cur, next));
		file = step(vf, next);
		if (IS_ERR(file))
			break;
		vf->state = next;
		WRITE_ONCE(vf->dbg.arc_us[cur][next],
			   div_u64(ktime_get_ns() - begin, NSEC_PER_USEC));
		vf->dbg.arc_count[cur][next]++;
		if (WARN_ON_ONCE(file && target != vf->state)) {
			fput(file);
			file = ERR_PTR(-EINVAL);
		}
	}
	WRITE_ONCE(vf->dbg.now, 0);
	lsv_state_unlock(vf);
	return file;
}

static int get_state(struct vfio_device *vdev, enum vfio_device_mig_state *cur)
{
	struct lsv_vf *vf = lsv_vf_of(vdev);

	mutex_lock(&vf->state_mutex);
	*cur = vf->state;
	lsv_state_unlock(vf);
	return 0;
}

#if LSV_HAVE_DATA_SIZE
static int get_data_size(struct vfio_device *vdev, unsigned long *ret_length)
{
	struct lsv_vf *vf = lsv_vf_of(vdev);
	u64 size = 0;
	int ret;

	if (READ_ONCE(vf->dbg.quirks) & LSV_QUIRK_NO_DATA_SIZE)
		return -ENOTTY;
	mutex_lock(&vf->state_mutex);
	ret = lsv_cmd_query(vf, &size);
	lsv_state_unlock(vf);
	*ret_length = size;
	return ret;
}
#endif

const struct vfio_migration_ops lsv_mig_ops = {
	.migration_set_state = set_state,
	.migration_get_state = get_state,
#if LSV_HAVE_DATA_SIZE
	.migration_get_data_size = get_data_size,
#endif
};

/* state_mutex held: the function is as new, its command register cleared. */
void lsv_vf_reset_locked(struct lsv_vf *vf)
{
	lockdep_assert_held(&vf->state_mutex);
	WRITE_ONCE(vf->dbg.now, LSV_NOW_RESET);
	lsv_initiator_quiesce(vf);
	lsv_disable_fds(vf);
	mutex_lock(&vf->lock);
	lsm_dev_reset(&vf->model);
	lsv_config_init(vf);
	mutex_unlock(&vf->lock);
	vf->state = LSM_RUNNING;
	WRITE_ONCE(vf->dbg.now, 0);
}

/* Whoever holds the mutex does a reset that came meanwhile. */
void lsv_state_unlock(struct lsv_vf *vf)
{
again:
	spin_lock(&vf->reset_lock);
	if (vf->deferred_reset) {
		vf->deferred_reset = false;
		spin_unlock(&vf->reset_lock);
		lsv_vf_reset_locked(vf);
		goto again;
	}
	mutex_unlock(&vf->state_mutex);
	spin_unlock(&vf->reset_lock);
}

int lsv_vf_reset(struct lsv_vf *vf)
{
	if (!lsv_pf_get(vf->pf))
		return -ENOTCONN;
	mutex_lock(&vf->state_mutex);
	lsv_vf_reset_locked(vf);
	lsv_state_unlock(vf);
	lsv_pf_put(vf->pf);
	return 0;
}

/*
 * The parent was reset and holds cmd_sem. An arc may hold state_mutex and wait
 * for cmd_sem, so only try.
 */
void lsv_vf_reset_done(struct lsv_vf *vf)
{
	spin_lock(&vf->reset_lock);
	vf->deferred_reset = true;
	if (!mutex_trylock(&vf->state_mutex)) {
		spin_unlock(&vf->reset_lock);
		return;
	}
	spin_unlock(&vf->reset_lock);
	lsv_state_unlock(vf);
}

void lsv_vf_detach(struct lsv_vf *vf)
{
	mutex_lock(&vf->state_mutex);
	lsv_initiator_quiesce(vf);
	mutex_lock(&vf->lock);
	lsm_set_responder(&vf->model, false);
	mutex_unlock(&vf->lock);
	lsv_disable_fds(vf);
	lsv_state_unlock(vf);
}
