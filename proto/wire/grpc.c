/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/grpc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 4096

void ls_grpc_prefix(uint8_t prefix[LS_GRPC_PREFIX], uint32_t len)
{
	prefix[0] = 0;
	prefix[1] = (uint8_t)(len >> 24);
	prefix[2] = (uint8_t)(len >> 16);
	prefix[3] = (uint8_t)(len >> 8);
	prefix[4] = (uint8_t)len;
}

static int start_message(struct ls_grpc_reader *reader)
{
	const uint8_t *p = reader->prefix;

	reader->len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	if (p[0])
		return -EPROTONOSUPPORT;
	return reader->len > reader->max_message ? -EMSGSIZE : 0;
}

static int reserve(struct ls_grpc_reader *reader, size_t need)
{
	size_t capacity = reader->capacity ? reader->capacity : FIRST_CAPACITY;
	uint8_t *bytes;

	if (need <= reader->capacity)
		return 0;
	while (capacity < need)
		capacity *= 2;
	if (capacity > reader->len)
		capacity = reader->len;
	bytes = realloc(reader->bytes, capacity);
	if (!bytes)
		return -ENOMEM;
	reader->bytes = bytes;
	reader->capacity = capacity;
	return 0;
}

int ls_grpc_reader_feed(struct ls_grpc_reader *reader, const uint8_t *bytes, size_t len,
			size_t *ret_used)
{
	size_t used = 0;
	size_t take;
	int r;

	*ret_used = 0;
	if (reader->prefix_have < LS_GRPC_PREFIX) {
		take = LS_GRPC_PREFIX - reader->prefix_have;
		if (take > len)
			take = len;
		if (take)
			memcpy(reader->prefix + reader->prefix_have, bytes, take);
		reader->prefix_have += take;
		used = take;
		*ret_used = used;
		if (reader->prefix_have < LS_GRPC_PREFIX)
			return 0;
		r = start_message(reader);
		if (r < 0)
			return r;
	}
	take = reader->len - reader->have;
	if (take > len - used)
		take = len - used;
	if (take) {
		r = reserve(reader, reader->have + take);
		if (r < 0)
			return r;
		memcpy(reader->bytes + reader->have, bytes + used, take);
		reader->have += take;
		*ret_used = used + take;
	}
	return reader->have == reader->len;
}

void ls_grpc_reader_next(struct ls_grpc_reader *reader)
{
	size_t max_message = reader->max_message;

	ls_grpc_reader_clear(reader);
	reader->max_message = max_message;
}

bool ls_grpc_reader_partial(const struct ls_grpc_reader *reader)
{
	return reader->prefix_have > 0;
}

void ls_grpc_reader_clear(struct ls_grpc_reader *reader)
{
	free(reader->bytes);
	memset(reader, 0, sizeof(*reader));
}

static int timeout_unit_ns(char unit, uint64_t *ret_ns)
{
	switch (unit) {
	case 'H':
		*ret_ns = UINT64_C(3600000000000);
		return 0;
	case 'M':
		*ret_ns = UINT64_C(60000000000);
		return 0;
	case 'S':
		*ret_ns = UINT64_C(1000000000);
		return 0;
	case 'm':
		*ret_ns = UINT64_C(1000000);
		return 0;
	case 'u':
		*ret_ns = UINT64_C(1000);
		return 0;
	case 'n':
		*ret_ns = 1;
		return 0;
	default:
		return -EINVAL;
	}
}

int ls_grpc_timeout_parse(const char *text, size_t len, uint64_t *ret_ms)
{
	uint64_t value = 0;
	uint64_t unit_ns;

	if (len < 2 || len > 9 || timeout_unit_ns(text[len - 1], &unit_ns) < 0)
		return -EINVAL;
	for (size_t i = 0; i < len - 1; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	if (unit_ns >= 1000000)
		*ret_ms = value * (unit_ns / 1000000);
	else
		*ret_ms = (value * unit_ns + 999999) / 1000000;
	return 0;
}

void ls_grpc_timeout_format(uint64_t ms, char text[LS_GRPC_TIMEOUT_SIZE])
{
	const uint64_t most = 99999999;
	char unit = 'm';

	if (ms > most) {
		ms /= 1000;
		unit = 'S';
	}
	if (ms > most) {
		ms /= 3600;
		unit = 'H';
	}
	if (ms > most)
		ms = most;
	snprintf(text, LS_GRPC_TIMEOUT_SIZE, "%" PRIu64 "%c", ms, unit);
}

bool ls_grpc_content_type(const char *text, size_t len)
{
	static const char name[] = "application/grpc";
	const size_t name_len = sizeof(name) - 1;

	if (len < name_len || memcmp(text, name, name_len) != 0)
		return false;
	return len == name_len || text[name_len] == '+' || text[name_len] == ';';
}
