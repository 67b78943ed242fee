// SPDX-License-Identifier: Apache-2.0
// Calls that carry a term: none of them begins before the term is durable here (rule 7).
#include <errno.h>
#include <stdlib.h>

#include "agent/agent.h"
#include "agent/service.h"
#include "lockstep/v1/agent.pb-c.h"
#include "proto/rpc/rpc_pb.h"
#include "proto/wire/pb.h"

struct order {
	struct ls_agent *agent;
	struct ls_rpc_call *call;
	ProtobufCMessage *request;
	ls_order_fn *then;
};

static void on_obeyed(void *user, const struct ls_error *err)
{
	struct order *o = user;

	if (err)
		ls_service_fail(o->agent, o->call, err);
	if (err || !o->then(o->agent, o->call, o->request))
		ls_pb_free(o->request);
	free(o);
}

void ls_service_order(struct ls_agent *a, struct ls_rpc_call *call, const ProtobufCMessageDescriptor *type,
		      const void *bytes, size_t len, ls_order_fn *then)
{
	const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(type, "term");
	ProtobufCMessage *request = ls_rpc_request_unpack(call, type, bytes, len);
	struct order *o;
	struct ls_error err;

	if (!request)
		return;
	const Lockstep__V1__Term *term = *(Lockstep__V1__Term *const *)((const char *)request + field->offset);
	o = calloc(1, sizeof(*o));
	if (!o) {
		ls_pb_free(request);
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	*o = (struct order){ .agent = a, .call = call, .request = request, .then = then };
	if (ls_agent_obey(a, term ? term->number : 0, term ? term->coordinator : "", on_obeyed, o, &err) == 0)
		return;
	ls_service_fail(a, call, &err);
	ls_pb_free(request);
	free(o);
}
