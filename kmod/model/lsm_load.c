// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The resuming session: a strict, incremental reader that believes nothing. */
#include "lsm_priv.h"

enum { STAGE_HEADER, STAGE_HEAD, STAGE_PAYLOAD };

static void lsm_expect(struct lsm_load *l, uint32_t stage, uint32_t need)
{
	l->stage = stage;
	l->need = need;
	l->have = 0;
}

int lsm_load_begin(struct lsm_load *l, struct lsm_dev *d)
{
	memset(l, 0, sizeof(*l));
	l->d = d;
	l->pages = d->env->alloc(d->ctx, d->npages * sizeof(*l->pages));
	l->buf = d->env->alloc(d->ctx, LSM_LOAD_BUF);
	if (!l->pages || !l->buf) {
		lsm_load_end(l);
		return -ENOMEM;
	}
	lsm_expect(l, STAGE_HEADER, LSM_IMAGE_HEADER);
	return 0;
}

void lsm_load_end(struct lsm_load *l)
{
	struct lsm_dev *d = l->d;

	if (!d)
		return;
	if (l->pages) {
		lsm_pages_free(d, l->pages);
		d->env->free(d->ctx, l->pages, d->npages * sizeof(*l->pages));
	}
	if (l->buf)
		d->env->free(d->ctx, l->buf, LSM_LOAD_BUF);
	memset(l, 0, sizeof(*l));
}

static int lsm_take_header(struct lsm_load *l)
{
	const struct lsm_dev *d = l->d;
	const uint8_t *p = l->buf;
	uint64_t digest = lsm_digest(0, p, LSM_IMAGE_HEADER - 8);
	uint32_t version = lsm_get32(p + 8);

	if (lsm_get64(p) != LSM_IMAGE_MAGIC)
		return -EINVAL;
	if (version < LSM_IMAGE_OLDEST || version > LSM_IMAGE_VERSION)
		return -EOPNOTSUPP;
	if (lsm_get64(p + LSM_IMAGE_HEADER - 8) != digest)
		return -EBADMSG;
	if (lsm_get32(p + 12) != (uint32_t)d->info->type ||
	    lsm_get32(p + 28) != d->info->pci_device)
		return -EMEDIUMTYPE;
	if (lsm_get32(p + 16) != d->mem_size || lsm_get32(p + 20) != LSM_PAGE_SIZE)
		return -EFBIG;
	if (lsm_get32(p + 24) != d->slot)
		return -EXDEV;
	if (lsm_get64(p + 40) || lsm_get64(p + 48) || (version == 1 && lsm_get64(p + 32)))
		return -EINVAL;
	if (lsm_get32(p + 32) & ~LSM_IMAGE_FEATURES)
		return -EOPNOTSUPP;
	l->chain = digest;
	lsm_expect(l, STAGE_HEAD, LSM_RECORD_HEAD);
	return 0;
}

static bool lsm_page_allowed(const struct lsm_load *l)
{
	return l->round_open && l->arg < l->d->npages && l->arg >= l->next_page;
}

/* Kind, argument and length, and whether they may come now. */
static bool lsm_head_ok(const struct lsm_load *l)
{
	switch (l->kind) {
	case LSM_REC_ROUND:
		/* A round without a page would let a stream go on for ever. */
		return !l->len && !l->regs_seen && l->arg == l->round &&
		       l->round < LSM_ROUNDS_MAX &&
		       (!l->round_open || l->next_page);
	case LSM_REC_PAGE:
		return l->len == LSM_PAGE_SIZE && !l->regs_seen &&
		       lsm_page_allowed(l);
	case LSM_REC_ZERO:
		return !l->len && !l->regs_seen && lsm_page_allowed(l) &&
		       l->pages[l->arg];
	case LSM_REC_REGS:
		return l->len == LSM_REGS_LEN && !l->arg && !l->regs_seen &&
		       (!l->round_open || l->next_page);
	case LSM_REC_END:
		return l->len == LSM_END_LEN && !l->arg && l->regs_seen;
	default:
		return false;
	}
}

static bool lsm_regs_ok(const struct lsm_regs *r)
{
	uint32_t i;

	if (r->ctrl & ~(uint64_t)LSM_CTRL_MASK ||
	    r->status & ~(uint64_t)LSM_STATUS_HALTED || r->ring_base % 8 ||
	    r->ring_size > LSM_RING_MAX || r->last_error > LSM_NO_MEMORY ||
	    (r->ring_size ? r->head >= r->ring_size : r->head != 0) ||
	    !r->stamp || r->doorbell > 0xffffffffull || r->consumer > 0xffffffffull ||
	    r->errors > 0xffffffffull)
		return false;
	for (i = 0; i < LSM_VECTORS; i++)
		if (r->irq_count[i] > 0xffffffffull)
			return false;
	for (i = 0; i < LSM_SLOTS; i++)
		if (!r->tx_seq[i] || !r->rx_seq[i] || r->rx_gap[i] >= r->rx_seq[i])
			return false;
	for (i = 0; i < sizeof(r->reserved) / 8; i++)
		if (r->reserved[i])
			return false;
	return true;
}

static int lsm_take_regs(struct lsm_load *l, const uint8_t *payload)
{
	uint64_t *word = (uint64_t *)&l->r;
	size_t i;

	for (i = 0; i < LSM_REG_WORDS; i++)
		word[i] = lsm_get64(payload + 8 * i);
	if (!lsm_regs_ok(&l->r))
		return -EPROTO;
	l->regs_seen = true;
	return 0;
}

static int lsm_take_page(struct lsm_load *l, const uint8_t *payload)
{
	void **page = &l->pages[l->arg];
	struct lsm_dev *d = l->d;

	l->next_page = l->arg + 1;
	if (l->kind == LSM_REC_ZERO) {
		d->env->page_free(d->ctx, *page);
		*page = NULL;
		l->touched--;
		return 0;
	}
	if (!*page) {
		*page = d->env->page_alloc(d->ctx);
		if (!*page)
			return -ENOMEM;
		l->touched++;
	}
	memcpy(*page, payload, LSM_PAGE_SIZE);
	return 0;
}

static int lsm_take_record(struct lsm_load *l)
{
	const uint8_t *p = l->buf, *payload = p + LSM_RECORD_HEAD;
	uint64_t digest, before = l->total - LSM_RECORD_HEAD - l->len;
	uint64_t chain = l->chain;
	uint8_t word[8];

	digest = lsm_digest(lsm_digest(0, p, 16), payload, l->len);
	if (digest != lsm_get64(p + 16))
		return -EBADMSG;
	lsm_put64(word, digest);
	l->chain = lsm_digest(chain, word, 8);
	lsm_expect(l, STAGE_HEAD, LSM_RECORD_HEAD);

	switch (l->kind) {
	case LSM_REC_ROUND:
		l->round++;
		l->round_open = true;
		l->next_page = 0;
		return 0;
	case LSM_REC_PAGE:
	case LSM_REC_ZERO:
		return lsm_take_page(l, payload);
	case LSM_REC_REGS:
		return lsm_take_regs(l, payload);
	default:
		if (lsm_get64(payload) != before || lsm_get64(payload + 8) != chain)
			return -EBADMSG;
		l->ended = true;
		return 0;
	}
}

static int lsm_take_head(struct lsm_load *l)
{
	const uint8_t *p = l->buf;

	l->kind = lsm_get32(p);
	l->arg = lsm_get32(p + 4);
	l->len = lsm_get32(p + 8);
	if (lsm_get32(p + 12) || !lsm_head_ok(l))
		return -EPROTO;
	if (!l->len)
		return lsm_take_record(l);
	l->stage = STAGE_PAYLOAD;
	l->need = LSM_RECORD_HEAD + l->len;
	return 0;
}

int lsm_load_feed(struct lsm_load *l, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len && !l->error) {
		uint32_t n = l->need - l->have;

		if (l->ended) {
			l->error = -E2BIG;
			break;
		}
		if (n > len)
			n = (uint32_t)len;
		if (l->total + n < l->total) {
			l->error = -E2BIG;
			break;
		}
		memcpy(l->buf + l->have, p, n);
		l->have += n;
		l->total += n;
		p += n;
		len -= n;
		if (l->have < l->need)
			break;
		if (l->stage == STAGE_HEADER)
			l->error = lsm_take_header(l);
		else if (l->stage == STAGE_HEAD)
			l->error = lsm_take_head(l);
		else
			l->error = lsm_take_record(l);
	}
	return l->error;
}

int lsm_load_commit(struct lsm_load *l)
{
	struct lsm_dev *d = l->d;

	if (l->error)
		return l->error;
	if (!l->total)
		return -EINVAL;
	if (!l->ended)
		return -ENODATA;

	lsm_pages_free(d, d->pages);
	memcpy(d->pages, l->pages, d->npages * sizeof(*l->pages));
	memset(l->pages, 0, d->npages * sizeof(*l->pages));
	d->touched = l->touched;
	d->r = l->r;
	d->epoch++;
	return 0;
}
