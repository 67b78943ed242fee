// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/lsm_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static bool alloc_refused(struct host *h)
{
	return ++h->allocs == h->fail_alloc_at;
}

static void *h_alloc(void *ctx, size_t size)
{
	return alloc_refused(ctx) ? NULL : calloc(1, size);
}

static void h_free(void *ctx, void *p, size_t size)
{
	free(p);
}

static void *h_page_alloc(void *ctx)
{
	return alloc_refused(ctx) ? NULL : calloc(1, LSM_PAGE_SIZE);
}

static void h_page_free(void *ctx, void *p)
{
	free(p);
}

static void h_lock(void *ctx)
{
	assert_int_equal(((struct host *)ctx)->locked++, 0);
}

static void h_unlock(void *ctx)
{
	assert_int_equal(--((struct host *)ctx)->locked, 0);
}

static int h_dma(struct host *h, uint64_t iova, void *buf, uint32_t len, bool write)
{
	assert_int_equal(h->locked, 0);
	if (h->reset_on_dma)
		lsm_dev_reset(&h->reset_on_dma->d);
	if (iova > RAM_SIZE || len > RAM_SIZE - iova)
		return -EFAULT;
	if (write)
		memcpy(h->ram + iova, buf, len);
	else
		memcpy(buf, h->ram + iova, len);
	return 0;
}

static int h_dma_read(void *ctx, uint64_t iova, void *buf, uint32_t len)
{
	return h_dma(ctx, iova, buf, len, false);
}

static int h_dma_write(void *ctx, uint64_t iova, const void *buf, uint32_t len)
{
	return h_dma(ctx, iova, (void *)(uintptr_t)buf, len, true);
}

static void h_irq(void *ctx, uint32_t vector)
{
	((struct host *)ctx)->irqs[vector]++;
}

static int h_p2p(void *ctx, uint32_t to, uint32_t from, uint64_t seq,
		 uint32_t off, const void *buf, uint32_t len)
{
	struct host *h = ctx, *peer = h->fabric[to];

	assert_int_equal(h->locked, 0);
	return peer ? lsm_p2p_receive(&peer->d, from, seq, off, buf, len) : -ENXIO;
}

static const struct lsm_env h_env = {
	.alloc = h_alloc, .free = h_free,
	.page_alloc = h_page_alloc, .page_free = h_page_free,
	.lock = h_lock, .unlock = h_unlock,
	.dma_read = h_dma_read, .dma_write = h_dma_write,
	.irq = h_irq, .p2p_write = h_p2p,
};

struct host *host_new(uint32_t type, uint32_t slot, struct host **fabric)
{
	struct host *h = calloc(1, sizeof(*h));

	h->ram = calloc(1, RAM_SIZE);
	h->fabric = fabric;
	assert_int_equal(lsm_dev_init(&h->d, type, 2u << 20, &h_env, h), 0);
	lsm_dev_set_slot(&h->d, slot);
	lsm_dev_set_command(&h->d, true, true);
	fabric[slot] = h;
	return h;
}

void host_free(struct host *h)
{
	if (h->d.save)
		lsm_save_end(h->d.save);
	lsm_dev_free(&h->d);
	free(h->ram);
	free(h);
}

uint32_t reg32(struct host *h, uint32_t off)
{
	uint8_t b[4];

	assert_int_equal(lsm_regs_read(&h->d, off, b, 4), 0);
	return lsm_get32(b);
}

uint64_t reg64(struct host *h, uint32_t off)
{
	uint8_t b[8];

	assert_int_equal(lsm_regs_read(&h->d, off, b, 8), 0);
	return lsm_get64(b);
}

void set32(struct host *h, uint32_t off, uint32_t v)
{
	uint8_t b[4];

	lsm_put32(b, v);
	assert_int_equal(lsm_regs_write(&h->d, off, b, 4), 0);
}

void set64(struct host *h, uint32_t off, uint64_t v)
{
	uint8_t b[8];

	lsm_put64(b, v);
	assert_int_equal(lsm_regs_write(&h->d, off, b, 8), 0);
}

void ring_start(struct host *h, uint32_t n, uint32_t ctrl)
{
	set32(h, LSM_REG_CTRL, 0);
	set64(h, LSM_REG_RING_BASE, RING);
	set32(h, LSM_REG_RING_SIZE, n);
	set64(h, LSM_REG_COMP_BASE, COMP);
	set32(h, LSM_REG_CTRL, ctrl | LSM_CTRL_ENABLE);
}

void desc(struct host *h, uint32_t i, enum lsm_op op, uint32_t flags,
	  uint32_t peer, uint32_t len, uint64_t iova, uint32_t local)
{
	lsm_desc_put(h->ram + RING + i * LSM_DESC_SIZE, op, flags, 3, peer, len,
		     iova, local, 0x10, 0x1122334455667788ull);
}

unsigned run(struct host *h, unsigned n)
{
	unsigned done = 0;

	while (done < n && lsm_engine_step(&h->d))
		done++;
	return done;
}

/* Every op once, on a doorbell; completion records, interrupts, counters. */
int drain(struct lsm_save *s, struct image *out, uint32_t chunk)
{
	int n;

	while ((n = lsm_save_fill(s)) > 0) {
		uint32_t take = (uint32_t)n < chunk ? (uint32_t)n : chunk;

		out->p = realloc(out->p, out->len + take);
		memcpy(out->p + out->len, s->buf + s->pos, take);
		out->len += take;
		lsm_save_consume(s, take);
	}
	return n;
}

struct image save_whole(struct host *h, uint32_t chunk)
{
	struct image img = { 0 };
	struct lsm_save s;

	assert_int_equal(lsm_save_begin(&s, &h->d, false), 0);
	assert_int_equal(drain(&s, &img, chunk), 0);
	lsm_save_end(&s);
	return img;
}

int load_whole(struct host *h, const uint8_t *p, size_t len, size_t chunk)
{
	struct lsm_load l;
	size_t off, n;
	int rc;

	rc = lsm_load_begin(&l, &h->d);
	if (rc)
		return rc;
	for (off = 0; off < len; off += n) {
		n = len - off < chunk ? len - off : chunk;
		if (lsm_load_feed(&l, p + off, n))
			break;
	}
	rc = lsm_load_commit(&l);
	lsm_load_end(&l);
	return rc;
}

struct host *busy_host(uint32_t type, uint32_t slot, struct host **fabric)
{
	struct host *h = host_new(type, slot, fabric);

	desc(h, 0, LSM_OP_FILL, LSM_DESC_STAMP, 0, 40000, 0, 0);
	desc(h, 1, LSM_OP_FILL, LSM_DESC_STAMP, 0, 9000, 0, 1u << 20);
	desc(h, 2, LSM_OP_DMA_WRITE, LSM_DESC_STAMP | LSM_DESC_IRQ, 0, 64, 0x20000, 0);
	ring_start(h, 3, LSM_CTRL_CYCLIC);
	run(h, 3);
	return h;
}
