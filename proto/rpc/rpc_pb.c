/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc/rpc_pb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/wire/pb.h"

ProtobufCMessage *ls_rpc_request_unpack(struct ls_rpc_call *call,
					const ProtobufCMessageDescriptor *type, const void *bytes,
					size_t len)
{
	ProtobufCMessage *request;
	char why[256];
	int r = ls_pb_unpack(type, LS_RPC_PB_BUDGET, bytes, len, &request);

	switch (r) {
	case 0:
		return request;
	case -EBADMSG:
		snprintf(why, sizeof(why), "malformed request: not a %s", type->name);
		ls_rpc_finish(call, LS_RPC_INVALID_ARGUMENT, why);
		break;
	case -E2BIG:
		snprintf(why, sizeof(why), "this %s takes more than %zu bytes to decode", type->name,
			 LS_RPC_PB_BUDGET);
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, why);
		break;
	default:
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory to decode the request");
	}
	return NULL;
}

int ls_rpc_send_message(struct ls_rpc_call *call, const ProtobufCMessage *message)
{
	uint8_t *bytes;
	size_t len;
	int r = ls_pb_pack(message, &bytes, &len);

	if (r < 0)
		return r;
	r = ls_rpc_send(call, bytes, len);
	free(bytes);
	return r;
}

void ls_rpc_reply_message(struct ls_rpc_call *call, const ProtobufCMessage *message)
{
	int r = ls_rpc_send_message(call, message);

	if (r == 0 || r == -ECANCELED)
		ls_rpc_finish(call, LS_RPC_OK, NULL);
	else
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory for the response");
}

int ls_rpc_call_trailer_message(struct ls_rpc_call *call, const char *name,
				const ProtobufCMessage *message)
{
	uint8_t *bytes;
	size_t len;
	int r = ls_pb_pack(message, &bytes, &len);

	if (r < 0)
		return r;
	r = ls_rpc_call_trailer(call, name, bytes, len);
	free(bytes);
	return r;
}

int ls_rpc_unary_message(struct ls_rpc_channel *channel, const char *path,
			 const ProtobufCMessage *request, uint64_t deadline_ms,
			 ls_rpc_on_reply on_reply, void *user,
			 struct ls_rpc_request **ret_request)
{
	uint8_t *bytes;
	size_t len;
	int r = ls_pb_pack(request, &bytes, &len);

	if (r < 0)
		return r;
	r = ls_rpc_unary(channel, path, bytes, len, deadline_ms, on_reply, user, ret_request);
	free(bytes);
	return r;
}

int ls_rpc_stream_message(struct ls_rpc_channel *channel, const char *path,
			  const ProtobufCMessage *request, uint64_t deadline_ms,
			  ls_rpc_on_message on_message, ls_rpc_on_end on_end, void *user,
			  struct ls_rpc_request **ret_request)
{
	uint8_t *bytes;
	size_t len;
	int r = ls_pb_pack(request, &bytes, &len);

	if (r < 0)
		return r;
	r = ls_rpc_stream(channel, path, bytes, len, deadline_ms, on_message, on_end, user,
			  ret_request);
	free(bytes);
	return r;
}
