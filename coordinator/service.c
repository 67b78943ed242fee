// SPDX-License-Identifier: Apache-2.0
#include "coordinator/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "coordinator/message.h"
#include "coordinator/service_internal.h"
#include "coordinator/validate.h"
#include "proto/wire/pb.h"

static enum ls_rpc_status status_of(enum ls_reason reason)
{
	switch (reason) {
	case LS_E_INVALID:
		return LS_RPC_INVALID_ARGUMENT;
	case LS_E_NOT_FOUND:
		return LS_RPC_NOT_FOUND;
	case LS_E_ALREADY_EXISTS:
		return LS_RPC_ALREADY_EXISTS;
	case LS_E_BAD_STATE:
	case LS_E_VM_BUSY:
	case LS_E_NOT_FEASIBLE:
	case LS_E_CONFLICT:
	case LS_E_ARC_STUCK:
		return LS_RPC_FAILED_PRECONDITION;
	case LS_E_STALE_COORDINATOR:
		return LS_RPC_ABORTED;
	case LS_E_UNAVAILABLE:
	case LS_E_LEDGER:
		return LS_RPC_UNAVAILABLE;
	case LS_E_LIMIT:
	case LS_E_RESOURCE:
		return LS_RPC_RESOURCE_EXHAUSTED;
	case LS_E_PERMISSION:
		return LS_RPC_PERMISSION_DENIED;
	default:
		return LS_RPC_INTERNAL;
	}
}

void ls_service_fail(struct ls_rpc_call *call, const struct ls_error *err)
{
	Lockstep__V1__ErrorDetail *detail = ls_msg_error(err);

	ls_log_error("call.failed", err, "method=%s peer=%s", ls_rpc_call_path(call), ls_rpc_call_peer(call));
	ls_rpc_call_trailer_message(call, "lockstep-error-bin", &detail->base);
	ls_msg_free(detail);
	ls_rpc_finish(call, status_of(err->reason), err->message);
}

// ---- finding ----

struct finding {
	struct ls_service *service;
	char id[80];
	ls_service_found_fn *fn;
	void *user;
};

static void on_records(void *user, int status, const struct ls_blob *blobs, size_t n, const struct ls_error *err)
{
	struct finding *f = user;
	struct ls_migration *m = ls_migrations_find(f->service->migrations, f->id);
	struct ls_error none = {0};
	struct ls_seq *q = NULL;

	for (size_t i = 0; i < n && status == 0 && !m; i++) {
		Lockstep__Store__Record *r = (Lockstep__Store__Record *)protobuf_c_message_unpack(
			&lockstep__store__record__descriptor, NULL, blobs[i].len, blobs[i].bytes);

		if (r && !q)
			q = ls_seq_restore(r);
		else if (r && q)
			ls_seq_fold(q, r);
		ls_msg_free(r);
	}
	if (m) {
		f->fn(f->user, m, ls_migration_seq(m), NULL);
	} else if (q) {
		f->fn(f->user, NULL, q, NULL);
	} else {
		if (status == 0)
			ls_fail(&none, LS_E_NOT_FOUND, 0, "id: no migration %s", f->id);
		f->fn(f->user, NULL, NULL, status == 0 ? &none : err);
	}
	ls_seq_free(q);
	free(f);
}

void ls_service_find(struct ls_service *s, const char *id, ls_service_found_fn *fn, void *user)
{
	struct ls_migration *m = ls_migrations_find(s->migrations, id);
	struct finding *f;

	if (m)
		return fn(user, m, ls_migration_seq(m), NULL);
	f = ls_msg_alloc(sizeof(*f));
	*f = (struct finding){.service = s, .fn = fn, .user = user};
	snprintf(f->id, sizeof(f->id), "%s", id);
	ls_store_get(s->store, id, on_records, f);
}

// ---- Get, Watch ----

static void got(void *user, struct ls_migration *m, const struct ls_seq *seq, const struct ls_error *err)
{
	if (seq)
		ls_rpc_reply_message(user, &ls_seq_view(seq)->base);
	else
		ls_service_fail(user, err);
}

static void got_watch(void *user, struct ls_migration *m, const struct ls_seq *seq, const struct ls_error *err)
{
	if (m)
		ls_service_watch(user, m);
	else
		got(user, m, seq, err);
}

static void find_for(struct ls_rpc_call *call, const void *bytes, size_t len, struct ls_service *s,
		     ls_service_found_fn *fn)
{
	Lockstep__V1__GetRequest *r = (Lockstep__V1__GetRequest *)ls_rpc_request_unpack(
		call, &lockstep__v1__get_request__descriptor, bytes, len);
	struct ls_error err;

	if (!r)
		return;
	if (ls_validate_name("id", r->id, false, &err) < 0)
		ls_service_fail(call, &err);
	else
		ls_service_seek(s, r->id, fn, call);
	ls_pb_free(&r->base);
}

static void handle_get(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	find_for(call, bytes, len, user, got);
}

static void handle_watch(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	find_for(call, bytes, len, user, got_watch);
}

// ---- DryRun, Start ----

static int check_spec(struct ls_service *s, const Lockstep__V1__MigrationSpec *spec, bool dry_run, struct ls_error *err)
{
	int r = spec ? ls_validate_spec(spec, dry_run, err) : ls_fail(err, LS_E_INVALID, 0, "spec: is missing");

	if (r < 0)
		return r;
	if (!ls_agents_find(s->agents, spec->source))
		return ls_fail(err, LS_E_NOT_FOUND, 0, "spec.source: host %s is not in the coordinator's configuration",
			       spec->source);
	if (!ls_agents_find(s->agents, spec->destination))
		return ls_fail(err, LS_E_NOT_FOUND, 0,
			       "spec.destination: host %s is not in the coordinator's configuration",
			       spec->destination);
	return 0;
}

static void on_planned(void *user, const Lockstep__V1__DryRunResponse *plan)
{
	ls_rpc_reply_message(user, &plan->base);
}

static void handle_dry_run(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	struct ls_service *s = user;
	Lockstep__V1__MigrationSpec *spec = (Lockstep__V1__MigrationSpec *)ls_rpc_request_unpack(
		call, &lockstep__v1__migration_spec__descriptor, bytes, len);
	struct ls_error err;

	if (!spec)
		return;
	if (check_spec(s, spec, true, &err) < 0)
		ls_service_fail(call, &err);
	else
		ls_planner_run(ls_migrations_world(s->migrations), spec, on_planned, call);
	ls_pb_free(&spec->base);
}

struct starting {
	struct ls_service *service;
	struct ls_rpc_call *call;
	Lockstep__V1__StartRequest *request;
	bool asked; // the hosts, whether they know the id
};

static void on_asked(void *user, const struct ls_error *err);

static void start_found(void *user, struct ls_migration *m, const struct ls_seq *seq, const struct ls_error *found)
{
	struct starting *st = user;
	const Lockstep__V1__StartRequest *r = st->request;
	struct ls_error err = {0};

	if (seq && !ls_msg_equal(ls_seq_view(seq)->spec, r->spec)) {
		ls_fail(&err, LS_E_ALREADY_EXISTS, 0,
			"spec.id: migration %s exists with another spec: a retry needs a new id", r->spec->id);
		ls_service_fail(st->call, &err);
	} else if (m) {
		ls_service_wait(st->call, m, false);
	} else if (seq) {
		ls_rpc_reply_message(st->call, &ls_seq_view(seq)->base);
	} else if (found->reason != LS_E_NOT_FOUND) {
		ls_service_fail(st->call, found);
	} else if (!st->asked) {
		return ls_migrations_ask(st->service->migrations, r->spec, on_asked, st);
	} else if (ls_migrations_start(st->service->migrations, r->spec, r->actor, &m, &err) < 0) {
		ls_service_fail(st->call, &err);
	} else {
		ls_service_wait(st->call, m, false);
	}
	ls_pb_free(&st->request->base);
	free(st);
}

static void on_asked(void *user, const struct ls_error *err)
{
	struct starting *st = user;

	st->asked = true;
	if (err)
		start_found(st, NULL, NULL, err);
	else
		ls_service_find(st->service, st->request->spec->id, start_found, st);
}

static void handle_start(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	struct ls_service *s = user;
	Lockstep__V1__StartRequest *r = (Lockstep__V1__StartRequest *)ls_rpc_request_unpack(
		call, &lockstep__v1__start_request__descriptor, bytes, len);
	struct starting *st;
	struct ls_error err;

	if (!r)
		return;
	if (check_spec(s, r->spec, false, &err) < 0 || ls_validate_actor(r->actor, &err) < 0) {
		ls_service_fail(call, &err);
		return ls_pb_free(&r->base);
	}
	st = ls_msg_alloc(sizeof(*st));
	*st = (struct starting){.service = s, .call = call, .request = r};
	ls_service_find(s, r->spec->id, start_found, st);
}

// ---- Cancel, Release ----

struct asking {
	struct ls_rpc_call *call;
	char actor[132];
	enum ls_gate gate; // NONE: a cancel
};

static void ask_found(void *user, struct ls_migration *m, const struct ls_seq *seq, const struct ls_error *found)
{
	struct asking *a = user;
	struct ls_error err = {0};
	int r;

	if (!seq)
		ls_service_fail(a->call, found);
	else if (!m) {
		ls_fail(&err, LS_E_BAD_STATE, 0, "the migration has ended");
		ls_service_fail(a->call, &err);
	} else {
		r = a->gate ? ls_migration_release(m, a->gate, a->actor, &err) : ls_migration_cancel(m, a->actor, &err);
		if (r < 0)
			ls_service_fail(a->call, &err);
		else
			ls_service_wait(a->call, m, !a->gate);
	}
	free(a);
}

static void ask(struct ls_service *s, struct ls_rpc_call *call, const char *id, const char *actor, enum ls_gate gate)
{
	struct asking *a;
	struct ls_error err;

	if (ls_validate_name("id", id, false, &err) < 0 || ls_validate_actor(actor, &err) < 0)
		return ls_service_fail(call, &err);
	a = ls_msg_alloc(sizeof(*a));
	a->call = call;
	a->gate = gate;
	snprintf(a->actor, sizeof(a->actor), "%s", actor);
	ls_service_seek(s, id, ask_found, a);
}

static void handle_cancel(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	Lockstep__V1__CancelRequest *r = (Lockstep__V1__CancelRequest *)ls_rpc_request_unpack(
		call, &lockstep__v1__cancel_request__descriptor, bytes, len);

	if (!r)
		return;
	ask(user, call, r->id, r->actor, LS_GATE_NONE);
	ls_pb_free(&r->base);
}

static void handle_release(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	Lockstep__V1__ReleaseRequest *r = (Lockstep__V1__ReleaseRequest *)ls_rpc_request_unpack(
		call, &lockstep__v1__release_request__descriptor, bytes, len);
	struct ls_error err;

	if (!r)
		return;
	if (ls_validate_gate("gate", r->gate, &err) < 0)
		ls_service_fail(call, &err);
	else
		ask(user, call, r->id, r->actor, (enum ls_gate)r->gate);
	ls_pb_free(&r->base);
}

int ls_service_new(struct ls_rpc_server *server, struct ls_agents *agents, struct ls_migrations *migrations,
		   struct ls_store *store, struct ls_service **ret)
{
	struct ls_service *s = ls_msg_alloc(sizeof(*s));
	const struct ls_rpc_method methods[] = {
		{"/lockstep.v1.Lockstep/ListHosts", ls_service_list_hosts, s},
		{"/lockstep.v1.Lockstep/ListDevices", ls_service_list_devices, s},
		{"/lockstep.v1.Lockstep/DryRun", handle_dry_run, s},
		{"/lockstep.v1.Lockstep/Start", handle_start, s},
		{"/lockstep.v1.Lockstep/Get", handle_get, s},
		{"/lockstep.v1.Lockstep/List", ls_service_list, s},
		{"/lockstep.v1.Lockstep/Watch", handle_watch, s},
		{"/lockstep.v1.Lockstep/Cancel", handle_cancel, s},
		{"/lockstep.v1.Lockstep/Release", handle_release, s},
		{"/lockstep.v1.Lockstep/Resolve", ls_service_resolve, s},
	};
	int r;

	s->agents = agents;
	s->migrations = migrations;
	s->store = store;
	memcpy(s->method, methods, sizeof(methods));
	r = ls_rpc_server_add(server, s->method, sizeof(methods) / sizeof(methods[0]));
	if (r < 0) {
		free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void ls_service_free(struct ls_service *s)
{
	free(s);
}
