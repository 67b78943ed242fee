// SPDX-License-Identifier: Apache-2.0
// Which coordinator is followed (rule 7), and when nobody is any more (rule 10).
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/migration.h"
#include "agent/term.h"
#include "common/log.h"

struct order {
	struct ls_agent *agent;
	uint64_t term;
	char coordinator[LS_NAME_MAX];
	ls_obey_fn *then;
	void *user;
};

int ls_agent_may_speak(const struct ls_agent *a, struct ls_error *err)
{
	if (!a->silent.reason)
		return 0;
	return ls_fail(err, LS_E_LEDGER, 0, "the ledger has failed: restart the agent to read what the disk holds");
}

void ls_agent_fall_silent(struct ls_agent *a, const struct ls_error *cause)
{
	struct ls_error err;

	if (a->silent.reason)
		return;
	a->silent = *cause;
	ls_fail(&err, LS_E_LEDGER, cause->err,
		"the ledger of %s has failed: what counts is on the disk, restart to read it", a->config->host);
	ls_log_error("agent.silent", cause, "host=%s", a->config->host);
	ls_notify("STATUS=the ledger has failed: restart the agent");
	for (struct ls_migration *m = a->migrations; m; m = m->next)
		if (m->role)
			ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_MUTE, .error = &err });
}

static void on_term(void *user, int status, const struct ls_error *failure)
{
	struct order *o = user;
	struct ls_agent *a = o->agent;
	struct ls_error err;

	if (status < 0) {
		ls_log_error("ledger.failed", failure, "what=term");
		ls_agent_fall_silent(a, failure);
	} else if (o->term > a->term_durable) {
		a->term_durable = o->term;
	}
	if (ls_agent_may_speak(a, &err) < 0 ||
	    ls_term_check(a->term, a->coordinator, o->term, o->coordinator, &err) < 0)
		o->then(o->user, &err);
	else
		o->then(o->user, NULL);
	free(o);
	a->terms_written--;
	ls_agent_check_stopped(a);
}

int ls_agent_obey(struct ls_agent *a, uint64_t term, const char *coordinator, ls_obey_fn *then, void *user,
		  struct ls_error *err)
{
	struct order *o;
	int r = ls_agent_may_speak(a, err);

	if (r == 0)
		r = ls_term_check(a->term, a->coordinator, term, coordinator, err);
	if (r < 0)
		return r;
	a->term = term;
	snprintf(a->coordinator, sizeof(a->coordinator), "%s", coordinator);
	if (term <= a->term_durable) {
		then(user, NULL);
		return 0;
	}
	o = calloc(1, sizeof(*o));
	if (!o)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	*o = (struct order){ .agent = a, .term = term, .then = then, .user = user };
	snprintf(o->coordinator, sizeof(o->coordinator), "%s", coordinator);
	a->terms_written++;
	ls_ledger_term(a->ledger, term, coordinator, on_term, o);
	return 0;
}
