// SPDX-License-Identifier: Apache-2.0
// Shared by the schedule's maker and its verifier; nobody else includes it.
#ifndef LS_COMMON_SCHEDULE_INTERNAL_H
#define LS_COMMON_SCHEDULE_INTERNAL_H

#include "common/schedule.h"

// n_devices and device[] alone: counts, names, flags, reach. `reason` is the caller's word for a failure.
int ls_schedule_check_devices(const struct ls_schedule *s, enum ls_reason reason, struct ls_error *err);

// Every track has its steps once and in order, of known kinds, with masks, targets and gates in range.
int ls_schedule_check_order(const struct ls_schedule *s, struct ls_error *err);

static inline uint32_t ls_schedule_all(const struct ls_schedule *s)
{
	return s->n_devices == 32 ? UINT32_MAX : (UINT32_C(1) << s->n_devices) - 1;
}

static inline uint32_t ls_schedule_precopy(const struct ls_schedule *s)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < s->n_devices; i++)
		if (s->device[i].precopy)
			mask |= UINT32_C(1) << i;
	return mask;
}

static inline unsigned ls_schedule_flags(const struct ls_schedule *s, bool dest, unsigned device)
{
	return dest ? s->device[device].dest_flags : s->device[device].source_flags;
}

static inline const char *ls_schedule_name(const struct ls_schedule *s, bool dest, unsigned device)
{
	return dest ? s->device[device].dest_name : s->device[device].source_name;
}

// Others that device i may write to.
static inline uint32_t ls_schedule_reaches(const struct ls_schedule *s, unsigned i)
{
	return s->device[i].reaches & ~(UINT32_C(1) << i);
}

#endif
