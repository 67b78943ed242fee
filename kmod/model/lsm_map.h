/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The device as its guest sees it: what it is, the register map, descriptors. All
 * of it is little-endian.
 */
#ifndef LSM_MAP_H
#define LSM_MAP_H

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

#endif
