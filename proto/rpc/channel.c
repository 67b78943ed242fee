/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/client_internal.h"

int ls_rpc_channel_create(uv_loop_t *loop, const char *address,
			  const struct ls_rpc_channel_options *options,
			  struct ls_rpc_channel **ret_channel, char *why, size_t why_size)
{
	struct ls_address parsed;
	struct ls_rpc_channel *channel;
	int r = ls_address_parse(address, &parsed, why, why_size);

	if (r < 0)
		return r;
	channel = calloc(1, sizeof(*channel));
	if (!channel) {
		if (why_size)
			why[0] = '\0';
		return -ENOMEM;
	}
	ls_transport_ignore_sigpipe();
	channel->loop = loop;
	channel->address = parsed;
	ls_list_init(&channel->conns);
	if (options)
		channel->options = *options;
	if (channel->options.max_message == 0)
		channel->options.max_message = (size_t)4 << 20;
	if (channel->options.connect_ms == 0)
		channel->options.connect_ms = 5000;
	*ret_channel = channel;
	return 0;
}

void ls_rpc_channel_destroy(struct ls_rpc_channel *channel)
{
	if (!channel)
		return;
	channel->closing = true;
	while (!ls_list_empty(&channel->conns))
		ls_peer_abort(ls_container(channel->conns.next, struct peer_conn, link),
			      LS_RPC_CANCELLED, "the channel was closed");
	free(channel);
}

static int start(struct ls_rpc_channel *channel, const char *path, const void *bytes, size_t len,
		 uint64_t deadline_ms, struct ls_rpc_request **ret_request)
{
	struct ls_rpc_request *request;

	if (path[0] != '/' || deadline_ms == 0)
		return -EINVAL;
	if (channel->closing)
		return -ESHUTDOWN;
	request = calloc(1, sizeof(*request));
	if (!request)
		return -ENOMEM;
	request->grpc_status = -1;
	request->reader.max_message = channel->options.max_message;
	request->path = strdup(path);
	if (!request->path || ls_outbox_push(&request->outbox, bytes, len) < 0)
		goto fail;
	if (!channel->current)
		channel->current = ls_peer_connect(channel);
	if (!channel->current)
		goto fail;
	/* The loop may not have run for a while; the deadline counts from now. */
	uv_update_time(channel->loop);
	request->deadline = deadline_ms < UINT64_MAX - uv_now(channel->loop) ?
				    uv_now(channel->loop) + deadline_ms :
				    UINT64_MAX - 1;
	ls_peer_add(channel->current, request);
	*ret_request = request;
	return 0;
fail:
	ls_request_free(request);
	return -ENOMEM;
}

int ls_rpc_unary(struct ls_rpc_channel *channel, const char *path, const void *bytes, size_t len,
		 uint64_t deadline_ms, ls_rpc_on_reply on_reply, void *user,
		 struct ls_rpc_request **ret_request)
{
	struct ls_rpc_request *request;
	int r = start(channel, path, bytes, len, deadline_ms, &request);

	if (r < 0)
		return r;
	request->unary = true;
	request->on_reply = on_reply;
	request->user = user;
	if (ret_request)
		*ret_request = request;
	return 0;
}

int ls_rpc_stream(struct ls_rpc_channel *channel, const char *path, const void *bytes, size_t len,
		  uint64_t deadline_ms, ls_rpc_on_message on_message, ls_rpc_on_end on_end,
		  void *user, struct ls_rpc_request **ret_request)
{
	struct ls_rpc_request *request;
	int r = start(channel, path, bytes, len, deadline_ms, &request);

	if (r < 0)
		return r;
	request->on_message = on_message;
	request->on_end = on_end;
	request->user = user;
	if (ret_request)
		*ret_request = request;
	return 0;
}

void ls_rpc_cancel(struct ls_rpc_request *request)
{
	ls_request_end(request, LS_RPC_CANCELLED, "cancelled by the caller");
}
