// SPDX-License-Identifier: Apache-2.0
#include "coordinator/agents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "coordinator/message.h"
#include "coordinator/plan.h"
#include "proto/wire/pb.h"

#define HELLO_MS 5000u
// A watch is renewed so often, so that a peer that vanished without a word is noticed.
#define WATCH_MS 30000u

struct ls_host {
	struct ls_agents *agents;
	const struct ls_host_config *config;
	struct ls_rpc_channel *channel;
	bool introduced;
};

struct ls_agents {
	const struct ls_coord_config *config;
	struct ls_store *store;
	uint64_t term;
	unsigned n;
	struct ls_host host[];
};

int ls_agents_new(uv_loop_t *loop, const struct ls_coord_config *config, struct ls_store *store, struct ls_agents **ret,
		  struct ls_error *err)
{
	struct ls_agents *a = ls_msg_alloc(sizeof(*a) + config->n_hosts * sizeof(a->host[0]));
	char why[200];

	a->config = config;
	a->store = store;
	a->term = ls_store_term(store);
	for (unsigned i = 0; i < config->n_hosts; i++) {
		struct ls_host *h = &a->host[a->n++];

		h->agents = a;
		h->config = &config->host[i];
		if (ls_rpc_channel_create(loop, h->config->agent, NULL, &h->channel, why, sizeof(why)) < 0) {
			ls_agents_free(a);
			return ls_fail(err, LS_E_CONFIG, EINVAL, "host %s: agent: %s", config->host[i].name, why);
		}
	}
	*ret = a;
	return 0;
}

void ls_agents_free(struct ls_agents *a)
{
	if (!a)
		return;
	for (unsigned i = 0; i < a->n; i++)
		ls_rpc_channel_destroy(a->host[i].channel);
	free(a);
}

struct ls_host *ls_agents_find(struct ls_agents *a, const char *name)
{
	for (unsigned i = 0; i < a->n; i++)
		if (strcmp(a->host[i].config->name, name) == 0)
			return &a->host[i];
	return NULL;
}

struct ls_host *ls_agents_at(struct ls_agents *a, unsigned i)
{
	return i < a->n ? &a->host[i] : NULL;
}

const struct ls_host_config *ls_host_config(const struct ls_host *h)
{
	return h->config;
}

Lockstep__V1__Term ls_agents_term(struct ls_agents *a)
{
	Lockstep__V1__Term t = LOCKSTEP__V1__TERM__INIT;

	t.number = a->term;
	t.coordinator = (char *)a->config->id;
	return t;
}

bool ls_host_introduced(const struct ls_host *h)
{
	return h->introduced;
}

// ---- one call ----

struct call {
	struct ls_host *host;
	const ProtobufCMessageDescriptor *type;
	ls_agent_answer_fn *fn;
	ls_agent_event_fn *event; // watch
	void *user;
};

static enum ls_reason reason_of_status(enum ls_rpc_status status)
{
	switch (status) {
	case LS_RPC_INVALID_ARGUMENT:
		return LS_E_INVALID;
	case LS_RPC_NOT_FOUND:
		return LS_E_NOT_FOUND;
	case LS_RPC_ALREADY_EXISTS:
		return LS_E_ALREADY_EXISTS;
	case LS_RPC_PERMISSION_DENIED:
	case LS_RPC_UNAUTHENTICATED:
		return LS_E_PERMISSION;
	case LS_RPC_RESOURCE_EXHAUSTED:
		return LS_E_LIMIT;
	case LS_RPC_FAILED_PRECONDITION:
		return LS_E_BAD_STATE;
	case LS_RPC_UNAVAILABLE:
	case LS_RPC_DEADLINE_EXCEEDED:
	case LS_RPC_CANCELLED:
		return LS_E_UNAVAILABLE;
	default:
		return LS_E_INTERNAL;
	}
}

static void read_error(const struct call *c, const struct ls_rpc_result *r, struct ls_error *ret)
{
	ProtobufCMessage *detail = NULL;

	const char *what = r->message[0] ? r->message : ls_rpc_status_name(r->status);

	// What names the address says all of it.
	if (strstr(what, c->host->config->agent))
		ls_fail(ret, reason_of_status(r->status), 0, "agent: %s", what);
	else
		ls_fail(ret, reason_of_status(r->status), 0, "agent at %s: %s", c->host->config->agent, what);
	if (r->trailer && strcmp(r->trailer, "lockstep-error-bin") == 0 &&
	    ls_pb_unpack(&lockstep__v1__error_detail__descriptor, 64 << 10, r->trailer_bytes, r->trailer_len,
			 &detail) == 0)
		ls_msg_error_read((const Lockstep__V1__ErrorDetail *)detail, ret);
	ls_pb_free(detail);
	if (!ret->host[0])
		snprintf(ret->host, sizeof(ret->host), "%s", c->host->config->name);
}

static void on_reply(void *user, const struct ls_rpc_result *result, const void *bytes, size_t len)
{
	struct call *c = user;
	struct ls_agent_answer a = {.status = result->status, .sent = result->sent};
	ProtobufCMessage *reply = NULL;

	if (result->status != LS_RPC_OK) {
		read_error(c, result, &a.error);
	} else if (ls_pb_unpack(c->type, LS_RPC_PB_BUDGET, bytes, len, &reply) < 0) {
		a.status = LS_RPC_INTERNAL;
		ls_fail(&a.error, LS_E_INVALID, EBADMSG, "agent at %s: malformed answer", c->host->config->agent);
		snprintf(a.error.host, sizeof(a.error.host), "%s", c->host->config->name);
	}
	a.reply = reply;
	c->fn(c->user, &a);
	ls_pb_free(reply);
	free(c);
}

static struct call *call_new(struct ls_host *h, ls_agent_answer_fn *fn, void *user)
{
	struct call *c = ls_msg_alloc(sizeof(*c));

	*c = (struct call){.host = h, .fn = fn, .user = user};
	return c;
}

void ls_host_call(struct ls_host *h, const char *method, const ProtobufCMessage *request, uint64_t deadline_ms,
		  const ProtobufCMessageDescriptor *type, ls_agent_answer_fn *fn, void *user)
{
	struct call *c = call_new(h, fn, user);
	char path[64];

	c->type = type;
	snprintf(path, sizeof(path), "/lockstep.v1.Agent/%s", method);
	// Fails only without memory, or on arguments that are wrong here.
	if (ls_rpc_unary_message(h->channel, path, request, deadline_ms, on_reply, c, NULL) < 0)
		abort();
}

// ---- hello and the term ----

struct hello {
	struct ls_host *host;
	ls_agent_answer_fn *fn;
	void *user;
	Lockstep__V1__HelloResponse *reply;
};

static void hello_done(struct hello *h, const struct ls_agent_answer *a)
{
	h->fn(h->user, a);
	ls_msg_free(h->reply);
	free(h);
}

static void on_term_saved(void *user, int status, const struct ls_error *err)
{
	struct hello *h = user;
	struct ls_agent_answer a = {.status = LS_RPC_OK, .sent = true, .reply = &h->reply->base};

	if (status < 0) {
		a.status = LS_RPC_UNAVAILABLE;
		a.error = *err;
		a.reply = NULL;
	} else {
		h->host->introduced = true;
	}
	hello_done(h, &a);
}

static void on_hello(void *user, const struct ls_agent_answer *answer)
{
	struct hello *h = user;
	struct ls_agents *agents = h->host->agents;
	const Lockstep__V1__HelloResponse *reply = (const Lockstep__V1__HelloResponse *)answer->reply;
	const Lockstep__V1__Term *seen = reply ? reply->highest_term : NULL;

	// An equal number of ours is one of an earlier life whose store was lost.
	if (reply && !h->host->introduced && seen && seen->number >= agents->term) {
		agents->term = seen->number + 1;
		ls_log(LS_LOG_INFO, "term.raised", "host=%s term=%llu", h->host->config->name,
		       (unsigned long long)agents->term);
		h->reply = ls_msg_clone(reply);
		ls_store_save_term(agents->store, agents->term, on_term_saved, h);
		return;
	}
	if (reply)
		h->host->introduced = true;
	hello_done(h, answer);
}

void ls_host_hello(struct ls_host *host, ls_agent_answer_fn *fn, void *user)
{
	Lockstep__V1__HelloRequest request = LOCKSTEP__V1__HELLO_REQUEST__INIT;
	struct hello *h = ls_msg_alloc(sizeof(*h));

	*h = (struct hello){.host = host, .fn = fn, .user = user};
	request.protocol_min = request.protocol_max = LS_PROTOCOL;
	request.coordinator = (char *)host->agents->config->id;
	ls_host_call(host, "Hello", &request.base, HELLO_MS, &lockstep__v1__hello_response__descriptor, on_hello, h);
}

// ---- watching ----

static void on_event(void *user, const void *bytes, size_t len)
{
	struct call *c = user;
	ProtobufCMessage *event = NULL;

	if (ls_pb_unpack(&lockstep__v1__agent_event__descriptor, LS_RPC_PB_BUDGET, bytes, len, &event) < 0) {
		ls_log(LS_LOG_WARN, "agent.malformed", "host=%s bytes=%zu", c->host->config->name, len);
		return;
	}
	c->event(c->user, (const Lockstep__V1__AgentEvent *)event);
	ls_pb_free(event);
}

static void on_watch_end(void *user, const struct ls_rpc_result *result)
{
	struct call *c = user;
	struct ls_agent_answer a = {.status = result->status, .sent = result->sent};

	if (result->status != LS_RPC_OK)
		read_error(c, result, &a.error);
	c->fn(c->user, &a);
	free(c);
}

struct ls_rpc_request *ls_host_watch(struct ls_host *h, const char *migration, uint64_t after, ls_agent_event_fn *event,
				     ls_agent_answer_fn *end, void *user)
{
	Lockstep__V1__AgentWatchRequest request = LOCKSTEP__V1__AGENT_WATCH_REQUEST__INIT;
	struct call *c = call_new(h, end, user);
	struct ls_rpc_request *ret = NULL;

	c->event = event;
	request.migration = (char *)migration;
	request.after_sequence = after;
	if (ls_rpc_stream_message(h->channel, "/lockstep.v1.Agent/Watch", &request.base, WATCH_MS, on_event,
				  on_watch_end, c, &ret) < 0)
		abort();
	return ret;
}
