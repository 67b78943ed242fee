/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the server's parts hold together:
 *
 *	server 1--n conn (one HTTP/2 connection) 1--n call (one stream)
 *
 * A conn outlives the server while its handles close; then conn->server is
 * NULL. A call outlives its conn while the handler has it; then call->conn is
 * NULL.
 */
#ifndef LS_PROTO_RPC_SERVER_INTERNAL_H
#define LS_PROTO_RPC_SERVER_INTERNAL_H

#include "proto/rpc/h2.h"
#include "proto/rpc/list.h"
#include "proto/rpc/outbox.h"
#include "proto/rpc/rpc.h"
#include "proto/wire/grpc.h"

#define LS_LISTENERS_MAX 16
#define LS_METHOD_TABLES_MAX 16
#define LS_PATH_MAX 256
#define LS_TRAILER_NAME_MAX 64
#define LS_TRAILER_BYTES_MAX 8192
#define LS_STATUS_MESSAGE_MAX 1024

struct ls_rpc_server {
	uv_loop_t *loop;
	struct ls_rpc_server_options options;
	struct {
		const struct ls_rpc_method *methods;
		size_t count;
	} tables[LS_METHOD_TABLES_MAX];
	size_t n_tables;
	struct ls_listener *listeners[LS_LISTENERS_MAX];
	size_t n_listeners;
	struct ls_link conns;
	unsigned n_conns;
	size_t receiving; /* bytes held by unfinished requests */
	bool shut_down;
	void (*on_drained)(void *user);
	void *drained_user;
	uv_timer_t *drained_timer; /* reports an already empty server from the loop */
};

struct conn {
	struct ls_h2 h2;
	struct ls_rpc_server *server;
	struct ls_link link; /* in server->conns */
	struct ls_link calls;
	uint64_t handshake_until; /* UINT64_MAX once the peer has spoken HTTP/2 */
	bool reported;
	char peer[LS_ADDRESS_SIZE];
};

enum call_state {
	CALL_RECEIVING, /* the request is not complete */
	CALL_RUNNING,	/* the handler has it */
	CALL_FINISHED,	/* nobody's any more; the answer may still be on its way */
};

struct ls_rpc_call {
	enum call_state state;
	struct conn *conn; /* NULL: the stream is gone */
	struct ls_link link;
	int32_t stream_id;
	uint64_t deadline; /* uv_now() of the loop; UINT64_MAX: none */
	uv_loop_t *loop;
	size_t max_queued;

	/* the request */
	char path[LS_PATH_MAX];
	char method[8];
	bool path_too_long;
	bool grpc_content;
	bool encoded;
	bool bad_timeout;
	bool complete; /* the one message has arrived */
	struct ls_grpc_reader reader;

	/* the answer */
	struct ls_outbox outbox;
	bool answering; /* HEADERS submitted */
	bool deferred;	/* the session waits for more */
	bool cut;	/* answered before the request's end: reset afterwards */
	bool ended;	/* the status is known: it follows the last message */
	bool became_writable;
	enum ls_rpc_status status;
	char *status_message; /* percent-encoded, NULL: none */
	char trailer_name[LS_TRAILER_NAME_MAX];
	char *trailer_value; /* base64 */

	bool cancelled;
	void (*on_cancel)(struct ls_rpc_call *call, void *user);
	void *cancel_user;
	void (*on_writable)(struct ls_rpc_call *call, void *user);
	void *writable_user;
	char peer[LS_ADDRESS_SIZE];
};

/* server.c */
const struct ls_rpc_method *ls_server_find(const struct ls_rpc_server *server, const char *path);
void ls_server_conn_gone(struct ls_rpc_server *server);

/* server_conn.c */
void ls_conn_accept(struct ls_rpc_server *server, struct ls_transport *transport);
void ls_conn_goodbye(struct conn *conn);
/* Cancels the calls, closes, and lets go of the server. */
void ls_conn_abort(struct conn *conn);

/* server_request.c */
struct ls_rpc_call *ls_call_new(struct conn *conn, int32_t stream_id);
int ls_call_header(struct ls_rpc_call *call, const char *name, const char *value, size_t len);
void ls_call_headers_done(struct ls_rpc_call *call);
void ls_call_data(struct ls_rpc_call *call, const uint8_t *bytes, size_t len);
void ls_call_request_ended(struct ls_rpc_call *call);
/* Unfinished requests count against the server's limit. */
void ls_call_drop_request(struct ls_rpc_call *call);

/* server_answer.c */
/* Ends the call on the wire, whoever has it. */
void ls_call_end(struct ls_rpc_call *call, enum ls_rpc_status status, const char *message);
void ls_call_http_error(struct ls_rpc_call *call, const char *http_status);
/* The stream is gone: cancels a running call, frees a finished one. */
void ls_call_stream_gone(struct ls_rpc_call *call);
void ls_call_deadline(struct ls_rpc_call *call);

#endif
