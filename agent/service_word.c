// SPDX-License-Identifier: Apache-2.0
// Unwind, GetWord, Settle: everything that asks for a word.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/migration.h"
#include "agent/service.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/fault.h"
#include "common/log.h"
#include "proto/rpc/rpc_pb.h"
#include "proto/wire/pb.h"

struct asked {
	struct ls_agent *agent;
	struct ls_rpc_call *call;
	bool unwind;
	char migration[LS_NAME_MAX];
};

static void reply(struct ls_agent *a, struct ls_rpc_call *call, const char *migration, enum ls_word word,
		  enum ls_side side)
{
	Lockstep__V1__WordResponse response = LOCKSTEP__V1__WORD_RESPONSE__INIT;

	response.migration = (char *)migration;
	response.known = word != LS_WORD_NONE;
	response.side = (Lockstep__V1__Side)side;
	response.word = (char *)ls_word_name(word);
	response.ledger_id = (char *)ls_ledger_id(a->ledger);
	ls_rpc_reply_message(call, &response.base);
}

static void on_word(void *user, struct ls_migration *m, const struct ls_error *failure)
{
	struct asked *q = user;
	struct ls_error err;
	enum ls_word word = m->role ? ls_role_word(m->role) : LS_WORD_NONE;

	if (failure)
		ls_service_fail(q->agent, q->call, failure);
	else if (ls_agent_may_speak(q->agent, &err) < 0)
		ls_service_fail(q->agent, q->call, &err);
	else if (q->unwind && word != LS_WORD_RETURNING && word != LS_WORD_RETURNED && word != LS_WORD_ABORTED) {
		ls_fail(&err, LS_E_CONFLICT, 0, "too late: %s has been said", ls_word_name(word));
		ls_service_fail(q->agent, q->call, &err);
	} else {
		reply(q->agent, q->call, q->migration, word, m->params.side);
	}
	free(q);
}

// After an event that may have begun to write a word: answers once it is durable.
static void wait(struct ls_agent *a, struct ls_rpc_call *call, struct ls_migration *m, bool unwind)
{
	struct ls_waiter *w = calloc(1, sizeof(*w));
	struct asked *q = calloc(1, sizeof(*q));

	if (!w || !q) {
		free(w);
		free(q);
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	*q = (struct asked){ .agent = a, .call = call, .unwind = unwind };
	memcpy(q->migration, m->params.migration, sizeof(q->migration));
	*w = (struct ls_waiter){ .ready = on_word, .user = q, .word = true };
	ls_migration_wait(m, w);
}

void ls_service_answer_word(struct ls_agent *a, struct ls_rpc_call *call, struct ls_migration *m)
{
	wait(a, call, m, false);
}

static bool unwind(struct ls_agent *a, struct ls_rpc_call *call, ProtobufCMessage *base)
{
	const Lockstep__V1__UnwindRequest *q = (Lockstep__V1__UnwindRequest *)base;
	struct ls_migration *m = ls_migration_find(a, q->migration);
	struct ls_error err;

	if (!m || !m->role) {
		ls_fail(&err, LS_E_NOT_FOUND, ENOENT, "no migration %.63s in this life of the agent", q->migration);
		ls_service_fail(a, call, &err);
		return false;
	}
	ls_fail(&err, LS_E_CANCELLED, 0, "%.200s", q->cause[0] ? q->cause : "the coordinator asked for the unwind");
	ls_fault(agent_unwind);
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_UNWIND, .error = &err });
	wait(a, call, m, true);
	return false;
}

void ls_service_unwind(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	ls_service_order(user, call, &lockstep__v1__unwind_request__descriptor, bytes, len, unwind);
}

void ls_service_get_word(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	ProtobufCMessage *base = ls_rpc_request_unpack(call, &lockstep__v1__word_request__descriptor, bytes, len);
	Lockstep__V1__WordRequest *q = (Lockstep__V1__WordRequest *)base;
	struct ls_agent *a = user;
	struct ls_error err;

	if (!base)
		return;
	const struct ls_known *k = ls_agent_known(a, q->migration);
	if (ls_agent_may_speak(a, &err) < 0)
		ls_service_fail(a, call, &err);
	else
		reply(a, call, q->migration, k ? k->record.word : LS_WORD_NONE, k ? k->record.side : LS_SIDE_NONE);
	ls_pb_free(base);
}

static void on_tombstone(void *user, int status, const struct ls_error *err)
{
	struct asked *q = user;
	struct ls_ledger_record record = { .side = LS_SIDE_DEST, .word = LS_WORD_ABORTED, .done = true,
					   .created_ms = ls_unix_ms(), .term = q->agent->term };
	struct ls_error silent;

	if (status < 0) {
		ls_log_error("ledger.failed", err, "migration=%s word=ABORTED", q->migration);
		ls_service_fail(q->agent, q->call, err);
		ls_agent_fall_silent(q->agent, err);
	} else if (ls_agent_may_speak(q->agent, &silent) < 0) {
		ls_service_fail(q->agent, q->call, &silent);
	} else {
		memcpy(record.migration, q->migration, sizeof(record.migration));
		if (!ls_agent_remember(q->agent, &record))
			abort();
		reply(q->agent, q->call, q->migration, LS_WORD_ABORTED, LS_SIDE_DEST);
		ls_agent_prune(q->agent);
	}
	free(q);
}

// Never heard of: ABORTED all the same, so that a late Prepare is refused.
static void write_tombstone(struct ls_agent *a, struct ls_rpc_call *call, const Lockstep__V1__SettleRequest *q)
{
	struct ls_ledger_record record = { .side = LS_SIDE_DEST, .word = LS_WORD_ABORTED, .created_ms = ls_unix_ms(),
					   .done = true, .term = a->term };
	struct asked *asked = calloc(1, sizeof(*asked));

	if (!asked) {
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	*asked = (struct asked){ .agent = a, .call = call };
	snprintf(asked->migration, sizeof(asked->migration), "%s", q->migration);
	memcpy(record.migration, asked->migration, sizeof(record.migration));
	snprintf(record.vm, sizeof(record.vm), "%s", q->vm);
	memcpy(record.coordinator, a->coordinator, sizeof(record.coordinator));
	ls_ledger_begin(a->ledger, &record, on_tombstone, asked);
}

static bool settle(struct ls_agent *a, struct ls_rpc_call *call, ProtobufCMessage *base)
{
	const Lockstep__V1__SettleRequest *q = (Lockstep__V1__SettleRequest *)base;
	struct ls_error err;
	struct ls_migration *m = ls_migration_find(a, q->migration);
	const struct ls_known *k = ls_agent_known(a, q->migration);

	if (!ls_name_valid(q->migration) || !ls_name_valid(q->vm)) {
		ls_fail(&err, LS_E_INVALID, 0, "migration and vm want 1 to 63 of A-Z a-z 0-9 . _ -");
		ls_service_fail(a, call, &err);
	} else {
		switch (ls_settle(m && m->role, k)) {
		case LS_SETTLE_ROLE:
			ls_fail(&err, LS_E_CANCELLED, 0, "settled by the coordinator");
			ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_SETTLE, .error = &err });
			wait(a, call, m, false);
			break;
		case LS_SETTLE_ANSWER:
			reply(a, call, q->migration, k->record.word, k->record.side);
			break;
		case LS_SETTLE_WRITE:
			write_tombstone(a, call, q);
			break;
		case LS_SETTLE_SPEAK:
			reply(a, call, q->migration, LS_WORD_ABORTED, LS_SIDE_DEST);
			break;
		}
	}
	return false;
}

void ls_service_settle(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	ls_service_order(user, call, &lockstep__v1__settle_request__descriptor, bytes, len, settle);
}
