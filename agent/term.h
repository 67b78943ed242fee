// SPDX-License-Identifier: Apache-2.0
// Rule 7: which coordinator is followed, and what holds a VM, so that no second migration may begin. Pure.
#ifndef LS_AGENT_TERM_H
#define LS_AGENT_TERM_H

#include <stdint.h>

#include "agent/role.h"
#include "common/error.h"

// `highest` of `holder` is the highest term heard of (0: none). Error: INVALID, or STALE_COORDINATOR for a lower
// number, or an equal one of another coordinator.
int ls_term_check(uint64_t highest, const char *holder, uint64_t number, const char *coordinator, struct ls_error *err);

bool ls_record_holds_vm(enum ls_word word, bool done); // what the ledger has of a migration
bool ls_role_holds_vm(const struct ls_role *role);     // one of this life

#endif
