// SPDX-License-Identifier: Apache-2.0
// Resolve: what an operator decided. The claim is durable before the role hears of it (rule 8).
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/migration.h"
#include "agent/service.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "proto/rpc/rpc_pb.h"
#include "proto/wire/pb.h"

typedef Lockstep__V1__AgentResolveRequest Request;

struct decision {
	struct ls_agent *agent;
	struct ls_rpc_call *call;
	struct ls_migration *migration;
	enum ls_resolve action;
	struct ls_ledger_claim claim;
};

static void act(struct decision *d, bool claimed)
{
	struct ls_error err;

	// The role may have gone on while the claim was being written.
	if (ls_role_may_resolve(d->migration->role, d->action, claimed, &err) < 0) {
		ls_service_fail(d->agent, d->call, &err);
	} else {
		ls_log(LS_LOG_WARN, "resolve", "migration=%s action=%d actor=%s", d->migration->params.migration,
		       (int)d->action, d->claim.actor[0] ? d->claim.actor : "?");
		ls_migration_feed(d->migration, (struct ls_role_event){ .kind = LS_EV_RESOLVE, .resolve = d->action,
									.claimed = claimed });
		ls_service_answer_word(d->agent, d->call, d->migration);
	}
	free(d);
}

static void on_claimed(void *user, int status, const struct ls_error *err)
{
	struct decision *d = user;

	if (status < 0) {
		ls_service_fail(d->agent, d->call, err);
		free(d);
		return;
	}
	ls_agent_remember_claim(d->agent, &d->claim);
	act(d, true);
}

static int check_claim(const struct ls_migration *m, const Lockstep__V1__FenceClaim *q, struct ls_ledger_claim *ret,
		       struct ls_error *err)
{
	if (strcmp(q->host, m->params.peer_host) != 0)
		return ls_fail(err, LS_E_INVALID, 0, "claim.host is %.63s, the destination is %s", q->host,
			       m->params.peer_host);
	if (q->method != LOCKSTEP__V1__FENCE_CLAIM__METHOD__POWERED_OFF &&
	    q->method != LOCKSTEP__V1__FENCE_CLAIM__METHOD__PROCESSES_KILLED)
		return ls_fail(err, LS_E_INVALID, 0, "claim.method: powered off or processes killed is wanted");
	if (!q->evidence[0] || strlen(q->evidence) >= LS_EVIDENCE_MAX)
		return ls_fail(err, LS_E_INVALID, 0, "claim.evidence wants 1 to %d bytes", LS_EVIDENCE_MAX - 1);
	if (!q->actor[0] || strlen(q->actor) >= LS_NAME_MAX)
		return ls_fail(err, LS_E_INVALID, 0, "claim.actor wants 1 to %d bytes", LS_NAME_MAX - 1);
	memcpy(ret->migration, m->params.migration, sizeof(ret->migration));
	snprintf(ret->host, sizeof(ret->host), "%s", q->host);
	snprintf(ret->evidence, sizeof(ret->evidence), "%s", q->evidence);
	snprintf(ret->actor, sizeof(ret->actor), "%s", q->actor);
	ret->method = (unsigned)q->method;
	ret->time_ms = q->time_ms ? q->time_ms : ls_unix_ms();
	return 0;
}

static int decide(struct ls_agent *a, struct ls_rpc_call *call, const Request *q, struct ls_error *err)
{
	bool returns = q->action == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_FENCED ||
		       q->action == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_LOST;
	bool claimed = returns && q->claim;
	struct decision *d;
	struct ls_migration *m = ls_migration_recall(a, q->migration);
	int r;

	if (!m || !m->role)
		return ls_fail(err, LS_E_NOT_FOUND, ENOENT, "no migration %.63s here", q->migration);
	r = ls_role_may_resolve(m->role, (enum ls_resolve)q->action, claimed, err);
	if (r < 0)
		return r;
	d = calloc(1, sizeof(*d));
	if (!d)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	*d = (struct decision){ .agent = a, .call = call, .migration = m, .action = (enum ls_resolve)q->action };
	if (!claimed) {
		act(d, false);
		return 0;
	}
	r = check_claim(m, q->claim, &d->claim, err);
	if (r < 0)
		free(d);
	else
		ls_ledger_claim(a->ledger, &d->claim, on_claimed, d);
	return r;
}

static bool resolve(struct ls_agent *a, struct ls_rpc_call *call, ProtobufCMessage *base)
{
	struct ls_error err;

	if (decide(a, call, (const Request *)base, &err) < 0)
		ls_service_fail(a, call, &err);
	return false;
}

void ls_service_resolve(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	ls_service_order(user, call, &lockstep__v1__agent_resolve_request__descriptor, bytes, len, resolve);
}
