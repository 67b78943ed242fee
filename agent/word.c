// SPDX-License-Identifier: Apache-2.0
#include "agent/word.h"

#include <string.h>

#include "common/control.h"

static const struct {
	const char *name;
	enum ls_side side;
	bool open;
	unsigned next; // mask of words
} words[LS_WORD_COUNT] = {
	[LS_WORD_NONE] = { "", LS_SIDE_NONE, false,
			   1u << LS_WORD_ACTIVE | 1u << LS_WORD_UNDECIDED | 1u << LS_WORD_ABORTED },
	[LS_WORD_ACTIVE] = { "ACTIVE", LS_SIDE_SOURCE, true, 1u << LS_WORD_CONSENTED | 1u << LS_WORD_RETURNING },
	[LS_WORD_CONSENTED] = { "CONSENTED", LS_SIDE_SOURCE, true, 1u << LS_WORD_RELEASED | 1u << LS_WORD_RETURNING },
	[LS_WORD_RETURNING] = { "RETURNING", LS_SIDE_SOURCE, true, 1u << LS_WORD_RETURNED },
	[LS_WORD_RETURNED] = { "RETURNED", LS_SIDE_SOURCE, false, 0 },
	[LS_WORD_RELEASED] = { "RELEASED", LS_SIDE_SOURCE, false, 0 },
	[LS_WORD_UNDECIDED] = { "UNDECIDED", LS_SIDE_DEST, true, 1u << LS_WORD_COMMITTED | 1u << LS_WORD_ABORTED },
	[LS_WORD_COMMITTED] = { "COMMITTED", LS_SIDE_DEST, true, 1u << LS_WORD_STARTED | 1u << LS_WORD_LOST },
	[LS_WORD_ABORTED] = { "ABORTED", LS_SIDE_DEST, false, 0 },
	[LS_WORD_STARTED] = { "STARTED", LS_SIDE_DEST, false, 0 },
	[LS_WORD_LOST] = { "LOST_AFTER_COMMIT", LS_SIDE_DEST, true, 0 },
};

const char *ls_word_name(enum ls_word word)
{
	return (unsigned)word < LS_WORD_COUNT ? words[word].name : "";
}

enum ls_word ls_word_parse(const char *name)
{
	for (enum ls_word w = LS_WORD_ACTIVE; name && w < LS_WORD_COUNT; w++)
		if (strcmp(name, words[w].name) == 0)
			return w;
	return LS_WORD_NONE;
}

enum ls_side ls_word_side(enum ls_word word)
{
	return (unsigned)word < LS_WORD_COUNT ? words[word].side : LS_SIDE_NONE;
}

bool ls_word_may_follow(enum ls_word from, enum ls_word to)
{
	return (unsigned)from < LS_WORD_COUNT && (unsigned)to < LS_WORD_COUNT && (words[from].next & 1u << to);
}

bool ls_word_open(enum ls_word word)
{
	return (unsigned)word < LS_WORD_COUNT && words[word].open;
}

// STARTED has to stand against a late Settle, and what an operator closed is not settled.
bool ls_word_forgettable(enum ls_word word)
{
	return word == LS_WORD_ABORTED || word == LS_WORD_RETURNED || word == LS_WORD_RELEASED;
}

enum ls_settle ls_settle(bool role, bool known)
{
	if (role)
		return LS_SETTLE_ROLE;
	if (known)
		return LS_SETTLE_ANSWER;
	return ls_control("rule-5") ? LS_SETTLE_SPEAK : LS_SETTLE_WRITE;
}
