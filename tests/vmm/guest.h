// SPDX-License-Identifier: Apache-2.0
// The guest: what the vCPU knows and does. All it knows lies in RAM, in struct tv_guest, and moves with it; this
// file's object holds only the way to it. One thread at a time: the vCPU's, or the main thread while
// the vCPU is parked.
#ifndef TV_GUEST_H
#define TV_GUEST_H

#include <stdbool.h>

#include "tests/vmm/device.h"
#include "tests/vmm/program.h"

#define TV_GUEST_MAGIC 0x3154534547565454ull

// In RAM. Counts are of this VM's whole life, on whichever hosts.
struct tv_guest_dev {
	uint32_t slot, type, mem_size, ballast; // bytes
	uint64_t seen;          // completions looked at, in order: descriptor `seen` is the next
	uint64_t irq[LSM_VECTORS];
	// The one service request that is always outstanding: descriptor whose interrupt the vCPU waits for,
	// plus 1; 0: none. It posts the next only after the interrupt has come.
	uint64_t asked_at;
	uint64_t asked, served;
	uint64_t resets;        // by the guest's own driver
};

// Where the two ends of a pair stood when either was reset last: what one counts from is news to the other.
struct tv_base {
	uint64_t sent, received, out_of_order, gap;
	uint64_t expected;      // number that the receiver waited for
};

struct tv_guest {
	uint64_t magic;
	uint32_t n_devices, ring_size;
	uint64_t errors;        // wrong, missing or late completions
	char first_error[160];
	struct tv_guest_dev dev[TV_MAX_DEVICES];
	struct tv_base base[TV_MAX_DEVICES][TV_MAX_DEVICES]; // from, to
};
_Static_assert(sizeof(struct tv_guest) <= TV_RAM_PATTERN, "the guest's page reaches into the pattern");

struct tv_machine {
	struct tv_bus *bus;
	uint8_t *ram;
	uint64_t ram_size;
	struct tv_program program[TV_MAX_DEVICES];
	bool draining;          // engines come to rest: nothing new is asked of them
};

static inline struct tv_guest *tv_guest(const struct tv_machine *m)
{
	return (struct tv_guest *)(void *)m->ram;
}

// Boots: resets the devices, lays out RAM, starts the engines. Config space and interrupts are set up by then.
int tv_guest_boot(struct tv_machine *m, unsigned ring_size, uint32_t ballast, struct ls_error *err);
// The driver of one device begins anew, all engines at rest: the device has been reset, its config space and interrupts
// are set up again. `resumes`: how often every vector has been signalled so far.
int tv_guest_restart(struct tv_machine *m, unsigned i, uint64_t resumes, struct ls_error *err);
// Finds itself in RAM that has come from elsewhere.
int tv_guest_adopt(struct tv_machine *m, struct ls_error *err);

// The vCPU's work: takes what interrupts have come, looks at completions, answers service requests.
void tv_guest_interrupts(struct tv_machine *m, unsigned i);
void tv_guest_completions(struct tv_machine *m, unsigned i);
// Makes sure that a request is under way, to be completed a few milliseconds from now. Called before the vCPU is
// parked too: so every pause catches the device with an interrupt still to be raised.
void tv_guest_ask(struct tv_machine *m, unsigned i);

// Everything that the engine has done up to `done` has been looked at; what has not come is missing.
void tv_guest_catch_up(struct tv_machine *m, unsigned i, uint64_t done);
// The completion record of descriptor k is in RAM.
bool tv_guest_completed(const struct tv_machine *m, unsigned i, uint64_t k);

void tv_guest_error(struct tv_machine *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
