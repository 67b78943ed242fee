// SPDX-License-Identifier: Apache-2.0
// The words of a migration, and which may follow which (docs/decision.md). A word is durable before
// it is spoken or acted on, and never taken back. Pure.
#ifndef LS_AGENT_WORD_H
#define LS_AGENT_WORD_H

#include <stdbool.h>

// Values equal lockstep.v1.Side.
enum ls_side { LS_SIDE_NONE, LS_SIDE_SOURCE, LS_SIDE_DEST };

enum ls_word {
	LS_WORD_NONE,
	LS_WORD_ACTIVE,    // source: the VM is ours
	LS_WORD_CONSENTED, // source: gave away the right to resume alone
	LS_WORD_RETURNING, // source: takes the VM back, will never consent
	LS_WORD_RETURNED,  // source: it runs here
	LS_WORD_RELEASED,  // source: it runs there
	LS_WORD_UNDECIDED, // destination
	LS_WORD_COMMITTED, // destination: it may run here
	LS_WORD_ABORTED,   // destination: it never will
	LS_WORD_STARTED,   // destination: vCPUs were resumed
	LS_WORD_LOST,      // destination: committed, and its loaded devices are gone: it never will start (rule 6)
	LS_WORD_COUNT
};

const char *ls_word_name(enum ls_word word);      // "ACTIVE"; "" for NONE
enum ls_word ls_word_parse(const char *name);     // LS_WORD_NONE if unknown
enum ls_side ls_word_side(enum ls_word word);
bool ls_word_may_follow(enum ls_word from, enum ls_word to);
bool ls_word_open(enum ls_word word); // the migration is not over on this side
// Once no Prepare of that migration can come any more: nobody can be misled by an agent that has forgotten the word.
bool ls_word_forgettable(enum ls_word word);

// Rule 5: what Settle comes to.
enum ls_settle {
	LS_SETTLE_ROLE,   // the role is asked, and answers once its word is durable
	LS_SETTLE_ANSWER, // with the word that is known
	LS_SETTLE_WRITE,  // never heard of: ABORTED is written, then said, so that a late Prepare is refused
	LS_SETTLE_SPEAK   // said without being written: test builds only
};
// `role`: the migration has one in this life; `known`: the ledger has the migration.
enum ls_settle ls_settle(bool role, bool known);

#endif
