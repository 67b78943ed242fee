// SPDX-License-Identifier: Apache-2.0
// What every device of the VM does, for ever: a ring of descriptors that its engine walks by itself, also while
// vCPUs stand still. Pure: which descriptor is the k-th (from 0), what number must it carry, where does
// its data lie. So everything can be checked afterwards without having watched.
//
//   one block:  P2P to each peer, twice | DMA | READ | FILL | SERVICE | TICK
//     DMA      stamped write into RAM          READ   RAM -> local memory
//     FILL     stamp into local memory         TICK   stamped write into RAM, then an interrupt
//     SERVICE  does nothing; raises an interrupt when the vCPU has asked for one
#ifndef TV_PROGRAM_H
#define TV_PROGRAM_H

#include <stdint.h>

#include "kmod/model/lsm.h"

#define TV_IOVA 0x40000000ull       // guest-physical address of RAM

#define TV_TICK_VECTORS 4u          // vectors 0..3, in turn
#define TV_SERVICE_VECTOR 7u

// A device's local memory (BAR2), offsets.
#define TV_INBOX 0x0u               // + 64 * sender's slot: what peers write
#define TV_OUTBOX 0x10000u          // 64 KiB pattern: what P2P and DMA writes carry
#define TV_READ_TARGET 0x20000u     // 64 KiB
#define TV_FILL_TARGET 0x30000u     // 64 KiB
#define TV_BALLAST 0x80000u         // pattern, so that there is something to move
#define TV_CELL 64u                 // bytes moved by each descriptor

// RAM, offsets. Page 0: struct tv_guest. Then the pattern that READ reads, then the vCPU's own
// scratch, then one area for each device: ring, completion records, a cell for each ring position.
#define TV_RAM_PATTERN 0x10000u     // 64 KiB
#define TV_RAM_SCRATCH 0x20000u     // 64 KiB
#define TV_RAM_DEVICES 0x30000u

enum tv_item_kind { TV_P2P, TV_DMA, TV_READ, TV_FILL, TV_SERVICE, TV_TICK };

struct tv_program {
	unsigned index;                 // of the device, in the VM
	unsigned slot;                  // its own
	unsigned n_peers, peer[LSM_SLOTS]; // slots
	unsigned block;                 // descriptors a block
	unsigned ring;                  // descriptors, whole blocks
	uint64_t ring_at, comp_at, cell_at; // offsets in RAM
};

struct tv_item {
	enum tv_item_kind kind;
	unsigned peer;                  // P2P: slot
	unsigned vector;                // TICK, SERVICE
	unsigned position;              // in the ring
	uint64_t number;                // that its completion record carries
	uint32_t local;                 // offset in local memory
	uint32_t remote;                // P2P: offset in the peer's
	uint64_t ram;                   // DMA, TICK, READ: offset in RAM
};

// `slots`: of all devices of the VM. `ring_size` is rounded down to whole blocks.
void tv_program_init(struct tv_program *p, unsigned index, const unsigned *slots, unsigned n, unsigned ring_size);
// Bytes of RAM for n devices.
uint64_t tv_program_ram(unsigned n, unsigned ring_size);
void tv_program_item(const struct tv_program *p, uint64_t k, struct tv_item *ret);
// The descriptor that stands at the item's position.
void tv_program_desc(const struct tv_program *p, const struct tv_item *item, uint8_t desc[LSM_DESC_SIZE]);

// After `done` descriptors: how many writes went to each peer, how many ticks came on `vector`.
uint64_t tv_program_sent(const struct tv_program *p, uint64_t done, unsigned peer);
uint64_t tv_program_ticks(const struct tv_program *p, uint64_t done, unsigned vector);
uint64_t tv_program_stamps(const struct tv_program *p, uint64_t done);

// The word at `offset` (multiple of 8) of pattern `seed`.
uint64_t tv_pattern(uint32_t seed, uint64_t offset);
void tv_pattern_fill(uint32_t seed, uint64_t offset, void *buf, uint32_t len); // multiples of 8

#endif
