// SPDX-License-Identifier: GPL-2.0-only
/* The parent's command channel: all that a function may ask of it. */
#include "lsv.h"

static int cmd_begin(struct lsv_vf *vf)
{
	lockdep_assert_held(&vf->state_mutex);
	if (!lsv_pf_get(vf->pf))
		return -ENOTCONN;
	down_read(&vf->pf->cmd_sem);
	return 0;
}

static void cmd_end(struct lsv_vf *vf)
{
	up_read(&vf->pf->cmd_sem);
	lsv_pf_put(vf->pf);
}

int lsv_cmd_suspend_initiator(struct lsv_vf *vf)
{
	int ret = cmd_begin(vf);

	if (ret)
		return ret;
	lsv_initiator_quiesce(vf);
	cmd_end(vf);
	return 0;
}

static int cmd_set_responder(struct lsv_vf *vf, bool enabled)
{
	int ret = cmd_begin(vf);

	if (ret)
		return ret;
	mutex_lock(&vf->lock);
	lsm_set_responder(&vf->model, enabled);
	mutex_unlock(&vf->lock);
	cmd_end(vf);
	return 0;
}

int lsv_cmd_suspend_responder(struct lsv_vf *vf)
{
	return cmd_set_responder(vf, false);
}

int lsv_cmd_resume_responder(struct lsv_vf *vf)
{
	return cmd_set_responder(vf, true);
}

int lsv_cmd_resume_initiator(struct lsv_vf *vf)
{
	int ret = cmd_begin(vf);

	if (ret)
		return ret;
	mutex_lock(&vf->lock);
	lsm_set_initiator(&vf->model, true);
	mutex_unlock(&vf->lock);
	lsv_worker_kick(vf);
	cmd_end(vf);
	return 0;
}

int lsv_cmd_query(struct lsv_vf *vf, u64 *ret_size)
{
	int ret = cmd_begin(vf);

	if (ret)
		return ret;
	mutex_lock(&vf->lock);
	*ret_size = lsm_image_size(&vf->model);
	mutex_unlock(&vf->lock);
	cmd_end(vf);
	return 0;
}

int lsv_cmd_save(struct lsv_vf *vf, struct lsm_save *s, bool precopy)
{
	int ret = cmd_begin(vf);

	if (ret)
		return ret;
	mutex_lock(&vf->lock);
	ret = lsm_save_begin(s, &vf->model, precopy);
	mutex_unlock(&vf->lock);
	cmd_end(vf);
	return ret;
}

int lsv_cmd_save_final(struct lsv_vf *vf, struct lsv_migf *migf)
{
	int ret = cmd_begin(vf);

	if (ret)
		return ret;
	mutex_lock(&migf->lock);
	if (migf->disabled) {
		ret = -ENODEV;
	} else {
		mutex_lock(&vf->lock);
		lsm_save_final(&migf->save);
		mutex_unlock(&vf->lock);
		wake_up_all(&migf->wq);
	}
	mutex_unlock(&migf->lock);
	cmd_end(vf);
	return ret;
}

int lsv_cmd_load_begin(struct lsv_vf *vf, struct lsm_load *l)
{
	int ret = cmd_begin(vf);

	if (ret)
		return ret;
	mutex_lock(&vf->lock);
	ret = lsm_load_begin(l, &vf->model);
	mutex_unlock(&vf->lock);
	cmd_end(vf);
	return ret;
}

int lsv_cmd_load(struct lsv_vf *vf, struct lsv_migf *migf)
{
	int ret = cmd_begin(vf);

	if (ret)
		return ret;
	mutex_lock(&migf->lock);
	if (migf->disabled) {
		ret = -ENODEV;
	} else {
		mutex_lock(&vf->lock);
		ret = lsm_load_commit(&migf->load);
		mutex_unlock(&vf->lock);
	}
	mutex_unlock(&migf->lock);
	cmd_end(vf);
	return ret;
}
