// SPDX-License-Identifier: Apache-2.0
// Switches that break safety on purpose, so that tests can show that the breakage is noticed. Named in
// LOCKSTEP_CONTROL=name[,name...]; compiled in with -DLOCKSTEP_CONTROLS=ON alone, else always false.
#ifndef LS_COMMON_CONTROL_H
#define LS_COMMON_CONTROL_H

#include <stdbool.h>

#ifdef LOCKSTEP_CONTROLS
#include <stdlib.h>
#include <string.h>

static inline bool ls_control(const char *name)
{
	const char *at = getenv("LOCKSTEP_CONTROL");
	size_t n = strlen(name);

	while (at && *at) {
		size_t len = strcspn(at, ",");
		if (len == n && strncmp(at, name, n) == 0)
			return true;
		at += len + (at[len] == ',');
	}
	return false;
}
#else
static inline bool ls_control(const char *name)
{
	return false;
}
#endif

#endif
