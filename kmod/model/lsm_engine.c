// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The DMA engine. A descriptor goes through
 *
 *   begin  locked    may the engine run? note where the descriptor lies
 *   fetch            read it from RAM
 *   parse  locked    check it, number it, copy local memory out
 *   move             DMA or P2P delivery
 *   finish locked    copy into local memory, count
 *   notify           completion record, interrupt
 *   end    locked    no longer outstanding
 *
 * so that nothing outside the device is touched while its lock is held.
 */
#include "lsm_priv.h"

bool lsm_engine_ready(const struct lsm_dev *d)
{
	const struct lsm_regs *r = &d->r;

	return d->initiator && d->busmaster && !d->busy &&
	       (r->ctrl & LSM_CTRL_ENABLE) && !(r->status & LSM_STATUS_HALTED) &&
	       r->ring_size &&
	       ((r->ctrl & LSM_CTRL_CYCLIC) || r->consumer != r->doorbell);
}

bool lsm_engine_busy(const struct lsm_dev *d)
{
	return d->busy;
}

static bool lsm_begin(struct lsm_dev *d, struct lsm_work *w)
{
	if (!lsm_engine_ready(d))
		return false;
	d->busy = true;
	w->epoch = d->epoch;
	w->slot = d->slot;
	w->position = (uint32_t)d->r.head;
	w->ring_base = d->r.ring_base;
	w->comp_base = d->r.comp_base;
	w->number = 0;
	w->status = LSM_OK;
	return true;
}

static uint32_t lsm_check(const struct lsm_dev *d, const struct lsm_work *w)
{
	uint32_t max = w->op == LSM_OP_FILL ? LSM_FILL_MAX : LSM_XFER_MAX;

	if (w->op > LSM_OP_FILL || w->flags & ~LSM_DESC_FLAGS ||
	    w->vector >= LSM_VECTORS)
		return LSM_BAD_DESC;
	if (w->op == LSM_OP_NOP)
		return LSM_OK;
	if (!w->len || w->len > max || (w->flags & LSM_DESC_STAMP && w->len < 8))
		return LSM_BAD_DESC;
	if (w->op == LSM_OP_P2P_WRITE &&
	    (w->peer >= LSM_SLOTS || w->slot == LSM_NO_SLOT || w->peer == w->slot))
		return LSM_BAD_DESC;
	if (!lsm_in_mem(d, w->local, w->len))
		return LSM_BAD_RANGE;
	return LSM_OK;
}

static void lsm_parse(struct lsm_dev *d, struct lsm_work *w)
{
	const uint8_t *b = w->desc;

	w->op = b[0];
	w->flags = b[1];
	w->vector = b[2];
	w->peer = b[3];
	w->len = lsm_get32(b + 4);
	w->iova = lsm_get64(b + 8);
	w->local = lsm_get32(b + 16);
	w->remote = lsm_get32(b + 20);
	w->value = lsm_get64(b + 24);

	w->status = lsm_check(d, w);
	if (w->status != LSM_OK)
		return;

	if (w->op == LSM_OP_P2P_WRITE)
		w->number = d->r.tx_seq[w->peer]++;
	else if (w->flags & LSM_DESC_STAMP &&
		 (w->op == LSM_OP_DMA_WRITE || w->op == LSM_OP_FILL))
		w->number = d->r.stamp++;

	if (w->op == LSM_OP_P2P_WRITE || w->op == LSM_OP_DMA_WRITE) {
		lsm_mem_read(d, w->local, w->data, w->len);
		if (w->flags & LSM_DESC_STAMP)
			lsm_put64(w->data, w->number);
	}
}

static void lsm_move(struct lsm_dev *d, struct lsm_work *w)
{
	const struct lsm_env *env = d->env;

	switch (w->op) {
	case LSM_OP_P2P_WRITE:
		if (env->p2p_write(d->ctx, w->peer, w->slot, w->number,
				   w->remote, w->data, w->len))
			w->status = LSM_NO_PEER;
		break;
	case LSM_OP_DMA_WRITE:
		if (env->dma_write(d->ctx, w->iova, w->data, w->len))
			w->status = LSM_DMA_FAULT;
		break;
	case LSM_OP_DMA_READ:
		if (env->dma_read(d->ctx, w->iova, w->data, w->len))
			w->status = LSM_DMA_FAULT;
		break;
	default:
		break;
	}
}

static void lsm_finish(struct lsm_dev *d, struct lsm_work *w)
{
	struct lsm_regs *r = &d->r;
	int rc = 0;

	if (w->status == LSM_OK && w->op == LSM_OP_DMA_READ)
		rc = lsm_mem_write(d, w->local, w->data, w->len);
	else if (w->status == LSM_OK && w->op == LSM_OP_FILL)
		rc = lsm_mem_fill(d, w->local, w->len, w->value + w->number);
	if (rc)
		w->status = LSM_NO_MEMORY;

	if (w->status != LSM_OK) {
		r->errors = (uint32_t)(r->errors + 1);
		r->last_error = w->status;
	}
	if (++r->head >= r->ring_size)
		r->head = 0;
	r->consumer = (uint32_t)(r->consumer + 1);
	r->done++;
	w->consumer = (uint32_t)r->consumer;
	if (w->flags & LSM_DESC_IRQ && w->vector < LSM_VECTORS)
		r->irq_count[w->vector] = (uint32_t)(r->irq_count[w->vector] + 1);
}

static void lsm_notify(struct lsm_dev *d, struct lsm_work *w)
{
	uint8_t record[LSM_COMP_SIZE];

	if (w->flags & LSM_DESC_COMPLETE && w->comp_base) {
		lsm_put32(record, w->consumer);
		lsm_put32(record + 4, w->status);
		lsm_put64(record + 8, w->number);
		if (d->env->dma_write(d->ctx, w->comp_base +
				      (uint64_t)LSM_COMP_SIZE * w->position,
				      record, sizeof(record)))
			w->status = LSM_DMA_FAULT;
	}
	if (w->flags & LSM_DESC_IRQ && w->vector < LSM_VECTORS)
		d->env->irq(d->ctx, w->vector);
}

/* Relocks; false when the device was reset or loaded meanwhile. */
static bool lsm_relock(struct lsm_dev *d, const struct lsm_work *w)
{
	d->env->lock(d->ctx);
	return w->epoch == d->epoch;
}

int lsm_engine_step(struct lsm_dev *d)
{
	const struct lsm_env *env = d->env;
	struct lsm_work *w = d->work;
	bool began;
	int rc;

	env->lock(d->ctx);
	began = lsm_begin(d, w);
	env->unlock(d->ctx);
	if (!began)
		return 0;

	rc = env->dma_read(d->ctx, w->ring_base +
			   (uint64_t)LSM_DESC_SIZE * w->position,
			   w->desc, LSM_DESC_SIZE);
	if (!lsm_relock(d, w))
		goto end;
	if (rc) {
		d->r.status |= LSM_STATUS_HALTED;
		d->r.last_error = LSM_DMA_FAULT;
		d->r.errors = (uint32_t)(d->r.errors + 1);
		goto end;
	}
	lsm_parse(d, w);
	env->unlock(d->ctx);

	if (w->status == LSM_OK)
		lsm_move(d, w);

	if (!lsm_relock(d, w))
		goto end;
	lsm_finish(d, w);
	env->unlock(d->ctx);

	lsm_notify(d, w);

	env->lock(d->ctx);
end:
	d->busy = false;
	env->unlock(d->ctx);
	return 1;
}
