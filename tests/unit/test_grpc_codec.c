/* SPDX-License-Identifier: Apache-2.0 */
/* The wire format of gRPC, without I/O; and protobuf-c under a budget. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/rpc/address.h"
#include "proto/rpc/outbox.h"
#include "proto/wire/grpc.h"
#include "proto/wire/pb.h"

static size_t frame(uint8_t *out, const char *text)
{
	size_t len = strlen(text);

	ls_grpc_prefix(out, (uint32_t)len);
	memcpy(out + LS_GRPC_PREFIX, text, len);
	return LS_GRPC_PREFIX + len;
}

static void expect_message(struct ls_grpc_reader *reader, const char *text)
{
	assert_int_equal(reader->len, strlen(text));
	if (reader->len)
		assert_memory_equal(reader->bytes, text, reader->len);
	ls_grpc_reader_next(reader);
}

static void messages_come_whole_whatever_the_chunks(void **state)
{
	static const char *const texts[] = { "first", "", "the third one", "x" };
	uint8_t wire[256];
	size_t wire_len = 0;

	for (size_t i = 0; i < 4; i++)
		wire_len += frame(wire + wire_len, texts[i]);
	for (size_t chunk = 1; chunk <= wire_len; chunk++) {
		struct ls_grpc_reader reader = { .max_message = 100 };
		size_t seen = 0;

		for (size_t at = 0; at < wire_len; at += chunk) {
			const uint8_t *p = wire + at;
			size_t left = chunk < wire_len - at ? chunk : wire_len - at;

			while (left > 0) {
				size_t used;
				int r = ls_grpc_reader_feed(&reader, p, left, &used);

				assert_true(r == 0 || r == 1);
				assert_true(used > 0);
				if (r == 1)
					expect_message(&reader, texts[seen++]);
				p += used;
				left -= used;
			}
		}
		assert_int_equal(seen, 4);
		assert_false(ls_grpc_reader_partial(&reader));
		ls_grpc_reader_clear(&reader);
	}
}

static void a_cut_message_is_noticed(void **state)
{
	struct ls_grpc_reader reader = { .max_message = 100 };
	uint8_t wire[64];
	size_t len = frame(wire, "hello");
	size_t used;

	for (size_t cut = 1; cut < len; cut++) {
		assert_int_equal(ls_grpc_reader_feed(&reader, wire, cut, &used), 0);
		assert_true(ls_grpc_reader_partial(&reader));
		ls_grpc_reader_next(&reader);
	}
	ls_grpc_reader_clear(&reader);
}

static void a_message_over_the_limit_is_refused_by_its_length_alone(void **state)
{
	struct ls_grpc_reader reader = { .max_message = 1000 };
	uint8_t prefix[LS_GRPC_PREFIX];
	size_t used;

	ls_grpc_prefix(prefix, 1001);
	assert_int_equal(ls_grpc_reader_feed(&reader, prefix, sizeof(prefix), &used), -EMSGSIZE);
	assert_int_equal(reader.len, 1001);
	assert_null(reader.bytes);
	ls_grpc_reader_next(&reader);
	ls_grpc_prefix(prefix, 1000);
	assert_int_equal(ls_grpc_reader_feed(&reader, prefix, sizeof(prefix), &used), 0);
	ls_grpc_reader_clear(&reader);
}

static void memory_follows_bytes_not_promises(void **state)
{
	struct ls_grpc_reader reader = { .max_message = UINT32_MAX };
	uint8_t prefix[LS_GRPC_PREFIX + 1];
	size_t used;

	ls_grpc_prefix(prefix, UINT32_MAX);
	prefix[LS_GRPC_PREFIX] = 'x';
	assert_int_equal(ls_grpc_reader_feed(&reader, prefix, sizeof(prefix), &used), 0);
	assert_true(reader.capacity <= 4096);
	ls_grpc_reader_clear(&reader);
}

static void a_compressed_message_is_refused(void **state)
{
	struct ls_grpc_reader reader = { .max_message = 100 };
	const uint8_t prefix[] = { 1, 0, 0, 0, 1 };
	size_t used;

	assert_int_equal(ls_grpc_reader_feed(&reader, prefix, sizeof(prefix), &used),
			 -EPROTONOSUPPORT);
	ls_grpc_reader_clear(&reader);
}

static void timeouts_parse_upwards_to_milliseconds(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = { { "1H", 3600000 },	    { "2M", 120000 }, { "3S", 3000 }, { "4m", 4 },
		     { "5000u", 5 },	    { "1u", 1 },      { "1n", 1 },    { "0m", 0 },
		     { "1000001n", 2 },	    { "99999999H", UINT64_C(359999996400000) } };
	static const char *const bad[] = { "", "1", "S", "1s", "-1S", "1.5S", "123456789S", " 1S", "1S " };
	uint64_t ms;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(ls_grpc_timeout_parse(good[i].text, strlen(good[i].text), &ms), 0);
		assert_true(ms == good[i].ms);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ls_grpc_timeout_parse(bad[i], strlen(bad[i]), &ms), -EINVAL);
}

static void a_formatted_timeout_is_never_longer_than_asked(void **state)
{
	static const uint64_t times[] = { 1,	    1500,	   99999999, 100000000,
					  123456789012, UINT64_C(359999996400001), UINT64_MAX };
	char text[LS_GRPC_TIMEOUT_SIZE];
	uint64_t ms;

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		ls_grpc_timeout_format(times[i], text);
		assert_int_equal(ls_grpc_timeout_parse(text, strlen(text), &ms), 0);
		assert_true(ms <= times[i] && ms > 0);
		if (times[i] <= 99999999)
			assert_true(ms == times[i]);
	}
}

static void content_types(void **state)
{
	static const char *const good[] = { "application/grpc", "application/grpc+proto",
					    "application/grpc;charset=utf-8" };
	static const char *const bad[] = { "", "application/grpc-web", "application/json",
					   "application/grp" };

	for (size_t i = 0; i < 3; i++)
		assert_true(ls_grpc_content_type(good[i], strlen(good[i])));
	for (size_t i = 0; i < 4; i++)
		assert_false(ls_grpc_content_type(bad[i], strlen(bad[i])));
}

static void every_byte_survives_percent_encoding(void **state)
{
	char text[256];
	char encoded[LS_GRPC_PERCENT_SIZE(256)];
	char decoded[257];
	size_t len;

	for (size_t i = 0; i < 256; i++)
		text[i] = (char)i;
	len = ls_grpc_percent_encode(text, 256, encoded);
	for (size_t i = 0; i < len; i++)
		assert_in_range((unsigned char)encoded[i], 0x20, 0x7e);
	assert_int_equal(ls_grpc_percent_decode(encoded, len, decoded), 256);
	assert_memory_equal(decoded, text, 256);
	ls_grpc_percent_encode("50% \xc3\xa4", 6, encoded);
	assert_string_equal(encoded, "50%25 %C3%A4");
}

static void bad_escapes_decode_to_themselves(void **state)
{
	static const char *const texts[] = { "%", "%4", "a%zz", "100% sure", "%%41" };
	static const char *const want[] = { "%", "%4", "a%zz", "100% sure", "%A" };
	char out[32];

	for (size_t i = 0; i < 5; i++) {
		ls_grpc_percent_decode(texts[i], strlen(texts[i]), out);
		assert_string_equal(out, want[i]);
	}
}

static void base64_of_every_length_comes_back_with_and_without_padding(void **state)
{
	uint8_t bytes[64];
	uint8_t back[64];
	char text[LS_GRPC_BASE64_SIZE(64)];
	size_t text_len;
	size_t back_len;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + 11);
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		text_len = ls_grpc_base64_encode(bytes, len, text);
		assert_int_equal(text_len, strlen(text));
		assert_int_equal(ls_grpc_base64_decode(text, text_len, back, &back_len), 0);
		assert_int_equal(back_len, len);
		assert_memory_equal(back, bytes, len);
		while (text_len && text[text_len - 1] == '=')
			text_len--;
		assert_int_equal(ls_grpc_base64_decode(text, text_len, back, &back_len), 0);
		assert_int_equal(back_len, len);
	}
	ls_grpc_base64_encode((const uint8_t *)"foob", 4, text);
	assert_string_equal(text, "Zm9vYg==");
	assert_int_equal(ls_grpc_base64_decode("Zm9v!", 5, back, &back_len), -EINVAL);
	assert_int_equal(ls_grpc_base64_decode("Z", 1, back, &back_len), -EINVAL);
	assert_int_equal(ls_grpc_base64_decode("Zm=v", 4, back, &back_len), -EINVAL);
}

static void an_outbox_gives_its_messages_in_order_in_any_portions(void **state)
{
	for (size_t portion = 1; portion < 20; portion++) {
		struct ls_outbox outbox = { 0 };
		uint8_t out[64];
		size_t n = 0;
		size_t got;

		assert_int_equal(ls_outbox_push(&outbox, "abc", 3), 0);
		assert_int_equal(ls_outbox_push(&outbox, NULL, 0), 0);
		assert_int_equal(ls_outbox_push(&outbox, "d", 1), 0);
		assert_int_equal(outbox.bytes, 19);
		while ((got = ls_outbox_pull(&outbox, out + n, portion)) > 0)
			n += got;
		assert_int_equal(n, 19);
		assert_memory_equal(out, "\0\0\0\0\3abc\0\0\0\0\0\0\0\0\0\1d", 19);
		assert_int_equal(outbox.bytes, 0);
		ls_outbox_push(&outbox, "left over", 9);
		ls_outbox_clear(&outbox);
		assert_int_equal(outbox.bytes, 0);
	}
}

static void good_addresses(void **state)
{
	static const struct {
		const char *text;
		enum ls_address_kind kind;
		bool local;
	} good[] = {
		{ "127.0.0.1:7001", LS_ADDRESS_IP, true }, { "[::1]:7001", LS_ADDRESS_IP, true },
		{ "0.0.0.0:0", LS_ADDRESS_IP, false },	   { "[::]:1", LS_ADDRESS_IP, false },
		{ "10.1.2.3:65535", LS_ADDRESS_IP, false }, { "unix:/run/x", LS_ADDRESS_UNIX, true },
		{ "host-a.example:7001", LS_ADDRESS_NAME, false },
	};
	struct ls_address address;
	char text[LS_ADDRESS_SIZE];
	char why[256];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(ls_address_parse(good[i].text, &address, why, sizeof(why)), 0);
		assert_int_equal(address.kind, good[i].kind);
		assert_int_equal(ls_address_is_local(&address), good[i].local);
		assert_string_equal(address.text, good[i].text);
		if (address.kind == LS_ADDRESS_NAME)
			continue;
		ls_address_format(&address.socket.any, text, sizeof(text));
		assert_string_equal(text, good[i].text);
	}
}

static void bad_addresses_are_quoted_with_the_reason(void **state)
{
	static const char *const bad[] = { "",	     "7001",	    "127.0.0.1",     "127.0.0.1:",
					   "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:7x", "::1:7001",
					   "[::1]",  "[::1:70",     "[]:1",	     "[1.2.3.4]:1",
					   "unix:",  "unix:run/x",  "300.1.1.1:1",   "ho st:1",
					   ":7001",  "name:0",	    "http://a:1" };
	struct ls_address address;
	char long_path[256];
	char why[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = '\0';
		assert_int_equal(ls_address_parse(bad[i], &address, why, sizeof(why)), -EINVAL);
		assert_non_null(strstr(why, "address \""));
	}
	memset(long_path, 'a', sizeof(long_path));
	memcpy(long_path, "unix:/", 6);
	long_path[200] = '\0';
	assert_int_equal(ls_address_parse(long_path, &address, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "107 bytes"));
}

/* message Many { repeated fixed64 value = 1 [packed]; string name = 2; }, as protoc-c makes it. */
struct many {
	ProtobufCMessage base;
	size_t n_value;
	uint64_t *value;
	char *name;
};

static const ProtobufCFieldDescriptor many_fields[] = {
	{ .name = "value", .id = 1, .label = PROTOBUF_C_LABEL_REPEATED,
	  .type = PROTOBUF_C_TYPE_FIXED64, .quantifier_offset = offsetof(struct many, n_value),
	  .offset = offsetof(struct many, value), .flags = PROTOBUF_C_FIELD_FLAG_PACKED },
	{ .name = "name", .id = 2, .label = PROTOBUF_C_LABEL_NONE, .type = PROTOBUF_C_TYPE_STRING,
	  .offset = offsetof(struct many, name), .default_value = &protobuf_c_empty_string },
};
static const unsigned many_by_name[] = { 1, 0 };
static const ProtobufCIntRange many_ranges[] = { { 1, 0 }, { 0, 2 } };
static const ProtobufCMessageDescriptor many_type = {
	.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
	.name = "test.Many", .short_name = "Many", .c_name = "Many", .package_name = "test",
	.sizeof_message = sizeof(struct many), .n_fields = 2, .fields = many_fields,
	.fields_sorted_by_name = many_by_name, .n_field_ranges = 1, .field_ranges = many_ranges,
};

static void a_message_packs_and_unpacks_within_its_budget(void **state)
{
	uint64_t values[100];
	struct many many = { .base = PROTOBUF_C_MESSAGE_INIT(&many_type), .n_value = 100,
			     .value = values, .name = (char *)"vdev0" };
	ProtobufCMessage *message;
	uint8_t *bytes;
	size_t len;

	for (size_t i = 0; i < 100; i++)
		values[i] = i * i;
	assert_int_equal(ls_pb_pack(&many.base, &bytes, &len), 0);
	assert_int_equal(ls_pb_unpack(&many_type, 4096, bytes, len, &message), 0);
	assert_int_equal(((struct many *)message)->n_value, 100);
	assert_true(((struct many *)message)->value[99] == 9801);
	assert_string_equal(((struct many *)message)->name, "vdev0");
	ls_pb_free(message);
	assert_int_equal(ls_pb_unpack(&many_type, 500, bytes, len, &message), -E2BIG);
	for (size_t cut = 1; cut < len; cut++) {
		int r = ls_pb_unpack(&many_type, 4096, bytes, cut, &message);

		assert_true(r == 0 || r == -EBADMSG);
		if (r == 0)
			ls_pb_free(message);
	}
	free(bytes);
	assert_int_equal(ls_pb_unpack(&many_type, 4096, NULL, 0, &message), 0);
	ls_pb_free(message);
	ls_pb_free(NULL);
	assert_int_equal(ls_pb_unpack(&many_type, 4096, "\xff\xff\xff", 3, &message), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_come_whole_whatever_the_chunks),
		cmocka_unit_test(a_cut_message_is_noticed),
		cmocka_unit_test(a_message_over_the_limit_is_refused_by_its_length_alone),
		cmocka_unit_test(memory_follows_bytes_not_promises),
		cmocka_unit_test(a_compressed_message_is_refused),
		cmocka_unit_test(timeouts_parse_upwards_to_milliseconds),
		cmocka_unit_test(a_formatted_timeout_is_never_longer_than_asked),
		cmocka_unit_test(content_types),
		cmocka_unit_test(every_byte_survives_percent_encoding),
		cmocka_unit_test(bad_escapes_decode_to_themselves),
		cmocka_unit_test(base64_of_every_length_comes_back_with_and_without_padding),
		cmocka_unit_test(an_outbox_gives_its_messages_in_order_in_any_portions),
		cmocka_unit_test(good_addresses),
		cmocka_unit_test(bad_addresses_are_quoted_with_the_reason),
		cmocka_unit_test(a_message_packs_and_unpacks_within_its_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
