// SPDX-License-Identifier: Apache-2.0
// What earlier moves took, and from it what the next will take. Pure. Plain medians, by the device's
// driver and type: few moves are enough, one odd move does no harm, and the basis can be said in
// one sentence. Follows the schedule: steps add up, devices within a step do not.
#ifndef LS_COORDINATOR_HISTORY_H
#define LS_COORDINATOR_HISTORY_H

#include <stdint.h>

#include "common/schedule.h"
#include "lockstep/v1/migration.pb-c.h"

struct ls_history;

struct ls_history *ls_history_new(void);
void ls_history_free(struct ls_history *h);

// Learns from a finished move; `source`/`dest` are the devices of its plan, in schedule order. Only moves that
// are DONE teach anything. Keeps the newest 4096 samples.
void ls_history_learn(struct ls_history *h, const Lockstep__V1__Migration *m, Lockstep__V1__Device **source,
		      Lockstep__V1__Device **dest);

// Heap message; `known` only if every step and every size has a figure.
Lockstep__V1__Estimate *ls_history_estimate(const struct ls_history *h, const struct ls_schedule *s,
					    Lockstep__V1__Device **source, Lockstep__V1__Device **dest);

#endif
