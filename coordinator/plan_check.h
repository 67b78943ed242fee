// SPDX-License-Identifier: Apache-2.0
// The checks behind plan.h, one function a subject; each adds rows, none stops at the first.
#ifndef LS_COORDINATOR_PLAN_CHECK_H
#define LS_COORDINATOR_PLAN_CHECK_H

#include "coordinator/plan.h"

#define ROW_PASS LOCKSTEP__V1__CHECK__RESULT__PASS
#define ROW_WARN LOCKSTEP__V1__CHECK__RESULT__WARN
#define ROW_FAIL LOCKSTEP__V1__CHECK__RESULT__FAIL

struct ls_plan_row {
	const char *id, *device; // device may be NULL
	Lockstep__V1__Check__Result result;
	const char *remedy; // ignored with ROW_PASS
};

// Adds a row; `fmt` says what was seen.
void ls_plan_add(Lockstep__V1__DryRunResponse *out, struct ls_plan_row row, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

void ls_plan_check_hosts(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out);
void ls_plan_check_vmms(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out);
void ls_plan_check_pairs(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out);
// Everything about one device; either may be NULL.
void ls_plan_check_device(const struct ls_plan_input *in, const struct ls_pair *pair, unsigned index,
			  Lockstep__V1__DryRunResponse *out);
void ls_plan_check_p2p(const struct ls_plan_input *in, Lockstep__V1__DryRunResponse *out);

const Lockstep__V1__Device *ls_plan_source(const struct ls_plan_input *in, const struct ls_pair *p);
const Lockstep__V1__Device *ls_plan_dest(const struct ls_plan_input *in, const struct ls_pair *p);
bool ls_plan_precopies(const struct ls_plan_input *in, const struct ls_pair *p);

#endif
