// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire/digest.h"
#include "proto/wire/frame.h"
#include "proto/wire/pb.h"

struct bytes {
	uint8_t *at;
	size_t n;
};

static void put(struct bytes *b, const void *more, size_t n)
{
	b->at = realloc(b->at, b->n + n + 1);
	assert_non_null(b->at);
	memcpy(b->at + b->n, more, n);
	b->n += n;
}

static void put_data(struct bytes *b, size_t n, uint8_t fill)
{
	uint8_t header[LS_FRAME_HEADER_MAX], *payload = malloc(n);

	memset(payload, fill, n);
	put(b, header, ls_frame_data_header(n, header));
	put(b, payload, n);
	free(payload);
}

static void put_frame(struct bytes *b, const Lockstep__V1__Frame *frame)
{
	struct ls_error err;
	uint8_t *encoded;
	size_t n;

	if (ls_frame_encode(frame, &encoded, &n, &err) < 0)
		fail_msg("%s", err.message);
	put(b, encoded, n);
	free(encoded);
}

static void put_end(struct bytes *b, uint64_t length)
{
	static uint8_t digest[LS_DIGEST_SIZE] = { 1, 2, 3 };
	Lockstep__V1__End end = LOCKSTEP__V1__END__INIT;
	Lockstep__V1__Frame frame = LOCKSTEP__V1__FRAME__INIT;

	end.length = length;
	end.digest = (ProtobufCBinaryData){ .len = sizeof(digest), .data = digest };
	frame.kind_case = LOCKSTEP__V1__FRAME__KIND_END;
	frame.end = &end;
	put_frame(b, &frame);
}

// Decodes all of it in pieces of `piece` bytes; a line of text a frame: "data 5", "end".
static int decode(const struct bytes *b, size_t piece, char *told, size_t size, struct ls_error *err)
{
	struct ls_frame_decoder d = { 0 };
	size_t at = 0, used, told_n = 0, data = 0;
	int r = 0;

	told[0] = 0;
	while (at < b->n && r == 0) {
		enum ls_frame_event event;
		size_t n = b->n - at < piece ? b->n - at : piece;
		size_t left = ls_frame_decoder_payload_left(&d);

		if (left) {
			n = n < left ? n : left;
			ls_frame_decoder_payload(&d, n);
			at += n;
			if (!ls_frame_decoder_payload_left(&d))
				told_n += (size_t)snprintf(told + told_n, size - told_n, "data %zu\n", data);
			continue;
		}
		r = ls_frame_decoder_feed(&d, b->at + at, n, &used, &event, err);
		assert_true(used <= n);
		at += used;
		if (event == LS_FRAME_CONTROL) {
			Lockstep__V1__Frame *frame = ls_frame_decoder_take(&d);

			told_n += (size_t)snprintf(told + told_n, size - told_n, "%s\n", ls_frame_kind_name(frame));
			ls_pb_free(&frame->base);
		}
		data = ls_frame_decoder_payload_left(&d);
	}
	if (r == 0)
		assert_true(ls_frame_decoder_at_boundary(&d));
	ls_frame_decoder_clear(&d);
	return r;
}

static void frames_come_out_as_they_went_in_whatever_the_pieces(void **state)
{
	static const size_t pieces[] = { 1, 2, 3, 7, 100, 4096, 1 << 24 };
	struct bytes b = { 0 };
	char told[200];

	put_data(&b, 1, 'a');
	put_data(&b, 127, 0xfa);
	put_end(&b, 1);
	put_data(&b, LS_FRAME_DATA_MAX, 1);
	put_end(&b, UINT64_MAX);
	for (unsigned i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct ls_error err;

		assert_int_equal(decode(&b, pieces[i], told, sizeof(told), &err), 0);
		assert_string_equal(told, "data 1\ndata 127\nend\ndata 1048576\nend\n");
	}
	free(b.at);
}

static void an_ordinary_library_reads_our_data_frames_and_we_read_its(void **state)
{
	static const size_t sizes[] = { 1, 124, 125, 126, 127, 128, 16379, 16380, 16384, LS_FRAME_DATA_MAX };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		Lockstep__V1__Frame *frame;
		struct bytes b = { 0 };
		size_t skip = 0, packed;
		uint8_t *theirs;

		put_data(&b, sizes[i], 0x5a);
		while (b.at[skip] & 0x80)
			skip++;
		skip++;
		frame = lockstep__v1__frame__unpack(NULL, b.n - skip, b.at + skip);
		assert_non_null(frame);
		assert_int_equal(frame->data.len, sizes[i]);
		assert_string_equal(ls_frame_kind_name(frame), "data");
		packed = lockstep__v1__frame__get_packed_size(frame);
		assert_int_equal(packed, b.n - skip);
		theirs = malloc(packed);
		lockstep__v1__frame__pack(frame, theirs);
		assert_memory_equal(theirs, b.at + skip, packed);
		lockstep__v1__frame__free_unpacked(frame, NULL);
		free(theirs);
		free(b.at);
	}
}

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static void assert_refused(const uint8_t *bytes, size_t n, enum ls_reason reason, const char *words)
{
	struct bytes b = { (uint8_t *)bytes, n };

	for (size_t piece = 1; piece <= n; piece += n) {
		struct ls_error err = { .reason = LS_E_NONE };
		char told[100];

		assert_true(decode(&b, piece, told, sizeof(told), &err) < 0);
		assert_int_equal(err.reason, reason);
		if (!strstr(err.message, words))
			fail_msg("'%s' lacks '%s'", err.message, words);
	}
}

static void malformed_frames_get_a_clear_error(void **state)
{
	assert_refused(BYTES(0), LS_E_INVALID, "empty frame");
	assert_refused(BYTES(0xff, 0xff, 0xff, 0xff, 0xff, 0x01), LS_E_INVALID, "length has more than");
	assert_refused(BYTES(0x80, 0x80, 0x80, 0x80, 0x7f), LS_E_LIMIT, "data may have 1048576");
	assert_refused(BYTES(0x80, 0x80, 0x41), LS_E_LIMIT, "data may have 1048576");
	// 200 000 bytes, not data
	assert_refused(BYTES(0xc0, 0x9a, 0x0c, 0x0a), LS_E_LIMIT, "at most 131072");
	// data field: cut, empty, too long, with something behind it, more than its frame
	assert_refused(BYTES(2, 0xfa, 0x01), LS_E_INVALID, "not a Frame");
	assert_refused(BYTES(3, 0xfa, 0x01, 0), LS_E_INVALID, "no kind");
	assert_refused(BYTES(4, 0xfa, 0x01, 0, 0), LS_E_INVALID, "without data");
	assert_refused(BYTES(4, 0xfa, 0x01, 0x80, 0x80), LS_E_INVALID, "cut or too long");
	assert_refused(BYTES(8, 0xfa, 0x01, 1, 'x', 0x32, 0, 0x32, 0), LS_E_INVALID, "data must be alone");
	assert_refused(BYTES(5, 0xfa, 0x01, 9, 'x', 'y'), LS_E_INVALID, "data must be alone");
	assert_refused(BYTES(5, 0xfa, 0x01, 0xff, 0xff, 0x7f), LS_E_LIMIT, "2097151 bytes of data");
	// kinds: loaded, then data; none; one we do not know (field 20); data under another wire type
	assert_refused(BYTES(6, 0x32, 0, 0xfa, 0x01, 1, 'x'), LS_E_INVALID, "not beside 'loaded'");
	assert_refused(BYTES(3, 0xa2, 0x01, 0), LS_E_INVALID, "no kind");
	assert_refused(BYTES(3, 0xf8, 0x01, 7), LS_E_INVALID, "");
	assert_refused(BYTES(2, 0x0a, 0x05), LS_E_INVALID, "not a Frame");
	// fields: Open without token, End with a short digest
	assert_refused(BYTES(2, 0x0a, 0), LS_E_INVALID, "Open.token has 0 bytes, not 32");
	assert_refused(BYTES(5, 0x1a, 3, 0x12, 1, 0), LS_E_INVALID, "End.digest has 1 bytes, not 16");
}

static void counts_and_blobs_are_bounded(void **state)
{
	static uint8_t content[LS_FRAME_BLOB_MAX + 1], digest[LS_DIGEST_SIZE];
	Lockstep__V1__Frame frame = LOCKSTEP__V1__FRAME__INIT;
	Lockstep__V1__Blob blob = LOCKSTEP__V1__BLOB__INIT;
	struct bytes b = { 0 };
	uint8_t *encoded;
	size_t n;
	struct ls_error err;
	char told[100];

	blob.content = (ProtobufCBinaryData){ .len = LS_FRAME_BLOB_MAX, .data = content };
	blob.digest = (ProtobufCBinaryData){ .len = sizeof(digest), .data = digest };
	frame.kind_case = LOCKSTEP__V1__FRAME__KIND_BLOB;
	frame.blob = &blob;
	put_frame(&b, &frame);
	assert_int_equal(decode(&b, 1000, told, sizeof(told), &err), 0);
	assert_string_equal(told, "blob\n");
	free(b.at);
	blob.content.len++;
	assert_true(ls_frame_encode(&frame, &encoded, &n, &err) < 0);
	assert_int_equal(err.reason, LS_E_INTERNAL);

	// 128 KiB of empty DeviceDigests would become megabytes: the budget, not the machine, says no.
	uint8_t *flood = malloc(4 + LS_FRAME_CONTROL_MAX), *p = flood;
	size_t inner = LS_FRAME_CONTROL_MAX - 4;
	*p++ = 0x80, *p++ = 0x80, *p++ = 0x08; // 131072
	*p++ = 0x52, *p++ = (uint8_t)(inner | 0x80), *p++ = (uint8_t)(inner >> 7 | 0x80), *p++ = (uint8_t)(inner >> 14);
	for (size_t i = 0; i < inner; i += 2)
		*p++ = 0x12, *p++ = 0;
	assert_refused(flood, (size_t)(p - flood), LS_E_LIMIT, "takes more than");
	free(flood);
	// 33 of them fit the budget, but not the schedule
	uint8_t many[2 + 66 + 1] = { 68, 0x52, 66 };
	for (size_t i = 3; i < sizeof(many); i += 2)
		many[i] = 0x12, many[i + 1] = 0;
	assert_refused(many, sizeof(many), LS_E_LIMIT, "33 entries, at most 32");
}

static void memory_follows_what_came_not_what_was_announced(void **state)
{
	struct ls_frame_decoder d = { 0 };
	enum ls_frame_event event;
	size_t used;

	assert_int_equal(ls_frame_decoder_feed(&d, BYTES(0x80, 0x80, 0x08, 0x0a), &used, &event, NULL), 0);
	assert_int_equal(used, 4);
	assert_int_equal(event, LS_FRAME_MORE);
	assert_true(d.capacity <= 256);
	assert_false(ls_frame_decoder_at_boundary(&d));
	ls_frame_decoder_clear(&d);
}

static void a_decoder_used_out_of_turn_says_so(void **state)
{
	struct ls_frame_decoder d = { 0 };
	enum ls_frame_event event;
	struct ls_error err;
	size_t used;

	assert_null(ls_frame_decoder_take(&d));
	assert_int_equal(ls_frame_decoder_feed(&d, BYTES(5, 0xfa, 1, 2, 'x', 'y'), &used, &event, &err), 0);
	assert_int_equal(event, LS_FRAME_DATA);
	assert_int_equal(used, 4);
	assert_true(ls_frame_decoder_feed(&d, BYTES('x'), &used, &event, &err) < 0);
	assert_int_equal(err.reason, LS_E_INTERNAL);
	assert_true(ls_frame_decoder_feed(&d, BYTES(1), &used, &event, &err) < 0);
	ls_frame_decoder_clear(&d);
	ls_frame_decoder_payload(&d, 1);
	assert_true(ls_frame_decoder_feed(&d, BYTES(1), &used, &event, &err) < 0);
	ls_frame_decoder_clear(&d);
}

static void random_bytes_never_do_harm(void **state)
{
	uint64_t random = 1;

	for (unsigned n = 0; n < 20000; n++) {
		uint8_t bytes[64];
		struct bytes b = { bytes, sizeof(bytes) };
		struct ls_frame_decoder d = { 0 };
		enum ls_frame_event event;
		size_t at = 0, used;

		for (unsigned i = 0; i < sizeof(bytes); i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			// Mostly small numbers: lengths and tags that lead somewhere.
			bytes[i] = (uint8_t)(random >> 60 < 10 ? random >> 58 : random >> 50);
		}
		while (at < b.n) {
			size_t left = ls_frame_decoder_payload_left(&d);

			if (left) {
				left = left < b.n - at ? left : b.n - at;
				ls_frame_decoder_payload(&d, left);
				at += left;
				continue;
			}
			if (ls_frame_decoder_feed(&d, bytes + at, b.n - at, &used, &event, NULL) < 0)
				break;
			at += used;
			if (event == LS_FRAME_CONTROL) {
				Lockstep__V1__Frame *frame = ls_frame_decoder_take(&d);

				ls_pb_free(&frame->base);
			}
		}
		ls_frame_decoder_clear(&d);
	}
}

static void a_digest_is_of_the_bytes_not_of_the_pieces(void **state)
{
	static const uint8_t of_nothing[LS_DIGEST_SIZE] = { 0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8,
							    0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f };
	uint8_t bytes[5000], whole[LS_DIGEST_SIZE], pieces[LS_DIGEST_SIZE];
	struct ls_digest *digest = ls_digest_new();

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	ls_digest_of("", 0, whole);
	assert_memory_equal(whole, of_nothing, LS_DIGEST_SIZE);
	ls_digest_value(digest, pieces);
	assert_memory_equal(pieces, of_nothing, LS_DIGEST_SIZE);
	ls_digest_update(digest, "void", 4);
	ls_digest_reset(digest);
	for (size_t at = 0; at < sizeof(bytes); at += 100)
		ls_digest_update(digest, bytes + at, 100);
	ls_digest_value(digest, pieces);
	ls_digest_of(bytes, sizeof(bytes), whole);
	assert_memory_equal(whole, pieces, LS_DIGEST_SIZE);
	bytes[4999] ^= 1;
	ls_digest_of(bytes, sizeof(bytes), whole);
	assert_memory_not_equal(whole, pieces, LS_DIGEST_SIZE);
	ls_digest_free(digest);
	ls_digest_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_come_out_as_they_went_in_whatever_the_pieces),
		cmocka_unit_test(an_ordinary_library_reads_our_data_frames_and_we_read_its),
		cmocka_unit_test(malformed_frames_get_a_clear_error),
		cmocka_unit_test(counts_and_blobs_are_bounded),
		cmocka_unit_test(memory_follows_what_came_not_what_was_announced),
		cmocka_unit_test(a_decoder_used_out_of_turn_says_so),
		cmocka_unit_test(random_bytes_never_do_harm),
		cmocka_unit_test(a_digest_is_of_the_bytes_not_of_the_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
