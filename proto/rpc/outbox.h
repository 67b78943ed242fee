/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on their way out of one HTTP/2 stream, framed as gRPC wants them. */
#ifndef LS_PROTO_RPC_OUTBOX_H
#define LS_PROTO_RPC_OUTBOX_H

#include <stddef.h>
#include <stdint.h>

struct ls_outbox_message;

/* Zero-initialise. */
struct ls_outbox {
	struct ls_outbox_message *first;
	struct ls_outbox_message *last;
	size_t offset; /* bytes of first that are gone */
	size_t bytes;  /* still to go, prefixes included */
};

/* Copies one message. -EMSGSIZE over 4 GiB, -ENOMEM. */
int ls_outbox_push(struct ls_outbox *outbox, const void *bytes, size_t len);
/* Moves up to size bytes into buffer and returns how many. */
size_t ls_outbox_pull(struct ls_outbox *outbox, uint8_t *buffer, size_t size);
void ls_outbox_clear(struct ls_outbox *outbox);

#endif
