// SPDX-License-Identifier: Apache-2.0
/*
 * The image reader. The input is an image; its digests are put right first, so that what lies behind them is reached;
 * with an odd first byte they are left as they are. Whatever is accepted must save to an image that loads again.
 * run.sh builds and runs it.
 */
#include "tests/kernel/image_env.h"

static void save_and_load_again(struct lsm_dev *d)
{
	size_t len, again_len;
	uint8_t *img = image_save(d, &len), *again;

	if (!img || image_load(d, img, len, 4096))
		abort();
	again = image_save(d, &again_len);
	if (!again || again_len != len || memcmp(img, again, len))
		abort();
	free(img);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lsm_dev d;
	uint8_t *p;

	if (size < 2)
		return 0;
	p = malloc(size);
	memcpy(p, data + 2, size - 2);
	if (!(data[0] & 1))
		image_seal(p, size - 2);
	if (lsm_dev_init(&d, LSM_TYPE_FULL, LSM_MEM_MIN, &image_env, NULL))
		abort();
	lsm_dev_set_slot(&d, 0);
	if (!image_load(&d, p, size - 2, (size_t)data[1] * 37 + 1))
		save_and_load_again(&d);
	lsm_dev_free(&d);
	free(p);
	return 0;
}
