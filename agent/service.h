// SPDX-License-Identifier: Apache-2.0
// The gRPC service lockstep.v1.Agent. Thin: decodes, calls, answers.
#ifndef LS_AGENT_SERVICE_H
#define LS_AGENT_SERVICE_H

#include <protobuf-c/protobuf-c.h>

#include "agent/agent.h"

int ls_service_open(struct ls_agent *a, struct ls_error *err); // a->server listens

// service_error.c: status, message and the trailer "lockstep-error-bin".
void ls_service_fail(struct ls_agent *a, struct ls_rpc_call *call, const struct ls_error *err);

// service_describe.c
void ls_service_describe(struct ls_rpc_call *call, const void *bytes, size_t len, void *user);
void ls_service_check_version(struct ls_rpc_call *call, const void *bytes, size_t len, void *user);

// service_word.c
void ls_service_unwind(struct ls_rpc_call *call, const void *bytes, size_t len, void *user);
void ls_service_get_word(struct ls_rpc_call *call, const void *bytes, size_t len, void *user);
void ls_service_settle(struct ls_rpc_call *call, const void *bytes, size_t len, void *user);
// Once no word is being written.
void ls_service_answer_word(struct ls_agent *a, struct ls_rpc_call *call, struct ls_migration *m);

// service_resolve.c, service_list.c
void ls_service_resolve(struct ls_rpc_call *call, const void *bytes, size_t len, void *user);
void ls_service_list(struct ls_rpc_call *call, const void *bytes, size_t len, void *user);

// service_order.c: decodes a request with a term, and lets `then` answer the call once the term is durable here.
typedef bool ls_order_fn(struct ls_agent *a, struct ls_rpc_call *call, ProtobufCMessage *request); // true: taken over
void ls_service_order(struct ls_agent *a, struct ls_rpc_call *call, const ProtobufCMessageDescriptor *type,
		      const void *bytes, size_t len, ls_order_fn *then);

#endif
