// SPDX-License-Identifier: Apache-2.0
#ifndef LS_COORDINATOR_SEQUENCER_NEXT_H
#define LS_COORDINATOR_SEQUENCER_NEXT_H

#include "coordinator/plan.h"
#include "coordinator/sequencer_internal.h"

void ls_seq_emit(struct ls_seq *q, struct ls_seq_action a);
Lockstep__Store__Record *ls_seq_record(struct ls_seq_time t);
void ls_seq_persist(struct ls_seq *q, Lockstep__Store__Record *r); // takes it
void ls_seq_settled(struct seq_side *s);	// the call has done what it was for (sequencer_answer.c)
bool ls_seq_deaf(const struct ls_seq *q);	// nothing that comes now can change anything
void ls_seq_advance(struct ls_seq *q, struct ls_seq_time t);
uint64_t ls_seq_backoff(unsigned tries, uint64_t now_ns);
bool ls_seq_prepare_again(const struct seq_side *s);
void ls_seq_finish(struct ls_seq *q, Lockstep__V1__Phase phase, const struct ls_error *err, struct ls_seq_time t);
bool ls_seq_never_held(const struct seq_side *s); // its agent holds nothing of the migration, for certain
bool ls_seq_abandoned(const struct ls_seq *q);	  // the VM is to return
bool ls_seq_source_home(const struct ls_seq *q);  // the VM is with the source again, or never left
// The side that decides nothing any more has been waited for long enough; notes that it is waited for.
bool ls_seq_patience_over(struct ls_seq *q, struct ls_seq_time t);
// FIND was answered. True: a record of it is under way (sequencer_find.c).
bool ls_seq_found(struct ls_seq *q, enum ls_seq_side side, const struct ls_seq_answer *a, struct ls_seq_time t);
// Calls an operator if there is a reason, ends the call if there is none any more (sequencer_operator.c).
void ls_seq_call_operator(struct ls_seq *q, struct ls_seq_time t);
// When there will be a reason, if nothing is heard until then; UINT64_MAX: never.
uint64_t ls_seq_operator_deadline(const struct ls_seq *q);

#endif
