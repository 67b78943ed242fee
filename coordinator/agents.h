// SPDX-License-Identifier: Apache-2.0
// The configured hosts and calls to their agents. Keeps the coordinator's term (rule 7): the first contact with
// each agent in this life may show that a higher one is needed; it is stored before it is used.
#ifndef LS_COORDINATOR_AGENTS_H
#define LS_COORDINATOR_AGENTS_H

#include <stdbool.h>

#include "coordinator/config.h"
#include "coordinator/store.h"
#include "lockstep/v1/agent.pb-c.h"
#include "proto/rpc/rpc_pb.h"

struct ls_agents;
struct ls_host;

// `config` must outlive it.
int ls_agents_new(uv_loop_t *loop, const struct ls_coord_config *config, struct ls_store *store, struct ls_agents **ret,
		  struct ls_error *err);
// Every call ends with CANCELLED inside.
void ls_agents_free(struct ls_agents *a);

struct ls_host *ls_agents_find(struct ls_agents *a, const char *name); // NULL
struct ls_host *ls_agents_at(struct ls_agents *a, unsigned i);	       // NULL past the last
const struct ls_host_config *ls_host_config(const struct ls_host *h);

// The term that calls must carry; valid while the agents are. Call only for an introduced host.
Lockstep__V1__Term ls_agents_term(struct ls_agents *a);

// How a call ended; borrowed during the callback.
struct ls_agent_answer {
	enum ls_rpc_status status;
	bool sent;
	struct ls_error error;	       // status is not OK: the agent's ErrorDetail, or made from the status
	const ProtobufCMessage *reply; // OK only
};
typedef void ls_agent_answer_fn(void *user, const struct ls_agent_answer *answer);

// Answers exactly once, never inside the call. `method`: "Describe". `type`: of the reply.
void ls_host_call(struct ls_host *h, const char *method, const ProtobufCMessage *request, uint64_t deadline_ms,
		  const ProtobufCMessageDescriptor *type, ls_agent_answer_fn *fn, void *user);
// Hello, and whatever the term needs before a call may carry it.
void ls_host_hello(struct ls_host *h, ls_agent_answer_fn *fn, void *user);
bool ls_host_introduced(const struct ls_host *h);

typedef void ls_agent_event_fn(void *user, const Lockstep__V1__AgentEvent *event);
// Returns NULL if it could not begin; then neither callback runs.
struct ls_rpc_request *ls_host_watch(struct ls_host *h, const char *migration, uint64_t after, ls_agent_event_fn *event,
				     ls_agent_answer_fn *end, void *user);

#endif
