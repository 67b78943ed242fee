// SPDX-License-Identifier: Apache-2.0
// Is an id that the store does not know really new? Its two hosts say so before anything of it begins: the store may be
// an empty one, or an older copy, and the attempt that it forgot may be running or have ended there.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/migrations_internal.h"

#define ASK_MS 3000u

struct asked_host {
	struct asking *asking;
	struct ls_host *host;
};

struct asking {
	struct ls_migrations *all;
	char *id;
	ls_migrations_asked_fn *fn;
	void *user;
	unsigned waiting;
	struct ls_error err;
	struct asked_host host[2];
};

static const char *name_of(const struct asked_host *h)
{
	return ls_host_config(h->host)->name;
}

static void one_less(struct asking *a)
{
	if (--a->waiting)
		return;
	if (a->all->stopped && !a->err.reason)
		ls_fail(&a->err, LS_E_UNAVAILABLE, 0, "the coordinator is being stopped");
	a->fn(a->user, a->err.reason ? &a->err : NULL);
	free(a->id);
	free(a);
}

static void on_listed(void *user, const struct ls_agent_answer *answer)
{
	const Lockstep__V1__ListAgentMigrationsResponse *r =
		(const Lockstep__V1__ListAgentMigrationsResponse *)answer->reply;
	struct asked_host *h = user;
	struct asking *a = h->asking;

	if (!r)
		ls_fail(&a->err, LS_E_UNAVAILABLE, 0,
			"host %s: its agent knows migration %s and does not tell more: %s", name_of(h), a->id,
			answer->error.message);
	for (size_t i = 0; r && i < r->n_migration && !a->all->stopped; i++) {
		const Lockstep__V1__ListAgentMigrationsResponse__Entry *e = r->migration[i];

		if (strcmp(e->migration, a->id) != 0 || ls_migrations_find(a->all, a->id))
			continue;
		if (ls_migrations_ours(a->all, e))
			ls_migrations_adopt(a->all, name_of(h), e);
		else
			ls_fail(&a->err, LS_E_ALREADY_EXISTS, 0,
				"spec.id: host %s has a migration %s of coordinator %s", name_of(h), a->id,
				e->term ? e->term->coordinator : "");
	}
	one_less(a);
}

// One that it has heard of, though it is not open there: all of it is wanted.
static void on_word(void *user, const struct ls_agent_answer *answer)
{
	const Lockstep__V1__WordResponse *r = (const Lockstep__V1__WordResponse *)answer->reply;
	Lockstep__V1__ListAgentMigrationsRequest all = LOCKSTEP__V1__LIST_AGENT_MIGRATIONS_REQUEST__INIT;
	struct asked_host *h = user;

	// An agent that was heard and is away now has nothing open of it: the plan will say that it is away.
	if (!r || !r->known || h->asking->all->stopped || ls_migrations_find(h->asking->all, h->asking->id))
		return one_less(h->asking);
	ls_host_call(h->host, "ListMigrations", &all.base, ASK_MS,
		     &lockstep__v1__list_agent_migrations_response__descriptor, on_listed, h);
}

static void on_heard(void *user, const struct ls_error *err)
{
	Lockstep__V1__WordRequest request = LOCKSTEP__V1__WORD_REQUEST__INIT;
	struct asked_host *h = user;
	struct asking *a = h->asking;

	if (err) {
		ls_fail(&a->err, LS_E_UNAVAILABLE, 0,
			"host %s: its agent has not told yet, since this coordinator started, what it holds open, so "
			"nothing begins there: %s",
			name_of(h), err->message);
		snprintf(a->err.host, sizeof(a->err.host), "%s", name_of(h));
		return one_less(a);
	}
	if (ls_migrations_find(a->all, a->id))
		return one_less(a);
	request.migration = a->id;
	ls_host_call(h->host, "GetWord", &request.base, ASK_MS, &lockstep__v1__word_response__descriptor, on_word, h);
}

void ls_migrations_ask(struct ls_migrations *ms, const Lockstep__V1__MigrationSpec *spec, ls_migrations_asked_fn *fn,
		       void *user)
{
	struct asking *a = ls_msg_alloc(sizeof(*a));

	*a = (struct asking){.all = ms, .fn = fn, .user = user, .waiting = 3};
	ls_msg_set(&a->id, spec->id);
	for (int i = 0; i < 2; i++) {
		a->host[i] = (struct asked_host){
			.asking = a, .host = ls_agents_find(ms->agents, i ? spec->destination : spec->source)};
		ls_migrations_hear(ms, a->host[i].host, on_heard, &a->host[i]);
	}
	one_less(a);
}

// ---- an id that is asked for, not begun

struct hearing {
	ls_migrations_asked_fn *fn;
	void *user;
	unsigned waiting;
	struct ls_error err;
	struct heard_host {
		struct hearing *hearing;
		const struct ls_host *host;
	} host[];
};

static void heard_one_less(struct hearing *h)
{
	if (--h->waiting)
		return;
	h->fn(h->user, h->err.reason ? &h->err : NULL);
	free(h);
}

static void on_heard_of(void *user, const struct ls_error *err)
{
	struct heard_host *of = user;
	struct hearing *h = of->hearing;

	if (err && !h->err.reason) {
		const char *name = ls_host_config(of->host)->name;

		ls_fail(&h->err, LS_E_UNAVAILABLE, 0,
			"host %s: its agent has not told yet, since this coordinator started, what it holds open: %s",
			name, err->message);
		snprintf(h->err.host, sizeof(h->err.host), "%s", name);
	}
	heard_one_less(h);
}

void ls_migrations_hear_all(struct ls_migrations *ms, ls_migrations_asked_fn *fn, void *user)
{
	unsigned n = 0;
	struct hearing *h;

	while (ls_agents_at(ms->agents, n))
		n++;
	h = ls_msg_alloc(sizeof(*h) + n * sizeof(h->host[0]));
	*h = (struct hearing){.fn = fn, .user = user, .waiting = n + 1};
	for (unsigned i = 0; i < n; i++) {
		h->host[i] = (struct heard_host){.hearing = h, .host = ls_agents_at(ms->agents, i)};
		ls_migrations_hear(ms, h->host[i].host, on_heard_of, &h->host[i]);
	}
	heard_one_less(h);
}
