/* SPDX-License-Identifier: Apache-2.0 */
/* What the hammer's threads share. */
#ifndef KMOD_HAMMER_H
#define KMOD_HAMMER_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kmod_vm.h"

#define LASTING 3		/* devices that stay */
#define PASSING 2		/* devices that come and go */
#define DEVICES (LASTING + PASSING)
#define HAMMERS 6
#define THREADS (HAMMERS + PASSING)
#define DATA_FDS 8
#define PARENT "/sys/class/mdev_bus/lockstep-pf0/"
#define PARENT_DEBUG "/sys/kernel/debug/lockstep_vdev/lockstep-pf0/"

enum kind { STATES, DATA, RESETS, ODD, CLOSES, INTERRUPTS, KNOBS, CHILDREN, REMOVALS, KINDS };

struct hammered {
	struct vdev v;		/* all but the fd */
	atomic_int fd;		/* <= 0: closed */
	pthread_mutex_t opening;
};

struct hammered_removal {
	struct vdev *v;
};

extern struct vm vm;
extern struct hammered devices[DEVICES];
extern atomic_int data_fds[DATA_FDS];		/* shared on purpose; 0: none */
extern uint8_t *scratch;			/* 64 KiB, then nothing mapped */
extern atomic_ulong counts[KINDS];

uint64_t random_next(uint64_t *state);

/* kmod_hammer_devices.c */
bool hammer_set_up(void);
bool hammer_create(struct hammered *h);
bool hammer_reopen(struct hammered *h);
void hammer_close(struct hammered *h);
void *hammer_remove(void *removal);
void hammer_forget(struct hammered *h);
void hammer_ring(struct hammered *h);
void hammer_calm(struct vdev *v);		/* no latency, failure, quirk or limit is left */
bool hammer_unload(struct vm *vm, uint64_t seed);

/* kmod_hammer_requests.c: one random request to v, whose fd is a dup of the caller's */
void hammer_once(struct hammered *h, struct vdev *v, uint64_t r);

#endif
