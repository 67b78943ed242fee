// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/program.h"

#include <string.h>

#define WRITES_PER_PEER 2u
#define STAMPS_PER_BLOCK 3u

static uint64_t area_size(unsigned ring_size)
{
	uint64_t bytes = (uint64_t)ring_size * (LSM_DESC_SIZE + LSM_COMP_SIZE + TV_CELL);

	return (bytes + 3 * LSM_PAGE_SIZE) & ~(uint64_t)(LSM_PAGE_SIZE - 1);
}

static uint64_t page_align(uint64_t v)
{
	return (v + LSM_PAGE_SIZE - 1) & ~(uint64_t)(LSM_PAGE_SIZE - 1);
}

uint64_t tv_program_ram(unsigned n, unsigned ring_size)
{
	return TV_RAM_DEVICES + n * area_size(ring_size);
}

void tv_program_init(struct tv_program *p, unsigned index, const unsigned *slots, unsigned n, unsigned ring_size)
{
	memset(p, 0, sizeof(*p));
	p->index = index;
	p->slot = slots[index];
	for (unsigned i = 0; i < n; i++)
		if (i != index)
			p->peer[p->n_peers++] = slots[i];
	p->block = WRITES_PER_PEER * p->n_peers + 5;
	p->ring = ring_size - ring_size % p->block;
	p->ring_at = TV_RAM_DEVICES + index * area_size(ring_size);
	p->comp_at = page_align(p->ring_at + (uint64_t)ring_size * LSM_DESC_SIZE);
	p->cell_at = page_align(p->comp_at + (uint64_t)ring_size * LSM_COMP_SIZE);
}

void tv_program_item(const struct tv_program *p, uint64_t k, struct tv_item *ret)
{
	uint64_t block = k / p->block;
	unsigned in = (unsigned)(k % p->block), writes = WRITES_PER_PEER * p->n_peers;
	unsigned position = (unsigned)(k % p->ring);

	memset(ret, 0, sizeof(*ret));
	ret->position = position;
	ret->local = TV_OUTBOX + position % 1024 * TV_CELL;
	ret->ram = p->cell_at + (uint64_t)position * TV_CELL;
	if (in < writes) {
		ret->kind = TV_P2P;
		ret->peer = p->peer[in % p->n_peers];
		ret->number = block * WRITES_PER_PEER + in / p->n_peers + 1;
		ret->remote = TV_INBOX + p->slot * TV_CELL;
		return;
	}
	switch (in - writes) {
	case 0:
		ret->kind = TV_DMA;
		ret->number = block * STAMPS_PER_BLOCK + 1;
		break;
	case 1:
		ret->kind = TV_READ;
		ret->local = TV_READ_TARGET + position % 1024 * TV_CELL;
		ret->ram = TV_RAM_PATTERN + position % 1024 * TV_CELL;
		break;
	case 2:
		ret->kind = TV_FILL;
		ret->number = block * STAMPS_PER_BLOCK + 2;
		ret->local = TV_FILL_TARGET + position % 1024 * TV_CELL;
		break;
	case 3:
		ret->kind = TV_SERVICE;
		ret->vector = TV_SERVICE_VECTOR;
		break;
	default:
		ret->kind = TV_TICK;
		ret->number = block * STAMPS_PER_BLOCK + 3;
		// By place in the ring: descriptors stay as they are from lap to lap.
		ret->vector = position / p->block % TV_TICK_VECTORS;
		break;
	}
}

void tv_program_desc(const struct tv_program *p, const struct tv_item *item, uint8_t desc[LSM_DESC_SIZE])
{
	static const struct {
		enum lsm_op op;
		uint32_t flags;
	} form[] = {
		[TV_P2P] = { LSM_OP_P2P_WRITE, LSM_DESC_COMPLETE | LSM_DESC_STAMP },
		[TV_DMA] = { LSM_OP_DMA_WRITE, LSM_DESC_COMPLETE | LSM_DESC_STAMP },
		[TV_READ] = { LSM_OP_DMA_READ, LSM_DESC_COMPLETE },
		[TV_FILL] = { LSM_OP_FILL, LSM_DESC_COMPLETE | LSM_DESC_STAMP },
		[TV_SERVICE] = { LSM_OP_NOP, LSM_DESC_COMPLETE },
		[TV_TICK] = { LSM_OP_DMA_WRITE, LSM_DESC_COMPLETE | LSM_DESC_STAMP | LSM_DESC_IRQ },
	};

	lsm_desc_put(desc, form[item->kind].op, form[item->kind].flags, item->vector, item->peer, TV_CELL,
		     TV_IOVA + item->ram, item->local, item->remote, 0);
}

uint64_t tv_program_sent(const struct tv_program *p, uint64_t done, unsigned peer)
{
	uint64_t n = done / p->block * WRITES_PER_PEER;
	unsigned rest = (unsigned)(done % p->block);

	for (unsigned in = 0; in < rest && in < WRITES_PER_PEER * p->n_peers; in++)
		n += p->peer[in % p->n_peers] == peer;
	return n;
}

uint64_t tv_program_ticks(const struct tv_program *p, uint64_t done, unsigned vector)
{
	uint64_t lap_blocks = p->ring / p->block, blocks = done / p->block; // a tick ends its block
	uint64_t laps = blocks / lap_blocks, rest = blocks % lap_blocks;
	uint64_t per_lap = lap_blocks / TV_TICK_VECTORS + (vector < lap_blocks % TV_TICK_VECTORS);

	return laps * per_lap + rest / TV_TICK_VECTORS + (vector < rest % TV_TICK_VECTORS);
}

uint64_t tv_program_stamps(const struct tv_program *p, uint64_t done)
{
	unsigned rest = (unsigned)(done % p->block), writes = WRITES_PER_PEER * p->n_peers;

	// Only whole blocks and what of DMA, FILL the last one has come to.
	return done / p->block * STAMPS_PER_BLOCK + (rest > writes) + (rest > writes + 2);
}

uint64_t tv_pattern(uint32_t seed, uint64_t offset)
{
	uint64_t x = (offset + 8) * 0x9e3779b97f4a7c15ull ^ (uint64_t)(seed + 1) << 48;

	x ^= x >> 29;
	return x * 0xbf58476d1ce4e5b9ull | 1; // never all zeros
}

void tv_pattern_fill(uint32_t seed, uint64_t offset, void *buf, uint32_t len)
{
	for (uint32_t i = 0; i < len; i += 8)
		lsm_put64((uint8_t *)buf + i, tv_pattern(seed, offset + i));
}
