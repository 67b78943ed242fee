// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "agent/migration.h"
#include "agent/service.h"
#include "proto/rpc/rpc_pb.h"

static enum ls_rpc_status status_of(enum ls_reason reason)
{
	switch (reason) {
	case LS_E_INVALID:
	case LS_E_SCHEDULE_INVALID:
		return LS_RPC_INVALID_ARGUMENT;
	case LS_E_NOT_FOUND:
		return LS_RPC_NOT_FOUND;
	case LS_E_ALREADY_EXISTS:
		return LS_RPC_ALREADY_EXISTS;
	case LS_E_PERMISSION:
		return LS_RPC_PERMISSION_DENIED;
	case LS_E_UNAVAILABLE:
		return LS_RPC_UNAVAILABLE;
	case LS_E_LIMIT:
	case LS_E_RESOURCE:
		return LS_RPC_RESOURCE_EXHAUSTED;
	case LS_E_INTERNAL:
		return LS_RPC_INTERNAL;
	case LS_E_CANCELLED:
		return LS_RPC_ABORTED;
	default:
		return LS_RPC_FAILED_PRECONDITION;
	}
}

void ls_service_fail(struct ls_agent *a, struct ls_rpc_call *call, const struct ls_error *err)
{
	Lockstep__V1__ErrorDetail detail;

	ls_error_to_pb(err, &detail);
	if (!detail.host[0])
		detail.host = (char *)a->config->host;
	ls_rpc_call_trailer_message(call, "lockstep-error-bin", &detail.base);
	ls_rpc_finish(call, status_of(err->reason), err->message);
}
