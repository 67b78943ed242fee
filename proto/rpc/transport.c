/* SPDX-License-Identifier: Apache-2.0 */
/* The plain transport: TCP and unix sockets. */
#include "proto/rpc/transport.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A silent peer that is gone is noticed after this long, also without calls. */
#define KEEPALIVE_S 30
#define UNACKED_MS 60000

struct plain {
	struct ls_transport base;
	uv_loop_t *loop;
	struct ls_address address;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
	uv_connect_t connect;
	uv_write_t write;
	uv_getaddrinfo_t resolve;
	struct addrinfo *found;
	struct addrinfo *next; /* the address to try after this one */
	bool accepted;
	bool resolving;
	bool writing;
	bool ended;
	bool closing;	    /* the owner closed */
	bool handle_closed;
};

static void connect_found(struct plain *plain, struct addrinfo *address);

static void release(struct plain *plain)
{
	if (!plain->handle_closed || plain->resolving)
		return;
	if (plain->found)
		uv_freeaddrinfo(plain->found);
	plain->base.events->on_closed(plain->base.user);
	free(plain);
}

static void end(struct plain *plain, int error)
{
	if (plain->ended || plain->closing)
		return;
	plain->ended = true;
	plain->base.events->on_end(plain->base.user, error == UV_EOF ? 0 : error);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct plain *plain = handle->data;

	plain->handle_closed = true;
	if (plain->base.events)
		release(plain);
	else
		free(plain);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	struct plain *plain = handle->data;

	plain->base.events->on_alloc(plain->base.user, buffer);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buffer)
{
	struct plain *plain = stream->data;

	if (plain->closing || len == 0)
		return;
	if (len < 0) {
		uv_read_stop(stream);
		end(plain, (int)len);
		return;
	}
	plain->base.events->on_read(plain->base.user, (size_t)len);
}

static void tune_tcp(struct plain *plain)
{
	int unacked = UNACKED_MS;
	uv_os_fd_t fd;

	uv_tcp_nodelay(&plain->uv.tcp, 1);
	uv_tcp_keepalive(&plain->uv.tcp, 1, KEEPALIVE_S);
	if (uv_fileno(&plain->uv.handle, &fd) == 0)
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked, sizeof(unacked));
}

static int opened(struct plain *plain)
{
	int r;

	if (plain->uv.handle.type == UV_TCP)
		tune_tcp(plain);
	r = uv_read_start(&plain->uv.stream, on_alloc, on_read);
	if (r == 0)
		plain->base.events->on_open(plain->base.user);
	return r;
}

static void on_retry_closed(uv_handle_t *handle)
{
	struct plain *plain = handle->data;

	if (plain->closing) {
		on_handle_closed(handle);
		return;
	}
	uv_tcp_init(plain->loop, &plain->uv.tcp);
	plain->uv.handle.data = plain;
	connect_found(plain, plain->next);
}

/* A socket of a failed connect cannot take another address family: a new one. */
static void connect_failed(struct plain *plain, int error)
{
	if (plain->next)
		uv_close(&plain->uv.handle, on_retry_closed);
	else
		end(plain, error);
}

static void on_connected(uv_connect_t *request, int status)
{
	struct plain *plain = request->data;

	if (plain->closing)
		return;
	if (status == 0)
		status = opened(plain);
	if (status < 0)
		connect_failed(plain, status);
}

static void connect_found(struct plain *plain, struct addrinfo *address)
{
	int r;

	plain->next = address->ai_next;
	r = uv_tcp_connect(&plain->connect, &plain->uv.tcp, address->ai_addr, on_connected);
	if (r < 0)
		connect_failed(plain, r);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
	struct plain *plain = request->data;

	plain->resolving = false;
	plain->found = found;
	if (plain->closing)
		release(plain);
	else if (status < 0)
		end(plain, status);
	else
		connect_found(plain, found);
}

static int resolve(struct plain *plain)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC };
	int r;

	plain->resolve.data = plain;
	r = uv_getaddrinfo(plain->loop, &plain->resolve, on_resolved, plain->address.host,
			   plain->address.port, &hints);
	plain->resolving = r == 0;
	return r;
}

static int plain_start(struct ls_transport *transport)
{
	struct plain *plain = (struct plain *)transport;

	if (plain->accepted)
		return opened(plain);
	switch (plain->address.kind) {
	case LS_ADDRESS_UNIX:
		uv_pipe_connect(&plain->connect, &plain->uv.pipe,
				plain->address.socket.local.sun_path, on_connected);
		return 0;
	case LS_ADDRESS_IP:
		return uv_tcp_connect(&plain->connect, &plain->uv.tcp, &plain->address.socket.any,
				      on_connected);
	case LS_ADDRESS_NAME:
		return resolve(plain);
	}
	return -EINVAL;
}

static void on_written(uv_write_t *request, int status)
{
	struct plain *plain = request->data;

	plain->writing = false;
	if (plain->closing || plain->ended)
		return;
	if (status < 0)
		end(plain, status);
	else
		plain->base.events->on_written(plain->base.user);
}

static int plain_write(struct ls_transport *transport, const uv_buf_t *buffers, unsigned count)
{
	struct plain *plain = (struct plain *)transport;
	int r;

	if (plain->closing || plain->ended)
		return -EPIPE;
	if (plain->writing)
		return -EBUSY;
	plain->write.data = plain;
	r = uv_write(&plain->write, &plain->uv.stream, buffers, count, on_written);
	plain->writing = r == 0;
	return r;
}

static void plain_read(struct ls_transport *transport, bool on)
{
	struct plain *plain = (struct plain *)transport;

	if (plain->closing || plain->ended)
		return;
	if (on)
		uv_read_start(&plain->uv.stream, on_alloc, on_read);
	else
		uv_read_stop(&plain->uv.stream);
}

static void plain_close(struct ls_transport *transport)
{
	struct plain *plain = (struct plain *)transport;

	if (plain->closing)
		return;
	plain->closing = true;
	if (plain->resolving)
		uv_cancel((uv_req_t *)&plain->resolve);
	if (!uv_is_closing(&plain->uv.handle))
		uv_close(&plain->uv.handle, on_handle_closed);
}

static const struct ls_transport_ops plain_ops = {
	.start = plain_start,
	.write = plain_write,
	.read = plain_read,
	.close = plain_close,
};

void ls_transport_ignore_sigpipe(void)
{
	struct sigaction action;

	if (sigaction(SIGPIPE, NULL, &action) < 0 || action.sa_handler != SIG_DFL)
		return;
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}

static int plain_new(uv_loop_t *loop, bool local, struct plain **ret_plain)
{
	struct plain *plain = calloc(1, sizeof(*plain));
	int r;

	if (!plain)
		return -ENOMEM;
	plain->base.ops = &plain_ops;
	plain->loop = loop;
	plain->connect.data = plain;
	r = local ? uv_pipe_init(loop, &plain->uv.pipe, 0) : uv_tcp_init(loop, &plain->uv.tcp);
	if (r < 0) {
		free(plain);
		return r;
	}
	plain->uv.handle.data = plain;
	*ret_plain = plain;
	return 0;
}

int ls_transport_connect(uv_loop_t *loop, const struct ls_address *address,
			 struct ls_transport **ret_transport)
{
	struct plain *plain;
	int r = plain_new(loop, address->kind == LS_ADDRESS_UNIX, &plain);

	if (r < 0)
		return r;
	plain->address = *address;
	snprintf(plain->base.peer, sizeof(plain->base.peer), "%s", address->text);
	*ret_transport = &plain->base;
	return 0;
}

static void name_peer(struct plain *plain, bool local)
{
	struct sockaddr_storage peer;
	int len = sizeof(peer);
	struct ucred who;
	socklen_t who_len = sizeof(who);
	uv_os_fd_t fd;

	if (!local && uv_tcp_getpeername(&plain->uv.tcp, (struct sockaddr *)&peer, &len) == 0)
		ls_address_format((struct sockaddr *)&peer, plain->base.peer,
				  sizeof(plain->base.peer));
	else if (local && uv_fileno(&plain->uv.handle, &fd) == 0 &&
		 getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &who_len) == 0)
		snprintf(plain->base.peer, sizeof(plain->base.peer), "unix:uid=%u,pid=%d", who.uid,
			 who.pid);
	else
		snprintf(plain->base.peer, sizeof(plain->base.peer), "(gone)");
}

int ls_transport_accept(uv_stream_t *listener, bool local, struct ls_transport **ret_transport)
{
	struct plain *plain;
	int r = plain_new(listener->loop, local, &plain);

	if (r < 0)
		return r;
	plain->accepted = true;
	r = uv_accept(listener, &plain->uv.stream);
	if (r < 0) {
		uv_close(&plain->uv.handle, on_handle_closed);
		return r;
	}
	name_peer(plain, local);
	*ret_transport = &plain->base;
	return 0;
}

int ls_transport_adopt(uv_loop_t *loop, int fd, struct ls_transport **ret_transport)
{
	struct plain *plain;
	int r = plain_new(loop, false, &plain);

	if (r < 0)
		return r;
	plain->accepted = true;
	r = uv_tcp_open(&plain->uv.tcp, fd);
	if (r < 0) {
		uv_close(&plain->uv.handle, on_handle_closed);
		return r;
	}
	name_peer(plain, false);
	*ret_transport = &plain->base;
	return 0;
}
