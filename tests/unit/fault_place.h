// SPDX-License-Identifier: Apache-2.0
// A database in a folder of its own, on the disk of fault_vfs.h.
#ifndef TESTS_UNIT_FAULT_PLACE_H
#define TESTS_UNIT_FAULT_PLACE_H

#include <stdbool.h>
#include <uv.h>

#include "common/error.h"

#define LIVES 2

struct place {
	char dir[32], path[64];
	uv_loop_t loop;
	uv_timer_t tick; // the store retries in silence: somebody must look whether the disk has failed
	bool answered;
	int status;
};

int fault_place_set_up(void **state);
int fault_place_tear_down(void **state);
void fault_place_remove(struct place *p);      // its files
void fault_place_lose_memory(struct place *p); // as a loss of power does
void fault_place_done(void *user, int status, const struct ls_error *err); // user: the place

#endif
