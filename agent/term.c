// SPDX-License-Identifier: Apache-2.0
#include "agent/term.h"

#include <string.h>

#include "common/control.h"
#include "common/schedule.h"

int ls_term_check(uint64_t highest, const char *holder, uint64_t number, const char *coordinator, struct ls_error *err)
{
	if (!number || !coordinator[0] || strlen(coordinator) >= LS_NAME_MAX)
		return ls_fail(err, LS_E_INVALID, 0,
			       "a term wants a number above 0 and a coordinator of 1 to 63 bytes");
	if (ls_control("rule-7-terms"))
		return 0;
	if (number < highest || (number == highest && strcmp(coordinator, holder) != 0))
		return ls_fail(err, LS_E_STALE_COORDINATOR, 0,
			       "term %llu of %.63s: this host follows term %llu of %.63s", (unsigned long long)number,
			       coordinator, (unsigned long long)highest, holder);
	return 0;
}

bool ls_record_holds_vm(enum ls_word word, bool done)
{
	return !done && ls_word_open(word) && !ls_control("rule-7-busy");
}

bool ls_role_holds_vm(const struct ls_role *role)
{
	enum ls_end ended = ls_role_ended(role);

	return (ended == LS_END_NONE || ended == LS_END_OPERATOR) && !ls_control("rule-7-busy");
}
