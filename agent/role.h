// SPDX-License-Identifier: Apache-2.0
// What an agent decides in one migration, on one side. Pure: events in, actions out; no I/O, clock,
// threads or globals. It walks its track of the schedule, waits at gates, speaks the words of
// docs/decision.md and unwinds.
//
//   source       ACTIVE ----------> CONSENTED --D STARTED--> RELEASED
//                   |                   | D ABORTED
//                   +---> RETURNING <---+        ---> RETURNED
//   destination  UNDECIDED --consent--> COMMITTED --vCPUs resumed--> STARTED
//                   +---> ABORTED           +--devices lost in a restart--> LOST
//
// A word is asked for with LS_ACT_PERSIST; nothing that depends on it happens before
// LS_EV_PERSISTED. When persisting fails the role is mute: it speaks no word and starts nothing
// more in this life (rule 10).
//
// A role of an earlier life begins with LS_EV_RESTART: it takes its devices up again (LS_JOB_ADOPT: the fd
// that survived, or the one that its VMM lends anew) and goes on or back as its durable word says.
// A role that ended as OPERATOR holds what it has; LS_EV_RESOLVE, the VMM or the kernel call it waited for, makes it go
// on, and LS_ACT_END comes again.
#ifndef LS_AGENT_ROLE_H
#define LS_AGENT_ROLE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/word.h"
#include "agent/worker.h"
#include "common/error.h"
#include "common/schedule.h"

#define LS_LEDGER_ID_SIZE 33 // 16 random bytes as hex, and NUL
#define LS_NO_DEADLINE UINT64_MAX

struct ls_image {
	uint64_t length;
	uint8_t digest[LS_DIGEST_SIZE];
};

enum ls_vmm_op {
	LS_VMM_PAUSE,
	LS_VMM_FINAL,   // collects the blobs
	LS_VMM_READY,   // hands over the blobs, then asks for `ready`
	LS_VMM_RESUME,
	LS_VMM_GONE,
	LS_VMM_DISCARD,
	LS_VMM_RETURN,  // every lent fd is closed here
	LS_VMM_LEND,    // after a restart: lends its devices anew
	LS_VMM_OP_COUNT
};

// What agents say to each other about decisions. The shell turns these into frames and back.
enum ls_msg_kind {
	LS_MSG_BLOBS, // all of them; their content stays in the shell
	LS_MSG_CONSENT_REQUEST,
	LS_MSG_CONSENT,
	LS_MSG_STARTED,
	LS_MSG_ABORT,
	LS_MSG_WORD_QUERY,
	LS_MSG_WORD,
	LS_MSG_COUNT
};

struct ls_role_msg {
	enum ls_msg_kind kind;
	char migration[LS_NAME_MAX], vm[LS_NAME_MAX], host[LS_NAME_MAX]; // CONSENT
	char ledger_id[LS_LEDGER_ID_SIZE]; // CONSENT_REQUEST, CONSENT (the destination's), WORD
	uint32_t devices;                  // CONSENT_REQUEST, CONSENT: which images are there
	struct ls_image image[LS_MAX_DEVICES];
	bool settle;                       // WORD_QUERY
	enum ls_word word;                 // WORD
	uint64_t resumed_ns;               // STARTED
	struct ls_error error;             // ABORT
};

struct ls_role_params {
	enum ls_side side;
	char migration[LS_NAME_MAX], vm[LS_NAME_MAX];
	char host[LS_NAME_MAX], peer_host[LS_NAME_MAX];
	char ledger_id[LS_LEDGER_ID_SIZE];      // ours
	char peer_ledger_id[LS_LEDGER_ID_SIZE]; // rule 9; destination: empty where it was not told
	struct ls_schedule schedule;            // verified
	int state[LS_MAX_DEVICES];              // where each device is at BEGIN
	uint64_t deadline_ns;                   // longest blackout; 0: none
	uint64_t stuck_ns;                      // an arc that takes longer is stuck
	uint64_t retry_ns;                      // between attempts to reach the peer after consent
	uint64_t peer_ns;                       // destination: how long the source may take to connect, and to consent
	uint64_t vmm_ns;                        // after a restart: how long the VMM may take to connect again
	bool skip_quiesce, final_before_stop;   // break safety on purpose: test builds only
	unsigned rule_off;                      // so does this: a rule of docs/decision.md, 0: none
};

// What a restart finds.
struct ls_role_restart {
	bool done;         // all was done here in an earlier life: it only answers its peer
	bool fenced;       // a fence claim is in the ledger (rule 8)
	bool conflict;     // so is a conflict
	bool rebooted;     // since then: no VMM and no device of that time is left
	bool vmm_here;     // else LS_EV_VMM_UP may follow
	bool vmm_runs;     // it says that it runs the VM, rather than waits for one
	bool vmm_lends;    // else the agent opens devices itself
	bool vmm_none;     // nothing but agents ever held the devices
	uint32_t held;     // bit i: an fd of device i survived
};

// What an operator decided. Values equal lockstep.v1.ResolveAction.
enum ls_resolve {
	LS_RESOLVE_EXPLAIN,
	LS_RESOLVE_RETURN_FENCED,
	LS_RESOLVE_RETURN_LOST,
	LS_RESOLVE_RESET_SOURCE,
	LS_RESOLVE_RESET_DESTINATION,
	LS_RESOLVE_CLOSE,
	LS_RESOLVE_COUNT
};

enum ls_event_kind {
	LS_EV_BEGIN,       // `word` is durable: ACTIVE or UNDECIDED
	LS_EV_RESTART,     // instead of BEGIN: `word` is what the disk holds; restart
	LS_EV_PERSISTED,   // word, status
	LS_EV_GRANT,       // gates: bit per enum ls_gate
	LS_EV_UNWIND,      // error: the cause
	LS_EV_STOP,        // as UNWIND; and a VMM that has not come back is not waited for, the next life does
	LS_EV_STREAM,      // destination: the stream of `device` has been opened by the source
	LS_EV_JOB_DONE,    // device, job
	LS_EV_VMM_DONE,    // op, error (NULL: ok)
	LS_EV_VMM_LOST,
	LS_EV_VMM_UP,      // connected after a restart; vmm_runs
	LS_EV_RESOLVE,     // resolve, claimed: ls_role_may_resolve() allowed it, and the claim is durable
	LS_EV_REST,        // source, paused: rest_ns, the least that the rest can take (ls_rest_ns)
	LS_EV_PEER_UP,     // control connection is up; ledger_id: the peer's
	LS_EV_PEER_LOST,   // or could not be made; error
	LS_EV_PEER,        // msg
	LS_EV_SETTLE,
	LS_EV_MUTE,        // error: the agent's ledger has failed for another's sake (rule 10)
	LS_EV_TIMER        // deadline has come
};

struct ls_role_event {
	enum ls_event_kind kind;
	uint64_t time_ns;
	enum ls_word word;
	int status;
	uint32_t gates;
	unsigned device;
	const struct ls_job_result *job;
	enum ls_vmm_op op;
	const struct ls_error *error;
	const char *ledger_id;
	const struct ls_role_msg *msg;
	struct ls_role_restart restart;
	bool vmm_runs;
	enum ls_resolve resolve;
	bool claimed;
	uint64_t rest_ns;
};

enum ls_action_kind {
	LS_ACT_PERSIST,      // word
	LS_ACT_JOB,          // device, job, target
	LS_ACT_INTERRUPT,    // device
	LS_ACT_VMM,          // op
	LS_ACT_PEER_CONNECT, // source: dial the control connection
	LS_ACT_PEER_CLOSE,   // the control connection
	LS_ACT_PEER_SEND,    // msg; settle; fill in with ls_role_fill()
	LS_ACT_EMIT_STEP,    // unwind, index, begin_ns, end_ns; device >= 0: one device's share, from_state, errno
	LS_ACT_EMIT_GATE,    // gate
	LS_ACT_EMIT_WORD,    // word
	LS_ACT_EMIT_ERROR,   // error
	LS_ACT_EMIT_BLACKOUT,
	LS_ACT_END,          // how, error (or NULL); the role still answers its peer
	LS_ACT_CONFLICT,     // rule 8: goes into the ledger, to be told in every life
	LS_ACT_HEARD,        // destination: the source needs no word of it any more
	LS_ACT_DONE          // nothing is left to do on this host: the ledger's record is closed
};

// Values equal lockstep.v1.Ended.How.
enum ls_end { LS_END_NONE, LS_END_DONE, LS_END_RETURNED, LS_END_ABORTED, LS_END_OPERATOR };

struct ls_role_action {
	enum ls_action_kind kind;
	enum ls_word word;
	int device;
	enum ls_job_kind job;
	enum ls_state target;
	enum ls_vmm_op op;
	enum ls_msg_kind msg;
	bool settle;
	bool unwind;
	unsigned index;
	const struct ls_step *step; // lives as long as the role
	uint64_t begin_ns, end_ns;
	int from_state, errno_value;
	enum ls_gate gate;
	enum ls_end how;
	const struct ls_error *error; // lives as long as the role
};

#define LS_ROLE_ACTIONS_MAX (LS_MAX_DEVICES * 8 + LS_MAX_STEPS * 4)
struct ls_role_actions {
	unsigned n;
	struct ls_role_action at[LS_ROLE_ACTIONS_MAX];
};

// Source's clock; 0: not known.
struct ls_role_blackout {
	uint64_t pause_ns, paused_ns, quiesced_ns, stopped_ns, asked_ns, answered_ns, started_ns;
};

struct ls_role;

// NULL: out of memory. `params` is copied.
struct ls_role *ls_role_new(const struct ls_role_params *params);
void ls_role_free(struct ls_role *r);

// The answer lives until the next call; carry it out in order.
const struct ls_role_actions *ls_role_event(struct ls_role *r, const struct ls_role_event *event);

uint64_t ls_role_deadline(const struct ls_role *r); // feed LS_EV_TIMER then; LS_NO_DEADLINE
enum ls_word ls_role_word(const struct ls_role *r); // durable
bool ls_role_mute(const struct ls_role *r);         // rule 10
bool ls_role_persisting(const struct ls_role *r);
bool ls_role_unwinding(const struct ls_role *r);
bool ls_role_conflict(const struct ls_role *r);     // rule 8: the fence was false, both sides may run
// May an operator do this now? `claimed`: with a fence claim. Error: INVALID or CONFLICT, and why not.
int ls_role_may_resolve(const struct ls_role *r, enum ls_resolve action, bool claimed, struct ls_error *err);
enum ls_end ls_role_ended(const struct ls_role *r);
const struct ls_error *ls_role_cause(const struct ls_role *r); // first cause, or NULL
const struct ls_role_blackout *ls_role_blackout(const struct ls_role *r);
// What one that has not ended waits for, for people.
void ls_role_waits(const struct ls_role *r, char *ret, size_t size);
const struct ls_schedule *ls_role_schedule(const struct ls_role *r);
const char *ls_role_device_name(const struct ls_role *r, unsigned device); // on this side

// The message of an LS_ACT_PEER_SEND.
void ls_role_fill(const struct ls_role *r, const struct ls_role_action *action, struct ls_role_msg *ret);

#endif
