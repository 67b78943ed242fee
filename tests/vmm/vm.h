// SPDX-License-Identifier: Apache-2.0
// The VM as its agent sees it: what the messages of vmm.proto mean here. Main thread.
//
//   RUNNING --pause--> PAUSED --final--> PAUSED --gone--> GONE
//      ^                  |resume                          (source)
//      +------------------+
//      ^
//      +--resume-- READY <--ready-- INCOMING <--discard-- any of these two   (destination)
#ifndef TV_VM_H
#define TV_VM_H

#include "tests/vmm/platform.h"
#include "tests/vmm/ram.h"
#include "tests/vmm/vcpu.h"

enum tv_state { TV_INCOMING, TV_READY, TV_RUNNING, TV_PAUSED, TV_GONE };

struct tv_vm {
	const char *name;
	enum tv_state state;
	struct tv_bus bus;
	struct tv_ram ram;
	struct tv_machine machine;
	struct tv_vcpu vcpu;
	char ram_peer[128];             // where RAM goes; empty: not known yet
	uint64_t resumes;               // how often every vector was signalled once
	struct tv_saved_device saved[TV_MAX_DEVICES];
	struct tv_saved_vm saved_vm;
	uint32_t have;                  // bit i: saved[i] is there
	bool have_vm;
};

struct tv_vm_options {
	const char *name;
	bool incoming;
	uint64_t ram_bytes;
	unsigned ring_size;             // descriptors
	uint32_t ballast;               // bytes of each device's memory
};

// vm->bus has been filled by tv_bus_add(). Opens the devices; boots the guest unless incoming.
int tv_vm_start(struct tv_vm *vm, const struct tv_vm_options *options, struct ls_error *err);
void tv_vm_free(struct tv_vm *vm);

int tv_vm_lend(struct tv_vm *vm, bool probe, struct ls_error *err);
void tv_vm_given_back(struct tv_vm *vm);
int tv_vm_pause(struct tv_vm *vm, struct ls_error *err);
// Answers each blob by `give`; device NULL: the VM's own.
typedef int tv_give_fn(void *user, const char *device, const uint8_t *blob, size_t len);
int tv_vm_final(struct tv_vm *vm, tv_give_fn *give, void *user, struct ls_error *err);
int tv_vm_blob(struct tv_vm *vm, const char *device, const void *blob, size_t len, struct ls_error *err);
int tv_vm_ready(struct tv_vm *vm, struct ls_error *err);
int tv_vm_resume(struct tv_vm *vm, struct ls_error *err);
int tv_vm_gone(struct tv_vm *vm, struct ls_error *err);
int tv_vm_discard(struct tv_vm *vm, struct ls_error *err);

const char *tv_state_name(enum tv_state state);
// A line on stdout that tests and scripts wait for.
void tv_event(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
