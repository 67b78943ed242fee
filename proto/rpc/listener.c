/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/transport.h"

#define BACKLOG 128

struct ls_listener {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
	bool local;
	bool closed;
	ls_on_accept on_accept;
	void *user;
	char address[LS_ADDRESS_SIZE];
};

static void on_connection(uv_stream_t *stream, int status)
{
	struct ls_listener *listener = stream->data;
	struct ls_transport *transport;

	if (listener->closed || status < 0)
		return;
	if (ls_transport_accept(stream, listener->local, &transport) == 0)
		listener->on_accept(listener->user, transport);
}

static int bind_unix(struct ls_listener *listener, uv_loop_t *loop,
		     const struct ls_address *address)
{
	ls_address_remove_dead(&address->socket.local, SOCK_STREAM);
	return uv_pipe_bind(&listener->uv.pipe, address->socket.local.sun_path);
}

static int bind_tcp(struct ls_listener *listener, uv_loop_t *loop, const struct ls_address *address)
{
	unsigned flags = address->socket.any.sa_family == AF_INET6 ? UV_TCP_IPV6ONLY : 0;

	return uv_tcp_bind(&listener->uv.tcp, &address->socket.any, flags);
}

static void note_address(struct ls_listener *listener, const struct ls_address *address)
{
	struct sockaddr_storage bound;
	int len = sizeof(bound);

	if (!listener->local &&
	    uv_tcp_getsockname(&listener->uv.tcp, (struct sockaddr *)&bound, &len) == 0)
		ls_address_format((struct sockaddr *)&bound, listener->address,
				  sizeof(listener->address));
	else
		snprintf(listener->address, sizeof(listener->address), "%s", address->text);
}

int ls_listener_create(uv_loop_t *loop, const struct ls_address *address, ls_on_accept on_accept,
		       void *user, struct ls_listener **ret_listener, char *why, size_t why_size)
{
	struct ls_listener *listener = NULL;
	int r = -EINVAL;

	if (address->kind == LS_ADDRESS_NAME) {
		snprintf(why, why_size, "address \"%s\": listening wants an IP address",
			 address->text);
		return r;
	}
	listener = calloc(1, sizeof(*listener));
	r = listener ? 0 : -ENOMEM;
	if (r == 0) {
		listener->local = address->kind == LS_ADDRESS_UNIX;
		r = listener->local ? uv_pipe_init(loop, &listener->uv.pipe, 0) :
				      uv_tcp_init(loop, &listener->uv.tcp);
	}
	if (r < 0) {
		snprintf(why, why_size, "cannot listen on %s: %s", address->text, uv_strerror(r));
		free(listener);
		return r;
	}
	listener->on_accept = on_accept;
	listener->user = user;
	listener->uv.handle.data = listener;
	r = listener->local ? bind_unix(listener, loop, address) :
			      bind_tcp(listener, loop, address);
	if (r == 0)
		r = uv_listen(&listener->uv.stream, BACKLOG, on_connection);
	if (r < 0) {
		snprintf(why, why_size, "cannot listen on %s: %s", address->text, uv_strerror(r));
		ls_listener_close(listener);
		return r;
	}
	note_address(listener, address);
	*ret_listener = listener;
	return 0;
}

const char *ls_listener_address(const struct ls_listener *listener)
{
	return listener->address;
}

static void on_listener_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void ls_listener_close(struct ls_listener *listener)
{
	if (!listener || listener->closed)
		return;
	listener->closed = true;
	uv_close(&listener->uv.handle, on_listener_closed);
}
