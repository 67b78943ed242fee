// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* BAR0: what each offset reads as, and the few that can be written. */
#include "lsm_priv.h"

static const uint64_t *lsm_per_slot(const struct lsm_dev *d, uint32_t off)
{
	uint32_t i = off % 0x80 / 8;

	switch (off & ~0x7fu) {
	case LSM_REG_TX_SEQ:
		return &d->r.tx_seq[i];
	case LSM_REG_RX_SEQ:
		return &d->r.rx_seq[i];
	case LSM_REG_RX_GAP:
		return &d->r.rx_gap[i];
	case LSM_REG_RX_OOO:
		return &d->r.rx_ooo[i];
	case LSM_REG_RX_COUNT:
		return &d->r.rx_count[i];
	default:
		return NULL;
	}
}

/* The 32 bits at off, which is a multiple of 4. */
static uint32_t lsm_reg32(const struct lsm_dev *d, uint32_t off)
{
	const struct lsm_regs *r = &d->r;
	const uint64_t *slot = lsm_per_slot(d, off & ~7u);
	uint32_t shift = off & 4 ? 32 : 0;

	if (slot)
		return (uint32_t)(*slot >> shift);
	if (off >= LSM_REG_IRQ_COUNT && off < LSM_REG_IRQ_COUNT + 4 * LSM_VECTORS)
		return (uint32_t)r->irq_count[(off - LSM_REG_IRQ_COUNT) / 4];

	switch (off) {
	case LSM_REG_MAGIC:
		return LSM_MAGIC;
	case LSM_REG_VERSION:
		return LSM_MAP_VERSION;
	case LSM_REG_TYPE:
		return d->info->type;
	case LSM_REG_SLOT:
		return d->slot;
	case LSM_REG_MEM_SIZE:
		return d->mem_size;
	case LSM_REG_CTRL:
		return (uint32_t)r->ctrl;
	case LSM_REG_STATUS:
		return (uint32_t)r->status | (d->busy ? LSM_STATUS_BUSY : 0);
	case LSM_REG_VECTORS:
		return LSM_VECTORS;
	case LSM_REG_RING_BASE:
	case LSM_REG_RING_BASE + 4:
		return (uint32_t)(r->ring_base >> shift);
	case LSM_REG_RING_SIZE:
		return (uint32_t)r->ring_size;
	case LSM_REG_DOORBELL:
		return (uint32_t)r->doorbell;
	case LSM_REG_CONSUMER:
		return (uint32_t)r->consumer;
	case LSM_REG_HEAD:
		return (uint32_t)r->head;
	case LSM_REG_COMP_BASE:
	case LSM_REG_COMP_BASE + 4:
		return (uint32_t)(r->comp_base >> shift);
	case LSM_REG_DONE:
	case LSM_REG_DONE + 4:
		return (uint32_t)(r->done >> shift);
	case LSM_REG_STAMP:
	case LSM_REG_STAMP + 4:
		return (uint32_t)(r->stamp >> shift);
	case LSM_REG_ERRORS:
		return (uint32_t)r->errors;
	case LSM_REG_LAST_ERROR:
		return (uint32_t)r->last_error;
	default:
		return 0;
	}
}

static void lsm_put_half(uint64_t *reg, uint32_t off, uint32_t v)
{
	if (off & 4)
		*reg = (*reg & 0xffffffffull) | (uint64_t)v << 32;
	else
		*reg = (*reg & ~0xffffffffull) | v;
}

static void lsm_reg32_write(struct lsm_dev *d, uint32_t off, uint32_t v)
{
	struct lsm_regs *r = &d->r;
	bool enabled = r->ctrl & LSM_CTRL_ENABLE;

	switch (off) {
	case LSM_REG_CTRL:
		r->ctrl = v & LSM_CTRL_MASK;
		if (v & LSM_CTRL_ENABLE)
			r->status &= ~(uint64_t)LSM_STATUS_HALTED;
		break;
	case LSM_REG_DOORBELL:
		r->doorbell = v;
		break;
	case LSM_REG_RING_BASE:
	case LSM_REG_RING_BASE + 4:
		if (!enabled)
			lsm_put_half(&r->ring_base, off, off & 4 ? v : v & ~7u);
		break;
	case LSM_REG_RING_SIZE:
		if (!enabled && v <= LSM_RING_MAX) {
			r->ring_size = v;
			r->head = 0;
		}
		break;
	case LSM_REG_COMP_BASE:
	case LSM_REG_COMP_BASE + 4:
		if (!enabled)
			lsm_put_half(&r->comp_base, off, v);
		break;
	default:
		break;
	}
}

static bool lsm_reg_access_ok(uint32_t off, uint32_t len)
{
	return (len == 4 || len == 8) && off % len == 0 &&
	       off <= LSM_BAR0_SIZE - len;
}

int lsm_regs_read(struct lsm_dev *d, uint32_t off, void *buf, uint32_t len)
{
	uint32_t i;

	if (!lsm_reg_access_ok(off, len))
		return -EINVAL;
	for (i = 0; i < len; i += 4)
		lsm_put32((uint8_t *)buf + i,
			  d->responder ? lsm_reg32(d, off + i) : 0);
	return 0;
}

int lsm_regs_write(struct lsm_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	uint32_t i;

	if (!lsm_reg_access_ok(off, len))
		return -EINVAL;
	if (!d->responder) {
		d->stats.mmio_dropped++;
		return 0;
	}
	for (i = 0; i < len; i += 4)
		lsm_reg32_write(d, off + i,
				lsm_get32((const uint8_t *)buf + i));
	return 0;
}
