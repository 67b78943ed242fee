/* SPDX-License-Identifier: Apache-2.0 */
/* The status codes of gRPC, as they stand in the grpc-status trailer. */
#ifndef LS_PROTO_RPC_STATUS_H
#define LS_PROTO_RPC_STATUS_H

enum ls_rpc_status {
	LS_RPC_OK = 0,
	LS_RPC_CANCELLED = 1,
	LS_RPC_UNKNOWN = 2,
	LS_RPC_INVALID_ARGUMENT = 3,
	LS_RPC_DEADLINE_EXCEEDED = 4,
	LS_RPC_NOT_FOUND = 5,
	LS_RPC_ALREADY_EXISTS = 6,
	LS_RPC_PERMISSION_DENIED = 7,
	LS_RPC_RESOURCE_EXHAUSTED = 8,
	LS_RPC_FAILED_PRECONDITION = 9,
	LS_RPC_ABORTED = 10,
	LS_RPC_OUT_OF_RANGE = 11,
	LS_RPC_UNIMPLEMENTED = 12,
	LS_RPC_INTERNAL = 13,
	LS_RPC_UNAVAILABLE = 14,
	LS_RPC_DATA_LOSS = 15,
	LS_RPC_UNAUTHENTICATED = 16,
};

/* "UNAVAILABLE" and so on; "UNKNOWN" for a number outside the list. Static. */
const char *ls_rpc_status_name(enum ls_rpc_status status);

#endif
