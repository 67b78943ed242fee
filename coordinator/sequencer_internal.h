// SPDX-License-Identifier: Apache-2.0
// Shared by sequencer.c (what to do next) and sequencer_fold.c (what is known).
#ifndef LS_COORDINATOR_SEQUENCER_INTERNAL_H
#define LS_COORDINATOR_SEQUENCER_INTERNAL_H

#include "coordinator/sequencer.h"

#define HOW_NONE LOCKSTEP__V1__ENDED__HOW__NONE
#define HOW_DONE LOCKSTEP__V1__ENDED__HOW__DONE
#define HOW_RETURNED LOCKSTEP__V1__ENDED__HOW__RETURNED
#define HOW_ABORTED LOCKSTEP__V1__ENDED__HOW__ABORTED
#define HOW_OPERATOR LOCKSTEP__V1__ENDED__HOW__OPERATOR

struct seq_side {
	// Folded from records.
	bool prepared;	      // Prepare was answered well
	bool refused;	      // Prepare failed for good
	bool refused_certain; // ... and the agent holds nothing
	bool gone;	      // the agent says that it holds nothing
	bool unwind_refused;
	bool ledger_lost; // rule 9
	bool closed;	  // told that an operator closed it
	bool ended;
	bool ended_anew; // since the operator's last decision
	int how;	// HOW_*, with `ended`
	uint32_t gates; // reached
	char ledger_id[80];
	char word[24];
	Lockstep__V1__ErrorDetail *error; // why it ended so

	// Of this life only.
	uint64_t seen; // sequence of the newest event taken
	bool tried;    // a Prepare may have reached it
	bool busy;     // a call, or the record of its answer, is under way
	bool watching;
	bool handed_back; // its last word was heard: it knows no more of its devices
	uint64_t state_ns[LS_MAX_DEVICES]; // on its clock, when it last told a device's state; records come later than that
	bool ask;	  // the watch broke: ask for the word before watching again
	uint32_t granted, granting;
	bool maybe_sent; // some Prepare may have arrived, whatever its answer
	bool unsure;	 // an earlier life may have prepared it: to be found out first
	uint64_t silent_ns; // since when it does not answer; 0: it does
	uint64_t silent_ms; // with silent_ns: the same in Unix time, for people
	unsigned tries;
	uint64_t retry_ns;
	unsigned watch_tries;
	uint64_t watch_retry_ns;
};

struct ls_seq {
	// Folded from records.
	Lockstep__V1__Migration *view;
	Lockstep__Store__Planned *planned;
	struct seq_side side[2];
	bool cancel_asked;
	uint32_t released; // held gates that a client let go
	bool precopying, paused;
	bool finished;
	bool called;			      // the phase is OPERATOR
	Lockstep__V1__ErrorDetail *first;     // with `called`: the first cause; the view tells why an operator is called
	Lockstep__V1__ResolveAction resolving; // EXPLAIN: nothing
	bool lost_returned;		      // an operator returned the VM after LOST_AFTER_COMMIT
	bool closing, closed;		      // by an operator
	char closer[132];
	Lockstep__V1__ErrorDetail *refused; // by an agent, what the operator decided
	struct ls_seq_mark mark[LS_SEQ_MARKS];
	unsigned n_marks;

	// Of this life only.
	bool plan_busy;
	bool cancelling; // the record of a cancel is under way
	bool finishing;	  // the record of the end is under way
	bool overlaying;  // that of a call for an operator, or of its end
	bool deciding;	  // that of an operator's decision
	bool store_failing;
	bool waiting;	      // only the slower side is missing
	uint64_t patience_ns; // until when the slower side is waited for; 0: no need yet
	uint64_t hearsay_ns;  // until when an agent that waits for an operator may leave the cause to the other; 0: none does
	struct ls_seq_action *queue;
	size_t head, n, room;
};

static inline bool ls_seq_word_is(const struct seq_side *s, const char *word)
{
	return __builtin_strcmp(s->word, word) == 0;
}

static inline uint32_t ls_seq_gate_bit(unsigned gate)
{
	return (uint32_t)1 << gate;
}

// Nothing more is to be heard from this side.
static inline bool ls_seq_through(const struct seq_side *s)
{
	return s->ended && s->how != HOW_OPERATOR;
}

// Its agent waits for an operator.
static inline bool ls_seq_waits(const struct seq_side *s)
{
	return s->ended && s->how == HOW_OPERATOR;
}

static inline bool ls_seq_silent(const struct seq_side *s)
{
	return s->silent_ns != 0;
}

// The agent's records were lost and made anew: without the streams' token nothing can be prepared any more.
static inline bool ls_seq_rebuilt(const struct ls_seq *q)
{
	return q->planned && !q->planned->token.len;
}

static inline Lockstep__V1__Side ls_seq_side_value(enum ls_seq_side side)
{
	return side == LS_SEQ_DEST ? LOCKSTEP__V1__SIDE__SIDE_DESTINATION : LOCKSTEP__V1__SIDE__SIDE_SOURCE;
}

bool ls_seq_last_word(const char *word);	    // RELEASED, RETURNED, STARTED, ABORTED
bool ls_seq_source_returns(const struct ls_seq *q); // RETURNING is durable there, or RETURNED
bool ls_seq_dest_aborted(const struct ls_seq *q);
bool ls_seq_dest_lost(const struct ls_seq *q); // LOST_AFTER_COMMIT
bool ls_seq_dest_runs(const struct ls_seq *q); // STARTED is durable there
bool ls_seq_conflict(const struct ls_seq *q);  // the words contradict each other
bool ls_seq_consented(const struct ls_seq *q); // or more
bool ls_seq_cancel_refused(const struct ls_seq *q);
// Gates that may be passed: none before the source waits before the pause with the destination prepared,
// then all up to the first that is held.
uint32_t ls_seq_allowed(const struct ls_seq *q);

// ---- sequencer_view.c

uint32_t ls_seq_held(const struct ls_seq *q);
// `last_word`: with which the agent ends.
void ls_seq_fold_error(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__ErrorDetail *e, bool last_word);
// What a side sees when the other one fails: no cause by itself.
bool ls_seq_only_consequence(const Lockstep__V1__ErrorDetail *e);
void ls_seq_fold_step(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__StepTime *t);
// Sets phase, gate and marks of the view from what is folded.
void ls_seq_refresh(struct ls_seq *q, uint64_t unix_ms);
// Progress is not stored: straight into the view.
void ls_seq_progress(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__DeviceProgress *p, uint64_t time_ns);

#endif
