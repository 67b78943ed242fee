/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC over HTTP/2 on a libuv loop: server and client, unary calls and server
 * streaming. Messages are byte strings here; rpc_pb.h puts protobuf-c on top.
 *
 * Everything belongs to the loop's thread: call every function there, and get
 * every callback there. Callbacks may call any function of this header,
 * destructors included. Bytes handed in are copied; bytes handed to a callback
 * are valid until it returns. Functions returning int give 0 or a negative
 * errno. Nothing here logs. Creating a server or a channel ignores SIGPIPE.
 *
 * Addresses: "127.0.0.1:7001", "[::1]:7001", "unix:/run/lockstep/agent.sock";
 * clients may also name a host: "host-a.example:7001".
 */
#ifndef LS_PROTO_RPC_RPC_H
#define LS_PROTO_RPC_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proto/rpc/status.h"

/* ---- server ---- */

struct ls_rpc_server;
struct ls_rpc_call;

/*
 * Runs when a whole request has arrived. Answer at once or later; in the end
 * call ls_rpc_finish() or ls_rpc_reply() exactly once, also after a cancel:
 * that is what gives the call object back.
 */
typedef void (*ls_rpc_handler)(struct ls_rpc_call *call, const void *request,
			       size_t len, void *user);

struct ls_rpc_method {
	const char *path; /* "/lockstep.v1.Agent/Prepare" */
	ls_rpc_handler handler;
	void *user;
};

/* Zero in a field means its default. */
struct ls_rpc_server_options {
	size_t max_message;	  /* bytes of one request; 4 MiB */
	size_t max_receiving;	  /* bytes of all unfinished requests together; 64 MiB */
	size_t max_queued;	  /* unsent bytes of one call, when messages wait; 4 MiB */
	unsigned max_connections; /* more are closed at once; 256 */
	unsigned max_calls;	  /* running calls of one connection; 256 */
	unsigned handshake_ms;	  /* until a peer has spoken HTTP/2; 10 000 */
	/*
	 * A peer broke the protocol, or a connection was refused: one call per
	 * connection, for the log. Peers that just leave are not reported.
	 */
	void (*on_peer_error)(void *user, const char *peer, const char *what);
	void *user;
};

/* options may be NULL. */
int ls_rpc_server_create(uv_loop_t *loop, const struct ls_rpc_server_options *options,
			 struct ls_rpc_server **ret_server);

/* methods is kept by reference and must outlive the server. -EEXIST: a path is served already. */
int ls_rpc_server_add(struct ls_rpc_server *server, const struct ls_rpc_method *methods,
		      size_t count);

/*
 * May be called for several addresses. Port 0 takes a free one. A unix socket
 * that nobody listens on is replaced. On failure `why` names the address and
 * the cause.
 */
int ls_rpc_server_listen(struct ls_rpc_server *server, const char *address, char *why,
			 size_t why_size);

/* The bound address of the n-th successful listen, port filled in; NULL past the last. */
const char *ls_rpc_server_address(const struct ls_rpc_server *server, size_t n);

/*
 * Accepts nothing more, sends GOAWAY, lets running calls finish. on_drained
 * (may be NULL) runs once when the last connection is gone, never inside this
 * call; destroying the server drops it.
 */
void ls_rpc_server_shutdown(struct ls_rpc_server *server, void (*on_drained)(void *user),
			    void *user);

/*
 * Cancels every call (on_cancel runs inside), closes every connection. The
 * pointer is dead on return; memory goes when the loop has closed the handles.
 * Calls that are not finished yet stay valid until they are. NULL is fine.
 */
void ls_rpc_server_destroy(struct ls_rpc_server *server);

/* ---- a call on the server ---- */

/* "127.0.0.1:51234", "unix:uid=0,pid=4711". Valid while the call is. */
const char *ls_rpc_call_peer(const struct ls_rpc_call *call);
const char *ls_rpc_call_path(const struct ls_rpc_call *call);

/* Milliseconds that the client still waits; UINT64_MAX when it set no deadline. */
uint64_t ls_rpc_call_time_left(const struct ls_rpc_call *call);

/* The client cancelled, its deadline passed, or the connection died. */
bool ls_rpc_call_cancelled(const struct ls_rpc_call *call);

/* Runs once at that moment. The call still waits to be finished. NULL takes it off. */
void ls_rpc_call_on_cancel(struct ls_rpc_call *call,
			   void (*on_cancel)(struct ls_rpc_call *call, void *user), void *user);

/*
 * Queues one response message. -ECANCELED: nobody reads any more. -ENOBUFS:
 * the reader is so slow that max_queued would be passed; nothing was queued.
 */
int ls_rpc_send(struct ls_rpc_call *call, const void *bytes, size_t len);

/* Bytes queued and not yet taken by the connection. A stream that coalesces sends at 0 only. */
size_t ls_rpc_queued(const struct ls_rpc_call *call);

/* Runs each time that the queue has run empty, on the loop, never inside ls_rpc_send(). */
void ls_rpc_call_on_writable(struct ls_rpc_call *call,
			     void (*on_writable)(struct ls_rpc_call *call, void *user),
			     void *user);

/*
 * One binary trailer, sent with the status; name ends in "-bin" and is lower
 * case, at most 8 KiB of bytes. Again replaces it.
 */
int ls_rpc_call_trailer(struct ls_rpc_call *call, const char *name, const void *bytes,
			size_t len);

/*
 * Ends the call after what was queued; message (UTF-8, may be NULL) is for
 * people. The pointer is dead on return.
 */
void ls_rpc_finish(struct ls_rpc_call *call, enum ls_rpc_status status, const char *message);

/* ls_rpc_send() and ls_rpc_finish() with OK. */
void ls_rpc_reply(struct ls_rpc_call *call, const void *bytes, size_t len);

/* ---- client ---- */

/*
 * A peer's address, and at most one connection for new calls; connects when
 * needed. An open connection keeps uv_run() going: destroy the channel at the end.
 */
struct ls_rpc_channel;
struct ls_rpc_request;

/* Zero in a field means its default. */
struct ls_rpc_channel_options {
	size_t max_message;  /* bytes of one response message; 4 MiB */
	unsigned connect_ms; /* until a connection attempt is given up; 5 000 */
};

/* options may be NULL. Only the address is looked at; a bad one fails with `why` filled. */
int ls_rpc_channel_create(uv_loop_t *loop, const char *address,
			  const struct ls_rpc_channel_options *options,
			  struct ls_rpc_channel **ret_channel, char *why, size_t why_size);

/* Every request ends with CANCELLED inside this call. The pointer is dead on return. NULL is fine. */
void ls_rpc_channel_destroy(struct ls_rpc_channel *channel);

/* How a request ended. The pointers are valid during the callback. */
struct ls_rpc_result {
	enum ls_rpc_status status;
	const char *message;	/* never NULL */
	const char *trailer;	/* name of the binary trailer, NULL when there was none */
	const void *trailer_bytes;
	size_t trailer_len;
	bool sent; /* false: the peer cannot have acted on the request */
};

typedef void (*ls_rpc_on_message)(void *user, const void *bytes, size_t len);
/* Last callback of a request, exactly once. */
typedef void (*ls_rpc_on_end)(void *user, const struct ls_rpc_result *result);
/* Unary: bytes is the response when result->status is OK, else NULL. Exactly once. */
typedef void (*ls_rpc_on_reply)(void *user, const struct ls_rpc_result *result,
				const void *bytes, size_t len);

/*
 * deadline_ms, from now, is at least 1 and covers connecting too: the request
 * ends with DEADLINE_EXCEEDED then at the latest. No callback runs inside
 * these two. ret_request (may be NULL) is valid until the end callback; on
 * failure (-EINVAL, -ENOMEM; -ESHUTDOWN while the channel is being destroyed)
 * no callback ever runs.
 */
int ls_rpc_unary(struct ls_rpc_channel *channel, const char *path, const void *bytes, size_t len,
		 uint64_t deadline_ms, ls_rpc_on_reply on_reply, void *user,
		 struct ls_rpc_request **ret_request);
int ls_rpc_stream(struct ls_rpc_channel *channel, const char *path, const void *bytes, size_t len,
		  uint64_t deadline_ms, ls_rpc_on_message on_message, ls_rpc_on_end on_end,
		  void *user, struct ls_rpc_request **ret_request);

/* The end callback runs inside, with CANCELLED. */
void ls_rpc_cancel(struct ls_rpc_request *request);

#endif
