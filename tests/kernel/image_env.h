/* SPDX-License-Identifier: Apache-2.0 */
/* The model in user space without a host: memory and nothing else. For programs that only read and write images. */
#ifndef IMAGE_ENV_H
#define IMAGE_ENV_H

#include <stdlib.h>
#include <string.h>

#include "kmod/model/lsm.h"

static inline void *image_alloc(void *ctx, size_t size)
{
	(void)ctx;
	return calloc(1, size);
}

static inline void image_free(void *ctx, void *p, size_t size)
{
	(void)ctx;
	(void)size;
	free(p);
}

static inline void *image_page_alloc(void *ctx)
{
	(void)ctx;
	return calloc(1, LSM_PAGE_SIZE);
}

static inline void image_page_free(void *ctx, void *p)
{
	(void)ctx;
	free(p);
}

static const struct lsm_env image_env = {
	.alloc = image_alloc, .free = image_free, .page_alloc = image_page_alloc, .page_free = image_page_free,
};

/* 0 or -errno. The device must be fresh. */
static inline int image_load(struct lsm_dev *d, const uint8_t *p, size_t len, size_t chunk)
{
	struct lsm_load l;
	int rc = lsm_load_begin(&l, d);

	for (size_t off = 0; !rc && off < len; off += chunk)
		rc = lsm_load_feed(&l, p + off, len - off < chunk ? len - off : chunk);
	if (!rc)
		rc = lsm_load_commit(&l);
	lsm_load_end(&l);
	return rc;
}

/* The whole image; the caller frees it. NULL: no memory. */
static inline uint8_t *image_save(struct lsm_dev *d, size_t *ret_len)
{
	struct lsm_save s;
	uint8_t *p = NULL;
	size_t len = 0;
	int n;

	if (lsm_save_begin(&s, d, false))
		return NULL;
	while ((n = lsm_save_fill(&s)) > 0) {
		p = realloc(p, len + (size_t)n);
		if (!p)
			abort();
		memcpy(p + len, s.buf + s.pos, (size_t)n);
		len += (size_t)n;
		lsm_save_consume(&s, (uint32_t)n);
	}
	lsm_save_end(&s);
	*ret_len = len;
	return p;
}

/* Puts right every digest of header and records, as far as they reach. */
static inline void image_seal(uint8_t *p, size_t len)
{
	uint64_t chain, digest;
	uint8_t word[8];
	size_t at;

	if (len < LSM_IMAGE_HEADER)
		return;
	chain = lsm_digest(0, p, LSM_IMAGE_HEADER - 8);
	lsm_put64(p + LSM_IMAGE_HEADER - 8, chain);
	for (at = LSM_IMAGE_HEADER; len - at >= LSM_RECORD_HEAD;) {
		uint32_t n = lsm_get32(p + at + 8);

		if (n > len - at - LSM_RECORD_HEAD || n % 8)
			return;
		if (lsm_get32(p + at) == LSM_REC_END && n == 16) {
			lsm_put64(p + at + 24, at);
			lsm_put64(p + at + 32, chain);
		}
		digest = lsm_digest(lsm_digest(0, p + at, 16), p + at + LSM_RECORD_HEAD, n);
		lsm_put64(p + at + 16, digest);
		lsm_put64(word, digest);
		chain = lsm_digest(chain, word, 8);
		at += LSM_RECORD_HEAD + n;
	}
}

#endif
