// SPDX-License-Identifier: Apache-2.0
// The ordered steps of a migration, as pure data: made by the coordinator, verified and executed
// by the agents, printed by the dry run. Between two steps of a track stands a barrier: every
// device finishes the first before any begins the second. Source of the order: K3.
#ifndef LS_COMMON_SCHEDULE_H
#define LS_COMMON_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/fsm.h"

#define LS_MAX_DEVICES 32
#define LS_MAX_STEPS 24
#define LS_NAME_MAX 64 // with the terminating NUL; [A-Za-z0-9._-]

// Values equal lockstep.v1.Gate.
enum ls_gate { LS_GATE_NONE, LS_GATE_BEFORE_PAUSE, LS_GATE_STOPPED, LS_GATE_DECIDE, LS_GATE_COUNT };

// Values equal lockstep.v1.StepKind; meanings there.
enum ls_step_kind {
	LS_STEP_NONE,
	LS_STEP_STREAMS,
	LS_STEP_ARC,
	LS_STEP_PRECOPY,
	LS_STEP_GATE,
	LS_STEP_VMM_PAUSE,
	LS_STEP_VMM_FINAL,
	LS_STEP_CONSENT,
	LS_STEP_RELEASE,
	LS_STEP_LOAD,
	LS_STEP_VMM_READY,
	LS_STEP_DECIDE,
	LS_STEP_VMM_RESUME,
	LS_STEP_STARTED,
	LS_STEP_RESET,
	LS_STEP_VMM_DISCARD,
	LS_STEP_RETURNED,
	LS_STEP_KIND_COUNT
};

struct ls_step {
	enum ls_step_kind kind;
	uint32_t devices;      // bit i: device i
	enum ls_state target;  // LS_STEP_ARC
	enum ls_gate gate;     // LS_STEP_GATE
};

struct ls_track {
	unsigned n;
	struct ls_step step[LS_MAX_STEPS];
};

struct ls_sched_device {
	char source_name[LS_NAME_MAX];
	char dest_name[LS_NAME_MAX];
	unsigned source_flags, dest_flags; // LS_CAP_*
	uint32_t reaches;                  // bit i: may write to device i; own bit is ignored
	bool precopy;                      // takes part in pre-copy: source has PRE_COPY, policy allows
};

struct ls_schedule {
	unsigned n_devices; // 1..LS_MAX_DEVICES
	struct ls_sched_device device[LS_MAX_DEVICES];
	struct ls_track source, source_unwind, dest, dest_unwind;
};

// Fills the four tracks from n_devices and device[]. Errors: NOT_FEASIBLE, naming every device
// without P2P where two or more of them can reach each other (on either side); INVALID for
// flags without STOP_COPY, names or counts out of range.
int ls_schedule_make(struct ls_schedule *s, struct ls_error *err);

// Proves over both hosts' forward tracks, and over the unwind begun after (and within) any step of
// them, that no walk is illegal, that no saving session ends before its stream does, and K3's
// invariant: no device that initiates can reach a deaf one, whatever the interleaving within
// a step. Also: required steps present once and in order, known kinds only, masks within range.
// Error: SCHEDULE_INVALID with track, step index, devices and states.
int ls_schedule_verify(const struct ls_schedule *s, struct ls_error *err);

// May device `i` skip this arc of an unwind because it is still RUNNING or PRE_COPY (the quiesce
// never reached it)? True only for a step whose target is RUNNING_P2P.
bool ls_unwind_skips(const struct ls_step *step, enum ls_state cur);

const char *ls_gate_name(enum ls_gate gate);            // "before-pause"
int ls_gate_parse(const char *name, enum ls_gate *ret); // -EINVAL
const char *ls_step_kind_name(enum ls_step_kind kind);  // "quiesce"-less plain names: "arc", "vmm-pause"

// "all -> RUNNING_P2P", "pause the VM", "gate before-pause": for people. Returns buf.
const char *ls_step_text(const struct ls_schedule *s, const struct ls_step *step, bool dest, char *buf,
			 unsigned long size);

#endif
