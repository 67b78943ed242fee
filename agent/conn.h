// SPDX-License-Identifier: Apache-2.0
// The control connection between two agents: frames in, frames out, on a transport (where TLS will
// slip in). Loop thread.
#ifndef LS_AGENT_CONN_H
#define LS_AGENT_CONN_H

#include <uv.h>

#include "common/error.h"
#include "lockstep/v1/stream.pb-c.h"

struct ls_conn;

struct ls_conn_events {
	void (*open)(void *user);                            // frames may be sent (they may also be earlier)
	void (*frame)(void *user, const Lockstep__V1__Frame *frame); // freed afterwards; may close the connection
	void (*lost)(void *user, const struct ls_error *err); // once; the pointer is dead afterwards
};

// `first_ms`: how long the peer's first frame may take. No callback runs inside.
int ls_conn_dial(uv_loop_t *loop, const char *address, unsigned first_ms, const struct ls_conn_events *events,
		 void *user, struct ls_conn **ret, struct ls_error *err);
// Takes over a connected socket, also on failure. `open` is not called.
int ls_conn_adopt(uv_loop_t *loop, int fd, const struct ls_conn_events *events, void *user, struct ls_conn **ret,
		  struct ls_error *err);
// Queued. What cannot be sent ends in `lost`, later.
void ls_conn_send(struct ls_conn *c, const Lockstep__V1__Frame *frame);
// No callback afterwards; the pointer is dead. NULL is fine.
void ls_conn_close(struct ls_conn *c);

#endif
