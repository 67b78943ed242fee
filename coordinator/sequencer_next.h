// SPDX-License-Identifier: Apache-2.0
#ifndef LS_COORDINATOR_SEQUENCER_NEXT_H
#define LS_COORDINATOR_SEQUENCER_NEXT_H

#include "coordinator/plan.h"
#include "coordinator/sequencer_internal.h"

void ls_seq_emit(struct ls_seq *q, struct ls_seq_action a);
Lockstep__Store__Record *ls_seq_record(struct ls_seq_time t);
void ls_seq_advance(struct ls_seq *q, struct ls_seq_time t);
void ls_seq_ledger_lost(struct ls_seq *q, enum ls_seq_side side, struct ls_seq_time t); // rule 9
uint64_t ls_seq_backoff(unsigned tries, uint64_t now_ns);
bool ls_seq_prepare_again(const struct seq_side *s);

#endif
