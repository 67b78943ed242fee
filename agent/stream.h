// SPDX-License-Identifier: Apache-2.0
// One device's stream between two agents (stream.proto), with blocking calls for the device's worker thread. Every
// wait ends when `interrupt_fd` (an eventfd, borrowed) becomes readable: -ECANCELED, reason CANCELLED.
//
// Frames that come back while we send are read as we go: an Error from the peer ends the call with that very error.
#ifndef LS_AGENT_STREAM_H
#define LS_AGENT_STREAM_H

#include <stdint.h>

#include "common/error.h"
#include "lockstep/v1/stream.pb-c.h"

struct ls_stream;

// Dials "IP:port", "[IPv6]:port", "name:port" or "unix:/path". UNAVAILABLE.
int ls_stream_connect(const char *address, uint64_t timeout_ms, int interrupt_fd, struct ls_stream **ret,
		      struct ls_error *err);
// Takes a connected socket over, also on failure.
int ls_stream_adopt(int fd, int interrupt_fd, struct ls_stream **ret, struct ls_error *err);
void ls_stream_close(struct ls_stream *s); // NULL is fine
void ls_stream_shutdown(struct ls_stream *s);

// No wait lasts beyond CLOCK_MONOTONIC `deadline_ns` (UNAVAILABLE); 0: none.
void ls_stream_deadline(struct ls_stream *s, uint64_t deadline_ns);

// Errors of all below: STREAM_BROKEN, CANCELLED, INVALID, or what the peer's Error frame said.
int ls_stream_send_bytes(struct ls_stream *s, const void *bytes, size_t len, struct ls_error *err); // an encoded frame
// 1..LS_FRAME_DATA_MAX bytes of device state.
int ls_stream_send_data(struct ls_stream *s, const void *data, size_t len, struct ls_error *err);
int ls_stream_send_discard(struct ls_stream *s, struct ls_error *err); // all data so far is void (K5)
int ls_stream_send_end(struct ls_stream *s, uint64_t length, const uint8_t *digest, struct ls_error *err);
int ls_stream_send_progress(struct ls_stream *s, uint64_t written, struct ls_error *err);
int ls_stream_send_loaded(struct ls_stream *s, struct ls_error *err);
int ls_stream_send_error(struct ls_stream *s, const struct ls_error *what, struct ls_error *err);

// What the peer has written to its device, as its latest Progress frame told while we sent.
uint64_t ls_stream_peer_written(const struct ls_stream *s);

// Waits for the next frame. A control frame: *ret_frame (ls_pb_free()), *ret_data 0. A data frame: *ret_data
// bytes follow, to be received before the next call.
int ls_stream_next(struct ls_stream *s, Lockstep__V1__Frame **ret_frame, size_t *ret_data, struct ls_error *err);
// All of a data frame's payload, straight into buf.
int ls_stream_recv_data(struct ls_stream *s, void *buf, size_t len, struct ls_error *err);

#endif
