/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	channel 1--n link (one HTTP/2 connection) 1--n request (one stream)
 *
 * New requests go to channel->current; a connection that got GOAWAY is no
 * longer current and ends with its last request.
 */
#ifndef LS_PROTO_RPC_CLIENT_INTERNAL_H
#define LS_PROTO_RPC_CLIENT_INTERNAL_H

#include "proto/rpc/h2.h"
#include "proto/rpc/list.h"
#include "proto/rpc/outbox.h"
#include "proto/rpc/rpc.h"
#include "proto/wire/grpc.h"

struct peer_conn;

struct ls_rpc_channel {
	uv_loop_t *loop;
	struct ls_rpc_channel_options options;
	struct ls_address address;
	struct ls_link conns;
	struct peer_conn *current;
	bool closing;
};

struct peer_conn {
	struct ls_h2 h2;
	struct ls_rpc_channel *channel; /* NULL: only the handles are left */
	struct ls_link link;
	struct ls_link requests;
	uint64_t connect_until; /* UINT64_MAX once connected */
};

struct ls_rpc_request {
	struct peer_conn *conn; /* NULL: ended */
	struct ls_link link;
	int32_t stream_id; /* 0: not submitted yet, or closed */
	uint64_t deadline; /* uv_now() */
	bool sent;
	bool refused; /* GOAWAY came before it was sent */
	bool in_callback; /* on_message is running: the memory stays */
	bool ended;
	char *path;
	struct ls_outbox outbox;

	struct ls_grpc_reader reader;
	unsigned http_status; /* 0: no response yet */
	bool submitted;
	bool grpc_content;
	int grpc_status; /* -1: none yet */
	char *message; /* grpc-message, decoded; NULL: none */
	char *trailer_name;
	uint8_t *trailer_bytes;
	size_t trailer_len;

	bool unary;
	bool have_reply;
	uint8_t *reply;
	size_t reply_len;
	ls_rpc_on_message on_message;
	ls_rpc_on_end on_end;
	ls_rpc_on_reply on_reply;
	void *user;
};

/* client_conn.c: a connection being made; it fails from the loop. */
struct peer_conn *ls_peer_connect(struct ls_rpc_channel *channel);
void ls_peer_add(struct peer_conn *conn, struct ls_rpc_request *request);
/* Ends every request, closes, and lets go of the channel. */
void ls_peer_abort(struct peer_conn *conn, enum ls_rpc_status status, const char *message);

/* client_request.c */
void ls_request_free(struct ls_rpc_request *request);
int ls_request_submit(struct ls_rpc_request *request);
/* Detaches it from its connection, resets its stream if there is one, and reports. */
void ls_request_end(struct ls_rpc_request *request, enum ls_rpc_status status,
		    const char *message);

/* client_response.c */
void ls_response_header(struct ls_rpc_request *request, const char *name, const char *value,
			size_t len);
void ls_response_headers_done(struct ls_rpc_request *request);
void ls_response_data(struct ls_rpc_request *request, const uint8_t *bytes, size_t len);
void ls_response_closed(struct ls_rpc_request *request, uint32_t error_code);

#endif
