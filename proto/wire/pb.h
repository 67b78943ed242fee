/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protobuf-c with a limit on memory. protobuf_c_message_unpack() allocates by
 * counts found on the wire, so a few bytes can ask for a lot; here every
 * allocation of one message is taken from a budget.
 */
#ifndef LS_PROTO_WIRE_PB_H
#define LS_PROTO_WIRE_PB_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

/*
 * 0 and *ret_message, to be freed with ls_pb_free(); -EBADMSG when the bytes
 * are not such a message; -E2BIG when decoding it takes more than budget bytes;
 * -ENOMEM.
 */
int ls_pb_unpack(const ProtobufCMessageDescriptor *type, size_t budget, const void *bytes,
		 size_t len, ProtobufCMessage **ret_message);

/* NULL is fine. */
void ls_pb_free(ProtobufCMessage *message);

/* Packs into a malloc'ed buffer (never NULL on success, also when empty). -ENOMEM. */
int ls_pb_pack(const ProtobufCMessage *message, uint8_t **ret_bytes, size_t *ret_len);

#endif
