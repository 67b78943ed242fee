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
	uint32_t devices;      // bit i: device i; 0 for steps that concern no device
	enum ls_state target;  // LS_STEP_ARC
	enum ls_gate gate;     // LS_STEP_GATE
};

struct ls_track {
	unsigned n;
	struct ls_step step[LS_MAX_STEPS];
};

// Device i of the source and device i of the destination are a pair.
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
// without P2P that can reach, or be reached by, another without it (on either side); INVALID for
// flags other than 1, 3, 5, 7, bad or repeated names, counts out of range.
int ls_schedule_make(struct ls_schedule *s, struct ls_error *err);

// Proves over both hosts' forward tracks, and over the unwind begun after or within any step of them
// (and begun anew after or within any step of itself), that no walk is illegal, that no saving
// session ends before its stream does, and K3's invariant: no device that initiates can reach a deaf
// one, whatever the interleaving within a step. Also: required steps present once and in order, known
// kinds only, masks within range. Two things it cannot promise: what a device in ERROR
// loses, and what a guest does to a device that it resets itself.
// Error: SCHEDULE_INVALID with track, step index, devices and states.
int ls_schedule_verify(const struct ls_schedule *s, struct ls_error *err);

// Where this arc step takes this device: what to ask SET_STATE for. The step's target, except on the
// source's way forward for a device that takes part in pre-copy: there RUNNING_P2P means PRE_COPY_P2P and
// STOP means STOP_COPY, so that its session goes on (K3). One step, one barrier.
enum ls_state ls_step_target(const struct ls_schedule *s, bool dest, bool unwind, const struct ls_step *step,
			     unsigned device);

// May a device in state `cur` skip this arc of an unwind because the quiesce never reached it
// (RUNNING, PRE_COPY)? True only for a step whose target is RUNNING_P2P.
bool ls_unwind_skips(const struct ls_step *step, enum ls_state cur);

// Does this LS_STEP_RESET, the first of an unwind, reset a device found in `cur`? On the destination always (what
// it loaded is void); on the source only in ERROR or a state that we do not know.
bool ls_unwind_resets(bool dest, int cur);

const char *ls_gate_name(enum ls_gate gate);            // "before-pause"
int ls_gate_parse(const char *name, enum ls_gate *ret); // -EINVAL
const char *ls_step_kind_name(enum ls_step_kind kind);  // "arc", "vmm-pause"; "?" out of range

// "all -> RUNNING_P2P", "nic0, nic1 -> STOP", "pause the VM", "gate before-pause": for people. Returns buf.
const char *ls_step_text(const struct ls_schedule *s, const struct ls_step *step, bool dest, char *buf,
			 unsigned long size);

#endif
