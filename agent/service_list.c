// SPDX-License-Identifier: Apache-2.0
// ListMigrations: enough for a coordinator that has lost its store to go on.
#include <stdlib.h>
#include <string.h>

#include "agent/migration.h"
#include "agent/service.h"
#include "proto/rpc/rpc_pb.h"
#include "proto/wire/pb.h"

#define REQUEST_BUDGET (1024u * 1024u)

typedef Lockstep__V1__ListAgentMigrationsResponse__Entry Entry;

// One entry and what it points at.
struct line {
	Entry entry;
	Lockstep__V1__Term term, prepare_term;
	Lockstep__V1__PrepareRequest *prepare;
	Lockstep__V1__Ended ended;
	Lockstep__V1__ErrorDetail error;
	Lockstep__V1__FenceClaim *claim, **claims;
};

static void fill_prepare(struct line *l, const struct ls_ledger_record *record)
{
	ProtobufCMessage *base = NULL;

	if (!record->request_len || ls_pb_unpack(&lockstep__v1__prepare_request__descriptor, REQUEST_BUDGET,
						 record->request, record->request_len, &base) < 0)
		return;
	l->prepare = (Lockstep__V1__PrepareRequest *)base;
	free(l->prepare->token.data);
	l->prepare->token.data = NULL;
	l->prepare->token.len = 0;
	l->entry.prepare = l->prepare;
}

static Lockstep__V1__Ended__How how_of(enum ls_word word)
{
	switch (word) {
	case LS_WORD_RETURNED: return LOCKSTEP__V1__ENDED__HOW__RETURNED;
	case LS_WORD_ABORTED: return LOCKSTEP__V1__ENDED__HOW__ABORTED;
	case LS_WORD_RELEASED:
	case LS_WORD_STARTED: return LOCKSTEP__V1__ENDED__HOW__DONE;
	default: return LOCKSTEP__V1__ENDED__HOW__OPERATOR; // closed by one
	}
}

static void fill_ended(struct line *l, struct ls_agent *a, const struct ls_ledger_record *record)
{
	const struct ls_migration *m = ls_migration_find(a, record->migration);

	lockstep__v1__ended__init(&l->ended);
	if (m && m->role && !m->ended)
		return;
	if (!m && !record->done)
		return;
	l->ended.how = m && m->role ? (Lockstep__V1__Ended__How)m->how : how_of(record->word);
	l->entry.ended = &l->ended;
	if (!m || !m->end_error.reason)
		return;
	ls_error_to_pb(&m->end_error, &l->error);
	if (!l->error.host[0])
		l->error.host = (char *)a->config->host;
	l->ended.error = &l->error;
}

// A conflict that no operator has closed is not over either.
static bool is_open(const struct ls_ledger_record *record)
{
	return (!record->done && ls_word_open(record->word)) || record->conflict;
}

static void fill_claims(struct line *l, struct ls_agent *a, const char *migration)
{
	size_t n = 0;

	for (const struct ls_known_claim *k = a->claims; k; k = k->next)
		n += strcmp(k->claim.migration, migration) == 0;
	if (!n)
		return;
	l->claim = calloc(n, sizeof(*l->claim));
	l->claims = calloc(n, sizeof(*l->claims));
	if (!l->claim || !l->claims)
		abort();
	n = 0;
	for (struct ls_known_claim *k = a->claims; k; k = k->next) {
		if (strcmp(k->claim.migration, migration) != 0)
			continue;
		lockstep__v1__fence_claim__init(&l->claim[n]);
		l->claim[n].host = k->claim.host;
		l->claim[n].method = (Lockstep__V1__FenceClaim__Method)k->claim.method;
		l->claim[n].evidence = k->claim.evidence;
		l->claim[n].actor = k->claim.actor;
		l->claim[n].time_ms = k->claim.time_ms;
		l->claims[n] = &l->claim[n];
		n++;
	}
	l->entry.n_claim = n;
	l->entry.claim = l->claims;
}

static void fill(struct line *l, struct ls_agent *a, struct ls_known *k)
{
	lockstep__v1__list_agent_migrations_response__entry__init(&l->entry);
	lockstep__v1__term__init(&l->term);
	l->term.number = k->record.term;
	l->term.coordinator = k->record.coordinator;
	l->entry.migration = k->record.migration;
	l->entry.vm = k->record.vm;
	l->entry.side = (Lockstep__V1__Side)k->record.side;
	l->entry.word = (char *)ls_word_name(k->record.word);
	l->entry.open = is_open(&k->record);
	l->entry.term = &l->term;
	l->entry.ledger_id = (char *)ls_ledger_id(a->ledger);
	fill_prepare(l, &k->record);
	if (l->prepare) {
		l->prepare_term = l->term;
		l->prepare->term = &l->prepare_term;
	}
	fill_ended(l, a, &k->record);
	fill_claims(l, a, k->record.migration);
}

static void answer(struct ls_agent *a, struct ls_rpc_call *call, bool open_only)
{
	Lockstep__V1__ListAgentMigrationsResponse response = LOCKSTEP__V1__LIST_AGENT_MIGRATIONS_RESPONSE__INIT;
	size_t n = 0, all = 0;

	for (const struct ls_known *k = a->known; k; k = k->next)
		all++;
	struct line *line = calloc(all + 1, sizeof(*line));
	Entry **list = calloc(all + 1, sizeof(*list));
	for (struct ls_known *k = a->known; k && line && list; k = k->next) {
		if (open_only && !is_open(&k->record))
			continue;
		fill(&line[n], a, k);
		list[n] = &line[n].entry;
		n++;
	}
	response.n_migration = n;
	response.migration = list;
	ls_rpc_reply_message(call, &response.base);
	for (size_t i = 0; i < n; i++) {
		if (line[i].prepare)
			line[i].prepare->term = NULL; // ours
		ls_pb_free((ProtobufCMessage *)line[i].prepare);
		free(line[i].claim);
		free(line[i].claims);
	}
	free(line);
	free(list);
}

// Whoever lists with a newer term is followed before it is told (rule 7).
struct newer {
	struct ls_agent *agent;
	struct ls_rpc_call *call;
	bool open_only;
};

static void on_followed(void *user, const struct ls_error *err)
{
	struct newer *n = user;

	if (err)
		ls_service_fail(n->agent, n->call, err);
	else
		answer(n->agent, n->call, n->open_only);
	free(n);
}

static void follow(struct ls_agent *a, struct ls_rpc_call *call, const Lockstep__V1__ListAgentMigrationsRequest *q)
{
	struct newer *n = calloc(1, sizeof(*n));
	struct ls_error err;

	if (!n) {
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	*n = (struct newer){ .agent = a, .call = call, .open_only = q->open_only };
	if (ls_agent_obey(a, q->term->number, q->term->coordinator, on_followed, n, &err) == 0)
		return;
	ls_service_fail(a, call, &err);
	free(n);
}

void ls_service_list(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	ProtobufCMessage *base =
		ls_rpc_request_unpack(call, &lockstep__v1__list_agent_migrations_request__descriptor, bytes, len);
	const Lockstep__V1__ListAgentMigrationsRequest *q = (const Lockstep__V1__ListAgentMigrationsRequest *)base;
	struct ls_agent *a = user;
	struct ls_error err;

	if (!base)
		return;
	if (ls_agent_may_speak(a, &err) < 0)
		ls_service_fail(a, call, &err);
	else if (q->term && q->term->number > a->term_durable)
		follow(a, call, q);
	else
		answer(a, call, q->open_only);
	ls_pb_free(base);
}
