// SPDX-License-Identifier: Apache-2.0
// How much of what is over is kept. The ledger forgets first; then memory does, by the same rule.
#include <stdlib.h>
#include <string.h>

#include "agent/migration.h"
#include "common/log.h"

// Does nobody need it: no operator, and no source that may still ask for the word?
static bool over_for_all(const struct ls_ledger_record *r)
{
	return r->done && !r->conflict && (r->side != LS_SIDE_DEST || r->heard || !r->request_len);
}

static unsigned over(const struct ls_agent *a)
{
	unsigned n = 0;

	for (const struct ls_known *k = a->known; k; k = k->next)
		n += over_for_all(&k->record) &&
		     (k->record.request_len ||
		      (ls_word_forgettable(k->record.word) && k->record.term < a->term_durable));
	return n;
}

// Of this life, and nobody listens or speaks to it: it answers from the ledger's record alone from now on.
static void drop_migration(struct ls_agent *a, const char *id)
{
	for (struct ls_migration **at = &a->migrations, *m; (m = *at); at = &m->next)
		if (strcmp(m->params.migration, id) == 0) {
			*at = m->next;
			ls_migration_free(m);
			return;
		}
}

static bool in_use(struct ls_agent *a, const char *id)
{
	const struct ls_migration *m = ls_migration_find(a, id);

	return m && (m->watchers || m->waiters || !m->done || !m->ended || m->feeding || m->unclosed ||
		     (m->role && ls_role_persisting(m->role)));
}

static void drop_claims(struct ls_agent *a, const char *id)
{
	for (struct ls_known_claim **at = &a->claims, *c; (c = *at);)
		if (strcmp(c->claim.migration, id) == 0) {
			*at = c->next;
			free(c);
		} else {
			at = &c->next;
		}
}

static void on_pruned(void *user, int status, const struct ls_error *err)
{
	struct ls_agent *a = user;
	unsigned seen = 0;

	a->pruning = false;
	if (status < 0) {
		ls_log_error("ledger.failed", err, "what=prune"); // it is tried again when the next one ends
		return;
	}
	for (struct ls_known **at = &a->known, *k; (k = *at);) { // newest first
		struct ls_ledger_record *record = &k->record;
		bool kept = record->done && seen++ < a->config->keep_ended;
		if (kept || !over_for_all(record) || in_use(a, record->migration)) {
			at = &k->next;
			continue;
		}
		drop_migration(a, record->migration);
		free((void *)record->request);
		record->request = NULL;
		record->request_len = 0;
		if (!ls_word_forgettable(record->word) || record->term >= a->term_durable) {
			at = &k->next;
			continue;
		}
		drop_claims(a, record->migration);
		*at = k->next;
		free(k);
	}
}

void ls_agent_prune(struct ls_agent *a)
{
	if (a->pruning || over(a) <= a->config->keep_ended)
		return;
	a->pruning = true;
	ls_ledger_prune(a->ledger, (unsigned)a->config->keep_ended, on_pruned, a);
}
