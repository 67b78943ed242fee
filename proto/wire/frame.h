// SPDX-License-Identifier: Apache-2.0
// Frames of stream.proto on the wire: a varint length, then the message. No I/O here.
//
//   sending data     header = ls_frame_data_header(); writev(header, device's bytes)
//   sending others   ls_frame_encode()
//   receiving        feed bytes; a control frame comes out whole; of a data frame only its payload's size comes
//                    out, so that the payload can be received right where it is wanted:
//
//     bytes --feed--> MORE     all taken, feed on
//                     CONTROL  ls_frame_decoder_take()
//                     DATA     payload_left bytes follow: what is left of those fed, then recv(); tell
//                              ls_frame_decoder_payload() how many were consumed; feed again when none is left
#ifndef LS_PROTO_WIRE_FRAME_H
#define LS_PROTO_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "lockstep/v1/stream.pb-c.h"

#define LS_FRAME_DATA_MAX (1u << 20)      // bytes of device state in one frame
#define LS_FRAME_CONTROL_MAX (128u << 10) // bytes of any other frame, without its length
#define LS_FRAME_BLOB_MAX (64u << 10)     // Blob.content
#define LS_FRAME_TOKEN_SIZE 32            // Open.token
#define LS_FRAME_HEADER_MAX 16

// The header of a frame with `len` bytes of data, 1..LS_FRAME_DATA_MAX. Returns its size.
size_t ls_frame_data_header(size_t len, uint8_t header[LS_FRAME_HEADER_MAX]);

// A whole frame other than data, length in front, malloc'ed. INTERNAL: it holds data, nothing, or breaks a
// limit that our own decoder keeps; RESOURCE.
int ls_frame_encode(const Lockstep__V1__Frame *frame, uint8_t **ret_bytes, size_t *ret_len, struct ls_error *err);

enum ls_frame_event { LS_FRAME_MORE, LS_FRAME_CONTROL, LS_FRAME_DATA };

// Zero-initialised it is ready. Fields are the decoder's own.
struct ls_frame_decoder {
	int phase;
	unsigned n_head;
	uint8_t head[8];
	size_t length;         // of the message, once known
	uint8_t *body;         // of a control frame; grows with what comes, not with what is announced
	size_t have, capacity;
	size_t payload_left;
	Lockstep__V1__Frame *frame;
};

// Takes bytes up to the next event; *ret_used says how many. After CONTROL take the frame, after DATA consume
// the payload, before feeding on. Errors: INVALID, LIMIT, RESOURCE; nothing can be fed after one.
int ls_frame_decoder_feed(struct ls_frame_decoder *d, const uint8_t *bytes, size_t len, size_t *ret_used,
			  enum ls_frame_event *ret_event, struct ls_error *err);
// The control frame, now the caller's: ls_pb_free(&frame->base). Its fields are within the limits of stream.proto.
Lockstep__V1__Frame *ls_frame_decoder_take(struct ls_frame_decoder *d);
// Bytes of the payload not consumed yet.
size_t ls_frame_decoder_payload_left(const struct ls_frame_decoder *d);
void ls_frame_decoder_payload(struct ls_frame_decoder *d, size_t consumed);
// A connection may end here: no frame is cut.
bool ls_frame_decoder_at_boundary(const struct ls_frame_decoder *d);
void ls_frame_decoder_clear(struct ls_frame_decoder *d);

// "end", "blob", ..., "data", "none"
const char *ls_frame_kind_name(const Lockstep__V1__Frame *frame);

// Sizes and counts of a control frame's fields, as stream.proto has them.
int ls_frame_check(const Lockstep__V1__Frame *frame, struct ls_error *err);

#endif
