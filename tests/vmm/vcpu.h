// SPDX-License-Identifier: Apache-2.0
// The vCPU and its interrupts: one thread that sleeps until a device interrupts. Parked means that nothing of the
// VM touches devices or RAM but the caller, who is the main thread.
#ifndef TV_VCPU_H
#define TV_VCPU_H

#include <pthread.h>
#include <stdbool.h>

#include "tests/vmm/guest.h"

struct tv_vcpu {
	struct tv_machine *machine;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int epoll, wake;        // wake: eventfd, makes it look at `want`
	bool started;
	enum { TV_VCPU_PARKED, TV_VCPU_RUNNING, TV_VCPU_ENDED } want, is;
};

// The machine's devices are open. Starts parked.
int tv_vcpu_init(struct tv_vcpu *cpu, struct tv_machine *machine, struct ls_error *err);
void tv_vcpu_run(struct tv_vcpu *cpu);
void tv_vcpu_park(struct tv_vcpu *cpu);
void tv_vcpu_free(struct tv_vcpu *cpu); // also of a zeroed one

#endif
