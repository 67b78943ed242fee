/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pieces of gRPC's wire format that need no I/O: message framing, timeouts,
 * and the text forms of trailers.
 *
 *	message = compressed (1 byte, 0) | length (4 bytes, big endian) | bytes
 *
 * Functions returning int give 0 or a negative errno.
 */
#ifndef LS_PROTO_WIRE_GRPC_H
#define LS_PROTO_WIRE_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LS_GRPC_PREFIX 5

void ls_grpc_prefix(uint8_t prefix[LS_GRPC_PREFIX], uint32_t len);

/*
 * Assembles messages from chunks of any size. Memory follows the bytes that
 * came, not the length that was announced. Zero-initialise, set max_message.
 */
struct ls_grpc_reader {
	size_t max_message;
	uint8_t prefix[LS_GRPC_PREFIX];
	size_t prefix_have;
	uint8_t *bytes; /* the message, valid after ls_grpc_reader_feed() said 1 */
	size_t len;
	size_t have;
	size_t capacity;
};

/*
 * Takes bytes up to the end of one message; *ret_used says how many (also on
 * failure). 1: a message is complete in reader->bytes, reader->len; call
 * ls_grpc_reader_next() before feeding on. 0: more bytes are needed.
 * -EMSGSIZE: longer than max_message (reader->len is the announced length);
 * -EPROTONOSUPPORT: compressed; -ENOMEM. After a failure feed no more.
 */
int ls_grpc_reader_feed(struct ls_grpc_reader *reader, const uint8_t *bytes, size_t len,
			size_t *ret_used);
void ls_grpc_reader_next(struct ls_grpc_reader *reader);
/* False: the stream may end here. True: it would cut a message. */
bool ls_grpc_reader_partial(const struct ls_grpc_reader *reader);
void ls_grpc_reader_clear(struct ls_grpc_reader *reader);

/*
 * grpc-timeout: 1 to 8 digits and a unit of H, M, S, m, u, n. Parsed upwards to
 * whole milliseconds, so "1n" is 1 and only zero is 0. -EINVAL.
 */
int ls_grpc_timeout_parse(const char *text, size_t len, uint64_t *ret_ms);
/* Never longer than ms, and exact where 8 digits allow it. */
#define LS_GRPC_TIMEOUT_SIZE 10
void ls_grpc_timeout_format(uint64_t ms, char text[LS_GRPC_TIMEOUT_SIZE]);

/* Is this a content-type of gRPC: application/grpc, and then nothing, +x or ;x. */
bool ls_grpc_content_type(const char *text, size_t len);

/* Bytes that grpc-message's percent-encoding of len bytes may take, with the final 0. */
#define LS_GRPC_PERCENT_SIZE(len) ((size_t)(len) * 3 + 1)
/* Both write a final 0 and return the length without it. Bad escapes decode to themselves. */
size_t ls_grpc_percent_encode(const char *text, size_t len, char *out);
size_t ls_grpc_percent_decode(const char *text, size_t len, char *out); /* out: len + 1 */

#define LS_GRPC_BASE64_SIZE(len) (((size_t)(len) + 2) / 3 * 4 + 1)
/* With padding, and a final 0; returns the length without it. */
size_t ls_grpc_base64_encode(const uint8_t *bytes, size_t len, char *out);
/* Padding may be left out, as gRPC peers do. out has len * 3 / 4 bytes. -EINVAL. */
int ls_grpc_base64_decode(const char *text, size_t len, uint8_t *out, size_t *ret_len);

#endif
