/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * lsm: the lockstep virtual device. This header is its contract, for the guest
 * (register map, descriptors), for migration (image, sessions, states) and for
 * the shell that hosts it (the kernel driver, the agent's sim).
 *
 * The model has no threads, locks or I/O of its own. "Locked" below means that
 * the caller holds the lock that env->lock() takes; every call is locked unless
 * its comment says otherwise. Errors are negative errno.
 */
#ifndef LSM_H
#define LSM_H

#include "lsm_port.h"

/* ---- what it is ------------------------------------------------------- */

#define LSM_PCI_VENDOR		0x1d55
#define LSM_PCI_REVISION	1
#define LSM_PAGE_SIZE		4096u
#define LSM_SLOTS		16u		/* places on one fabric */
#define LSM_NO_SLOT		0xffffffffu
#define LSM_VECTORS		8u
#define LSM_MEM_MIN		(1u << 20)	/* bytes; whole MiB */
#define LSM_MEM_MAX		(64u << 20)
#define LSM_RING_MAX		65536u		/* descriptors */
#define LSM_XFER_MAX		4096u		/* bytes moved by one descriptor */
#define LSM_FILL_MAX		(1u << 20)	/* bytes filled by one descriptor */

/* Migration flags and states carry the numbers of linux/vfio.h. */
#define LSM_MIG_STOP_COPY	1u
#define LSM_MIG_P2P		2u
#define LSM_MIG_PRE_COPY	4u

enum lsm_state {
	LSM_ERROR = 0,
	LSM_STOP = 1,
	LSM_RUNNING = 2,
	LSM_STOP_COPY = 3,
	LSM_RESUMING = 4,
	LSM_RUNNING_P2P = 5,
	LSM_PRE_COPY = 6,
	LSM_PRE_COPY_P2P = 7,
};

enum lsm_type {
	LSM_TYPE_STOPCOPY = 1,
	LSM_TYPE_P2P = 2,
	LSM_TYPE_FULL = 3,
};

struct lsm_type_info {
	enum lsm_type type;
	const char *name;	/* "stopcopy", "p2p", "full" */
	uint16_t pci_device;
	uint32_t mig_flags;
	uint32_t mem_size;	/* default, bytes */
};

/* NULL for an unknown type. Static storage. No lock. */
const struct lsm_type_info *lsm_type_info(uint32_t type);

/* ---- BAR0: registers, 4 KiB, little-endian ----------------------------- */
/*
 * Access is 4 or 8 bytes, naturally aligned; other accesses answer EINVAL.
 * Unassigned offsets read as zero and ignore writes. While the responder is
 * suspended (STOP and beyond) every read gives zeros and every write is lost.
 */
#define LSM_BAR0_SIZE		4096u

#define LSM_REG_MAGIC		0x000	/* ro 32: LSM_MAGIC */
#define LSM_REG_VERSION		0x004	/* ro 32: LSM_MAP_VERSION */
#define LSM_REG_TYPE		0x008	/* ro 32: enum lsm_type */
#define LSM_REG_SLOT		0x00c	/* ro 32: own fabric slot, LSM_NO_SLOT */
#define LSM_REG_MEM_SIZE	0x010	/* ro 32: bytes of local memory (BAR2) */
#define LSM_REG_CTRL		0x014	/* rw 32: LSM_CTRL_* */
#define LSM_REG_STATUS		0x018	/* ro 32: LSM_STATUS_* */
#define LSM_REG_VECTORS		0x01c	/* ro 32: LSM_VECTORS */
#define LSM_REG_RING_BASE	0x020	/* rw 64: IOVA of the ring, multiple of 8 */
#define LSM_REG_RING_SIZE	0x028	/* rw 32: descriptors, 1..LSM_RING_MAX */
#define LSM_REG_DOORBELL	0x02c	/* rw 32: descriptors produced, free running */
#define LSM_REG_CONSUMER	0x030	/* ro 32: descriptors consumed, free running */
#define LSM_REG_HEAD		0x034	/* ro 32: ring position fetched next */
#define LSM_REG_COMP_BASE	0x038	/* rw 64: IOVA of completion records, 0: none */
#define LSM_REG_DONE		0x040	/* ro 64: descriptors consumed since reset */
#define LSM_REG_STAMP		0x048	/* ro 64: stamp written next (starts at 1) */
#define LSM_REG_ERRORS		0x050	/* ro 32: descriptors that failed */
#define LSM_REG_LAST_ERROR	0x054	/* ro 32: enum lsm_status of the last one */
#define LSM_REG_IRQ_COUNT	0x080	/* ro 32 x 8: interrupts raised per vector */
/* Per peer slot, ro 64 x 16. Numbers start at 1. */
#define LSM_REG_TX_SEQ		0x100	/* number of the next write to that peer */
#define LSM_REG_RX_SEQ		0x180	/* number expected next from that peer */
#define LSM_REG_RX_GAP		0x200	/* first number that never came; 0: none */
#define LSM_REG_RX_OOO		0x280	/* writes whose number was not the expected */
#define LSM_REG_RX_COUNT	0x300	/* writes accepted from that peer */

#define LSM_MAGIC		0x314d534cu	/* "LSM1" */
#define LSM_MAP_VERSION		1u

/*
 * RING_BASE, RING_SIZE and COMP_BASE can be written only while ENABLE is clear.
 * Setting ENABLE clears HALTED. CYCLIC: the engine walks the ring for ever and
 * needs no doorbell, so that traffic flows while vCPUs are paused. Otherwise
 * it runs while CONSUMER != DOORBELL.
 */
#define LSM_CTRL_ENABLE		(1u << 0)
#define LSM_CTRL_CYCLIC		(1u << 1)
#define LSM_CTRL_MASK		(LSM_CTRL_ENABLE | LSM_CTRL_CYCLIC)

#define LSM_STATUS_BUSY		(1u << 0)	/* a descriptor is under way */
#define LSM_STATUS_HALTED	(1u << 1)	/* the ring could not be read */

/* ---- BAR2: the window = local memory, any size and alignment ------------ */

/* ---- descriptors: 32 bytes, little-endian, in guest RAM ----------------- */

#define LSM_DESC_SIZE		32u
/* 0x00 u8 op, 0x01 u8 flags, 0x02 u8 vector, 0x03 u8 peer slot */
/* 0x04 u32 len: bytes, 1..LSM_XFER_MAX (FILL: LSM_FILL_MAX)    */
/* 0x08 u64 iova: RAM address (DMA_WRITE, DMA_READ)             */
/* 0x10 u32 local: offset in local memory                       */
/* 0x14 u32 remote: offset in the peer's window (P2P_WRITE)     */
/* 0x18 u64 value: pattern (FILL)                               */

enum lsm_op {
	LSM_OP_NOP = 0,
	LSM_OP_P2P_WRITE = 1,	/* local memory -> peer's window, numbered */
	LSM_OP_DMA_WRITE = 2,	/* local memory -> RAM */
	LSM_OP_DMA_READ = 3,	/* RAM -> local memory */
	LSM_OP_FILL = 4,	/* pattern -> local memory */
};

#define LSM_DESC_COMPLETE	(1u << 0)	/* write a completion record */
#define LSM_DESC_IRQ		(1u << 1)	/* raise `vector` after that */
/*
 * The first 8 bytes moved are replaced: DMA_WRITE by STAMP, which then grows by
 * one (so does FILL, which adds it to the pattern), P2P_WRITE by the write's
 * number. len must be at least 8.
 */
#define LSM_DESC_STAMP		(1u << 2)
#define LSM_DESC_FLAGS		0x07u

enum lsm_status {
	LSM_OK = 0,
	LSM_BAD_DESC = 1,	/* op, flags, vector, peer or len */
	LSM_BAD_RANGE = 2,	/* outside local memory */
	LSM_DMA_FAULT = 3,
	LSM_NO_PEER = 4,	/* nobody in that slot; the number is used up */
	LSM_NO_MEMORY = 5,
};

/*
 * Completion record, 16 bytes at COMP_BASE + 16 * ring position, written after
 * the data and before the interrupt:
 * 0x00 u32 CONSUMER after this descriptor, 0x04 u32 status,
 * 0x08 u64 P2P_WRITE: its number; stamped: its stamp; else 0.
 */
#define LSM_COMP_SIZE		16u

static inline void lsm_desc_put(void *p, enum lsm_op op, uint32_t flags,
				uint32_t vector, uint32_t peer, uint32_t len,
				uint64_t iova, uint32_t local, uint32_t remote,
				uint64_t value)
{
	uint8_t *b = p;

	b[0] = (uint8_t)op;
	b[1] = (uint8_t)flags;
	b[2] = (uint8_t)vector;
	b[3] = (uint8_t)peer;
	lsm_put32(b + 4, len);
	lsm_put64(b + 8, iova);
	lsm_put32(b + 16, local);
	lsm_put32(b + 20, remote);
	lsm_put64(b + 24, value);
}

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

/* ---- image ---------------------------------------------------------------- */
/*
 * Little-endian, the same bytes whichever side produced them:
 *
 *   header, 64 bytes: u64 magic, u32 version, u32 type, u32 mem_size,
 *       u32 page_size, u32 slot, u32 pci_device, u32 required, u32 offered,
 *       u64 reserved[2] = 0, u64 digest of the 56 bytes before
 *   records, each a 24-byte head { u32 kind, u32 arg, u32 len, u32 zero,
 *       u64 digest of the 16 bytes before and the payload } and len bytes:
 *     ROUND  arg = 0, 1, ...; only before a page that does not ascend
 *     PAGE   arg = page number, 4096 bytes; ascending within a round
 *     ZERO   arg = page number, sent before and all zeros now
 *     REGS   struct lsm_regs as little-endian words; once, after all pages
 *     END    u64 bytes before this record, u64 chain: digest of the digests
 *
 * Pages of zeros are left out. The digest is lsm_digest(): a 64-bit
 * multiply-rotate hash over 8-byte words, each step a bijection of state and
 * word, so that damage confined to one word never goes unnoticed.
 *
 * `required` and `offered` are features, one bit each, for later use: a reader
 * refuses a required one that it does not know, and passes over an offered one.
 * Version 1 had neither (zero). A reader takes its own version and the one before.
 */
#define LSM_IMAGE_MAGIC		0x474d4956444b534cull	/* "LSKDVIMG" */
#define LSM_IMAGE_VERSION	2u
#define LSM_IMAGE_OLDEST	(LSM_IMAGE_VERSION - 1)
#define LSM_IMAGE_FEATURES	0u		/* that this reader knows */
#define LSM_IMAGE_HEADER	64u
#define LSM_RECORD_HEAD		24u
#define LSM_RECORD_PAGE		(LSM_RECORD_HEAD + LSM_PAGE_SIZE)
#define LSM_ROUNDS_MAX		65536u

enum lsm_record {
	LSM_REC_ROUND = 1,
	LSM_REC_PAGE = 2,
	LSM_REC_ZERO = 3,
	LSM_REC_REGS = 4,
	LSM_REC_END = 5,
};

/* len is a multiple of 8. Pure. */
uint64_t lsm_digest(uint64_t seed, const void *buf, uint32_t len);

/*
 * Bytes that STOP_COPY would deliver from now on: the rest of an open saving
 * session, else the whole image. An upper bound by the pages that are zeros.
 */
uint64_t lsm_image_size(const struct lsm_dev *d);

/*
 * "<vendor>-<device>-<type>-<image version>.<MiB>": what is read at the source and
 * written at the destination to ask whether an image will be taken. `image` is the
 * version that the writer speaks (LSM_IMAGE_VERSION; tests pretend). Pure.
 */
#define LSM_VERSION_MAX		32u		/* with the final 0 */
void lsm_version_print(const struct lsm_type_info *info, uint32_t image,
		       uint32_t mem_size, char *buf);
/*
 * 0: compatible. EINVAL wrong format (one newline may follow), ENODEV other
 * hardware, EMEDIUMTYPE other type, EOPNOTSUPP image version newer than `image` or
 * older than the one before it, EFBIG memory size (mem_size 0: any will do).
 */
int lsm_version_check(const struct lsm_type_info *info, uint32_t image,
		      uint32_t mem_size, const char *text);

/* ---- saving session --------------------------------------------------------- */

#define LSM_SAVE_BUF	(64u << 10)

struct lsm_save {
	struct lsm_dev *d;
	uint32_t epoch;
	bool final;		/* the device is stopped: to the end */
	bool header_sent, initial_sent, ended;
	bool pass;		/* a sweep over the pages is under way */
	bool armed;		/* another may begin while pre-copying */
	bool page_sent;		/* this sweep has sent something */
	uint32_t round, cursor;
	uint32_t n_dirty, n_initial;
	uint64_t *dirty, *initial, *sent;	/* one bit per page */
	uint64_t total, chain;
	uint8_t *buf;		/* staged bytes: [pos, len) */
	uint32_t pos, len;
};

/*
 * One session at a time per device; `s` is the caller's, and must stay until
 * lsm_save_end(). precopy: the device runs on and its dirty pages are tracked.
 * 0, EBUSY, ENOMEM.
 */
int lsm_save_begin(struct lsm_save *s, struct lsm_dev *d, bool precopy);
/* The device has stopped: what is left and the registers may go out. */
void lsm_save_final(struct lsm_save *s);
/* Idempotent. */
void lsm_save_end(struct lsm_save *s);
/*
 * Stages bytes if none are. > 0: that many wait at s->buf + s->pos; take some
 * and call lsm_save_consume(). 0: end of state. ENOMSG: nothing for now (only
 * while pre-copying; a new round begins after lsm_save_info()). ENODEV: the
 * device was reset. Staged bytes may be copied out, and consumed, without the
 * lock.
 */
int lsm_save_fill(struct lsm_save *s);
void lsm_save_consume(struct lsm_save *s, uint32_t n);
/* Would lsm_save_fill() answer anything but ENOMSG? */
bool lsm_save_ready(const struct lsm_save *s);
/*
 * Bytes still to be read while pre-copying, and permission for the next round.
 * EINVAL once final.
 */
int lsm_save_info(struct lsm_save *s, uint64_t *ret_initial, uint64_t *ret_dirty);

/* ---- resuming session -------------------------------------------------------- */

#define LSM_LOAD_BUF	(LSM_RECORD_HEAD + LSM_PAGE_SIZE)

struct lsm_load {
	struct lsm_dev *d;
	int error;		/* sticky */
	uint32_t stage, have, need;
	uint32_t kind, arg, len;
	bool round_open, ended, regs_seen;
	uint32_t round;
	uint32_t next_page;	/* lowest page number allowed now */
	uint64_t total, chain;
	void **pages;
	uint32_t touched;
	struct lsm_regs r;
	uint8_t *buf;
};

/* 0, ENOMEM. Nothing of the device changes before lsm_load_commit(). */
int lsm_load_begin(struct lsm_load *l, struct lsm_dev *d);
/*
 * Takes bytes in any segmentation. NOT locked; one caller at a time. Errors are
 * sticky: EINVAL magic or header, EOPNOTSUPP version or required feature,
 * EMEDIUMTYPE type, EFBIG memory or page size, EXDEV slot, EBADMSG digest, EPROTO record out of place,
 * range or order, E2BIG bytes after the end, ENOMEM.
 */
int lsm_load_feed(struct lsm_load *l, const void *buf, size_t len);
/*
 * EINVAL: nothing was fed; ENODATA: the end is missing; or the sticky error.
 * On success the device holds the image's state; its flags (initiator, ...) stay.
 */
int lsm_load_commit(struct lsm_load *l);
/* Idempotent; frees what was not committed. */
void lsm_load_end(struct lsm_load *l);

#endif
