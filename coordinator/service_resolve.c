// SPDX-License-Identifier: Apache-2.0
// Resolve: first what is known, then what an operator decides.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/service_internal.h"
#include "coordinator/validate.h"
#include "proto/wire/pb.h"

struct resolving {
	struct ls_rpc_call *call;
	Lockstep__V1__ResolveRequest *request;
};

void ls_service_reply_resolve(struct ls_rpc_call *call, const struct ls_seq *seq)
{
	Lockstep__V1__ResolveResponse *r = ls_seq_explain(seq);

	r->migration = ls_msg_clone(ls_seq_view(seq));
	ls_rpc_reply_message(call, &r->base);
	ls_msg_free(r);
}

static void found(void *user, struct ls_migration *m, const struct ls_seq *seq, const struct ls_error *err)
{
	struct resolving *r = user;
	const Lockstep__V1__ResolveRequest *q = r->request;
	struct ls_error failed = {0};

	if (!seq) {
		ls_service_fail(r->call, err);
	} else if (q->action == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_EXPLAIN) {
		ls_service_reply_resolve(r->call, seq);
	} else if (!m) {
		ls_fail(&failed, LS_E_BAD_STATE, 0, "the migration has ended");
		ls_service_fail(r->call, &failed);
	} else if (ls_migration_resolve(m, q->action, q->claim, q->actor, &failed) < 0) {
		ls_service_fail(r->call, &failed);
	} else {
		ls_service_wait_resolved(r->call, m);
	}
	ls_pb_free(&r->request->base);
	free(r);
}

static int check(const Lockstep__V1__ResolveRequest *q, struct ls_error *err)
{
	bool explain = q->action == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_EXPLAIN;
	int r = ls_validate_name("id", q->id, false, err);

	if (r == 0)
		r = ls_validate_actor(q->actor, err);
	// Who decides is recorded for good, here and at the agents.
	if (r == 0 && !explain && (!q->actor[0] || strlen(q->actor) > 63))
		r = ls_fail(err, LS_E_INVALID, 0, "actor: a decision needs one, of 1 to 63 characters");
	if (r == 0 && explain && q->claim)
		r = ls_fail(err, LS_E_INVALID, 0, "claim: RESOLVE_EXPLAIN takes none");
	return r;
}

void ls_service_resolve(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	Lockstep__V1__ResolveRequest *q = (Lockstep__V1__ResolveRequest *)ls_rpc_request_unpack(
		call, &lockstep__v1__resolve_request__descriptor, bytes, len);
	struct resolving *r;
	struct ls_error err;

	if (!q)
		return;
	if (check(q, &err) < 0) {
		ls_service_fail(call, &err);
		return ls_pb_free(&q->base);
	}
	r = ls_msg_alloc(sizeof(*r));
	*r = (struct resolving){.call = call, .request = q};
	ls_service_seek(user, q->id, found, r);
}
