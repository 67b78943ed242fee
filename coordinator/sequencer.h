// SPDX-License-Identifier: Apache-2.0
// The coordinator's mind for one migration. Pure: events in, actions out, time inside the events.
//
// State is the fold of the durable records (record.proto). An event that must survive becomes a
// PERSIST action first; what follows from it follows on ls_seq_persisted(). What to do next is
// derived from the state, not remembered: after a restart the records are folded and the same
// derivation goes on.
//
//	plan -> refused
//	     -> Prepare destination -> Prepare source -> Watch both
//	        -> source at before-pause: Grant destination, then source  -> both ended: DONE
//	        -> cancel, a Prepare refused, a side gave up:
//	           Unwind source -> Settle destination                     -> both ended: RETURNED
//
// The VM's fate is the agents' (docs/decision.md). The only decision that is made here is to ask for the
// unwind, which the source may refuse.
//
// OPERATOR lies over all that: a reason to call one, derived from the state like everything else. Agents are asked
// and watched as before; when the reason is gone the migration goes on.
#ifndef LS_COORDINATOR_SEQUENCER_H
#define LS_COORDINATOR_SEQUENCER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/schedule.h"
#include "coordinator/record.pb-c.h"
#include "proto/rpc/status.h"

#define LS_TOKEN_SIZE 32u

enum ls_seq_side { LS_SEQ_SOURCE, LS_SEQ_DEST };

enum ls_seq_action_kind {
	LS_SEQ_PERSIST, // write `record` (owned by the taker), then ls_seq_persisted() with it, in order
	LS_SEQ_PLAN,	// describe and check, then ls_seq_planned()
	LS_SEQ_PREPARE, // this and the next six: call the agent of `side`, then ls_seq_answer()
	LS_SEQ_GRANT,	// gates in `gates`, bit 1 << ls_gate
	LS_SEQ_UNWIND,
	LS_SEQ_SETTLE,
	LS_SEQ_GET_WORD,
	LS_SEQ_FIND,	// does it have this migration, whether open or ended? Without a plan `prepare` is wanted too
	LS_SEQ_RESOLVE, // `resolve`, with ls_seq_claim()
	LS_SEQ_WATCH,	// stream of `side` from `after`; ls_seq_agent_event()*, ls_seq_watch_ended()
	LS_SEQ_CHANGED, // ls_seq_view() has news for those who watch
};

struct ls_seq_action {
	enum ls_seq_action_kind kind;
	enum ls_seq_side side;
	uint32_t gates;
	uint64_t after;
	Lockstep__V1__ResolveAction resolve;
	Lockstep__Store__Record *record;
};

struct ls_seq_time {
	uint64_t now_ns;  // monotonic
	uint64_t unix_ms; // for records
};

// How a call to an agent ended.
struct ls_seq_answer {
	enum ls_seq_action_kind kind; // PREPARE .. RESOLVE
	enum ls_rpc_status status;
	bool sent;	       // false: the agent cannot have acted on it
	struct ls_error error; // status is not OK
	// OK: what it answered; borrowed
	const char *word, *ledger_id; // NULL: none
	bool known;		      // WordResponse.known; FIND: it is in the list
	const Lockstep__V1__PrepareRequest *prepare; // FIND: as it was accepted; NULL: not told
};

enum ls_seq_cancel { LS_SEQ_NOT_ASKED, LS_SEQ_ASKED, LS_SEQ_UNWINDS, LS_SEQ_REFUSED };

struct ls_seq;

// A new migration; emits its first record. `spec` is copied.
struct ls_seq *ls_seq_new(const Lockstep__V1__MigrationSpec *spec, const char *actor, struct ls_seq_time t);
// From the store: fold all records in order, then ls_seq_go_on(). NULL: the first one is not Created.
struct ls_seq *ls_seq_restore(const Lockstep__Store__Record *created);
void ls_seq_fold(struct ls_seq *q, const Lockstep__Store__Record *record);
void ls_seq_go_on(struct ls_seq *q, struct ls_seq_time t);
// From what an agent on `host` holds of a migration that the store does not know; emits its first records. NULL: the
// entry does not tell enough.
struct ls_seq *ls_seq_rebuild(const Lockstep__V1__ListAgentMigrationsResponse__Entry *entry, const char *host,
			      struct ls_seq_time t);
void ls_seq_free(struct ls_seq *q);

void ls_seq_persisted(struct ls_seq *q, const Lockstep__Store__Record *record, struct ls_seq_time t);
// `plan` and `token` (random) are copied.
void ls_seq_planned(struct ls_seq *q, const Lockstep__V1__DryRunResponse *plan, const uint8_t token[LS_TOKEN_SIZE],
		    struct ls_seq_time t);
void ls_seq_answer(struct ls_seq *q, enum ls_seq_side side, const struct ls_seq_answer *answer, struct ls_seq_time t);
void ls_seq_agent_event(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__AgentEvent *event,
			struct ls_seq_time t);
void ls_seq_watch_ended(struct ls_seq *q, enum ls_seq_side side, struct ls_seq_time t);
void ls_seq_tick(struct ls_seq *q, struct ls_seq_time t);

// BAD_STATE: too late (consented, or ended). Repeating it is harmless.
int ls_seq_cancel(struct ls_seq *q, const char *actor, struct ls_seq_time t, struct ls_error *err);
// INVALID: the spec does not hold this gate; BAD_STATE: ended.
int ls_seq_release(struct ls_seq *q, enum ls_gate gate, const char *actor, struct ls_seq_time t, struct ls_error *err);

// The store cannot be written: until it can again, no migration goes further; those without consent are asked back.
void ls_seq_store_failing(struct ls_seq *q, bool failing, struct ls_seq_time t);

// ---- what an operator may do (sequencer_resolve.c) ----

// What is known, which actions are open now, what each would do. To be freed with ls_msg_free(); its migration is
// unset.
Lockstep__V1__ResolveResponse *ls_seq_explain(const struct ls_seq *q);
// Records the decision, then tells the agents. `claim` (copied) only with RETURN_FENCED. BAD_STATE: not open, and why;
// INVALID: the claim. Repeating it is harmless.
int ls_seq_resolve(struct ls_seq *q, Lockstep__V1__ResolveAction action, const Lockstep__V1__FenceClaim *claim,
		   const char *actor, struct ls_seq_time t, struct ls_error *err);
bool ls_seq_resolving(const struct ls_seq *q); // an agent has not answered yet
// Why an agent refused the last decision; NULL: it did not.
const Lockstep__V1__ErrorDetail *ls_seq_resolve_refused(const struct ls_seq *q);
const Lockstep__V1__FenceClaim *ls_seq_claim(const struct ls_seq *q); // the last one; NULL: none
const char *ls_seq_closer(const struct ls_seq *q); // who closes it; empty: nobody
// What went wrong first; NULL: nothing. The view's error is another while an operator is called.
const Lockstep__V1__ErrorDetail *ls_seq_first_cause(const struct ls_seq *q);

// Takes the next action; false if there is none. Drain after every call above.
bool ls_seq_next(struct ls_seq *q, struct ls_seq_action *ret);
// When to call ls_seq_tick(); UINT64_MAX: never.
uint64_t ls_seq_deadline(const struct ls_seq *q);

const Lockstep__V1__Migration *ls_seq_view(const struct ls_seq *q);  // borrowed, until the next call
const Lockstep__Store__Planned *ls_seq_plan(const struct ls_seq *q); // NULL before the plan is durable
const char *ls_seq_ledger_id(const struct ls_seq *q, enum ls_seq_side side);
bool ls_seq_ended(const struct ls_seq *q); // DONE, RETURNED, REFUSED or OPERATOR, durably
bool ls_seq_operator(const struct ls_seq *q); // OPERATOR, and not closed: it may still go on
// Ended in RETURNED while the destination was silent: it can no longer commit, and it is still being told to give up.
bool ls_seq_loose(const struct ls_seq *q);
enum ls_seq_cancel ls_seq_cancel_state(const struct ls_seq *q);

// How the view's phase and gate came about, oldest first, so that watchers miss no state: at most
// LS_SEQ_MARKS are kept, more than a migration can have.
#define LS_SEQ_MARKS 32u
struct ls_seq_mark {
	uint64_t sequence;
	Lockstep__V1__Phase phase;
	Lockstep__V1__Gate waiting_at;
	uint64_t changed_ms;
};
unsigned ls_seq_marks(const struct ls_seq *q, const struct ls_seq_mark **ret);

#endif
