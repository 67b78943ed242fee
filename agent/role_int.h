// SPDX-License-Identifier: Apache-2.0
// Shared by role*.c only.
#ifndef LS_AGENT_ROLE_INT_H
#define LS_AGENT_ROLE_INT_H

#include "agent/role.h"

enum phase {
	PHASE_FORWARD,
	PHASE_DRAIN,   // unwind decided: its word is being persisted, jobs come to their end
	PHASE_UNWIND,
	PHASE_CLOSING, // track walked: devices are closed, the VMM is told
	PHASE_OVER
};

// What a role that ended as OPERATOR would go on after by itself.
enum hold { HOLD_NONE, HOLD_VMM, HOLD_ADOPT, HOLD_STUCK };

struct role_device {
	int state;             // as last told; -1: unknown
	bool busy;             // a job is under way
	enum ls_job_kind job;
	int target;            // of an arc under way
	uint64_t since_ns;
	bool interrupted;
	bool wanted;           // the step wants a job of this device
	enum ls_job_kind wanted_job;
	bool for_step;         // the job under way is the step's
	bool stream_waiting, stream_up;
	bool image_begun, image_done;
	bool here;             // open at the worker
	bool tried, told_stuck;// restart: adopted, or not to be had
	bool failed;           // on the way back, or in the start after COMMITTED: only a reset helps
	bool closed;
	struct ls_image image;
	struct ls_error error; // its own first
};

struct ls_role {
	struct ls_role_params p;
	uint64_t now;
	enum ls_word word, persisting;
	bool mute;

	enum phase phase;
	bool unwinding;
	uint64_t drain_ns;
	const struct ls_track *track;
	unsigned index;
	bool begun;            // step `index`
	uint64_t step_ns;
	uint32_t granted;
	struct role_device dev[LS_MAX_DEVICES];
	uint32_t all;

	bool vmm_busy, vmm_lost, vmm_answered; // answered: the op of the step under way
	enum ls_vmm_op vmm_op;
	bool paused;           // asked for, so not known to be running
	bool resumed, final_done, blobs_sent, ready, told_end;

	bool peer_up, dialling, peer_seen;
	uint64_t retry_at, peer_by;
	bool blobs_here, asked, request_here, answer_due, peer_started, peer_aborted;
	struct ls_role_msg request; // source: the destination's

	bool restarted, judged, adopting, lend_asked, ask_first, resetting, emptied, strayed, partly;
	struct ls_role_restart found;
	bool vmm_away;         // restart: has not connected yet
	bool vmm_absent;       // and its time is over
	uint64_t vmm_by;
	enum hold hold;
	enum phase held_in;
	bool heard; // destination: the source needs no word of us any more
	const char *conflict_due; // heard of while a word was being written
	bool fenced, fence_asked, fence_settled, peer_lost, conflict, done, close;

	struct ls_role_blackout blackout;
	uint64_t resumed_ns;
	struct ls_error cause;
	struct ls_error late;  // the last error that ended it, where that is not the cause
	struct ls_error gone;  // the VMM went away
	enum ls_end how, ended;
	struct ls_role_actions out;
};

// For tests that must notice when a rule is missing.
static inline bool role_off(const struct ls_role *r, unsigned rule)
{
	return r->p.rule_off == rule;
}

// role.c
struct ls_role_action *role_act(struct ls_role *r, enum ls_action_kind kind);
void role_persist(struct ls_role *r, enum ls_word word);
void role_end(struct ls_role *r, enum ls_end how, const struct ls_error *error);
void role_emit_error(struct ls_role *r, const struct ls_error *error);
void role_send(struct ls_role *r, enum ls_msg_kind kind, bool settle);
void role_vmm(struct ls_role *r, enum ls_vmm_op op);

void role_say_word(struct ls_role *r, enum ls_word word);
bool role_vmm_here(const struct ls_role *r);

// role_walk.c
void role_submit(struct ls_role *r, unsigned device, enum ls_job_kind job, bool for_step);
void role_want(struct ls_role *r, uint32_t devices, enum ls_job_kind job);
void role_advance(struct ls_role *r);
const struct ls_step *role_step(const struct ls_role *r); // under way, or NULL
bool role_idle(const struct ls_role *r);                  // no job, no VMM request

// role_job.c
void role_on_job(struct ls_role *r, unsigned device, const struct ls_job_result *job);

// role_restart.c
void role_on_restart(struct ls_role *r, enum ls_word word, const struct ls_role_restart *found);
void role_on_vmm_up(struct ls_role *r, bool runs);
void role_on_vmm_late(struct ls_role *r);
bool role_take_up(struct ls_role *r);   // devices and VMM of an earlier life; true: nothing more will come
bool role_may_walk(struct ls_role *r);  // is all there that the way ahead needs? else it ends as OPERATOR
void role_on_adopted(struct ls_role *r, unsigned device, const struct ls_job_result *job);
void role_say_lost(struct ls_role *r);
int role_after(const struct ls_track *track, enum ls_step_kind kind); // index of the step behind it

// role_resolve.c
void role_on_resolve(struct ls_role *r, enum ls_resolve action, bool claimed);
void role_revive(struct ls_role *r, enum phase phase);
void role_conflict(struct ls_role *r, const char *what);
void role_on_old_conflict(struct ls_role *r); // of an earlier life
void role_fence_settled(struct ls_role *r);

// role_unwind.c
void role_turn_back(struct ls_role *r, enum ls_word word, const struct ls_error *cause);
// The unwind, if this side may still choose it alone. Keeps the cause.
void role_fail(struct ls_role *r, const struct ls_error *cause);
void role_return(struct ls_role *r); // source, consented: the destination said ABORTED
void role_unstick(struct ls_role *r); // a call has come back from the kernel
bool role_may_unwind(const struct ls_role *r);
// Keeps and reports `cause` if it is the first, or beats what was known (common/cause.h).
void role_keep_cause(struct ls_role *r, const struct ls_error *cause);

// role_vmm.c
void role_on_vmm(struct ls_role *r, enum ls_vmm_op op, const struct ls_error *error);
void role_on_vmm_lost(struct ls_role *r);
// With the VM that this side had in hand: devices are reset, every fd is dropped.
bool role_vmm_dead(const struct ls_role *r);
void role_bury(struct ls_role *r);
extern const struct ls_track role_track_dead;

// role_timer.c
void role_on_timer(struct ls_role *r);
void role_on_rest(struct ls_role *r, uint64_t rest_ns);

// role_peer.c
void role_on_peer_up(struct ls_role *r, const char *ledger_id);
void role_on_peer_lost(struct ls_role *r, const struct ls_error *error);
void role_on_peer(struct ls_role *r, const struct ls_role_msg *msg);
void role_try_consent(struct ls_role *r);
void role_heard(struct ls_role *r);
void role_lose(struct ls_role *r); // idle: resets every device, then writes LOST
void role_answer(struct ls_role *r); // a word query that waited for the disk
void role_reach(struct ls_role *r);  // source, consented, peer lost: dial when it is time

#endif
