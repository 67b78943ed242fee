// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The device: life, local memory, registers, what arrives from peers. */
#include "lsm_priv.h"

static const struct lsm_type_info lsm_types[] = {
	{ LSM_TYPE_STOPCOPY, "stopcopy", 0x1001, LSM_MIG_STOP_COPY, 4u << 20 },
	{ LSM_TYPE_P2P, "p2p", 0x1002, LSM_MIG_STOP_COPY | LSM_MIG_P2P, 8u << 20 },
	{ LSM_TYPE_FULL, "full", 0x1003,
	  LSM_MIG_STOP_COPY | LSM_MIG_P2P | LSM_MIG_PRE_COPY, 16u << 20 },
};

const struct lsm_type_info *lsm_type_info(uint32_t type)
{
	size_t i;

	for (i = 0; i < sizeof(lsm_types) / sizeof(lsm_types[0]); i++)
		if (lsm_types[i].type == type)
			return &lsm_types[i];
	return NULL;
}

void lsm_regs_init(struct lsm_regs *r)
{
	uint32_t i;

	memset(r, 0, sizeof(*r));
	r->stamp = 1;
	for (i = 0; i < LSM_SLOTS; i++)
		r->tx_seq[i] = r->rx_seq[i] = 1;
}

int lsm_dev_init(struct lsm_dev *d, uint32_t type, uint32_t mem_size,
		 const struct lsm_env *env, void *ctx)
{
	memset(d, 0, sizeof(*d));
	d->info = lsm_type_info(type);
	if (!d->info || mem_size < LSM_MEM_MIN || mem_size > LSM_MEM_MAX ||
	    mem_size % LSM_MEM_MIN)
		return -EINVAL;
	d->env = env;
	d->ctx = ctx;
	d->slot = LSM_NO_SLOT;
	d->mem_size = mem_size;
	d->npages = mem_size / LSM_PAGE_SIZE;
	d->pages = env->alloc(ctx, d->npages * sizeof(*d->pages));
	d->work = env->alloc(ctx, sizeof(*d->work));
	if (!d->pages || !d->work) {
		lsm_dev_free(d);
		return -ENOMEM;
	}
	lsm_dev_reset(d);
	return 0;
}

void lsm_pages_free(struct lsm_dev *d, void **pages)
{
	uint32_t i;

	for (i = 0; i < d->npages; i++) {
		if (pages[i])
			d->env->page_free(d->ctx, pages[i]);
		pages[i] = NULL;
	}
}

void lsm_dev_free(struct lsm_dev *d)
{
	if (d->pages) {
		lsm_pages_free(d, d->pages);
		d->env->free(d->ctx, d->pages, d->npages * sizeof(*d->pages));
	}
	if (d->work)
		d->env->free(d->ctx, d->work, sizeof(*d->work));
	d->pages = NULL;
	d->work = NULL;
	d->touched = 0;
}

void lsm_dev_reset(struct lsm_dev *d)
{
	lsm_pages_free(d, d->pages);
	d->touched = 0;
	d->epoch++;
	d->initiator = d->responder = true;
	d->memory = d->busmaster = false;
	lsm_regs_init(&d->r);
}

void lsm_dev_set_slot(struct lsm_dev *d, uint32_t slot)
{
	d->slot = slot < LSM_SLOTS ? slot : LSM_NO_SLOT;
}

void lsm_dev_set_command(struct lsm_dev *d, bool memory, bool busmaster)
{
	d->memory = memory;
	d->busmaster = busmaster;
}

void lsm_set_initiator(struct lsm_dev *d, bool enabled)
{
	d->initiator = enabled;
}

void lsm_set_responder(struct lsm_dev *d, bool enabled)
{
	d->responder = enabled;
}

/* ---- local memory ------------------------------------------------------- */

static uint8_t *lsm_page_touch(struct lsm_dev *d, uint32_t page)
{
	if (!d->pages[page]) {
		d->pages[page] = d->env->page_alloc(d->ctx);
		if (!d->pages[page])
			return NULL;
		d->touched++;
	}
	if (d->save)
		lsm_save_mark(d->save, page);
	return d->pages[page];
}

void lsm_mem_read(const struct lsm_dev *d, uint32_t off, void *buf, uint32_t len)
{
	uint8_t *out = buf;

	while (len) {
		uint32_t in = off % LSM_PAGE_SIZE;
		uint32_t n = lsm_min(len, LSM_PAGE_SIZE - in);
		const uint8_t *p = d->pages[off / LSM_PAGE_SIZE];

		if (p)
			memcpy(out, p + in, n);
		else
			memset(out, 0, n);
		out += n;
		off += n;
		len -= n;
	}
}

int lsm_mem_write(struct lsm_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	const uint8_t *from = buf;

	while (len) {
		uint32_t in = off % LSM_PAGE_SIZE;
		uint32_t n = lsm_min(len, LSM_PAGE_SIZE - in);
		uint8_t *p = lsm_page_touch(d, off / LSM_PAGE_SIZE);

		if (!p)
			return -ENOMEM;
		memcpy(p + in, from, n);
		from += n;
		off += n;
		len -= n;
	}
	return 0;
}

int lsm_mem_fill(struct lsm_dev *d, uint32_t off, uint32_t len, uint64_t pattern)
{
	uint8_t word[8];
	uint32_t i, phase = 0;

	lsm_put64(word, pattern);
	while (len) {
		uint32_t in = off % LSM_PAGE_SIZE;
		uint32_t n = lsm_min(len, LSM_PAGE_SIZE - in);
		uint8_t *p = lsm_page_touch(d, off / LSM_PAGE_SIZE);

		if (!p)
			return -ENOMEM;
		for (i = 0; i < n; i++)
			p[in + i] = word[(phase + i) % 8];
		phase += n;
		off += n;
		len -= n;
	}
	return 0;
}

int lsm_window_read(struct lsm_dev *d, uint32_t off, void *buf, uint32_t len)
{
	if (!lsm_in_mem(d, off, len))
		return -EINVAL;
	if (d->responder)
		lsm_mem_read(d, off, buf, len);
	else
		memset(buf, 0, len);
	return 0;
}

int lsm_window_write(struct lsm_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	if (!lsm_in_mem(d, off, len))
		return -EINVAL;
	if (!d->responder) {
		d->stats.mmio_dropped++;
		return 0;
	}
	return lsm_mem_write(d, off, buf, len);
}

int lsm_p2p_receive(struct lsm_dev *d, uint32_t from, uint64_t seq,
		    uint32_t off, const void *buf, uint32_t len)
{
	struct lsm_regs *r = &d->r;

	if (from >= LSM_SLOTS)
		return -EINVAL;
	if (!d->responder || !d->memory) {
		d->stats.rx_dropped++;
		return 0;
	}
	if (!lsm_in_mem(d, off, len)) {
		d->stats.rx_outside++;
		return 0;
	}
	if (lsm_mem_write(d, off, buf, len)) {
		d->stats.rx_dropped++;
		return 0;
	}
	r->rx_count[from]++;
	if (seq != r->rx_seq[from]) {
		r->rx_ooo[from]++;
		if (seq > r->rx_seq[from] && !r->rx_gap[from])
			r->rx_gap[from] = r->rx_seq[from];
	}
	if (seq >= r->rx_seq[from])
		r->rx_seq[from] = seq + 1;
	return 0;
}
