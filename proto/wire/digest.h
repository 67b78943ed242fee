// SPDX-License-Identifier: Apache-2.0
// XXH3-128 of a stream, piece by piece: the proof that what came is what was sent. It guards against mishap, not
// malice: TLS does that.
#ifndef LS_PROTO_WIRE_DIGEST_H
#define LS_PROTO_WIRE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define LS_DIGEST_SIZE 16 // canonical: big endian

struct ls_digest;

struct ls_digest *ls_digest_new(void); // NULL: no memory
void ls_digest_free(struct ls_digest *digest); // NULL is fine
void ls_digest_reset(struct ls_digest *digest);
void ls_digest_update(struct ls_digest *digest, const void *bytes, size_t len);
// Of all bytes since new or reset; more may follow.
void ls_digest_value(const struct ls_digest *digest, uint8_t ret[LS_DIGEST_SIZE]);

void ls_digest_of(const void *bytes, size_t len, uint8_t ret[LS_DIGEST_SIZE]);

#endif
