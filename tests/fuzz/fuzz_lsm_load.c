// SPDX-License-Identifier: Apache-2.0
/*
 * The image reader. The input is an image; its digests are put right first, so that what lies behind them is reached;
 * with an odd first byte they are left as they are. Whatever is accepted must save to an image that loads again.
 * clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_lsm_load.c kmod/model/*.c
 */
#include <stdlib.h>
#include <string.h>

#include "kmod/model/lsm.h"

static void *f_alloc(void *ctx, size_t size)
{
	return calloc(1, size);
}

static void f_free(void *ctx, void *p, size_t size)
{
	free(p);
}

static void *f_page_alloc(void *ctx)
{
	return calloc(1, LSM_PAGE_SIZE);
}

static void f_page_free(void *ctx, void *p)
{
	free(p);
}

static const struct lsm_env env = {
	.alloc = f_alloc, .free = f_free, .page_alloc = f_page_alloc, .page_free = f_page_free,
};

/* Seals header and records as far as they reach. */
static void seal(uint8_t *p, size_t len)
{
	uint64_t chain, digest;
	uint8_t word[8];
	size_t at;

	if (len < LSM_IMAGE_HEADER)
		return;
	chain = lsm_digest(0, p, 56);
	lsm_put64(p + 56, chain);
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

static int load(struct lsm_dev *d, const uint8_t *p, size_t len, size_t chunk)
{
	struct lsm_load l;
	int rc = lsm_load_begin(&l, d);

	for (size_t off = 0; !rc && off < len; off += chunk)
		rc = lsm_load_feed(&l, p + off, len - off < chunk ? len - off : chunk);
	rc = lsm_load_commit(&l);
	lsm_load_end(&l);
	return rc;
}

static void save_and_load_again(struct lsm_dev *d)
{
	struct lsm_save s;
	uint8_t *img = NULL;
	size_t len = 0;
	int n;

	if (lsm_save_begin(&s, d, false))
		abort();
	while ((n = lsm_save_fill(&s)) > 0) {
		img = realloc(img, len + (size_t)n);
		memcpy(img + len, s.buf + s.pos, (size_t)n);
		len += (size_t)n;
		lsm_save_consume(&s, (uint32_t)n);
	}
	lsm_save_end(&s);
	if (n || load(d, img, len, 4096))
		abort();
	free(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lsm_dev d;
	uint8_t *p;

	if (size < 2)
		return 0;
	p = malloc(size);
	memcpy(p, data + 2, size - 2);
	if (!(data[0] & 1))
		seal(p, size - 2);
	if (lsm_dev_init(&d, LSM_TYPE_FULL, LSM_MEM_MIN, &env, NULL))
		abort();
	if (!load(&d, p, size - 2, (size_t)data[1] * 37 + 1))
		save_and_load_again(&d);
	lsm_dev_free(&d);
	free(p);
	return 0;
}
