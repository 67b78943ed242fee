// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire/pb.h"

// Field 31, length-delimited: 31 << 3 | 2 as a varint.
#define DATA_TAG_0 0xfa
#define DATA_TAG_1 0x01
#define DATA_FRAME_MIN 4 // tag, length, one byte
// Longer than any length we allow needs (3 bytes), for senders that pad.
#define VARINT_MAX 5
// Decoded, a message takes more than on the wire; a handful of allocations for each of few entries.
#define CONTROL_BUDGET (LS_FRAME_CONTROL_MAX * 3)

enum phase { LENGTH, TAG_0, TAG_1, DATA_LENGTH, PAYLOAD, BODY, READY, BROKEN };

static size_t put_varint(uint8_t *out, size_t value)
{
	size_t n = 0;

	for (; value >= 0x80; value >>= 7)
		out[n++] = (uint8_t)(value | 0x80);
	out[n++] = (uint8_t)value;
	return n;
}

size_t ls_frame_data_header(size_t len, uint8_t header[LS_FRAME_HEADER_MAX])
{
	uint8_t field[2 + VARINT_MAX] = { DATA_TAG_0, DATA_TAG_1 };
	size_t n_field = 2 + put_varint(field + 2, len);
	size_t n = put_varint(header, n_field + len);

	memcpy(header + n, field, n_field);
	return n + n_field;
}

int ls_frame_encode(const Lockstep__V1__Frame *frame, uint8_t **ret_bytes, size_t *ret_len, struct ls_error *err)
{
	size_t len = protobuf_c_message_get_packed_size(&frame->base), n;
	struct ls_error why = { .reason = LS_E_NONE };
	uint8_t *bytes;

	if (ls_frame_check(frame, &why) < 0)
		return ls_fail(err, LS_E_INTERNAL, EINVAL, "a frame of our own: %s", why.message);
	if (len > LS_FRAME_CONTROL_MAX)
		return ls_fail(err, LS_E_INTERNAL, EMSGSIZE, "a frame of our own has %zu bytes, at most %u are allowed",
			       len, LS_FRAME_CONTROL_MAX);
	bytes = malloc(VARINT_MAX + len);
	if (!bytes)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "no memory for a frame of %zu bytes", len);
	n = put_varint(bytes, len);
	*ret_len = n + protobuf_c_message_pack(&frame->base, bytes + n);
	*ret_bytes = bytes;
	return 0;
}

// One more byte of a varint. 1: complete, in *ret; 0: goes on; -EINVAL: too long.
static int varint_byte(struct ls_frame_decoder *d, uint8_t byte, size_t *ret)
{
	uint64_t value = 0;

	d->head[d->n_head++] = byte;
	if (byte & 0x80)
		return d->n_head == VARINT_MAX ? -EINVAL : 0;
	for (unsigned i = d->n_head; i-- > 0;)
		value = value << 7 | (d->head[i] & 0x7f);
	*ret = (size_t)value;
	return 1;
}

static int on_length_byte(struct ls_frame_decoder *d, uint8_t byte, struct ls_error *err)
{
	int r = varint_byte(d, byte, &d->length);

	if (r < 0)
		return ls_fail(err, LS_E_INVALID, EBADMSG, "a frame's length has more than %d bytes", VARINT_MAX);
	if (r == 0)
		return 0;
	if (d->length == 0)
		return ls_fail(err, LS_E_INVALID, EBADMSG, "an empty frame");
	if (d->length > LS_FRAME_DATA_MAX + 2 + VARINT_MAX)
		return ls_fail(err, LS_E_LIMIT, EMSGSIZE, "a frame of %zu bytes; data may have %u", d->length,
			       LS_FRAME_DATA_MAX);
	d->phase = TAG_0;
	d->n_head = 0;
	return 0;
}

static int body_append(struct ls_frame_decoder *d, const uint8_t *bytes, size_t len, struct ls_error *err)
{
	if (d->have + len > d->capacity) {
		size_t capacity = d->capacity ? d->capacity : 256;
		uint8_t *body;

		while (capacity < d->have + len)
			capacity *= 2;
		body = realloc(d->body, capacity);
		if (!body)
			return ls_fail(err, LS_E_RESOURCE, ENOMEM, "no memory for a frame of %zu bytes", d->length);
		d->body = body;
		d->capacity = capacity;
	}
	memcpy(d->body + d->have, bytes, len);
	d->have += len;
	return 0;
}

// The first bytes are not those of a data field: collect the message.
static int begin_body(struct ls_frame_decoder *d, const uint8_t *first, size_t n, struct ls_error *err)
{
	if (d->length > LS_FRAME_CONTROL_MAX)
		return ls_fail(err, LS_E_LIMIT, EMSGSIZE, "a frame of %zu bytes without data; at most %u are allowed",
			       d->length, LS_FRAME_CONTROL_MAX);
	d->phase = BODY;
	return body_append(d, first, n, err);
}

static int on_tag_byte(struct ls_frame_decoder *d, uint8_t byte, struct ls_error *err)
{
	if (d->phase == TAG_0) {
		if (byte != DATA_TAG_0 || d->length < DATA_FRAME_MIN)
			return begin_body(d, &byte, 1, err);
		d->phase = TAG_1;
		return 0;
	}
	if (byte != DATA_TAG_1)
		return begin_body(d, (const uint8_t[]){ DATA_TAG_0, byte }, 2, err);
	d->phase = DATA_LENGTH;
	return 0;
}

static int on_data_length_byte(struct ls_frame_decoder *d, uint8_t byte, struct ls_error *err)
{
	size_t n;
	int r = varint_byte(d, byte, &n);

	// Bytes beyond this frame's end are never taken for its own.
	if (r == 0 && 2 + d->n_head < d->length)
		return 0;
	if (r <= 0)
		return ls_fail(err, LS_E_INVALID, EBADMSG, "a data frame's length field is cut or too long");
	if (n == 0)
		return ls_fail(err, LS_E_INVALID, EBADMSG, "a data frame without data");
	if (n > LS_FRAME_DATA_MAX)
		return ls_fail(err, LS_E_LIMIT, EMSGSIZE, "%zu bytes of data in one frame; at most %u are allowed", n,
			       LS_FRAME_DATA_MAX);
	if (2 + d->n_head + n != d->length)
		return ls_fail(err, LS_E_INVALID, EBADMSG, "data must be alone in its frame: %zu bytes in one of %zu",
			       n, d->length);
	d->payload_left = n;
	d->phase = PAYLOAD;
	return 0;
}

static int finish_body(struct ls_frame_decoder *d, struct ls_error *err)
{
	ProtobufCMessage *message;
	int r = ls_pb_unpack(&lockstep__v1__frame__descriptor, CONTROL_BUDGET, d->body, d->length, &message);

	if (r == -EBADMSG)
		return ls_fail(err, LS_E_INVALID, EBADMSG, "a frame of %zu bytes is not a Frame", d->length);
	if (r == -E2BIG)
		return ls_fail(err, LS_E_LIMIT, E2BIG, "decoding a frame of %zu bytes takes more than %u", d->length,
			       CONTROL_BUDGET);
	if (r < 0)
		return ls_fail(err, LS_E_RESOURCE, -r, "no memory for a frame of %zu bytes", d->length);
	d->frame = (Lockstep__V1__Frame *)message;
	return ls_frame_check(d->frame, err);
}

// One byte of a header or a run of a body.
static int take(struct ls_frame_decoder *d, const uint8_t *bytes, size_t len, size_t *taken, struct ls_error *err)
{
	*taken = 1;
	switch (d->phase) {
	case LENGTH:
		return on_length_byte(d, bytes[0], err);
	case TAG_0:
	case TAG_1:
		return on_tag_byte(d, bytes[0], err);
	case DATA_LENGTH:
		return on_data_length_byte(d, bytes[0], err);
	case BODY:
		*taken = len < d->length - d->have ? len : d->length - d->have;
		return body_append(d, bytes, *taken, err);
	default:
		*taken = 0;
		return ls_fail(err, LS_E_INTERNAL, EPROTO, "a frame decoder was fed out of turn");
	}
}

int ls_frame_decoder_feed(struct ls_frame_decoder *d, const uint8_t *bytes, size_t len, size_t *ret_used,
			  enum ls_frame_event *ret_event, struct ls_error *err)
{
	size_t used = 0, taken;
	int r = 0;

	*ret_event = LS_FRAME_MORE;
	while (used < len && r == 0 && *ret_event == LS_FRAME_MORE) {
		r = take(d, bytes + used, len - used, &taken, err);
		used += taken;
		if (r == 0 && d->phase == BODY && d->have == d->length) {
			r = finish_body(d, err);
			d->phase = READY;
			*ret_event = LS_FRAME_CONTROL;
		} else if (r == 0 && d->phase == PAYLOAD) {
			*ret_event = LS_FRAME_DATA;
		}
	}
	*ret_used = used;
	if (r < 0) {
		ls_frame_decoder_clear(d);
		d->phase = BROKEN;
		*ret_event = LS_FRAME_MORE;
	}
	return r;
}

static void next(struct ls_frame_decoder *d)
{
	d->phase = LENGTH;
	d->n_head = 0;
	d->length = d->have = 0;
}

Lockstep__V1__Frame *ls_frame_decoder_take(struct ls_frame_decoder *d)
{
	Lockstep__V1__Frame *frame = d->frame;

	if (frame)
		next(d);
	d->frame = NULL;
	return frame;
}

size_t ls_frame_decoder_payload_left(const struct ls_frame_decoder *d)
{
	return d->phase == PAYLOAD ? d->payload_left : 0;
}

void ls_frame_decoder_payload(struct ls_frame_decoder *d, size_t consumed)
{
	if (d->phase != PAYLOAD || consumed > d->payload_left) {
		d->phase = BROKEN;
		return;
	}
	d->payload_left -= consumed;
	if (d->payload_left == 0)
		next(d);
}

bool ls_frame_decoder_at_boundary(const struct ls_frame_decoder *d)
{
	return d->phase == LENGTH && d->n_head == 0;
}

void ls_frame_decoder_clear(struct ls_frame_decoder *d)
{
	ls_pb_free(d->frame ? &d->frame->base : NULL);
	free(d->body);
	*d = (struct ls_frame_decoder){ .phase = LENGTH };
}
