// SPDX-License-Identifier: GPL-2.0-only
/* The model's environment in a kernel, and the thread that turns its engine. */
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "lsv.h"

/* How far behind its rate the engine may fall and still catch up. */
#define LSV_CATCH_UP_NS		(20 * NSEC_PER_MSEC)

static void *env_alloc(void *ctx, size_t size)
{
	return kvzalloc(size, GFP_KERNEL_ACCOUNT);
}

static void env_free(void *ctx, void *p, size_t size)
{
	kvfree(p);
}

/*
 * First touches come from worker threads, a peer's included: charge whoever
 * opened the device, not the toucher.
 */
static void *env_page_alloc(void *ctx)
{
	struct lsv_vf *vf = ctx;
	struct mem_cgroup *old;
	struct page *page;

	old = set_active_memcg(vf->memcg);
	page = alloc_pages_node(dev_to_node(vf->pf->dev),
				GFP_KERNEL_ACCOUNT | __GFP_ZERO, 0);
	set_active_memcg(old);
	return page ? page_address(page) : NULL;
}

static void env_page_free(void *ctx, void *page)
{
	free_page((unsigned long)page);
}

static void env_lock(void *ctx)
{
	struct lsv_vf *vf = ctx;

	mutex_lock(&vf->lock);
}

static void env_unlock(void *ctx)
{
	struct lsv_vf *vf = ctx;

	mutex_unlock(&vf->lock);
}

static int env_dma_read(void *ctx, uint64_t iova, void *buf, uint32_t len)
{
	struct lsv_vf *vf = ctx;

	return vfio_dma_rw(&vf->vdev, iova, buf, len, false);
}

static int env_dma_write(void *ctx, uint64_t iova, const void *buf, uint32_t len)
{
	struct lsv_vf *vf = ctx;

	lsv_dbg_transfer(vf);
	return vfio_dma_rw(&vf->vdev, iova, (void *)buf, len, true);
}

static void env_irq(void *ctx, uint32_t vector)
{
	lsv_irq_raise(ctx, vector);
}

static int env_p2p_write(void *ctx, uint32_t to, uint32_t from, uint64_t seq,
			 uint32_t offset, const void *buf, uint32_t len)
{
	lsv_dbg_transfer(ctx);
	return lsv_fabric_deliver(ctx, to, from, seq, offset, buf, len);
}

const struct lsm_env lsv_env = {
	.alloc = env_alloc,
	.free = env_free,
	.page_alloc = env_page_alloc,
	.page_free = env_page_free,
	.lock = env_lock,
	.unlock = env_unlock,
	.dma_read = env_dma_read,
	.dma_write = env_dma_write,
	.irq = env_irq,
	.p2p_write = env_p2p_write,
};

static void worker_pace(struct lsv_vf *vf, u64 *next)
{
	u32 rate = READ_ONCE(vf->rate);
	u64 now = ktime_get_ns();
	ktime_t until;

	if (!rate) {
		cond_resched();
		return;
	}
	*next += div_u64(NSEC_PER_SEC, rate);
	if (*next + LSV_CATCH_UP_NS < now)
		*next = now - LSV_CATCH_UP_NS;
	if (*next <= now) {
		cond_resched();
		return;
	}
	until = ns_to_ktime(*next);
	set_current_state(TASK_IDLE);
	if (!kthread_should_stop())
		schedule_hrtimeout_range(&until, 50 * NSEC_PER_USEC, HRTIMER_MODE_ABS);
	__set_current_state(TASK_RUNNING);
}

static int worker_main(void *data)
{
	struct lsv_vf *vf = data;
	u64 next = ktime_get_ns();

	while (!kthread_should_stop()) {
		if (lsm_engine_step(&vf->model)) {
			wake_up_all(&vf->idle_wq);
			worker_pace(vf, &next);
			continue;
		}
		wait_event_idle(vf->kick_wq, kthread_should_stop() ||
				xchg(&vf->kick, 0));
		next = ktime_get_ns();
	}
	return 0;
}

int lsv_worker_start(struct lsv_vf *vf)
{
	struct task_struct *t;

	t = kthread_create_on_node(worker_main, vf, dev_to_node(vf->pf->dev),
				   "lockstep-%u", vf->vdev.index);
	if (IS_ERR(t))
		return PTR_ERR(t);
	vf->worker = t;
	wake_up_process(t);
	return 0;
}

void lsv_worker_stop(struct lsv_vf *vf)
{
	if (vf->worker)
		kthread_stop(vf->worker);
	vf->worker = NULL;
}

void lsv_worker_kick(struct lsv_vf *vf)
{
	WRITE_ONCE(vf->kick, 1);
	wake_up(&vf->kick_wq);
}

void lsv_initiator_quiesce(struct lsv_vf *vf)
{
	mutex_lock(&vf->lock);
	lsm_set_initiator(&vf->model, false);
	mutex_unlock(&vf->lock);
	wait_event(vf->idle_wq, !READ_ONCE(vf->model.busy));
}
