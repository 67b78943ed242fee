// SPDX-License-Identifier: Apache-2.0
/* The virtual device: images, saved and loaded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/lsm_host.h"

static void test_image_round_trip_is_the_same_bytes(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = busy_host(LSM_TYPE_STOPCOPY, 0, fabric);
	struct host *b = host_new(LSM_TYPE_STOPCOPY, 0, fabric);
	uint64_t size = lsm_image_size(&a->d);
	struct image x = save_whole(a, 7), y;

	assert_int_equal(x.len, size);
	assert_int_equal(load_whole(b, x.p, x.len, 13), 0);
	assert_memory_equal(&a->d.r, &b->d.r, sizeof(a->d.r));
	y = save_whole(b, 100000);
	assert_int_equal(x.len, y.len);
	assert_memory_equal(x.p, y.p, x.len);
	free(x.p);
	free(y.p);
	host_free(a);
	host_free(b);
}

static void test_pages_of_zeros_are_left_out(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_FULL, 0, fabric);
	uint8_t zero[LSM_PAGE_SIZE] = { 0 };
	struct image x = save_whole(a, 4096), y;

	assert_int_equal(lsm_window_write(&a->d, 4096, zero, sizeof(zero)), 0);
	assert_int_equal(a->d.touched, 1);
	y = save_whole(a, 4096);
	assert_int_equal(x.len, y.len);
	assert_memory_equal(x.p, y.p, x.len);
	free(x.p);
	free(y.p);
	host_free(a);
}

static void test_precopy_sends_what_is_dirtied_and_numbers_shrink(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = busy_host(LSM_TYPE_FULL, 0, fabric);
	struct host *b = host_new(LSM_TYPE_FULL, 0, fabric);
	uint8_t zero[LSM_PAGE_SIZE] = { 0 }, one = 1;
	uint64_t initial, dirty, before;
	struct image x = { 0 }, y;
	struct lsm_save s;

	assert_int_equal(lsm_save_begin(&s, &a->d, true), 0);
	assert_int_equal(lsm_save_begin(&s, &a->d, true), -EBUSY);
	assert_int_equal(lsm_save_info(&s, &initial, &dirty), 0);
	assert_true(initial > 13 * 4096 && dirty == 0);
	before = initial;
	assert_true(lsm_save_fill(&s) > 0);
	lsm_save_consume(&s, 0);
	assert_int_equal(drain(&s, &x, 1000), -ENOMSG);
	lsm_save_info(&s, &initial, &dirty);
	assert_true(initial == 0 && dirty == 0 && before > 0);

	lsm_window_write(&a->d, 0, zero, sizeof(zero));		/* sent, now zeros */
	lsm_window_write(&a->d, 5000, &one, 1);
	lsm_save_info(&s, &initial, &dirty);
	assert_true(initial == 0 && dirty > 8192 && dirty < 9000);
	assert_int_equal(drain(&s, &x, 1000), -ENOMSG);
	run(a, 4);
	assert_int_equal(drain(&s, &x, 1000), -ENOMSG);		/* not asked for */
	assert_true(lsm_image_size(&a->d) > 11 * 4096);
	lsm_window_write(&a->d, 8192, zero, sizeof(zero));
	lsm_set_initiator(&a->d, false);
	lsm_set_responder(&a->d, false);
	lsm_save_final(&s);
	assert_int_equal(lsm_save_info(&s, &initial, &dirty), -EINVAL);
	assert_int_equal(drain(&s, &x, 1000), 0);
	lsm_save_end(&s);

	assert_int_equal(load_whole(b, x.p, x.len, 4096), 0);
	y = save_whole(a, 4096);
	free(x.p);
	x = save_whole(b, 4096);
	assert_int_equal(x.len, y.len);
	assert_memory_equal(x.p, y.p, x.len);
	free(x.p);
	free(y.p);
	host_free(a);
	host_free(b);
}

/* Bend every byte of the head and tail, and one in every 97 between. */
static void test_any_bent_byte_or_missing_tail_is_refused_and_nothing_believed(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = busy_host(LSM_TYPE_P2P, 0, fabric);
	struct host *b = host_new(LSM_TYPE_P2P, 0, fabric);
	struct image x = save_whole(a, 4096);
	struct lsm_regs fresh = b->d.r;

	for (size_t i = 0; i < x.len; i += i < 200 || x.len - i < 1100 ? 1 : 97) {
		x.p[i] ^= 0x40;
		assert_true(load_whole(b, x.p, x.len, 4096) < 0);
		x.p[i] ^= 0x40;
	}
	for (size_t i = 0; i < x.len; i += x.len - i < 1100 ? 1 : 997)
		assert_int_equal(load_whole(b, x.p, i, 4096), i ? -ENODATA : -EINVAL);
	assert_memory_equal(&fresh, &b->d.r, sizeof(fresh));
	assert_int_equal(b->d.touched, 0);
	x.p = realloc(x.p, x.len + 1);
	x.p[x.len] = 0;
	assert_int_equal(load_whole(b, x.p, x.len + 1, 4096), -E2BIG);
	assert_int_equal(load_whole(b, x.p, x.len, 1), 0);
	free(x.p);
	host_free(a);
	host_free(b);
}

static void seal_header(uint8_t *p)
{
	lsm_put64(p + 56, lsm_digest(0, p, 56));
}

static void test_each_header_field_has_its_own_errno(void **state)
{
	static const struct {
		uint32_t off, value;
		int rc;
	} bad[] = {
		{ 0, 1, -EINVAL }, { 8, 3, -EOPNOTSUPP }, { 12, 1, -EMEDIUMTYPE },
		{ 16, 1u << 20, -EFBIG }, { 20, 65536, -EFBIG }, { 24, 5, -EXDEV },
		{ 8, 0, -EOPNOTSUPP }, { 32, 1, -EOPNOTSUPP }, { 40, 1, -EINVAL }, { 48, 1, -EINVAL },
	};
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = busy_host(LSM_TYPE_FULL, 2, fabric);
	struct image x = save_whole(a, 4096);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint32_t old = lsm_get32(x.p + bad[i].off);

		lsm_put32(x.p + bad[i].off, bad[i].value);
		seal_header(x.p);
		assert_int_equal(load_whole(a, x.p, x.len, 4096), bad[i].rc);
		lsm_put32(x.p + bad[i].off, old);
	}
	seal_header(x.p);
	assert_int_equal(load_whole(a, x.p, x.len, 4096), 0);
	free(x.p);
	host_free(a);
}

/* A forger with a correct digest still cannot break order, range or length. */
static void test_records_out_of_place_are_refused(void **state)
{
	static const struct {
		uint32_t kind, arg, len;
	} bad[] = {
		{ LSM_REC_ROUND, 1, 0 }, { LSM_REC_PAGE, 0, 4096 }, { LSM_REC_ZERO, 0, 0 },
		{ LSM_REC_END, 0, 16 }, { LSM_REC_ROUND, 0, 8 }, { 6, 0, 0 },
		{ LSM_REC_REGS, 0, 0xfffffff0 }, { LSM_REC_PAGE, 0xffffffff, 4096 },
	};
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = host_new(LSM_TYPE_FULL, 0, fabric);
	struct image x = save_whole(a, 4096);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t *p = x.p + LSM_IMAGE_HEADER;

		lsm_put32(p, bad[i].kind);
		lsm_put32(p + 4, bad[i].arg);
		lsm_put32(p + 8, bad[i].len);
		lsm_put64(p + 16, lsm_digest(lsm_digest(0, p, 16), p + 24, 0));
		assert_int_equal(load_whole(a, x.p, x.len, 4096), -EPROTO);
	}
	free(x.p);
	host_free(a);
}

static void test_every_allocation_may_fail(void **state)
{
	struct host *fabric[LSM_SLOTS] = { 0 };
	struct host *a = busy_host(LSM_TYPE_FULL, 0, fabric);
	struct host *b = host_new(LSM_TYPE_FULL, 0, fabric);
	struct image x = save_whole(a, 4096);
	struct lsm_save s;
	int rc = -ENOMEM;

	for (long n = 1; rc; n++) {
		b->allocs = 0;
		b->fail_alloc_at = n;
		rc = load_whole(b, x.p, x.len, 4096);
		assert_true(rc == 0 || rc == -ENOMEM);
	}
	for (long n = 1; n <= 4; n++) {
		b->allocs = 0;
		b->fail_alloc_at = n;
		assert_int_equal(lsm_save_begin(&s, &b->d, true), -ENOMEM);
		assert_null(b->d.save);
	}
	free(x.p);
	host_free(a);
	host_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image_round_trip_is_the_same_bytes),
		cmocka_unit_test(test_pages_of_zeros_are_left_out),
		cmocka_unit_test(test_precopy_sends_what_is_dirtied_and_numbers_shrink),
		cmocka_unit_test(test_any_bent_byte_or_missing_tail_is_refused_and_nothing_believed),
		cmocka_unit_test(test_each_header_field_has_its_own_errno),
		cmocka_unit_test(test_records_out_of_place_are_refused),
		cmocka_unit_test(test_every_allocation_may_fail),
	};

	return cmocka_run_group_tests_name("lsm_image", tests, NULL, NULL);
}
