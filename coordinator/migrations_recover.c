// SPDX-License-Identifier: Apache-2.0
// A store that was lost, or is an older copy, does not know what agents hold open: they tell, at the first contact and
// from time to time. What is learnt so goes on like any other migration.
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "coordinator/message.h"
#include "coordinator/migrations_internal.h"

#define LIST_MS 5000u
#define FIRST_RETRY_MS 200u
#define MOST_RETRY_MS 10000u
#define AGAIN_MS 30000u

typedef Lockstep__V1__ListAgentMigrationsResponse__Entry Entry;

// One who wants to know what a host holds open before anything new begins there.
struct waiter {
	struct waiter *next;
	ls_heard_fn *fn;
	void *user;
};

struct contact {
	struct ls_migrations *all;
	struct ls_host *host;
	uv_timer_t *timer;
	unsigned tries;
	bool asking;	  // a round is under way
	bool heard;	  // one has succeeded in this life
	unsigned lookups; // of the store, in this round; one more while the list is read
	struct ls_error failed;
	struct waiter *waiter;
};

struct lookup {
	struct contact *contact;
	Entry *entry;
};

bool ls_migrations_ours(const struct ls_migrations *ms, const Entry *e)
{
	return strcmp(e->term ? e->term->coordinator : "", ls_agents_term(ms->agents).coordinator) == 0;
}

void ls_migrations_adopt(struct ls_migrations *ms, const char *host, const Entry *e)
{
	struct ls_seq *q = ls_seq_rebuild(e, host, ls_migrations_now());
	struct ls_migration *m;

	if (!q) {
		ls_log(LS_LOG_WARN, "migration.unknown",
		       "migration=%s host=%s word=%s: the agent tells too little to go on", e->migration, host,
		       e->word);
		return;
	}
	ms->open++;
	m = ls_migration_add(ms, q);
	if (!ls_migration_host(m, LS_SEQ_SOURCE) || !ls_migration_host(m, LS_SEQ_DEST)) {
		ls_log(LS_LOG_ERROR, "migration.orphan",
		       "migration=%s: its hosts %s and %s must be in the configuration to go on", e->migration,
		       ls_migration_spec(m)->source, ls_migration_spec(m)->destination);
		ms->open--;
		ls_migration_unlink(m);
		ls_migration_free(m);
		return;
	}
	ls_log(LS_LOG_WARN, "migration.rebuilt", "migration=%s host=%s word=%s", e->migration, host, e->word);
	ls_migration_drive(m);
}

// ---- rounds ----

static void on_timer(uv_timer_t *timer);

static void tell(struct contact *c, const struct ls_error *err)
{
	struct waiter *w;

	while ((w = c->waiter)) {
		c->waiter = w->next;
		w->fn(w->user, err);
		free(w);
	}
}

static void round_over(struct contact *c, const struct ls_error *err)
{
	uint64_t wait = (uint64_t)FIRST_RETRY_MS << (c->tries < 8 ? c->tries : 8);

	c->asking = false;
	c->heard |= !err;
	c->tries = err ? c->tries + 1 : 0;
	if (!err)
		wait = AGAIN_MS;
	else if (wait > MOST_RETRY_MS)
		wait = MOST_RETRY_MS;
	uv_timer_start(c->timer, on_timer, wait, 0);
	tell(c, err);
}

static void one_less(struct contact *c)
{
	if (!--c->lookups)
		round_over(c, c->failed.reason ? &c->failed : NULL);
}

static void on_taken_back(void *user, const struct ls_agent_answer *a)
{
}

// Over, as the store has it: an order that came late began it again. Safe while nothing is decided there (rules 3, 5).
static void take_back(struct contact *c, const Entry *e)
{
	Lockstep__V1__UnwindRequest unwind = LOCKSTEP__V1__UNWIND_REQUEST__INIT;
	Lockstep__V1__SettleRequest settle = LOCKSTEP__V1__SETTLE_REQUEST__INIT;
	Lockstep__V1__Term term = ls_agents_term(c->all->agents);

	ls_log(LS_LOG_WARN, "migration.closed_here", "migration=%s host=%s word=%s: open at the agent", e->migration,
	       ls_host_config(c->host)->name, e->word);
	if (strcmp(e->word, "ACTIVE") == 0) {
		unwind.term = &term;
		unwind.migration = e->migration;
		unwind.cause = (char *)"the coordinator has it as over";
		ls_host_call(c->host, "Unwind", &unwind.base, LIST_MS, &lockstep__v1__word_response__descriptor,
			     on_taken_back, NULL);
	} else if (strcmp(e->word, "UNDECIDED") == 0) {
		settle.term = &term;
		settle.migration = e->migration;
		settle.vm = e->vm;
		ls_host_call(c->host, "Settle", &settle.base, LIST_MS, &lockstep__v1__word_response__descriptor,
			     on_taken_back, NULL);
	}
}

static void on_looked_up(void *user, int status, const struct ls_blob *blobs, size_t n, const struct ls_error *err)
{
	struct lookup *l = user;
	struct contact *c = l->contact;
	struct ls_migrations *ms = c->all;
	const char *host = ls_host_config(c->host)->name;

	if (!ms->stopped) {
		if (status < 0)
			c->failed = *err;
		else if (!n && !ls_migrations_find(ms, l->entry->migration))
			ls_migrations_adopt(ms, host, l->entry);
		else if (n && !ls_migrations_find(ms, l->entry->migration))
			take_back(c, l->entry);
		one_less(c);
	}
	ls_msg_free(l->entry);
	free(l);
}

static void look_up(struct contact *c, const Entry *e)
{
	struct ls_migration *m;
	struct lookup *l;

	if ((m = ls_migrations_find(c->all, e->migration))) {
		if (ls_seq_ended(m->seq) && !ls_seq_operator(m->seq) && !ls_seq_loose(m->seq))
			take_back(c, e);
		return;
	}
	if (!ls_migrations_ours(c->all, e)) {
		ls_log(LS_LOG_DEBUG, "migration.foreign", "migration=%s host=%s coordinator=%s", e->migration,
		       ls_host_config(c->host)->name, e->term ? e->term->coordinator : "");
		return;
	}
	l = ls_msg_alloc(sizeof(*l));
	*l = (struct lookup){.contact = c, .entry = ls_msg_clone(e)};
	c->lookups++;
	ls_store_get(c->all->store, e->migration, on_looked_up, l);
}

static void on_listed(void *user, const struct ls_agent_answer *a)
{
	const Lockstep__V1__ListAgentMigrationsResponse *r =
		(const Lockstep__V1__ListAgentMigrationsResponse *)a->reply;
	struct contact *c = user;

	if (!c->all || c->all->stopped)
		return;
	// An agent of an earlier release has no list.
	if (a->status != LS_RPC_OK && a->status != LS_RPC_UNIMPLEMENTED)
		return round_over(c, &a->error);
	c->failed = (struct ls_error){0};
	c->lookups = 1;
	for (size_t i = 0; r && i < r->n_migration; i++)
		look_up(c, r->migration[i]);
	one_less(c);
}

static void on_hello(void *user, const struct ls_agent_answer *a)
{
	Lockstep__V1__ListAgentMigrationsRequest request = LOCKSTEP__V1__LIST_AGENT_MIGRATIONS_REQUEST__INIT;
	struct contact *c = user;
	Lockstep__V1__Term term;

	if (!c->all || c->all->stopped)
		return;
	if (a->status != LS_RPC_OK)
		return round_over(c, &a->error);
	// Followed first, then told (rule 7): nothing that an older coordinator still asks for can escape the list.
	term = ls_agents_term(c->all->agents);
	request.open_only = true;
	request.term = &term;
	ls_host_call(c->host, "ListMigrations", &request.base, LIST_MS,
		     &lockstep__v1__list_agent_migrations_response__descriptor, on_listed, c);
}

static void begin_round(struct contact *c)
{
	c->asking = true;
	uv_timer_stop(c->timer);
	ls_host_hello(c->host, on_hello, c);
}

static void on_timer(uv_timer_t *timer)
{
	begin_round(timer->data);
}

void ls_migrations_hear(struct ls_migrations *ms, const struct ls_host *host, ls_heard_fn *fn, void *user)
{
	struct contact *c = NULL;
	struct waiter *w;

	for (unsigned i = 0; i < ms->n_contacts; i++)
		if (ms->contacts[i].host == host)
			c = &ms->contacts[i];
	if (!c || c->heard)
		return fn(user, NULL);
	w = ls_msg_alloc(sizeof(*w));
	*w = (struct waiter){.next = c->waiter, .fn = fn, .user = user};
	c->waiter = w;
	if (!c->asking)
		begin_round(c);
}

void ls_migrations_contact(struct ls_migrations *ms)
{
	while (ls_agents_at(ms->agents, ms->n_contacts))
		ms->n_contacts++;
	ms->contacts = ls_msg_alloc(ms->n_contacts * sizeof(*ms->contacts));
	for (unsigned i = 0; i < ms->n_contacts; i++) {
		struct contact *c = &ms->contacts[i];

		*c = (struct contact){.all = ms, .host = ls_agents_at(ms->agents, i)};
		c->timer = ls_msg_alloc(sizeof(*c->timer));
		uv_timer_init(ms->loop, c->timer);
		c->timer->data = c;
		begin_round(c);
	}
}

static void free_handle(uv_handle_t *h)
{
	free(h);
}

void ls_migrations_contact_end(struct ls_migrations *ms)
{
	struct ls_error err;

	ls_fail(&err, LS_E_UNAVAILABLE, 0, "the coordinator is being stopped");
	for (unsigned i = 0; i < ms->n_contacts; i++) {
		tell(&ms->contacts[i], &err);
		uv_close((uv_handle_t *)ms->contacts[i].timer, free_handle);
	}
	ms->n_contacts = 0;
}
