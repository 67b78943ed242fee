// SPDX-License-Identifier: Apache-2.0
// ListHosts, ListDevices, List.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/plan.h"
#include "coordinator/service_internal.h"
#include "coordinator/validate.h"
#include "proto/wire/pb.h"

#define ASK_MS 3000u

// A little less than the caller waits, so that it gets an answer that says who is silent.
static uint64_t patience(const struct ls_rpc_call *call)
{
	uint64_t left = ls_rpc_call_time_left(call);

	left = left == UINT64_MAX ? ASK_MS : left - left / 5;
	return left < 1 ? 1 : left < ASK_MS ? left : ASK_MS;
}

// ---- hosts ----

struct hosts_call {
	struct ls_rpc_call *call;
	Lockstep__V1__ListHostsResponse *reply;
	unsigned waiting;
};

struct one_host {
	struct hosts_call *all;
	Lockstep__V1__Host *host;
};

static void hosts_done(struct hosts_call *c)
{
	if (c->waiting)
		return;
	ls_rpc_reply_message(c->call, &c->reply->base);
	ls_msg_free(c->reply);
	free(c);
}

static void on_hello(void *user, const struct ls_agent_answer *a)
{
	struct one_host *o = user;
	struct hosts_call *c = o->all;
	const Lockstep__V1__HelloResponse *r = (const Lockstep__V1__HelloResponse *)a->reply;

	if (r) {
		o->host->reachable = true;
		ls_msg_set(&o->host->version, r->version);
		ls_msg_set(&o->host->ledger_id, r->ledger_id);
		ls_msg_set(&o->host->kernel, r->kernel);
		o->host->devices = r->devices;
		o->host->open_migrations = r->open_migrations;
	} else {
		o->host->problem = ls_msg_error(&a->error);
	}
	free(o);
	c->waiting--;
	hosts_done(c);
}

void ls_service_list_hosts(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	struct ls_service *s = user;
	ProtobufCMessage *request =
		ls_rpc_request_unpack(call, &lockstep__v1__list_hosts_request__descriptor, bytes, len);
	Lockstep__V1__HelloRequest hello = LOCKSTEP__V1__HELLO_REQUEST__INIT;
	struct hosts_call *c;
	struct ls_host *h;

	if (!request)
		return;
	ls_pb_free(request);
	hello.protocol_min = hello.protocol_max = LS_PROTOCOL;
	hello.coordinator = ls_agents_term(s->agents).coordinator;
	c = ls_msg_alloc(sizeof(*c));
	c->call = call;
	c->waiting = 1;
	LS_MSG_NEW(c->reply, LOCKSTEP__V1__LIST_HOSTS_RESPONSE__INIT);
	for (unsigned i = 0; (h = ls_agents_at(s->agents, i)); i++) {
		struct one_host *o = ls_msg_alloc(sizeof(*o));

		o->all = c;
		LS_MSG_NEW(o->host, LOCKSTEP__V1__HOST__INIT);
		ls_msg_set(&o->host->name, ls_host_config(h)->name);
		ls_msg_set(&o->host->address, ls_host_config(h)->agent);
		LS_MSG_APPEND(c->reply->n_host, c->reply->host, o->host);
		c->waiting++;
		ls_host_call(h, "Hello", &hello.base, patience(call), &lockstep__v1__hello_response__descriptor,
			     on_hello, o);
	}
	c->waiting--;
	hosts_done(c);
}

// ---- devices ----

static void on_describe(void *user, const struct ls_agent_answer *a)
{
	struct ls_rpc_call *call = user;
	Lockstep__V1__ListDevicesResponse reply = LOCKSTEP__V1__LIST_DEVICES_RESPONSE__INIT;
	const Lockstep__V1__DescribeResponse *d = (const Lockstep__V1__DescribeResponse *)a->reply;

	if (!d)
		return ls_service_fail(call, &a->error);
	reply.n_device = d->n_device;
	reply.device = d->device;
	ls_rpc_reply_message(call, &reply.base);
}

void ls_service_list_devices(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	struct ls_service *s = user;
	Lockstep__V1__ListDevicesRequest *r = (Lockstep__V1__ListDevicesRequest *)ls_rpc_request_unpack(
		call, &lockstep__v1__list_devices_request__descriptor, bytes, len);
	Lockstep__V1__DescribeRequest describe = LOCKSTEP__V1__DESCRIBE_REQUEST__INIT;
	struct ls_error err = {0};
	struct ls_host *h = NULL;

	if (!r)
		return;
	if (ls_validate_name("host", r->host, false, &err) == 0 && ls_validate_name("vm", r->vm, true, &err) == 0) {
		h = ls_agents_find(s->agents, r->host);
		if (!h)
			ls_fail(&err, LS_E_NOT_FOUND, 0, "host: %s is not in the coordinator's configuration", r->host);
	}
	if (h) {
		describe.vm = r->vm;
		ls_host_call(h, "Describe", &describe.base, patience(call),
			     &lockstep__v1__describe_response__descriptor, on_describe, call);
	} else {
		ls_service_fail(call, &err);
	}
	ls_pb_free(&r->base);
}

// ---- migrations ----

struct list_call {
	struct ls_rpc_call *call;
	struct ls_service *service;
	Lockstep__V1__ListRequest *request;
	Lockstep__V1__ListResponse *reply;
};

static void list_free(struct list_call *c)
{
	ls_pb_free(&c->request->base);
	ls_msg_free(c->reply);
	free(c);
}

static bool listed(const struct list_call *c, const char *id)
{
	for (size_t i = 0; i < c->reply->n_migration; i++)
		if (strcmp(c->reply->migration[i]->spec->id, id) == 0)
			return true;
	return false;
}

static void list_in_memory(struct list_call *c)
{
	for (struct ls_migration *m = ls_migrations_newest(c->service->migrations); m; m = ls_migration_older(m)) {
		Lockstep__V1__Migration v = *ls_seq_view(ls_migration_seq(m));
		bool open = !ls_seq_ended(ls_migration_seq(m)) || ls_seq_operator(ls_migration_seq(m));

		if ((c->request->open_only && !open) || (c->request->vm[0] && strcmp(v.spec->vm, c->request->vm) != 0))
			continue;
		v.n_step = v.n_check = 0;
		v.schedule = NULL;
		LS_MSG_APPEND(c->reply->n_migration, c->reply->migration, ls_msg_clone(&v));
	}
}

static int newest_first(const void *a, const void *b)
{
	const Lockstep__V1__Migration *x = *(Lockstep__V1__Migration *const *)a,
				      *y = *(Lockstep__V1__Migration *const *)b;

	if (x->created_ms != y->created_ms)
		return x->created_ms < y->created_ms ? 1 : -1;
	return strcmp(y->spec->id, x->spec->id);
}

static void list_reply(struct list_call *c)
{
	Lockstep__V1__ListResponse short_reply = LOCKSTEP__V1__LIST_RESPONSE__INIT;
	size_t limit = c->request->limit ? c->request->limit : LS_LIST_DEFAULT;

	if (c->reply->n_migration)
		qsort(c->reply->migration, c->reply->n_migration, sizeof(void *), newest_first);
	short_reply.migration = c->reply->migration;
	short_reply.n_migration = c->reply->n_migration < limit ? c->reply->n_migration : limit;
	ls_rpc_reply_message(c->call, &short_reply.base);
	list_free(c);
}

static void on_summaries(void *user, int status, const struct ls_blob *blobs, size_t n, const struct ls_error *err)
{
	struct list_call *c = user;

	if (status < 0) {
		ls_service_fail(c->call, err);
		return list_free(c);
	}
	list_in_memory(c);
	for (size_t i = 0; i < n; i++) {
		Lockstep__V1__Migration *m = (Lockstep__V1__Migration *)protobuf_c_message_unpack(
			&lockstep__v1__migration__descriptor, NULL, blobs[i].len, blobs[i].bytes);

		if (m && m->spec && !listed(c, m->spec->id))
			LS_MSG_APPEND(c->reply->n_migration, c->reply->migration, m);
		else
			ls_msg_free(m);
	}
	list_reply(c);
}

void ls_service_list(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	Lockstep__V1__ListRequest *r = (Lockstep__V1__ListRequest *)ls_rpc_request_unpack(
		call, &lockstep__v1__list_request__descriptor, bytes, len);
	struct ls_error err;
	struct list_call *c;

	if (!r)
		return;
	if (ls_validate_name("vm", r->vm, true, &err) < 0 || ls_validate_limit(r->limit, &err) < 0) {
		ls_service_fail(call, &err);
		return ls_pb_free(&r->base);
	}
	c = ls_msg_alloc(sizeof(*c));
	*c = (struct list_call){.call = call, .service = user, .request = r};
	LS_MSG_NEW(c->reply, LOCKSTEP__V1__LIST_RESPONSE__INIT);
	if (r->open_only) {
		list_in_memory(c);
		return list_reply(c);
	}
	ls_store_list(c->service->store, r->vm, r->limit ? r->limit : LS_LIST_DEFAULT, on_summaries, c);
}
