// SPDX-License-Identifier: Apache-2.0
// A good pair of hosts to plan a move between, for tests to break.
#ifndef LS_TESTS_PLAN_SCENE_H
#define LS_TESTS_PLAN_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/message.h"
#include "coordinator/plan.h"
#include "coordinator/validate.h"

#define DEVICES 3
#define FAIL LOCKSTEP__V1__CHECK__RESULT__FAIL
#define WARN LOCKSTEP__V1__CHECK__RESULT__WARN
#define PASS LOCKSTEP__V1__CHECK__RESULT__PASS

struct scene {
	Lockstep__V1__MigrationSpec *spec;
	Lockstep__V1__HelloResponse *hello[2];
	Lockstep__V1__DescribeResponse *describe[2];
	Lockstep__V1__CheckVersionResponse *verdict[2 * LS_MAX_DEVICES];
	const char *busy;
	struct ls_history *history;
	struct ls_pairs pairs;
};

// The i-th of a host's devices, named PREFIXi, in slot i.
Lockstep__V1__Device *plan_device(const char *prefix, unsigned i);
struct scene *plan_scene(void);
void plan_scene_free(struct scene *s);
// To be freed with ls_msg_free(). `sched` may be NULL.
Lockstep__V1__DryRunResponse *plan_of(struct scene *s, struct ls_schedule *sched);
// The worst row of that id about that device (empty: about the whole migration); NULL: none.
const Lockstep__V1__Check *plan_find(const Lockstep__V1__DryRunResponse *p, const char *id, const char *device_name);
Lockstep__V1__Device *plan_source(struct scene *s, unsigned i);
Lockstep__V1__Device *plan_dest(struct scene *s, unsigned i);

#endif
