/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The whole of the model's outside world: fixed-width types, memcpy and errno. */
#ifndef LSM_PORT_H
#define LSM_PORT_H

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/limits.h>
#include <linux/string.h>
#include <linux/types.h>
#else
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#endif

static inline uint32_t lsm_get32(const void *p)
{
	const uint8_t *b = p;

	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
	       (uint32_t)b[3] << 24;
}

static inline uint64_t lsm_get64(const void *p)
{
	const uint8_t *b = p;

	return lsm_get32(b) | (uint64_t)lsm_get32(b + 4) << 32;
}

static inline void lsm_put32(void *p, uint32_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
	b[2] = (uint8_t)(v >> 16);
	b[3] = (uint8_t)(v >> 24);
}

static inline void lsm_put64(void *p, uint64_t v)
{
	lsm_put32(p, (uint32_t)v);
	lsm_put32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

#endif
