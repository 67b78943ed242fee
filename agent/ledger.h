// SPDX-License-Identifier: Apache-2.0
// The agent's memory of who may run which VM: SQLite, synced before anything is acknowledged, on a
// thread of its own. Words are write-once; the database itself refuses to take one back, and a
// second open migration of a VM (rule 7).
#ifndef LS_AGENT_LEDGER_H
#define LS_AGENT_LEDGER_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "agent/role.h"

#define LS_EVIDENCE_MAX 201 // with the terminating NUL

struct ls_ledger;

struct ls_ledger_record {
	char migration[LS_NAME_MAX], vm[LS_NAME_MAX];
	enum ls_side side;
	enum ls_word word;
	bool done;                      // nothing is left to do on this host, the VM is free
	bool conflict;                  // rule 8: both sides may run the VM, and no operator has closed it yet
	bool heard;                     // destination: the source needs no word of it any more
	uint64_t term;                  // 0: none
	char coordinator[LS_NAME_MAX];
	uint64_t created_ms;            // Unix time
	const void *request;            // packed PrepareRequest; NULL if there was none, or it was dropped
	size_t request_len;
	const char *cause;              // how it ended and why, for people; NULL: not known. Read only
};

// An operator's word that the destination's host cannot run the VM any more (rule 8).
struct ls_ledger_claim {
	char migration[LS_NAME_MAX], host[LS_NAME_MAX], actor[LS_NAME_MAX];
	unsigned method;                // lockstep.v1.FenceClaim.Method
	char evidence[LS_EVIDENCE_MAX];
	uint64_t time_ms;
};

// Opens or creates, takes the lock (LEDGER with EBUSY: another agent has it), checks integrity and schema.
int ls_ledger_open(uv_loop_t *loop, const char *path, struct ls_ledger **ret, struct ls_error *err);
// Finishes what is queued, without callbacks. NULL is fine. The loop must run once more to let handles go.
void ls_ledger_free(struct ls_ledger *l);

const char *ls_ledger_id(const struct ls_ledger *l); // 32 hex digits
// The host was booted since a migration last began here: no process of that time is left.
bool ls_ledger_rebooted(const struct ls_ledger *l);
void ls_ledger_highest(const struct ls_ledger *l, uint64_t *term, char coordinator[LS_NAME_MAX]);

// Before the first request only: every record, oldest first.
typedef void ls_ledger_each_fn(void *user, const struct ls_ledger_record *record);
int ls_ledger_each(struct ls_ledger *l, ls_ledger_each_fn *each, void *user, struct ls_error *err);
typedef void ls_ledger_each_claim_fn(void *user, const struct ls_ledger_claim *claim);
int ls_ledger_each_claim(struct ls_ledger *l, ls_ledger_each_claim_fn *each, void *user, struct ls_error *err);

// On the loop, in order of request. 0, or a negative errno with `err` filled: nothing is known then
// about what the disk holds.
typedef void ls_ledger_done_fn(void *user, int status, const struct ls_error *err);
// The record with its first word, and the highest term. Copied.
void ls_ledger_begin(struct ls_ledger *l, const struct ls_ledger_record *record, ls_ledger_done_fn *done, void *user);
void ls_ledger_persist(struct ls_ledger *l, const char *migration, enum ls_word word, ls_ledger_done_fn *done,
		       void *user);
void ls_ledger_close(struct ls_ledger *l, const char *migration, ls_ledger_done_fn *done, void *user); // record.done
void ls_ledger_conflict(struct ls_ledger *l, const char *migration, ls_ledger_done_fn *done, void *user);
void ls_ledger_heard(struct ls_ledger *l, const char *migration, ls_ledger_done_fn *done, void *user); // record.heard
// How it ended, and why: for `show`. Losing it harms nobody.
void ls_ledger_note(struct ls_ledger *l, const char *migration, const char *cause, ls_ledger_done_fn *done, void *user);
void ls_ledger_claim(struct ls_ledger *l, const struct ls_ledger_claim *claim, ls_ledger_done_fn *done, void *user);
void ls_ledger_term(struct ls_ledger *l, uint64_t term, const char *coordinator, ls_ledger_done_fn *done, void *user);
// Of the records that are done the newest `keep` stay whole, and those of a destination whose source may still have to
// ask (rule 4: until record.heard). Older ones lose what Prepare brought, and those whose word
// no rule needs (ls_word_forgettable) are forgotten once a newer term makes sure that no Prepare of theirs can come.
void ls_ledger_prune(struct ls_ledger *l, unsigned keep, ls_ledger_done_fn *done, void *user);

// For `show`: reads beside a running agent, changes nothing.
struct ls_ledger_identity {
	char id[LS_LEDGER_ID_SIZE];
	uint64_t term;
	char coordinator[LS_NAME_MAX];
};
struct ls_ledger_reader {
	ls_ledger_each_fn *record;
	ls_ledger_each_claim_fn *claim;
	void (*word)(void *user, const char *migration, enum ls_word word, uint64_t time_ms);
	void *user;
};
int ls_ledger_read(const char *path, struct ls_ledger_identity *identity, const struct ls_ledger_reader *reader,
		   struct ls_error *err);
bool ls_ledger_in_use(const char *path); // by an agent that runs

#endif
