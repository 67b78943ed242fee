// SPDX-License-Identifier: Apache-2.0
#include "agent/term.h"

#include <string.h>

#include "common/control.h"
#include "common/schedule.h"

int ls_term_check(uint64_t highest, const char *holder, uint64_t number, const char *coordinator, struct ls_error *err)
{
	if (!number || !coordinator[0] || strlen(coordinator) >= LS_NAME_MAX)
		return ls_fail(err, LS_E_INVALID, 0, "a term wants a number above 0 and a coordinator of 1 to 63 bytes");
	if (ls_control("rule-7-terms"))
		return 0;
	if (number < highest || (number == highest && strcmp(coordinator, holder) != 0))
		return ls_fail(err, LS_E_STALE_COORDINATOR, 0, "term %llu of %.63s: this host follows term %llu of %.63s",
			       (unsigned long long)number, coordinator, (unsigned long long)highest, holder);
	return 0;
}
