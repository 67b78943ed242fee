// SPDX-License-Identifier: Apache-2.0
#ifndef TV_VERIFY_INT_H
#define TV_VERIFY_INT_H

#include "tests/vmm/verify.h"

void tv_wrong(struct tv_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define WRONG tv_wrong
#define LLU(x) ((unsigned long long)(x))

// Ends the cyclic walk at the end of a block, with the interrupt there, and waits for it.
void tv_stop_engines(struct tv_vm *vm, unsigned stall_ms, struct tv_report *r);
void tv_restart_engines(struct tv_vm *vm);
// Engines idle, all interrupts taken, all completions looked at.
void tv_check_registers(struct tv_vm *vm, unsigned i, struct tv_report *r);
void tv_check_interrupts(struct tv_vm *vm, unsigned i, struct tv_report *r);
void tv_check_ram(struct tv_vm *vm, unsigned i, struct tv_report *r);
void tv_check_window(struct tv_vm *vm, unsigned i, struct tv_report *r);
void tv_check_pairs(struct tv_vm *vm, struct tv_report *r);

#endif
