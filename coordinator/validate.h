// SPDX-License-Identifier: Apache-2.0
// Every field of a request against its limit. Pure. INVALID: "spec.deadline_ms: must be ..., is ...".
#ifndef LS_COORDINATOR_VALIDATE_H
#define LS_COORDINATOR_VALIDATE_H

#include <stdbool.h>

#include "common/error.h"
#include "lockstep/v1/migration.pb-c.h"

#define LS_LIST_DEFAULT 100u
#define LS_LIST_MOST 1000u

int ls_validate_name(const char *field, const char *value, bool may_be_empty, struct ls_error *err);
int ls_validate_actor(const char *actor, struct ls_error *err);
int ls_validate_spec(const Lockstep__V1__MigrationSpec *spec, bool dry_run, struct ls_error *err);
int ls_validate_gate(const char *field, int gate, struct ls_error *err);
int ls_validate_limit(uint32_t limit, struct ls_error *err);

#endif
