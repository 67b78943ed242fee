// SPDX-License-Identifier: Apache-2.0
// A host for virtual devices: RAM, a fabric, allocations that may fail, interrupts that are counted.
#ifndef LSM_HOST_H
#define LSM_HOST_H

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

struct image {
	uint8_t *p;
	size_t len;
};

struct host *host_new(uint32_t type, uint32_t slot, struct host **fabric);
void host_free(struct host *h);
uint32_t reg32(struct host *h, uint32_t off);
uint64_t reg64(struct host *h, uint32_t off);
void set32(struct host *h, uint32_t off, uint32_t v);
void set64(struct host *h, uint32_t off, uint64_t v);
void ring_start(struct host *h, uint32_t n, uint32_t ctrl);
void desc(struct host *h, uint32_t i, enum lsm_op op, uint32_t flags,
	  uint32_t peer, uint32_t len, uint64_t iova, uint32_t local);
unsigned run(struct host *h, unsigned n);
int drain(struct lsm_save *s, struct image *out, uint32_t chunk);
struct image save_whole(struct host *h, uint32_t chunk);
int load_whole(struct host *h, const uint8_t *p, size_t len, size_t chunk);
struct host *busy_host(uint32_t type, uint32_t slot, struct host **fabric);

#endif
