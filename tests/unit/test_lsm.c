// SPDX-License-Identifier: Apache-2.0
/* The virtual device: engine, peers, image, states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kmod/model/lsm.h"

#define RAM_SIZE (1u << 20)
#define RING 0x1000u
#define COMP 0x8000u

struct host {
	struct lsm_dev d;
	struct host **fabric;
	uint8_t *ram;
	unsigned irqs[LSM_VECTORS];
	int locked;
	long allocs, fail_alloc_at;	/* 0: never */
	struct host *reset_on_dma;
};

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

static struct host *host_new(uint32_t type, uint32_t slot, struct host **fabric)
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

static void host_free(struct host *h)
{
	if (h->d.save)
		lsm_save_end(h->d.save);
	lsm_dev_free(&h->d);
	free(h->ram);
	free(h);
}

static uint32_t reg32(struct host *h, uint32_t off)
{
	uint8_t b[4];

	assert_int_equal(lsm_regs_read(&h->d, off, b, 4), 0);
	return lsm_get32(b);
}

static uint64_t reg64(struct host *h, uint32_t off)
{
	uint8_t b[8];

	assert_int_equal(lsm_regs_read(&h->d, off, b, 8), 0);
	return lsm_get64(b);
}

static void set32(struct host *h, uint32_t off, uint32_t v)
{
	uint8_t b[4];

	lsm_put32(b, v);
	assert_int_equal(lsm_regs_write(&h->d, off, b, 4), 0);
}

static void set64(struct host *h, uint32_t off, uint64_t v)
{
	uint8_t b[8];

	lsm_put64(b, v);
	assert_int_equal(lsm_regs_write(&h->d, off, b, 8), 0);
}

static void ring_start(struct host *h, uint32_t n, uint32_t ctrl)
{
	set32(h, LSM_REG_CTRL, 0);
	set64(h, LSM_REG_RING_BASE, RING);
	set32(h, LSM_REG_RING_SIZE, n);
	set64(h, LSM_REG_COMP_BASE, COMP);
	set32(h, LSM_REG_CTRL, ctrl | LSM_CTRL_ENABLE);
}

static void desc(struct host *h, uint32_t i, enum lsm_op op, uint32_t flags,
		 uint32_t peer, uint32_t len, uint64_t iova, uint32_t local)
{
	lsm_desc_put(h->ram + RING + i * LSM_DESC_SIZE, op, flags, 3, peer, len,
		     iova, local, 0x10, 0x1122334455667788ull);
}

static unsigned run(struct host *h, unsigned n)
{
	unsigned done = 0;

	while (done < n && lsm_engine_step(&h->d))
		done++;
	return done;
}

/* Every op once, on a doorbell; completion records, interrupts, counters. */
static void test_ring_carries_out_every_op(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_FULL, 0, fabric);
	struct host *b = host_new(LSM_TYPE_P2P, 1, fabric);
	uint32_t all = LSM_DESC_COMPLETE | LSM_DESC_IRQ | LSM_DESC_STAMP;
	uint8_t w[16];

	desc(a, 0, LSM_OP_FILL, LSM_DESC_COMPLETE, 0, 8192, 0, 0);
	desc(a, 1, LSM_OP_DMA_WRITE, all, 0, 16, 0x20000, 0);
	desc(a, 2, LSM_OP_DMA_READ, LSM_DESC_COMPLETE, 0, 16, 0x20000, 0x5000);
	desc(a, 3, LSM_OP_P2P_WRITE, all, 1, 4096, 0, 0);
	desc(a, 4, LSM_OP_P2P_WRITE, all, 2, 64, 0, 0);
	desc(a, 5, (enum lsm_op)9, LSM_DESC_COMPLETE, 0, 16, 0, 0);
	desc(a, 6, LSM_OP_FILL, LSM_DESC_COMPLETE, 0, 4096, 0, (2u << 20) - 8);
	desc(a, 7, LSM_OP_DMA_WRITE, LSM_DESC_COMPLETE, 0, 16, RAM_SIZE - 8, 0);
	ring_start(a, 8, 0);
	assert_int_equal(run(a, 100), 0);
	set32(a, LSM_REG_DOORBELL, 8);
	assert_int_equal(run(a, 100), 8);

	assert_int_equal(lsm_get64(a->ram + 0x20000), 1);
	assert_true(lsm_get64(a->ram + 0x20008) == 0x1122334455667788ull);
	assert_int_equal(reg64(a, LSM_REG_STAMP), 2);
	lsm_window_read(&a->d, 0x5000, w, 16);
	assert_memory_equal(w, a->ram + 0x20000, 16);
	lsm_window_read(&b->d, 0x10, w, 16);
	assert_int_equal(lsm_get64(w), 1);
	assert_int_equal(reg64(b, LSM_REG_RX_SEQ), 2);
	assert_int_equal(reg64(b, LSM_REG_RX_COUNT), 1);
	assert_int_equal(reg64(a, LSM_REG_TX_SEQ + 8), 2);
	assert_int_equal(reg64(a, LSM_REG_TX_SEQ + 16), 2);
	assert_int_equal(a->irqs[3], 3);
	assert_int_equal(reg32(a, LSM_REG_IRQ_COUNT + 12), 3);
	for (uint32_t i = 0; i < 8; i++) {
		static const uint32_t want[8] = { 0, 0, 0, 0, LSM_NO_PEER,
			LSM_BAD_DESC, LSM_BAD_RANGE, LSM_DMA_FAULT };
		const uint8_t *c = a->ram + COMP + 16 * i;

		assert_int_equal(lsm_get32(c), i + 1);
		assert_int_equal(lsm_get32(c + 4), want[i]);
	}
	assert_int_equal(reg32(a, LSM_REG_ERRORS), 4);
	host_free(a);
	host_free(b);
}

static void test_no_dma_without_bus_master_and_halt_when_ring_unreadable(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_P2P, 0, fabric);

	ring_start(a, 1, LSM_CTRL_CYCLIC);
	assert_int_equal(run(a, 5), 5);
	lsm_dev_set_command(&a->d, true, false);
	assert_int_equal(run(a, 5), 0);
	lsm_dev_set_command(&a->d, true, true);
	lsm_set_initiator(&a->d, false);
	assert_int_equal(run(a, 5), 0);
	lsm_set_initiator(&a->d, true);
	set32(a, LSM_REG_CTRL, 0);
	set64(a, LSM_REG_RING_BASE, 1ull << 40);
	set32(a, LSM_REG_CTRL, LSM_CTRL_ENABLE | LSM_CTRL_CYCLIC);
	assert_int_equal(run(a, 5), 1);
	assert_int_equal(reg32(a, LSM_REG_STATUS), LSM_STATUS_HALTED);
	host_free(a);
}

/* The hazard that the project removes: a receiver that stops early loses writes. */
static void test_receiver_that_stops_early_shows_the_first_missing_number(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_P2P, 0, fabric);
	struct host *b = host_new(LSM_TYPE_P2P, 1, fabric);

	desc(a, 0, LSM_OP_P2P_WRITE, 0, 1, 64, 0, 0);
	ring_start(a, 1, LSM_CTRL_CYCLIC);
	assert_int_equal(run(a, 10), 10);
	lsm_set_responder(&b->d, false);
	assert_int_equal(run(a, 3), 3);
	assert_int_equal(reg64(b, LSM_REG_RX_SEQ), 0);
	set32(b, LSM_REG_CTRL, 3);
	lsm_set_responder(&b->d, true);
	assert_int_equal(reg32(b, LSM_REG_CTRL), 0);
	assert_int_equal(reg64(b, LSM_REG_RX_GAP), 0);
	assert_int_equal(run(a, 1), 1);
	assert_int_equal(reg64(b, LSM_REG_RX_GAP), 11);
	assert_int_equal(reg64(b, LSM_REG_RX_OOO), 1);
	assert_int_equal(reg64(b, LSM_REG_RX_COUNT), 11);
	assert_int_equal(b->d.stats.rx_dropped, 3);
	host_free(a);
	host_free(b);
}

static void test_reset_during_a_descriptor_leaves_no_trace(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_P2P, 0, fabric);

	desc(a, 0, LSM_OP_FILL, LSM_DESC_IRQ, 0, 4096, 0, 0);
	ring_start(a, 1, LSM_CTRL_CYCLIC);
	a->reset_on_dma = a;
	assert_int_equal(lsm_engine_step(&a->d), 1);
	a->reset_on_dma = NULL;
	assert_false(lsm_engine_busy(&a->d));
	assert_int_equal(a->d.r.done, 0);
	assert_int_equal(a->d.touched, 0);
	assert_int_equal(a->irqs[3], 0);
	host_free(a);
}

/* ---- image ---- */

struct image {
	uint8_t *p;
	size_t len;
};

static int drain(struct lsm_save *s, struct image *out, uint32_t chunk)
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

static struct image save_whole(struct host *h, uint32_t chunk)
{
	struct image img = { 0 };
	struct lsm_save s;

	assert_int_equal(lsm_save_begin(&s, &h->d, false), 0);
	assert_int_equal(drain(&s, &img, chunk), 0);
	lsm_save_end(&s);
	return img;
}

static int load_whole(struct host *h, const uint8_t *p, size_t len, size_t chunk)
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

static struct host *busy_host(uint32_t type, uint32_t slot, struct host **fabric)
{
	struct host *h = host_new(type, slot, fabric);

	desc(h, 0, LSM_OP_FILL, LSM_DESC_STAMP, 0, 40000, 0, 0);
	desc(h, 1, LSM_OP_FILL, LSM_DESC_STAMP, 0, 9000, 0, 1u << 20);
	desc(h, 2, LSM_OP_DMA_WRITE, LSM_DESC_STAMP | LSM_DESC_IRQ, 0, 64, 0x20000, 0);
	ring_start(h, 3, LSM_CTRL_CYCLIC);
	run(h, 3);
	return h;
}

static void test_image_round_trip_is_the_same_bytes(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = busy_host(LSM_TYPE_STOPCOPY, 0, fabric);
	struct host *b = host_new(LSM_TYPE_STOPCOPY, 0, fabric);
	uint64_t size = lsm_image_size(&a->d);
	struct image x = save_whole(a, 7), y;

	assert_int_equal(x.len, size);
	assert_int_equal(load_whole(b, x.p, x.len, 13), 0);
	assert_memory_equal(&a->d.r, &b->d.r, sizeof(a->d.r));
	y = save_whole(b, 100000);
	assert_int_equal(x.len, y.len);
	assert_memory_equal(x.p, y.p, x.len);
	free(x.p);
	free(y.p);
	host_free(a);
	host_free(b);
}

static void test_pages_of_zeros_are_left_out(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_FULL, 0, fabric);
	uint8_t zero[LSM_PAGE_SIZE] = { 0 };
	struct image x = save_whole(a, 4096), y;

	assert_int_equal(lsm_window_write(&a->d, 4096, zero, sizeof(zero)), 0);
	assert_int_equal(a->d.touched, 1);
	y = save_whole(a, 4096);
	assert_int_equal(x.len, y.len);
	assert_memory_equal(x.p, y.p, x.len);
	free(x.p);
	free(y.p);
	host_free(a);
}

static void test_precopy_sends_what_is_dirtied_and_numbers_shrink(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = busy_host(LSM_TYPE_FULL, 0, fabric);
	struct host *b = host_new(LSM_TYPE_FULL, 0, fabric);
	uint8_t zero[LSM_PAGE_SIZE] = { 0 }, one = 1;
	uint64_t initial, dirty, before;
	struct image x = { 0 }, y;
	struct lsm_save s;

	assert_int_equal(lsm_save_begin(&s, &a->d, true), 0);
	assert_int_equal(lsm_save_begin(&s, &a->d, true), -EBUSY);
	assert_int_equal(lsm_save_info(&s, &initial, &dirty), 0);
	assert_true(initial > 13 * 4096 && dirty == 0);
	before = initial;
	assert_true(lsm_save_fill(&s) > 0);
	lsm_save_consume(&s, 0);
	assert_int_equal(drain(&s, &x, 1000), -ENOMSG);
	lsm_save_info(&s, &initial, &dirty);
	assert_true(initial == 0 && dirty == 0 && before > 0);

	lsm_window_write(&a->d, 0, zero, sizeof(zero));		/* sent, now zeros */
	lsm_window_write(&a->d, 5000, &one, 1);
	lsm_save_info(&s, &initial, &dirty);
	assert_true(initial == 0 && dirty > 8192 && dirty < 9000);
	assert_int_equal(drain(&s, &x, 1000), -ENOMSG);
	run(a, 4);
	assert_int_equal(drain(&s, &x, 1000), -ENOMSG);		/* not asked for */
	assert_true(lsm_image_size(&a->d) > 11 * 4096);
	lsm_window_write(&a->d, 8192, zero, sizeof(zero));
	lsm_set_initiator(&a->d, false);
	lsm_set_responder(&a->d, false);
	lsm_save_final(&s);
	assert_int_equal(lsm_save_info(&s, &initial, &dirty), -EINVAL);
	assert_int_equal(drain(&s, &x, 1000), 0);
	lsm_save_end(&s);

	assert_int_equal(load_whole(b, x.p, x.len, 4096), 0);
	y = save_whole(a, 4096);
	free(x.p);
	x = save_whole(b, 4096);
	assert_int_equal(x.len, y.len);
	assert_memory_equal(x.p, y.p, x.len);
	free(x.p);
	free(y.p);
	host_free(a);
	host_free(b);
}

/* Bend every byte of the head and tail, and one in every 97 between. */
static void test_any_bent_byte_or_missing_tail_is_refused_and_nothing_believed(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = busy_host(LSM_TYPE_P2P, 0, fabric);
	struct host *b = host_new(LSM_TYPE_P2P, 0, fabric);
	struct image x = save_whole(a, 4096);
	struct lsm_regs fresh = b->d.r;

	for (size_t i = 0; i < x.len; i += i < 200 || x.len - i < 1100 ? 1 : 97) {
		x.p[i] ^= 0x40;
		assert_true(load_whole(b, x.p, x.len, 4096) < 0);
		x.p[i] ^= 0x40;
	}
	for (size_t i = 0; i < x.len; i += x.len - i < 1100 ? 1 : 997)
		assert_int_equal(load_whole(b, x.p, i, 4096), i ? -ENODATA : -EINVAL);
	assert_memory_equal(&fresh, &b->d.r, sizeof(fresh));
	assert_int_equal(b->d.touched, 0);
	x.p = realloc(x.p, x.len + 1);
	x.p[x.len] = 0;
	assert_int_equal(load_whole(b, x.p, x.len + 1, 4096), -E2BIG);
	assert_int_equal(load_whole(b, x.p, x.len, 1), 0);
	free(x.p);
	host_free(a);
	host_free(b);
}

static void seal_header(uint8_t *p)
{
	lsm_put64(p + 56, lsm_digest(0, p, 56));
}

static void test_each_header_field_has_its_own_errno(void **state)
{
	static const struct {
		uint32_t off, value;
		int rc;
	} bad[] = {
		{ 0, 1, -EINVAL }, { 8, 3, -EOPNOTSUPP }, { 12, 1, -EMEDIUMTYPE },
		{ 16, 1u << 20, -EFBIG }, { 20, 65536, -EFBIG }, { 24, 5, -EXDEV },
		{ 8, 0, -EOPNOTSUPP }, { 32, 1, -EOPNOTSUPP }, { 40, 1, -EINVAL }, { 48, 1, -EINVAL },
	};
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = busy_host(LSM_TYPE_FULL, 2, fabric);
	struct image x = save_whole(a, 4096);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint32_t old = lsm_get32(x.p + bad[i].off);

		lsm_put32(x.p + bad[i].off, bad[i].value);
		seal_header(x.p);
		assert_int_equal(load_whole(a, x.p, x.len, 4096), bad[i].rc);
		lsm_put32(x.p + bad[i].off, old);
	}
	seal_header(x.p);
	assert_int_equal(load_whole(a, x.p, x.len, 4096), 0);
	free(x.p);
	host_free(a);
}

/* A forger with a correct digest still cannot break order, range or length. */
static void test_records_out_of_place_are_refused(void **state)
{
	static const struct {
		uint32_t kind, arg, len;
	} bad[] = {
		{ LSM_REC_ROUND, 1, 0 }, { LSM_REC_PAGE, 0, 4096 }, { LSM_REC_ZERO, 0, 0 },
		{ LSM_REC_END, 0, 16 }, { LSM_REC_ROUND, 0, 8 }, { 6, 0, 0 },
		{ LSM_REC_REGS, 0, 0xfffffff0 }, { LSM_REC_PAGE, 0xffffffff, 4096 },
	};
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_FULL, 0, fabric);
	struct image x = save_whole(a, 4096);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t *p = x.p + LSM_IMAGE_HEADER;

		lsm_put32(p, bad[i].kind);
		lsm_put32(p + 4, bad[i].arg);
		lsm_put32(p + 8, bad[i].len);
		lsm_put64(p + 16, lsm_digest(lsm_digest(0, p, 16), p + 24, 0));
		assert_int_equal(load_whole(a, x.p, x.len, 4096), -EPROTO);
	}
	free(x.p);
	host_free(a);
}

static void test_every_allocation_may_fail(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = busy_host(LSM_TYPE_FULL, 0, fabric);
	struct host *b = host_new(LSM_TYPE_FULL, 0, fabric);
	struct image x = save_whole(a, 4096);
	struct lsm_save s;
	int rc = -ENOMEM;

	for (long n = 1; rc; n++) {
		b->allocs = 0;
		b->fail_alloc_at = n;
		rc = load_whole(b, x.p, x.len, 4096);
		assert_true(rc == 0 || rc == -ENOMEM);
	}
	for (long n = 1; n <= 4; n++) {
		b->allocs = 0;
		b->fail_alloc_at = n;
		assert_int_equal(lsm_save_begin(&s, &b->d, true), -ENOMEM);
		assert_null(b->d.save);
	}
	free(x.p);
	host_free(a);
	host_free(b);
}

/* ---- states ---- */

static void test_fsm_agrees_with_the_oracle_cell_by_cell(void **state)
{
	FILE *f = fopen(LSM_ORACLE, "r");
	unsigned flags, cur, to, cells = 0;
	char line[256], next[16];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		int want;

		if (sscanf(line, "%u,%u,%u,%15s", &flags, &cur, &to, next) != 4)
			continue;
		want = next[0] == 'E' ? -EINVAL : next[0] - '0';
		assert_int_equal(lsm_fsm_next(flags, cur, to), want);
		cells++;
	}
	fclose(f);
	assert_true(cells > 190);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(lsm_fsm_next(7, i, 8 + i), -EINVAL);
}

/* Every single step that any walk can take has something to do, and only those. */
static void test_every_step_of_every_walk_is_an_arc(void **state)
{
	static const uint32_t all[] = { 1, 3, 5, 7 };

	for (size_t k = 0; k < 4; k++)
		for (uint32_t cur = 0; cur < 8; cur++)
			for (uint32_t to = 0; to < 8; to++) {
				int next = lsm_fsm_next(all[k], cur, to);

				if (next < 0 || next == (int)cur)
					assert_int_equal(lsm_arc_actions(all[k], cur, to), 0);
				else
					assert_true(lsm_arc_actions(all[k], cur, (uint32_t)next));
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_carries_out_every_op),
		cmocka_unit_test(test_no_dma_without_bus_master_and_halt_when_ring_unreadable),
		cmocka_unit_test(test_receiver_that_stops_early_shows_the_first_missing_number),
		cmocka_unit_test(test_reset_during_a_descriptor_leaves_no_trace),
		cmocka_unit_test(test_image_round_trip_is_the_same_bytes),
		cmocka_unit_test(test_pages_of_zeros_are_left_out),
		cmocka_unit_test(test_precopy_sends_what_is_dirtied_and_numbers_shrink),
		cmocka_unit_test(test_any_bent_byte_or_missing_tail_is_refused_and_nothing_believed),
		cmocka_unit_test(test_each_header_field_has_its_own_errno),
		cmocka_unit_test(test_records_out_of_place_are_refused),
		cmocka_unit_test(test_every_allocation_may_fail),
		cmocka_unit_test(test_fsm_agrees_with_the_oracle_cell_by_cell),
		cmocka_unit_test(test_every_step_of_every_walk_is_an_arc),
	};

	return cmocka_run_group_tests_name("lsm", tests, NULL, NULL);
}
