// SPDX-License-Identifier: Apache-2.0
// What a role has written, and what becomes of the record when it ends.
#include <stdio.h>
#include <stdlib.h>

#include "agent/migration.h"
#include "common/fault.h"
#include "common/log.h"

// Its memory is what travels to the ledger and back.
struct write {
	struct ls_migration *m;
	enum ls_word word;
};

static void on_persisted(void *user, int status, const struct ls_error *err)
{
	struct write *w = user;
	struct ls_migration *m = w->m;
	struct ls_agent *a = m->agent;
	struct ls_role_event event = { .kind = LS_EV_PERSISTED, .word = w->word, .status = status };

	free(w);
	if (status == 0) {
		ls_fault_of(agent_word_known, ls_word_name(event.word));
		ls_agent_known(a, m->params.migration)->record.word = event.word;
		ls_log(LS_LOG_INFO, "word", "migration=%s word=%s", m->params.migration, ls_word_name(event.word));
	} else {
		ls_log_error("ledger.failed", err, "migration=%s word=%s", m->params.migration,
			     ls_word_name(event.word));
	}
	ls_migration_feed(m, event);
	if (status < 0)
		ls_agent_fall_silent(a, err);
}

void ls_migration_persist(struct ls_migration *m, enum ls_word word)
{
	struct write *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	*w = (struct write){ m, word };
	ls_ledger_persist(m->agent->ledger, m->params.migration, word, on_persisted, w);
}

static void on_conflict(void *user, int status, const struct ls_error *err)
{
	struct write *w = user;
	struct ls_agent *a = w->m->agent;

	if (status == 0)
		ls_log(LS_LOG_WARN, "conflict.kept", "migration=%s", w->m->params.migration);
	else
		ls_log_error("ledger.failed", err, "migration=%s what=conflict", w->m->params.migration);
	free(w);
	if (status < 0)
		ls_agent_fall_silent(a, err); // the next life would not know of it
}

// It is told at once. A life that ends before it is written asks the other side again: its fence is not settled.
void ls_migration_conflict(struct ls_migration *m)
{
	struct write *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->m = m;
	m->done = false; // an operator has to close it, and until then it holds the VM
	ls_agent_known(m->agent, m->params.migration)->record.conflict = true;
	ls_ledger_conflict(m->agent->ledger, m->params.migration, on_conflict, w);
}

static void on_noted(void *user, int status, const struct ls_error *err)
{
	if (status < 0)
		ls_log_error("ledger.failed", err, "what=note"); // only `show` misses it
}

void ls_migration_note(struct ls_migration *m, const char *how)
{
	char text[300], line[400];

	snprintf(line, sizeof(line), "%s%s%s", how, m->end_error.reason ? ": " : "",
		 m->end_error.reason ? ls_error_text(&m->end_error, text, sizeof(text)) : "");
	ls_ledger_note(m->agent->ledger, m->params.migration, line, on_noted, m->agent);
}

static void on_heard(void *user, int status, const struct ls_error *err)
{
	if (status < 0)
		ls_log_error("ledger.failed", err, "what=heard"); // it is kept longer than need be
	else
		ls_agent_prune(user);
}

void ls_migration_heard(struct ls_migration *m)
{
	ls_agent_known(m->agent, m->params.migration)->record.heard = true;
	ls_ledger_heard(m->agent->ledger, m->params.migration, on_heard, m->agent);
}

static void on_closed(void *user, int status, const struct ls_error *err)
{
	struct ls_migration *m = user;

	m->unclosed = false;
	ls_migration_tell_waiters(m, status < 0 ? err : NULL);
	if (status == 0) {
		ls_agent_prune(m->agent);
		return;
	}
	// The next life takes it up again: what it would reset and discard must not be another migration's by then.
	ls_log_error("ledger.failed", err, "migration=%s what=close", m->params.migration);
	ls_agent_fall_silent(m->agent, err);
}

void ls_migration_close(struct ls_migration *m)
{
	struct ls_known *known = ls_agent_known(m->agent, m->params.migration);

	m->done = true;
	known->record.done = true;
	known->record.conflict = false;
	m->unclosed = true;
	ls_ledger_close(m->agent->ledger, m->params.migration, on_closed, m);
	ls_migration_let_go(m);
}
