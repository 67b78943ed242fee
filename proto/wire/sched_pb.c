// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/sched_pb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "proto/wire/pb.h"

// Enums travel by value.
_Static_assert((int)LS_STEP_RETURNED == LOCKSTEP__V1__STEP_KIND__STEP_RETURNED, "StepKind");
_Static_assert((int)LS_STEP_LOAD == LOCKSTEP__V1__STEP_KIND__STEP_LOAD, "StepKind");
_Static_assert((int)LS_STEP_RESET == LOCKSTEP__V1__STEP_KIND__STEP_RESET, "StepKind");
_Static_assert((int)LS_GATE_BEFORE_PAUSE == LOCKSTEP__V1__GATE__GATE_BEFORE_PAUSE, "Gate");
_Static_assert((int)LS_GATE_DECIDE == LOCKSTEP__V1__GATE__GATE_DECIDE, "Gate");

#define INVALID(err, ...) ls_fail((err), LS_E_SCHEDULE_INVALID, EINVAL, __VA_ARGS__)

static int device_to_pb(const struct ls_sched_device *d, Lockstep__V1__ScheduleDevice **ret)
{
	Lockstep__V1__ScheduleDevice *msg = malloc(sizeof(*msg));

	if (!msg)
		return -ENOMEM;
	lockstep__v1__schedule_device__init(msg);
	*ret = msg;
	// A name of which nothing came keeps the library's own empty string, which it does not free.
	char *source_name = strdup(d->source_name), *dest_name = strdup(d->dest_name);
	if (source_name)
		msg->source_name = source_name;
	if (dest_name)
		msg->destination_name = dest_name;
	msg->source_flags = d->source_flags;
	msg->destination_flags = d->dest_flags;
	msg->reaches = d->reaches;
	msg->precopy = d->precopy;
	return source_name && dest_name ? 0 : -ENOMEM;
}

static int track_to_pb(const struct ls_track *t, size_t *ret_n, Lockstep__V1__Step ***ret)
{
	Lockstep__V1__Step **steps = calloc(t->n ? t->n : 1, sizeof(*steps));

	if (!steps)
		return -ENOMEM;
	*ret = steps;
	for (unsigned i = 0; i < t->n; i++) {
		steps[i] = malloc(sizeof(*steps[i]));
		if (!steps[i])
			return -ENOMEM;
		lockstep__v1__step__init(steps[i]);
		*ret_n = i + 1;
		steps[i]->kind = (Lockstep__V1__StepKind)t->step[i].kind;
		steps[i]->devices = t->step[i].devices;
		steps[i]->target = t->step[i].target;
		steps[i]->gate = (Lockstep__V1__Gate)t->step[i].gate;
	}
	return 0;
}

static int devices_to_pb(const struct ls_schedule *s, Lockstep__V1__Schedule *msg)
{
	msg->device = calloc(s->n_devices ? s->n_devices : 1, sizeof(msg->device[0]));
	if (!msg->device)
		return -ENOMEM;
	for (unsigned i = 0; i < s->n_devices; i++) {
		int r = device_to_pb(&s->device[i], &msg->device[i]);

		msg->n_device = msg->device[i] ? i + 1 : i;
		if (r < 0)
			return r;
	}
	return 0;
}

int ls_schedule_to_pb(const struct ls_schedule *s, Lockstep__V1__Schedule **ret)
{
	Lockstep__V1__Schedule *msg = malloc(sizeof(*msg));
	int r;

	if (!msg)
		return -ENOMEM;
	lockstep__v1__schedule__init(msg);
	r = devices_to_pb(s, msg);
	if (r == 0)
		r = track_to_pb(&s->source, &msg->n_source, &msg->source);
	if (r == 0)
		r = track_to_pb(&s->source_unwind, &msg->n_source_unwind, &msg->source_unwind);
	if (r == 0)
		r = track_to_pb(&s->dest, &msg->n_destination, &msg->destination);
	if (r == 0)
		r = track_to_pb(&s->dest_unwind, &msg->n_destination_unwind, &msg->destination_unwind);
	if (r < 0) {
		ls_pb_free(&msg->base);
		return r;
	}
	*ret = msg;
	return 0;
}

static int name_from_pb(const char *text, unsigned index, const char *field, char name[LS_NAME_MAX],
			struct ls_error *err)
{
	if (!ls_name_valid(text))
		return INVALID(err, "device[%u].%s: a name has 1 to %d of A-Z a-z 0-9 . _ -", index, field,
			       LS_NAME_MAX - 1);
	memcpy(name, text, strlen(text) + 1);
	return 0;
}

static int flags_from_pb(uint32_t flags, unsigned index, const char *field, unsigned *ret, struct ls_error *err)
{
	if (ls_fsm_next(flags, LS_STATE_RUNNING, LS_STATE_STOP_COPY) < 0)
		return INVALID(err, "device[%u].%s: %u; 1, 3, 5 and 7 exist", index, field, flags);
	*ret = flags;
	return 0;
}

static int device_from_pb(const Lockstep__V1__ScheduleDevice *msg, unsigned index, uint32_t all,
			  struct ls_sched_device *ret, struct ls_error *err)
{
	int r = name_from_pb(msg->source_name, index, "source_name", ret->source_name, err);

	if (r == 0)
		r = name_from_pb(msg->destination_name, index, "destination_name", ret->dest_name, err);
	if (r == 0)
		r = flags_from_pb(msg->source_flags, index, "source_flags", &ret->source_flags, err);
	if (r == 0)
		r = flags_from_pb(msg->destination_flags, index, "destination_flags", &ret->dest_flags, err);
	if (r == 0 && msg->reaches & ~all)
		r = INVALID(err, "device[%u].reaches: 0x%x goes beyond the devices there are", index, msg->reaches);
	ret->reaches = msg->reaches;
	ret->precopy = msg->precopy;
	return r;
}

static int step_from_pb(const Lockstep__V1__Step *msg, const char *track, unsigned index, uint32_t all,
			struct ls_step *ret, struct ls_error *err)
{
	if ((int)msg->kind <= LS_STEP_NONE || (int)msg->kind >= LS_STEP_KIND_COUNT)
		return INVALID(err, "%s[%u].kind: %d is not known here", track, index, (int)msg->kind);
	if (msg->devices & ~all)
		return INVALID(err, "%s[%u].devices: 0x%x goes beyond the devices there are", track, index,
			       msg->devices);
	if (msg->target >= LS_STATE_COUNT)
		return INVALID(err, "%s[%u].target: %u is no state", track, index, msg->target);
	if ((int)msg->gate < LS_GATE_NONE || (int)msg->gate >= LS_GATE_COUNT)
		return INVALID(err, "%s[%u].gate: %d is not known here", track, index, (int)msg->gate);
	*ret = (struct ls_step){
		.kind = (enum ls_step_kind)msg->kind,
		.devices = msg->devices,
		.target = (enum ls_state)msg->target,
		.gate = (enum ls_gate)msg->gate,
	};
	return 0;
}

static int track_from_pb(size_t n, Lockstep__V1__Step *const *steps, const char *track, uint32_t all,
			 struct ls_track *ret, struct ls_error *err)
{
	if (n < 1 || n > LS_MAX_STEPS)
		return INVALID(err, "%s: %zu steps; 1 to %d are possible", track, n, LS_MAX_STEPS);
	for (unsigned i = 0; i < n; i++) {
		int r = step_from_pb(steps[i], track, i, all, &ret->step[i], err);

		if (r < 0)
			return r;
	}
	ret->n = (unsigned)n;
	return 0;
}

int ls_schedule_from_pb(const Lockstep__V1__Schedule *msg, struct ls_schedule *ret, struct ls_error *err)
{
	struct ls_schedule s = { .n_devices = 0 };
	uint32_t all;
	int r = 0;

	if (!msg)
		return INVALID(err, "schedule: missing");
	if (msg->n_device < 1 || msg->n_device > LS_MAX_DEVICES)
		return INVALID(err, "device: %zu of them; 1 to %d are possible", msg->n_device, LS_MAX_DEVICES);
	s.n_devices = (unsigned)msg->n_device;
	all = s.n_devices == 32 ? UINT32_MAX : (UINT32_C(1) << s.n_devices) - 1;
	for (unsigned i = 0; i < s.n_devices && r == 0; i++)
		r = device_from_pb(msg->device[i], i, all, &s.device[i], err);
	if (r == 0)
		r = track_from_pb(msg->n_source, msg->source, "source", all, &s.source, err);
	if (r == 0)
		r = track_from_pb(msg->n_source_unwind, msg->source_unwind, "source_unwind", all, &s.source_unwind,
				  err);
	if (r == 0)
		r = track_from_pb(msg->n_destination, msg->destination, "destination", all, &s.dest, err);
	if (r == 0)
		r = track_from_pb(msg->n_destination_unwind, msg->destination_unwind, "destination_unwind", all,
				  &s.dest_unwind, err);
	if (r == 0)
		*ret = s;
	return r;
}
