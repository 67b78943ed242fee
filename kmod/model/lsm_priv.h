/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Shared by the model's own files. */
#ifndef LSM_PRIV_H
#define LSM_PRIV_H

#include "lsm.h"

#define LSM_REG_WORDS	(sizeof(struct lsm_regs) / 8)
#define LSM_REGS_LEN	((uint32_t)sizeof(struct lsm_regs))
#define LSM_END_LEN	16u

static inline uint32_t lsm_min(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static inline bool lsm_bit(const uint64_t *map, uint32_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static inline void lsm_bit_set(uint64_t *map, uint32_t i)
{
	map[i / 64] |= 1ull << (i % 64);
}

static inline void lsm_bit_clear(uint64_t *map, uint32_t i)
{
	map[i / 64] &= ~(1ull << (i % 64));
}

/* off + len lies within local memory. */
static inline bool lsm_in_mem(const struct lsm_dev *d, uint32_t off, uint32_t len)
{
	return len <= d->mem_size && off <= d->mem_size - len;
}

void lsm_regs_init(struct lsm_regs *r);
void lsm_mem_read(const struct lsm_dev *d, uint32_t off, void *buf, uint32_t len);
/* ENOMEM; what was written before that stays. */
int lsm_mem_write(struct lsm_dev *d, uint32_t off, const void *buf, uint32_t len);
int lsm_mem_fill(struct lsm_dev *d, uint32_t off, uint32_t len, uint64_t pattern);
void lsm_pages_free(struct lsm_dev *d, void **pages);

void lsm_save_mark(struct lsm_save *s, uint32_t page);

#endif
