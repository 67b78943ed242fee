// SPDX-License-Identifier: Apache-2.0
// Schedules as messages and back.
#ifndef LS_PROTO_WIRE_SCHED_PB_H
#define LS_PROTO_WIRE_SCHED_PB_H

#include "common/schedule.h"
#include "lockstep/v1/migration.pb-c.h"

// 0 and a message of the caller's, on its own (ls_pb_free) or put into a greater one that is freed
// so; -ENOMEM.
int ls_schedule_to_pb(const struct ls_schedule *s, Lockstep__V1__Schedule **ret);

// Bounded and strict: SCHEDULE_INVALID names the field that is out of range (unknown step kinds and gates, too many
// devices or steps, masks beyond the devices, bad names). Proves nothing: ls_schedule_verify() does. *ret is
// written on success only; msg NULL is an absent schedule, an error.
int ls_schedule_from_pb(const Lockstep__V1__Schedule *msg, struct ls_schedule *ret, struct ls_error *err);

#endif
