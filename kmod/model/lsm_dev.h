/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The device as the shell hosts it: life, accesses, engine, states. */
#ifndef LSM_DEV_H
#define LSM_DEV_H

#include "lsm_map.h"

/* ---- the shell's side --------------------------------------------------- */

/* `ctx` is the one given to lsm_dev_init(). */
struct lsm_env {
	/* Zeroed memory, or NULL. Called locked or before the device is shared. */
	void *(*alloc)(void *ctx, size_t size);
	void (*free)(void *ctx, void *p, size_t size);
	void *(*page_alloc)(void *ctx);		/* LSM_PAGE_SIZE, zeroed */
	void (*page_free)(void *ctx, void *page);

	/* The device's lock; taken and released by lsm_engine_step() only. */
	void (*lock)(void *ctx);
	void (*unlock)(void *ctx);

	/* Called with no lock held, from lsm_engine_step() only. */
	int (*dma_read)(void *ctx, uint64_t iova, void *buf, uint32_t len);
	int (*dma_write)(void *ctx, uint64_t iova, const void *buf, uint32_t len);
	void (*irq)(void *ctx, uint32_t vector);
	/*
	 * Finds the device in slot `to` of the same fabric and calls its
	 * lsm_p2p_receive() under its lock. Negative: nobody is there.
	 */
	int (*p2p_write)(void *ctx, uint32_t to, uint32_t from, uint64_t seq,
			 uint32_t offset, const void *buf, uint32_t len);
};

/* What the guest can see and an image carries; 64-bit words without padding. */
struct lsm_regs {
	uint64_t ctrl, status, ring_base, ring_size, doorbell, consumer;
	uint64_t head, comp_base, done, stamp, errors, last_error;
	uint64_t irq_count[LSM_VECTORS];
	uint64_t tx_seq[LSM_SLOTS], rx_seq[LSM_SLOTS], rx_gap[LSM_SLOTS];
	uint64_t rx_ooo[LSM_SLOTS], rx_count[LSM_SLOTS];
	uint64_t reserved[4];		/* zero */
};

/* The descriptor under way. */
struct lsm_work {
	uint32_t op, flags, vector, peer, len, local, remote, status;
	uint32_t position, consumer;
	uint64_t iova, value, number, ring_base, comp_base;
	uint32_t slot, epoch;
	uint8_t desc[LSM_DESC_SIZE];
	uint8_t data[LSM_XFER_MAX];
};

struct lsm_save;

/* Host-side numbers, invisible to the guest; not migrated. */
struct lsm_stats {
	uint64_t rx_dropped;	/* P2P writes lost because the device was stopped */
	uint64_t mmio_dropped;	/* register and window writes lost likewise */
	uint64_t rx_outside;	/* P2P writes beyond the window */
};

struct lsm_dev {
	const struct lsm_env *env;
	void *ctx;
	const struct lsm_type_info *info;
	uint32_t slot, mem_size, npages;
	uint32_t touched;		/* pages that exist */
	bool initiator, responder;	/* enabled? */
	bool memory, busmaster;		/* PCI command register */
	bool busy;			/* lsm_engine_step() is under way */
	uint32_t epoch;			/* grows with every reset and load */
	struct lsm_regs r;
	struct lsm_stats stats;
	void **pages;			/* NULL: all zeros */
	struct lsm_save *save;		/* session that tracks dirty pages */
	struct lsm_work *work;
};

/* 0, EINVAL (type, size), ENOMEM. The device comes up as after reset. No lock. */
int lsm_dev_init(struct lsm_dev *d, uint32_t type, uint32_t mem_size,
		 const struct lsm_env *env, void *ctx);
/* Also for a zeroed or half-built device. No lock, engine stopped. */
void lsm_dev_free(struct lsm_dev *d);
/*
 * Registers, counters and memory as new, initiator and responder enabled,
 * memory and bus-master bits off; slot and stats stay. A descriptor under way
 * ends without effect on the device. Sessions must have been ended.
 */
void lsm_dev_reset(struct lsm_dev *d);
/* Set by the host before the guest has the device. */
void lsm_dev_set_slot(struct lsm_dev *d, uint32_t slot);
/* The PCI command register's bits: decode of windows, and DMA, P2P included. */
void lsm_dev_set_command(struct lsm_dev *d, bool memory, bool busmaster);

/*
 * Suspending the initiator lets no new descriptor begin; the shell must then
 * wait until lsm_engine_busy() is false before it calls the device suspended.
 * Suspending the responder makes MMIO and P2P writes fall on deaf ears.
 */
void lsm_set_initiator(struct lsm_dev *d, bool enabled);
void lsm_set_responder(struct lsm_dev *d, bool enabled);

/* EINVAL: size, alignment or range. */
int lsm_regs_read(struct lsm_dev *d, uint32_t off, void *buf, uint32_t len);
int lsm_regs_write(struct lsm_dev *d, uint32_t off, const void *buf, uint32_t len);
int lsm_window_read(struct lsm_dev *d, uint32_t off, void *buf, uint32_t len);
int lsm_window_write(struct lsm_dev *d, uint32_t off, const void *buf, uint32_t len);

/*
 * A numbered write arrives from slot `from`. Accepted: 0. Lost (responder or
 * memory decode off, beyond the window): also 0, for posted writes tell nobody.
 */
int lsm_p2p_receive(struct lsm_dev *d, uint32_t from, uint64_t seq,
		    uint32_t off, const void *buf, uint32_t len);

bool lsm_engine_ready(const struct lsm_dev *d);	/* would a step do something? */
bool lsm_engine_busy(const struct lsm_dev *d);
/*
 * Carries out one descriptor from start to end. NOT locked; one caller at a
 * time; takes and releases the lock through env. 1: did one, 0: nothing to do.
 */
int lsm_engine_step(struct lsm_dev *d);

/* ---- migration states ---------------------------------------------------- */

/*
 * First state on the way from cur to new for a device with these flags, or
 * EINVAL: ERROR on either side, states that the flags exclude, values unknown,
 * STOP_COPY -> PRE_COPY*. cur == new gives cur. Pure.
 */
int lsm_fsm_next(uint32_t mig_flags, uint32_t cur, uint32_t new_state);

/*
 * What one arc does, as bits. Carried out from the lowest bit upwards.
 * 0: not an arc of a device with these flags. Pure.
 */
#define LSM_DO_SUSPEND_INITIATOR	(1u << 0)  /* and wait for outstanding work */
#define LSM_DO_SUSPEND_RESPONDER	(1u << 1)
#define LSM_DO_SAVE_END			(1u << 2)  /* disable the saving data_fd */
#define LSM_DO_SAVE_BEGIN		(1u << 3)  /* new data_fd, stopped device */
#define LSM_DO_PRECOPY_BEGIN		(1u << 4)  /* new data_fd, running device */
#define LSM_DO_SAVE_FINAL		(1u << 5)  /* the open session's last part */
#define LSM_DO_LOAD_BEGIN		(1u << 6)  /* new data_fd to write to */
#define LSM_DO_LOAD_COMMIT		(1u << 7)  /* check, believe, disable fd */
#define LSM_DO_RESUME_RESPONDER		(1u << 8)
#define LSM_DO_RESUME_INITIATOR		(1u << 9)
uint32_t lsm_arc_actions(uint32_t mig_flags, uint32_t cur, uint32_t next);

#endif
