/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lockstep_vdev: a mediated VFIO driver for the virtual devices of model/.
 *
 * A parent ("PF") owns the command channel; its functions ("VF", one per mdev)
 * migrate only by commands that the parent executes for them.
 *
 * Lock order, outermost first:
 *   pf->vf_lock		list of functions
 *   vf->state_mutex		migration state, sessions, open
 *   pf->cmd_sem		read: a command; write: parent reset
 *   migf->lock			one session
 *   vf->lock			the model: registers, memory, config space
 *   vf->irq_lock, vf->reset_lock, pf->users_lock	spinlocks, leaves
 *
 * The parent's reset holds cmd_sem for writing when it reaches the functions, so
 * it must not wait for a state_mutex there: see lsv_vf_reset_done().
 *
 * migf->io_lock keeps the users of one data_fd apart. It is held while their memory
 * is touched, which may wait for them: no other lock is held there, and none of the
 * above is taken before it. So no user can hold up a reset.
 *
 * A peer's vf->lock is taken with no lock of one's own held, under SRCU that
 * keeps the peer on its fabric.
 */
#ifndef LSV_H
#define LSV_H

#include <linux/list.h>
#include <linux/mdev.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/vfio.h>
#include <linux/wait.h>

#include "compat.h"
#include "model/lsm.h"

#define LSV_STATES		8
#define LSV_CONFIG_SIZE		256
#define LSV_RATE_DEFAULT	1000		/* descriptors per second */
#define LSV_RATE_MAX		1000000
#define LSV_LATENCY_MAX_MS	60000
#define LSV_TRANSFER_MAX_MS	60000
#define LSV_NTYPES		3

struct lsv_fabric;
struct lsv_vf;

struct lsv_pf {
	struct device *dev;
	struct mdev_parent parent;
	struct mdev_type types[LSV_NTYPES];
	struct mdev_type *type_ptrs[LSV_NTYPES];

	spinlock_t users_lock;
	unsigned int users;		/* between get and put */
	bool going;
	wait_queue_head_t users_wq;

	struct rw_semaphore cmd_sem;
	struct mutex vf_lock;
	struct list_head vfs;
	struct dentry *dbg_dir;
};

/* One data_fd. The function holds a reference on filp until it disables it. */
struct lsv_migf {
	struct file *filp;
	struct mutex io_lock;
	void *bounce;			/* one page; io_lock */
	struct mutex lock;
	struct lsv_vf *vf;
	bool disabled;
	u64 next_ns;			/* throttle: not before */
	wait_queue_head_t wq;
	union {
		struct lsm_save save;
		struct lsm_load load;
	};
};

/* What tests may ask for. Read without a lock, each word on its own. */
struct lsv_dbg {
	struct dentry *dir;
	wait_queue_head_t wq;			/* a latency changed */
	u32 now;				/* under way: LSV_NOW_*, 0: nothing */
	u32 latency_ms[LSV_STATES][LSV_STATES];
	u32 fail[LSV_STATES][LSV_STATES];	/* errno | LSV_FAIL_* */
	u64 arc_count[LSV_STATES][LSV_STATES];
	u64 arc_us[LSV_STATES][LSV_STATES];	/* the last one took */
	u64 save_rate, load_rate;		/* bytes per second, 0: no limit */
	u32 transfer_ms;
	u32 quirks;
};

#define LSV_NOW_RESET		1
#define LSV_NOW_ARC(from, to)	(2 + (from) * LSV_STATES + (to))

#define LSV_FAIL_STICKY		BIT(16)
#define LSV_FAIL_TO_ERROR	BIT(17)

#define LSV_QUIRK_KEEP_STATE	BIT(0)	/* state and memory survive a close */
#define LSV_QUIRK_READ_ZERO	BIT(1)	/* PRE_COPY: 0 instead of ENOMSG */
#define LSV_QUIRK_NO_DATA_SIZE	BIT(2)	/* MIG_DATA_SIZE answers ENOTTY */
#define LSV_QUIRK_POLL		BIT(3)	/* a new data_fd can be polled */

struct lsv_vf {
	struct vfio_device vdev;	/* first: vfio_alloc_device() */
	struct lsv_pf *pf;
	struct mdev_device *mdev;
	const struct lsm_type_info *info;
	struct list_head node;

	struct mutex state_mutex;
	u32 state;
	bool open;
	struct lsv_migf *saving, *resuming;
	spinlock_t reset_lock;
	bool deferred_reset;

	struct mutex lock;
	struct lsm_dev model;
	u8 config[LSV_CONFIG_SIZE];
	struct mem_cgroup *memcg;	/* charged for memory, while open */

	spinlock_t irq_lock;
	struct eventfd_ctx *irq[LSM_VECTORS];

	struct task_struct *worker;
	wait_queue_head_t kick_wq, idle_wq;
	int kick;
	u32 rate;

	u32 fabric_id;			/* 0: none */
	s32 slot;			/* -1: none */
	struct lsv_fabric *fabric;	/* while open */

	struct lsv_dbg dbg;
};

static inline struct lsv_vf *lsv_vf_of(struct vfio_device *vdev)
{
	return container_of(vdev, struct lsv_vf, vdev);
}

/* parent.c: the PF, its life, and what keeps it alive */
extern struct mdev_driver lsv_mdev_driver;
bool lsv_pf_get(struct lsv_pf *pf);	/* false: going away */
void lsv_pf_put(struct lsv_pf *pf);
void lsv_pf_disable(struct lsv_pf *pf);
void lsv_pf_enable(struct lsv_pf *pf);
void lsv_pf_add_vf(struct lsv_pf *pf, struct lsv_vf *vf);
void lsv_pf_del_vf(struct lsv_pf *pf, struct lsv_vf *vf);

/* cmd.c: the command channel; state_mutex held; ENOTCONN without a parent */
int lsv_cmd_suspend_initiator(struct lsv_vf *vf);
int lsv_cmd_suspend_responder(struct lsv_vf *vf);
int lsv_cmd_resume_initiator(struct lsv_vf *vf);
int lsv_cmd_resume_responder(struct lsv_vf *vf);
int lsv_cmd_query(struct lsv_vf *vf, u64 *ret_size);
int lsv_cmd_save(struct lsv_vf *vf, struct lsm_save *s, bool precopy);
int lsv_cmd_save_final(struct lsv_vf *vf, struct lsv_migf *migf);
int lsv_cmd_load_begin(struct lsv_vf *vf, struct lsm_load *l);
int lsv_cmd_load(struct lsv_vf *vf, struct lsv_migf *migf);

/* mig.c: states */
extern const struct vfio_migration_ops lsv_mig_ops;
void lsv_state_unlock(struct lsv_vf *vf);
int lsv_vf_reset(struct lsv_vf *vf);	/* takes state_mutex; ENOTCONN */
void lsv_vf_reset_locked(struct lsv_vf *vf);
void lsv_vf_reset_done(struct lsv_vf *vf);	/* cmd_sem held for writing */
void lsv_vf_detach(struct lsv_vf *vf);		/* the parent is going away */

/* migf.c: data_fd */
struct lsv_migf *lsv_migf_save(struct lsv_vf *vf, bool precopy);
struct lsv_migf *lsv_migf_resume(struct lsv_vf *vf);
void lsv_disable_fds(struct lsv_vf *vf);	/* state_mutex held */

/* engine.c: environment of the model, worker */
extern const struct lsm_env lsv_env;
int lsv_worker_start(struct lsv_vf *vf);
void lsv_worker_stop(struct lsv_vf *vf);
void lsv_worker_kick(struct lsv_vf *vf);
void lsv_initiator_quiesce(struct lsv_vf *vf);	/* suspends and waits */

/* irq.c */
void lsv_irq_raise(struct lsv_vf *vf, u32 vector);
void lsv_irq_release(struct lsv_vf *vf);
int lsv_irq_ioctl(struct lsv_vf *vf, unsigned long arg);
unsigned int lsv_irq_count(u32 index);

/* config.c: vf->lock held */
void lsv_config_init(struct lsv_vf *vf);
void lsv_config_write(struct lsv_vf *vf, u32 off, const u8 *buf, u32 len);

/* fabric.c */
int lsv_fabric_join(struct lsv_vf *vf);
void lsv_fabric_leave(struct lsv_vf *vf);
int lsv_fabric_deliver(struct lsv_vf *vf, u32 to, u32 from, u64 seq, u32 off,
		       const void *buf, u32 len);

/* vdev.c */
extern const struct vfio_device_ops lsv_vfio_ops;

/* sysfs.c, version.c, dbg.c */
extern const struct attribute_group *lsv_vf_groups[];
extern const struct attribute_group *lsv_pf_groups[];
ssize_t lsv_version_show(const struct lsm_type_info *info, u32 mem_size, char *buf);
/* mem_size 0: any */
int lsv_version_check(const struct lsm_type_info *info, u32 mem_size, const char *buf);
void lsv_dbg_init_vf(struct lsv_vf *vf);
void lsv_dbg_init(void);
void lsv_dbg_exit(void);
void lsv_dbg_add_pf(struct lsv_pf *pf);
void lsv_dbg_del_pf(struct lsv_pf *pf);
void lsv_dbg_add(struct lsv_vf *vf);
void lsv_dbg_del(struct lsv_vf *vf);
void lsv_dbg_transfer(struct lsv_vf *vf);	/* sleeps as long as asked for */
/* Sleeps, and answers 0 or the errno asked for; *ret_to_error: and go to ERROR. */
int lsv_dbg_arc(struct lsv_vf *vf, u32 cur, u32 next, bool *ret_to_error);

#endif
