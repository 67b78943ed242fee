// SPDX-License-Identifier: Apache-2.0
// Images and versions across releases: what the one before wrote, what the next may write, and migration_version.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/kernel/image_env.h"

static uint8_t image[8192];
static size_t image_len;

// Written by the code of version 1: one page, a history in the registers; 1 MiB, slot 0.
static int read_version_1(void **state)
{
	FILE *f = fopen(IMAGE_V1, "rb");
	(void)state;
	assert_non_null(f);
	image_len = fread(image, 1, sizeof(image), f);
	fclose(f);
	assert_in_range(image_len, 5000, sizeof(image) - 1);
	return 0;
}

static void fresh(struct lsm_dev *d)
{
	assert_int_equal(lsm_dev_init(d, LSM_TYPE_FULL, 1 << 20, &image_env, NULL), 0);
	lsm_dev_set_slot(d, 0);
}

static int loads(void)
{
	struct lsm_dev d;
	int rc;
	fresh(&d);
	rc = image_load(&d, image, image_len, 100);
	lsm_dev_free(&d);
	return rc;
}

static void an_image_of_the_version_before_is_read_and_saved_as_the_new_one(void **state)
{
	struct lsm_dev d, e;
	size_t len, again_len;
	uint64_t word;
	(void)state;
	fresh(&d);
	assert_int_equal(lsm_get32(image + 8), 1);
	assert_int_equal(image_load(&d, image, image_len, 4096), 0);
	assert_int_equal(d.r.tx_seq[1], 4711);
	assert_int_equal(d.r.done, 1234567);
	assert_int_equal(lsm_window_read(&d, 0, &word, 8), 0);
	assert_int_equal(word, 0x0101010101010101ull);

	uint8_t *p = image_save(&d, &len);
	assert_non_null(p);
	assert_int_equal(lsm_get32(p + 8), LSM_IMAGE_VERSION);
	fresh(&e);
	assert_int_equal(image_load(&e, p, len, 333), 0);
	uint8_t *again = image_save(&e, &again_len);
	assert_int_equal(len, again_len);
	assert_memory_equal(p, again, len);
	// But for the version and what follows from it, the two versions are the same bytes.
	lsm_put32(p + 8, 1);
	image_seal(p, len);
	assert_int_equal(len, image_len);
	assert_memory_equal(p, image, len);
	free(p);
	free(again);
	lsm_dev_free(&d);
	lsm_dev_free(&e);
}

static void versions_other_than_the_own_and_the_one_before_are_refused(void **state)
{
	(void)state;
	for (uint32_t v = 0; v < 5; v++) {
		lsm_put32(image + 8, v);
		image_seal(image, image_len);
		assert_int_equal(loads(), v == 1 || v == 2 ? 0 : -EOPNOTSUPP);
	}
	lsm_put32(image + 8, UINT32_MAX);
	image_seal(image, image_len);
	assert_int_equal(loads(), -EOPNOTSUPP);
}

static void a_feature_is_refused_when_required_and_passed_over_when_offered(void **state)
{
	(void)state;
	lsm_put32(image + 8, 2);
	for (unsigned bit = 0; bit < 32; bit++) {
		lsm_put32(image + 32, 1u << bit);
		lsm_put32(image + 36, 0);
		image_seal(image, image_len);
		assert_int_equal(loads(), -EOPNOTSUPP);
		lsm_put32(image + 32, 0);
		lsm_put32(image + 36, 1u << bit);
		image_seal(image, image_len);
		assert_int_equal(loads(), 0);
	}
	// Version 1 had no such words: they must be zero there.
	lsm_put32(image + 8, 1);
	image_seal(image, image_len);
	assert_int_equal(loads(), -EINVAL);
}

static void migration_version_has_a_reason_for_everything(void **state)
{
	static const struct {
		const char *text;
		int rc;
	} cases[] = {
		{ "1d55-1003-full-2.16", 0 },
		{ "1d55-1003-full-2.16\n", 0 },
		{ "1d55-1003-full-1.16", 0 },
		{ "", -EINVAL },
		{ "\n", -EINVAL },
		{ "nonsense", -EINVAL },
		{ "1d55", -EINVAL },
		{ "1d55-1003", -EINVAL },
		{ "1d55-1003-full", -EINVAL },
		{ "1d55-1003-full-2", -EINVAL },
		{ "1d55-1003-full-2.", -EINVAL },
		{ "1d55-1003-full-.16", -EINVAL },
		{ "1d55-1003--2.16", -EINVAL },
		{ "1D55-1003-full-2.16", -EINVAL },
		{ "0x1d55-1003-full-2.16", -EINVAL },
		{ " 1d55-1003-full-2.16", -EINVAL },
		{ "1d55-1003-full-2.16 and more", -EINVAL },
		{ "1d55-1003-full-2.16\n\n", -EINVAL },
		{ "1d55-1003-full-2.16.1", -EINVAL },
		{ "1d55-1003-full-+2.16", -EINVAL },
		{ "1d55-1003-full-4294967298.16", -EINVAL },
		{ "8086-1003-full-2.16", -ENODEV },
		{ "1d55-1004-full-2.16", -ENODEV },
		{ "1d55-1000-full-2.16", -ENODEV },
		{ "1d55-1002-p2p-2.16", -EMEDIUMTYPE },
		{ "1d55-1003-p2p-2.16", -EMEDIUMTYPE },
		{ "1d55-1003-fullest-2.16", -EMEDIUMTYPE },
		{ "1d55-1003-ful-2.16", -EMEDIUMTYPE },
		{ "1d55-1003-full-3.16", -EOPNOTSUPP },
		{ "1d55-1003-full-0.16", -EOPNOTSUPP },
		{ "1d55-1003-full-2.8", -EFBIG },
		{ "1d55-1003-full-2.0", -EFBIG },
	};
	const struct lsm_type_info *full = lsm_type_info(LSM_TYPE_FULL);
	char text[LSM_VERSION_MAX];
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (lsm_version_check(full, 2, 16 << 20, cases[i].text) != cases[i].rc)
			fail_msg("\"%s\": %d, want %d", cases[i].text,
				 lsm_version_check(full, 2, 16 << 20, cases[i].text), cases[i].rc);
	assert_int_equal(lsm_version_check(full, 2, 0, "1d55-1003-full-2.8"), 0); // no device yet: any size
	assert_int_equal(lsm_version_check(full, 7, 16 << 20, "1d55-1003-full-5.16"), -EOPNOTSUPP);
	assert_int_equal(lsm_version_check(full, 7, 16 << 20, "1d55-1003-full-6.16"), 0);
	lsm_version_print(lsm_type_info(LSM_TYPE_STOPCOPY), 999999, 64 << 20, text);
	assert_string_equal(text, "1d55-1001-stopcopy-999999.64");
	for (uint32_t type = LSM_TYPE_STOPCOPY; type <= LSM_TYPE_FULL; type++) {
		lsm_version_print(lsm_type_info(type), LSM_IMAGE_VERSION, 4 << 20, text);
		assert_int_equal(lsm_version_check(lsm_type_info(type), LSM_IMAGE_VERSION, 4 << 20, text), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_image_of_the_version_before_is_read_and_saved_as_the_new_one, read_version_1),
		cmocka_unit_test_setup(versions_other_than_the_own_and_the_one_before_are_refused, read_version_1),
		cmocka_unit_test_setup(a_feature_is_refused_when_required_and_passed_over_when_offered, read_version_1),
		cmocka_unit_test(migration_version_has_a_reason_for_everything),
	};
	return cmocka_run_group_tests_name("images across versions", tests, NULL, NULL);
}
