// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/digest.h"

#include <string.h>
#include <xxhash.h>

// struct ls_digest is never defined: it is XXH3's own state, which wants more alignment than malloc gives.
static XXH3_state_t *state_of(struct ls_digest *digest)
{
	return (XXH3_state_t *)digest;
}

struct ls_digest *ls_digest_new(void)
{
	XXH3_state_t *state = XXH3_createState();

	if (state)
		XXH3_128bits_reset(state);
	return (struct ls_digest *)state;
}

void ls_digest_free(struct ls_digest *digest)
{
	if (digest)
		XXH3_freeState(state_of(digest));
}

void ls_digest_reset(struct ls_digest *digest)
{
	XXH3_128bits_reset(state_of(digest));
}

void ls_digest_update(struct ls_digest *digest, const void *bytes, size_t len)
{
	XXH3_128bits_update(state_of(digest), bytes, len);
}

static void canonical(XXH128_hash_t hash, uint8_t ret[LS_DIGEST_SIZE])
{
	XXH128_canonical_t bytes;

	XXH128_canonicalFromHash(&bytes, hash);
	memcpy(ret, bytes.digest, LS_DIGEST_SIZE);
}

void ls_digest_value(const struct ls_digest *digest, uint8_t ret[LS_DIGEST_SIZE])
{
	canonical(XXH3_128bits_digest((const XXH3_state_t *)digest), ret);
}

void ls_digest_of(const void *bytes, size_t len, uint8_t ret[LS_DIGEST_SIZE])
{
	canonical(XXH3_128bits(bytes, len), ret);
}
