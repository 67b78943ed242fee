// SPDX-License-Identifier: Apache-2.0
// Named places at which a test makes the process die, freeze, wait or fail. Always compiled in; off, and then one
// load and one branch, unless the environment turns it on:
//
//   LOCKSTEP_FAULT=NAME[#N]=ACTION[,...]   at the N-th pass (default: the first)
//       kill       SIGKILL to itself
//       stop       SIGSTOP to itself
//       exit       leaves at once, with status 1
//       delay:MS   this thread sleeps, 1 to 600000
//       error:E    the caller gets the errno E, a name ("EIO") or a number; only where the caller can
//   LOCKSTEP_FAULT_LOG=PATH                a file or a pipe; each pass appends "NAME #N ACTION\n" before it acts,
//                                          with "pass" where no action is due. On also without LOCKSTEP_FAULT.
#ifndef LS_COMMON_FAULT_H
#define LS_COMMON_FAULT_H

#include <stdbool.h>
#include <stdio.h>

#include "common/error.h"
#include "common/fault_points.h"

// ls_fault(agent_peer_up): 0, or a negative errno that was asked for. An unknown point does not compile.
#define ls_fault(point) ls_fault_of(point, NULL)
#define ls_fault_of(point, variant) (ls_fault_on ? ls_fault_pass(LS_FAULT_##point, variant) : 0)
// As ls_fault_of(), and fills *err with `reason`.
#define ls_fault_fail(point, variant, reason, err) \
	(ls_fault_on ? ls_fault_pass_fail(LS_FAULT_##point, variant, reason, err) : 0)

// Once, at the top of main, before any thread: reads the environment. `daemon`: "agent" or "coordinator"; only its
// points are known. CONFIG: a name, a number or an action that does not exist.
int ls_fault_init(const char *daemon, struct ls_error *err);
// One name a line, with " error" behind those that can fail.
void ls_fault_list(const char *daemon, FILE *to);

extern bool ls_fault_on;
// Aborts at a variant that the table does not have.
int ls_fault_pass(enum ls_fault_point point, const char *variant);
int ls_fault_pass_fail(enum ls_fault_point point, const char *variant, enum ls_reason reason, struct ls_error *err);

#endif
