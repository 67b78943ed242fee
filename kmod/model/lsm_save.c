// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The saving session: sweeps over the dirty pages in ascending order, the first
 * one over everything that exists. While pre-copying, a further sweep begins
 * only after lsm_save_info(), so that a reader of a busy device meets an end.
 */
#include "lsm_priv.h"

uint64_t lsm_digest(uint64_t seed, const void *buf, uint32_t len)
{
	const uint8_t *p = buf;
	uint64_t h = seed ^ 0x9ae16a3b2f90404full;
	uint32_t i;

	for (i = 0; i + 8 <= len; i += 8) {
		h ^= lsm_get64(p + i);
		h = (h << 27 | h >> 37) * 0xc949c7defeb1d4d5ull;
	}
	h ^= h >> 32;
	return h * 0xd6e8feb86659fd93ull;
}

static uint32_t lsm_map_size(const struct lsm_dev *d)
{
	return (d->npages + 63) / 64 * 8;
}

void lsm_save_mark(struct lsm_save *s, uint32_t page)
{
	if (!lsm_bit(s->dirty, page)) {
		lsm_bit_set(s->dirty, page);
		s->n_dirty++;
	}
}

int lsm_save_begin(struct lsm_save *s, struct lsm_dev *d, bool precopy)
{
	uint32_t i, size = lsm_map_size(d);

	if (d->save)
		return -EBUSY;
	memset(s, 0, sizeof(*s));
	s->d = d;
	s->dirty = d->env->alloc(d->ctx, size);
	s->initial = d->env->alloc(d->ctx, size);
	s->sent = d->env->alloc(d->ctx, size);
	s->buf = d->env->alloc(d->ctx, LSM_SAVE_BUF);
	if (!s->dirty || !s->initial || !s->sent || !s->buf) {
		lsm_save_end(s);
		return -ENOMEM;
	}
	for (i = 0; i < d->npages; i++) {
		if (!d->pages[i])
			continue;
		lsm_save_mark(s, i);
		lsm_bit_set(s->initial, i);
	}
	s->n_initial = s->n_dirty;
	s->epoch = d->epoch;
	s->final = !precopy;
	s->armed = true;
	d->save = s;
	return 0;
}

void lsm_save_final(struct lsm_save *s)
{
	s->final = true;
}

void lsm_save_end(struct lsm_save *s)
{
	struct lsm_dev *d = s->d;
	uint32_t size;

	if (!d)
		return;
	size = lsm_map_size(d);
	if (d->save == s)
		d->save = NULL;
	if (s->dirty)
		d->env->free(d->ctx, s->dirty, size);
	if (s->initial)
		d->env->free(d->ctx, s->initial, size);
	if (s->sent)
		d->env->free(d->ctx, s->sent, size);
	if (s->buf)
		d->env->free(d->ctx, s->buf, LSM_SAVE_BUF);
	memset(s, 0, sizeof(*s));
}

static void lsm_stage_header(struct lsm_save *s)
{
	const struct lsm_dev *d = s->d;
	uint8_t *p = s->buf + s->len;

	memset(p, 0, LSM_IMAGE_HEADER);
	lsm_put64(p, LSM_IMAGE_MAGIC);
	lsm_put32(p + 8, LSM_IMAGE_VERSION);
	lsm_put32(p + 12, d->info->type);
	lsm_put32(p + 16, d->mem_size);
	lsm_put32(p + 20, LSM_PAGE_SIZE);
	lsm_put32(p + 24, d->slot);
	lsm_put32(p + 28, d->info->pci_device);
	s->chain = lsm_digest(0, p, LSM_IMAGE_HEADER - 8);
	lsm_put64(p + LSM_IMAGE_HEADER - 8, s->chain);
	s->len += LSM_IMAGE_HEADER;
	s->total += LSM_IMAGE_HEADER;
	s->header_sent = true;
}

/* The payload is in place, LSM_RECORD_HEAD bytes beyond the staged ones. */
static void lsm_stage_record(struct lsm_save *s, uint32_t kind, uint32_t arg,
			     uint32_t len)
{
	uint8_t *p = s->buf + s->len;
	uint8_t word[8];
	uint64_t digest;

	lsm_put32(p, kind);
	lsm_put32(p + 4, arg);
	lsm_put32(p + 8, len);
	lsm_put32(p + 12, 0);
	digest = lsm_digest(lsm_digest(0, p, 16), p + LSM_RECORD_HEAD, len);
	lsm_put64(p + 16, digest);
	lsm_put64(word, digest);
	s->chain = lsm_digest(s->chain, word, 8);
	s->len += LSM_RECORD_HEAD + len;
	s->total += LSM_RECORD_HEAD + len;
}

static bool lsm_page_is_zero(const uint8_t *p)
{
	uint32_t i;

	for (i = 0; i < LSM_PAGE_SIZE; i += 8)
		if (lsm_get64(p + i))
			return false;
	return true;
}

static uint32_t lsm_next_dirty(const struct lsm_save *s, uint32_t from)
{
	uint32_t i = from;

	while (i < s->d->npages) {
		if (i % 64 == 0 && !s->dirty[i / 64])
			i += 64;
		else if (lsm_bit(s->dirty, i))
			return i;
		else
			i++;
	}
	return s->d->npages;
}

static void lsm_stage_page(struct lsm_save *s, uint32_t i)
{
	const uint8_t *page = s->d->pages[i];
	bool zero = !page || lsm_page_is_zero(page);

	lsm_bit_clear(s->dirty, i);
	s->n_dirty--;
	if (lsm_bit(s->initial, i)) {
		lsm_bit_clear(s->initial, i);
		s->n_initial--;
	}
	s->cursor = i + 1;
	if (zero && !lsm_bit(s->sent, i))
		return;
	if (!s->page_sent)
		lsm_stage_record(s, LSM_REC_ROUND, s->round++, 0);
	s->page_sent = true;
	if (zero) {
		lsm_stage_record(s, LSM_REC_ZERO, i, 0);
		lsm_bit_clear(s->sent, i);
		return;
	}
	memcpy(s->buf + s->len + LSM_RECORD_HEAD, page, LSM_PAGE_SIZE);
	lsm_stage_record(s, LSM_REC_PAGE, i, LSM_PAGE_SIZE);
	lsm_bit_set(s->sent, i);
}

static void lsm_stage_end(struct lsm_save *s)
{
	const uint64_t *word = (const uint64_t *)&s->d->r;
	uint8_t *p = s->buf + s->len + LSM_RECORD_HEAD;
	size_t i;

	for (i = 0; i < LSM_REG_WORDS; i++)
		lsm_put64(p + 8 * i, word[i]);
	lsm_stage_record(s, LSM_REC_REGS, 0, LSM_REGS_LEN);

	p = s->buf + s->len + LSM_RECORD_HEAD;
	lsm_put64(p, s->total);
	lsm_put64(p + 8, s->chain);
	lsm_stage_record(s, LSM_REC_END, 0, LSM_END_LEN);
	s->ended = true;
}

static bool lsm_pass_allowed(const struct lsm_save *s)
{
	/* The last round is kept for the stopped device. */
	return s->n_dirty &&
	       (s->final || (s->armed && s->round < LSM_ROUNDS_MAX - 2));
}

bool lsm_save_ready(const struct lsm_save *s)
{
	return s->final || s->epoch != s->d->epoch || s->pos < s->len ||
	       !s->header_sent || s->pass || lsm_pass_allowed(s);
}

/* Begins a sweep if one may begin now. */
static bool lsm_pass_begin(struct lsm_save *s)
{
	if (!lsm_pass_allowed(s))
		return false;
	s->pass = true;
	s->armed = false;
	s->page_sent = false;
	s->cursor = 0;
	return true;
}

int lsm_save_fill(struct lsm_save *s)
{
	/* Room for a ROUND and a PAGE, or for REGS and END. */
	const uint32_t room = LSM_RECORD_PAGE + LSM_RECORD_HEAD;

	if (s->epoch != s->d->epoch)
		return -ENODEV;
	if (s->pos < s->len)
		return (int)(s->len - s->pos);
	s->pos = s->len = 0;
	if (s->ended)
		return 0;
	if (!s->header_sent)
		lsm_stage_header(s);

	while (s->len <= LSM_SAVE_BUF - room && !s->ended) {
		uint32_t i;

		if (!s->pass && !lsm_pass_begin(s)) {
			if (!s->final)
				break;
			lsm_stage_end(s);
			continue;
		}
		i = lsm_next_dirty(s, s->cursor);
		if (i < s->d->npages)
			lsm_stage_page(s, i);
		else
			s->pass = false;
	}
	if (!s->n_initial && !s->len)
		s->initial_sent = true;
	if (s->len)
		return (int)s->len;
	return s->ended ? 0 : -ENOMSG;
}

void lsm_save_consume(struct lsm_save *s, uint32_t n)
{
	s->pos += lsm_min(n, s->len - s->pos);
	if (s->pos == s->len && s->header_sent && !s->n_initial)
		s->initial_sent = true;
}

static uint64_t lsm_pages_cost(uint32_t n)
{
	return n ? (uint64_t)n * LSM_RECORD_PAGE + LSM_RECORD_HEAD : 0;
}

int lsm_save_info(struct lsm_save *s, uint64_t *ret_initial, uint64_t *ret_dirty)
{
	uint64_t staged = s->len - s->pos;
	uint64_t initial = lsm_pages_cost(s->n_initial);
	uint64_t dirty = lsm_pages_cost(s->n_dirty - s->n_initial);

	if (s->final)
		return -EINVAL;
	if (!s->header_sent)
		initial += LSM_IMAGE_HEADER;
	if (s->initial_sent)
		dirty += staged;
	else
		initial += staged;
	s->armed = true;
	*ret_initial = initial;
	*ret_dirty = dirty;
	return 0;
}

uint64_t lsm_image_size(const struct lsm_dev *d)
{
	const struct lsm_save *s = d->save;
	uint64_t tail = LSM_RECORD_HEAD + LSM_REGS_LEN + LSM_RECORD_HEAD + LSM_END_LEN;

	if (!s)
		return LSM_IMAGE_HEADER + lsm_pages_cost(d->touched) + tail;
	return (s->header_sent ? 0 : LSM_IMAGE_HEADER) + (s->len - s->pos) +
	       lsm_pages_cost(s->n_dirty) + (s->ended ? 0 : tail);
}
