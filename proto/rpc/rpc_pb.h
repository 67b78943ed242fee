/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protobuf messages on top of rpc.h. The rules of rpc.h hold. Generated types
 * begin with a ProtobufCMessage: pass &msg->base.
 */
#ifndef LS_PROTO_RPC_RPC_PB_H
#define LS_PROTO_RPC_RPC_PB_H

#include <protobuf-c/protobuf-c.h>

#include "proto/rpc/rpc.h"

/* Memory that one decoded request may take: 16 MiB. */
#define LS_RPC_PB_BUDGET ((size_t)16 << 20)

/*
 * Decodes a request; free it with ls_pb_free(). NULL: malformed or too large,
 * and the call has been finished with INVALID_ARGUMENT or RESOURCE_EXHAUSTED.
 */
ProtobufCMessage *ls_rpc_request_unpack(struct ls_rpc_call *call,
					const ProtobufCMessageDescriptor *type, const void *bytes,
					size_t len);

/* ls_rpc_send(), ls_rpc_reply(), ls_rpc_call_trailer() of a packed message. */
int ls_rpc_send_message(struct ls_rpc_call *call, const ProtobufCMessage *message);
void ls_rpc_reply_message(struct ls_rpc_call *call, const ProtobufCMessage *message);
int ls_rpc_call_trailer_message(struct ls_rpc_call *call, const char *name,
				const ProtobufCMessage *message);

int ls_rpc_unary_message(struct ls_rpc_channel *channel, const char *path,
			 const ProtobufCMessage *request, uint64_t deadline_ms,
			 ls_rpc_on_reply on_reply, void *user,
			 struct ls_rpc_request **ret_request);
int ls_rpc_stream_message(struct ls_rpc_channel *channel, const char *path,
			  const ProtobufCMessage *request, uint64_t deadline_ms,
			  ls_rpc_on_message on_message, ls_rpc_on_end on_end, void *user,
			  struct ls_rpc_request **ret_request);

#endif
