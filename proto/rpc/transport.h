/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte stream to a peer, and the place where TLS slips in: a TLS transport
 * implements the same operations over a plain one and reports on_open after
 * its handshake. All of it on the loop's thread.
 *
 *	connect / accept -> start -> on_open -> on_read*, on_written* -> on_end
 *	close (at any time, once) ------------------------------------> on_closed
 */
#ifndef LS_PROTO_RPC_TRANSPORT_H
#define LS_PROTO_RPC_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "proto/rpc/address.h"

struct ls_transport;

struct ls_transport_events {
	/* Bytes may flow. Reading is on. */
	void (*on_open)(void *user);
	/* Where the next bytes go; on_read follows at once when there are any. */
	void (*on_alloc)(void *user, uv_buf_t *ret_buffer);
	void (*on_read)(void *user, size_t len);
	/* The write is in the kernel's hands; its buffers are the owner's again. */
	void (*on_written)(void *user);
	/* Once. 0: the peer sent its last byte; else a libuv error. Only close is left to do. */
	void (*on_end)(void *user, int error);
	/* Last callback; the transport is gone. */
	void (*on_closed)(void *user);
};

struct ls_transport_ops {
	int (*start)(struct ls_transport *transport);
	int (*write)(struct ls_transport *transport, const uv_buf_t *buffers, unsigned count);
	void (*read)(struct ls_transport *transport, bool on);
	void (*close)(struct ls_transport *transport);
};

struct ls_transport {
	const struct ls_transport_ops *ops;
	const struct ls_transport_events *events;
	void *user;
	char peer[LS_ADDRESS_SIZE]; /* "127.0.0.1:51234", "unix:uid=0,pid=4711" */
};

/* on_open may run inside (a plain accepted connection is open already), no other callback does. */
static inline int ls_transport_start(struct ls_transport *transport,
				     const struct ls_transport_events *events, void *user)
{
	transport->events = events;
	transport->user = user;
	return transport->ops->start(transport);
}

/*
 * One write at a time: -EBUSY until on_written. Nothing is copied, so the
 * buffers stay as they are until then (or on_closed).
 */
static inline int ls_transport_write(struct ls_transport *transport, const uv_buf_t *buffers,
				     unsigned count)
{
	return transport->ops->write(transport, buffers, count);
}

/* Off: the peer is slowed down by TCP. */
static inline void ls_transport_read(struct ls_transport *transport, bool on)
{
	transport->ops->read(transport, on);
}

static inline void ls_transport_close(struct ls_transport *transport)
{
	transport->ops->close(transport);
}

/*
 * libuv writes without MSG_NOSIGNAL, so a peer that leaves would kill the
 * process: SIGPIPE is ignored from the first server or channel on, unless the
 * program has a handler of its own. uv_spawn() gives children the default back.
 */
void ls_transport_ignore_sigpipe(void);

/* Plain TCP or unix socket, not connected yet: start connects. -ENOMEM. */
int ls_transport_connect(uv_loop_t *loop, const struct ls_address *address,
			 struct ls_transport **ret_transport);

/* A connected TCP socket that was accepted elsewhere. Taken over on success. */
int ls_transport_adopt(uv_loop_t *loop, int fd, struct ls_transport **ret_transport);

struct ls_listener;

/* The receiver owns the transport, and starts or closes it. */
typedef void (*ls_on_accept)(void *user, struct ls_transport *transport);

/* Negative errno, and in why one line that quotes the address; names are refused. */
int ls_listener_create(uv_loop_t *loop, const struct ls_address *address, ls_on_accept on_accept,
		       void *user, struct ls_listener **ret_listener, char *why, size_t why_size);
/* With the port that was bound. */
const char *ls_listener_address(const struct ls_listener *listener);
/* The pointer is dead on return. NULL is fine. */
void ls_listener_close(struct ls_listener *listener);

/* For listener.c: a transport whose socket comes from uv_accept(). */
int ls_transport_accept(uv_stream_t *listener, bool local, struct ls_transport **ret_transport);

#endif
