// SPDX-License-Identifier: Apache-2.0
#include "agent/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "agent/migration.h"
#include "agent/survey.h"
#include "common/fault.h"
#include "common/log.h"
#include "proto/rpc/rpc_pb.h"
#include "proto/wire/pb.h"

static void on_hello(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	Lockstep__V1__HelloResponse response = LOCKSTEP__V1__HELLO_RESPONSE__INIT;
	Lockstep__V1__Term term = LOCKSTEP__V1__TERM__INIT;
	ProtobufCMessage *q = ls_rpc_request_unpack(call, &lockstep__v1__hello_request__descriptor, bytes, len);
	struct ls_agent *a = user;
	struct utsname kernel;

	if (!q)
		return;
	response.protocol_min = response.protocol_max = LS_PROTOCOL;
	response.host = (char *)a->config->host;
	response.version = (char *)LOCKSTEP_VERSION;
	response.ledger_id = (char *)ls_ledger_id(a->ledger);
	term.number = a->term_durable;
	term.coordinator = a->coordinator;
	response.highest_term = &term;
	if (uname(&kernel) == 0)
		response.kernel = kernel.release;
	response.devices = a->config->n_devices;
	for (const struct ls_known *k = a->known; k; k = k->next)
		response.open_migrations += !k->record.done && ls_word_open(k->record.word);
	ls_pb_free(q);
	ls_rpc_reply_message(call, &response.base);
}

struct prepare {
	struct ls_agent *agent;
	struct ls_rpc_call *call;
	ProtobufCMessage *request;
};

static void on_prepared(void *user, struct ls_migration *m, const struct ls_error *err)
{
	Lockstep__V1__PrepareResponse response = LOCKSTEP__V1__PREPARE_RESPONSE__INIT;
	struct ls_rpc_call *call = user;

	if (err) {
		ls_service_fail(m->agent, call, err);
		return;
	}
	response.ledger_id = m->params.ledger_id;
	response.word = (char *)ls_word_name(ls_role_word(m->role));
	ls_rpc_reply_message(call, &response.base);
}

static void prepare(struct prepare *p)
{
	struct ls_waiter *waiter = calloc(1, sizeof(*waiter));
	struct ls_error err;
	int r;

	if (waiter) {
		waiter->ready = on_prepared;
		waiter->user = p->call;
		r = ls_migration_prepare(p->agent, (Lockstep__V1__PrepareRequest *)p->request, waiter, &err);
	} else {
		r = ls_fail(&err, LS_E_RESOURCE, ENOMEM, "out of memory");
	}
	if (r < 0) {
		free(waiter);
		ls_service_fail(p->agent, p->call, &err);
	}
	ls_pb_free(p->request);
	free(p);
}

static void after_survey(void *user, bool cancelled)
{
	struct prepare *p = user;
	struct ls_error err;

	if (!cancelled) {
		prepare(p);
		return;
	}
	ls_fail(&err, LS_E_UNAVAILABLE, 0, "the agent is closing");
	ls_service_fail(p->agent, p->call, &err);
	ls_pb_free(p->request);
	free(p);
}

static bool prepare_after_survey(struct ls_agent *a, struct ls_rpc_call *call, ProtobufCMessage *q)
{
	struct prepare *p = calloc(1, sizeof(*p));

	if (!p) {
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory");
		return false;
	}
	*p = (struct prepare){ .agent = a, .call = call, .request = q };
	const char *vm = ((Lockstep__V1__PrepareRequest *)q)->vm;

	if (!ls_survey_under_way(a, vm) || ls_survey(a, vm, after_survey, p) < 0)
		prepare(p); // else its devices are being looked at right now
	return true;
}

static void on_prepare(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	ls_service_order(user, call, &lockstep__v1__prepare_request__descriptor, bytes, len, prepare_after_survey);
}

static struct ls_migration *find(struct ls_agent *a, struct ls_rpc_call *call, const char *id)
{
	struct ls_migration *m = ls_migration_recall(a, id);
	struct ls_error err;

	if (m && m->role)
		return m;
	ls_fail(&err, LS_E_NOT_FOUND, ENOENT, "no migration %.63s in this life of the agent", id);
	ls_service_fail(a, call, &err);
	return NULL;
}

static bool grant(struct ls_agent *a, struct ls_rpc_call *call, ProtobufCMessage *base)
{
	const Lockstep__V1__GrantRequest *q = (Lockstep__V1__GrantRequest *)base;
	Lockstep__V1__GrantResponse response = LOCKSTEP__V1__GRANT_RESPONSE__INIT;
	struct ls_migration *m = find(a, call, q->migration);
	uint32_t gates = 0;

	if (!m)
		return false;
	for (size_t i = 0; i < q->n_gate; i++)
		if ((unsigned)q->gate[i] < (unsigned)LS_GATE_COUNT)
			gates |= 1u << q->gate[i];
	ls_fault(agent_grant);
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_GRANT, .gates = gates });
	ls_rpc_reply_message(call, &response.base);
	return false;
}

static void on_grant(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	ls_service_order(user, call, &lockstep__v1__grant_request__descriptor, bytes, len, grant);
}

static void on_watch(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	ProtobufCMessage *base =
		ls_rpc_request_unpack(call, &lockstep__v1__agent_watch_request__descriptor, bytes, len);
	Lockstep__V1__AgentWatchRequest *q = (Lockstep__V1__AgentWatchRequest *)base;
	struct ls_migration *m;

	if (!base)
		return;
	m = find(user, call, q->migration);
	if (m)
		ls_migration_watch(m, call, q->after_sequence);
	ls_pb_free(base);
}

static void on_peer_error(void *user, const char *peer, const char *what)
{
	ls_log(LS_LOG_WARN, "rpc.refused", "peer=%s cause=\"%s\"", peer, what);
}

int ls_service_open(struct ls_agent *a, struct ls_error *err)
{
	static const struct {
		const char *path;
		ls_rpc_handler handler;
	} methods[] = {
		{ "/lockstep.v1.Agent/Hello", on_hello },
		{ "/lockstep.v1.Agent/Describe", ls_service_describe },
		{ "/lockstep.v1.Agent/CheckVersion", ls_service_check_version },
		{ "/lockstep.v1.Agent/Prepare", on_prepare },
		{ "/lockstep.v1.Agent/Grant", on_grant },
		{ "/lockstep.v1.Agent/Unwind", ls_service_unwind },
		{ "/lockstep.v1.Agent/GetWord", ls_service_get_word },
		{ "/lockstep.v1.Agent/Settle", ls_service_settle },
		{ "/lockstep.v1.Agent/Watch", on_watch },
		{ "/lockstep.v1.Agent/ListMigrations", ls_service_list },
		{ "/lockstep.v1.Agent/Resolve", ls_service_resolve },
	};
	struct ls_rpc_server_options options = { .on_peer_error = on_peer_error };
	char why[300];
	int r = ls_rpc_server_create(a->loop, &options, &a->server);

	for (unsigned i = 0; r == 0 && i < sizeof(methods) / sizeof(methods[0]); i++) {
		a->methods[i] = (struct ls_rpc_method){ methods[i].path, methods[i].handler, a };
		r = ls_rpc_server_add(a->server, &a->methods[i], 1);
	}
	if (r < 0)
		return ls_fail(err, LS_E_RESOURCE, -r, "the gRPC server cannot be made");
	r = ls_rpc_server_listen(a->server, a->config->listen, why, sizeof(why));
	return r < 0 ? ls_fail(err, LS_E_CONFIG, -r, "%.250s", why) : 0;
}
