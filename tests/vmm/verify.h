// SPDX-License-Identifier: Apache-2.0
// Proves that nothing was lost: stops the engines, compares everything with what the program says, starts
// them again. Main thread, vCPU parked.
#ifndef TV_VERIFY_H
#define TV_VERIFY_H

#include <jansson.h>

#include "tests/vmm/vm.h"

#define TV_ERRORS_MAX 32u

struct tv_pair {
	unsigned from, to;      // devices
	uint64_t sent, received;
	uint64_t first_missing; // number; 0: none
};

struct tv_report {
	bool ok;
	unsigned n_pairs;
	struct tv_pair pair[TV_MAX_DEVICES * TV_MAX_DEVICES];
	uint64_t done[TV_MAX_DEVICES];       // descriptors
	uint64_t stamps[TV_MAX_DEVICES];     // DMA writes and fills
	uint64_t irqs[TV_MAX_DEVICES];       // delivered, of the vectors that are counted
	uint64_t served[TV_MAX_DEVICES];     // service requests
	unsigned n_errors;                   // may exceed what is kept
	char error[TV_ERRORS_MAX][200];
};

// `stall_ms`: an engine that has not moved for so long does not move.
void tv_verify(struct tv_vm *vm, unsigned stall_ms, struct tv_report *ret);

// As the guest's driver does it: all engines at rest and everything checked, then one device is reset, set up and
// started anew, and the rest goes on. Main thread, vCPU parked.
int tv_reset_device(struct tv_vm *vm, unsigned i, unsigned stall_ms, struct tv_report *report, struct ls_error *err);

json_t *tv_report_json(const struct tv_vm *vm, const struct tv_report *report);
// The ledger of writes: one line a pair, at most 80 columns. malloc'ed.
char *tv_report_table(const struct tv_vm *vm, const struct tv_report *report);

#endif
