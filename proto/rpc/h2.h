/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP/2 connection: an nghttp2 session joined to a transport, with one
 * write in flight at a time, one timer, and an orderly end. Server and client
 * connections embed it; the nghttp2 callbacks are theirs.
 *
 * nghttp2 is asked for bytes from the loop only (ls_h2_kick() makes it so),
 * never inside its own callbacks, and the session lives until on_released:
 * so any callback may send, reset or close.
 */
#ifndef LS_PROTO_RPC_H2_H
#define LS_PROTO_RPC_H2_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "proto/rpc/transport.h"

#define LS_H2_READ_SIZE 16384
/* What a peer may send before we have taken it. */
#define LS_H2_STREAM_WINDOW (256 * 1024)
#define LS_H2_CONNECTION_WINDOW (1024 * 1024)

struct ls_h2_events {
	/* Before bytes are taken from the session: submit what waits. */
	void (*on_send)(void *owner);
	/* After bytes were taken. */
	void (*on_sent)(void *owner);
	/* The time given to ls_h2_wake_at() has come. */
	void (*on_wake)(void *owner);
	/* Once, unless ls_h2_close() came first. fault: the peer's doing, worth a log line. */
	void (*on_lost)(void *owner, const char *why, bool fault);
	/* Last callback: the memory may go. */
	void (*on_released)(void *owner);
};

struct ls_h2 {
	uv_loop_t *loop;
	const struct ls_h2_events *events;
	void *owner;
	nghttp2_session *session;
	struct ls_transport *transport;
	uv_idle_t idle;
	uv_timer_t timer;
	uint64_t wake_at;
	unsigned handles; /* to be closed before release */
	bool opened;
	bool writing;
	bool paused;
	bool closing;
	int start_error;
	char fault[160]; /* why we sent GOAWAY with an error */
	uint8_t in[LS_H2_READ_SIZE];
	uint8_t *out;
	size_t out_len;
	size_t out_capacity;
};

/*
 * A client's or a server's session with these settings and a connection window
 * of LS_H2_CONNECTION_WINDOW bytes; frees callbacks. -ENOMEM.
 */
int ls_h2_session(bool server, nghttp2_session_callbacks *callbacks, void *owner,
		  const nghttp2_settings_entry *settings, size_t n_settings,
		  nghttp2_session **ret_session);

/*
 * Takes session and transport, also on failure paths later. The first callback
 * comes from the loop. Cannot fail: a transport that does not start is lost
 * from the loop.
 */
void ls_h2_start(struct ls_h2 *h2, uv_loop_t *loop, nghttp2_session *session,
		 struct ls_transport *transport, const struct ls_h2_events *events, void *owner);

/* There may be something to send. */
void ls_h2_kick(struct ls_h2 *h2);

/* on_wake at this uv_now(), unless an earlier one is set. UINT64_MAX is never. */
void ls_h2_wake_at(struct ls_h2 *h2, uint64_t at);

/* At once, without a word to the peer. on_released follows from the loop. */
void ls_h2_close(struct ls_h2 *h2);

/* For the nghttp2 on_frame_send callback: remembers why we say goodbye. */
void ls_h2_note_sent(struct ls_h2 *h2, const nghttp2_frame *frame);

/* A header field that nghttp2 copies. value must not be NULL. */
nghttp2_nv ls_h2_field(const char *name, const char *value);

#endif
