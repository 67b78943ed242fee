// SPDX-License-Identifier: Apache-2.0
/*
 * Images as files, in user space, with the very model that the driver compiles:
 *   image_tool make TYPE MIB SLOT PAGES OUT   an image of a device with a history
 *   image_tool copy IN OUT                    loads it into a fresh device and saves that
 *   image_tool as-version N IN OUT            the image as version N wrote it (1: before there were feature words)
 *   image_tool require BIT IN OUT             asks the reader for a feature that it must know
 *   image_tool offer BIT IN OUT               mentions one that it need not know
 *   image_tool bend IN OUT                    another bit in the first page, its digests put right: a state just as good
 */
#include <stdio.h>

#include "image_env.h"

static uint8_t *read_all(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p = NULL;
	size_t len = 0, n;

	do {
		p = realloc(p, len + 65536);
		n = f && p ? fread(p + len, 1, 65536, f) : 0;
		len += n;
	} while (n);
	if (!f || ferror(f) || fclose(f)) {
		perror(path);
		exit(2);
	}
	*ret_len = len;
	return p;
}

static int write_all(const char *path, const uint8_t *p, size_t len)
{
	FILE *f = fopen(path, "wb");
	bool ok = f && fwrite(p, 1, len, f) == len;

	if (!f || fclose(f) || !ok) {
		perror(path);
		return 2;
	}
	return 0;
}

static int save_to(struct lsm_dev *d, const char *path)
{
	size_t len;
	uint8_t *p = image_save(d, &len);
	int status = p ? write_all(path, p, len) : 2;

	free(p);
	lsm_dev_free(d);
	return status;
}

static int make(char **argv)
{
	struct lsm_dev d;
	uint32_t type = 1, pages = (uint32_t)atoi(argv[3]);

	while (lsm_type_info(type) && strcmp(lsm_type_info(type)->name, argv[0]))
		type++;
	if (lsm_dev_init(&d, type, (uint32_t)atoi(argv[1]) << 20, &image_env, NULL)) {
		fprintf(stderr, "image_tool: no such device\n");
		return 2;
	}
	lsm_dev_set_slot(&d, (uint32_t)atoi(argv[2]));
	for (uint32_t i = 0; i < pages; i++) {
		uint64_t word = 0x0101010101010101ull * (i + 1);

		lsm_window_write(&d, i * 3 * LSM_PAGE_SIZE + 8 * i, &word, sizeof(word));
	}
	d.r.ring_base = 0x10000;
	d.r.ring_size = 4;
	d.r.head = 3;
	d.r.ctrl = LSM_CTRL_ENABLE | LSM_CTRL_CYCLIC;
	d.r.done = 1234567;
	d.r.consumer = 1234567;
	d.r.stamp = 77;
	d.r.tx_seq[1] = 4711;
	d.r.rx_seq[1] = d.r.rx_count[1] = 815;
	d.r.irq_count[0] = 99;
	return save_to(&d, argv[4]);
}

static int copy(char **argv)
{
	struct lsm_dev d;
	size_t len;
	uint8_t *p = read_all(argv[0], &len);
	int rc;

	if (len < LSM_IMAGE_HEADER || lsm_dev_init(&d, lsm_get32(p + 12), lsm_get32(p + 16), &image_env, NULL)) {
		fprintf(stderr, "image_tool: %s is not an image\n", argv[0]);
		return 2;
	}
	lsm_dev_set_slot(&d, lsm_get32(p + 24));
	rc = image_load(&d, p, len, 4096);
	free(p);
	if (rc) {
		fprintf(stderr, "image_tool: %s: %s\n", argv[0], strerror(-rc));
		lsm_dev_free(&d);
		return 1;
	}
	return save_to(&d, argv[1]);
}

enum change { VERSION, REQUIRE, OFFER };

static int change(char **argv, enum change what)
{
	uint32_t number = (uint32_t)atoi(argv[0]);
	size_t len;
	uint8_t *p = read_all(argv[1], &len);
	int status;

	if (len < LSM_IMAGE_HEADER || (what != VERSION && number > 31)) {
		fprintf(stderr, "image_tool: cannot change %s so\n", argv[1]);
		return 2;
	}
	if (what == VERSION)
		lsm_put32(p + 8, number);
	else if (what == REQUIRE)
		lsm_put32(p + 32, lsm_get32(p + 32) | 1u << number);
	else
		lsm_put32(p + 36, lsm_get32(p + 36) | 1u << number);
	image_seal(p, len);
	status = write_all(argv[2], p, len);
	free(p);
	return status;
}

static int bend(char **argv)
{
	size_t len, at = LSM_IMAGE_HEADER;
	uint8_t *p = read_all(argv[0], &len);
	int status;

	while (len - at > LSM_RECORD_HEAD && lsm_get32(p + at) != LSM_REC_PAGE)
		at += LSM_RECORD_HEAD + lsm_get32(p + at + 8);
	if (len - at <= LSM_RECORD_PAGE) {
		fprintf(stderr, "image_tool: no page in %s\n", argv[0]);
		return 2;
	}
	p[at + LSM_RECORD_HEAD + 1000] ^= 4;
	image_seal(p, len);
	status = write_all(argv[1], p, len);
	free(p);
	return status;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	if (!strcmp(verb, "make") && argc == 7)
		return make(argv + 2);
	if (!strcmp(verb, "copy") && argc == 4)
		return copy(argv + 2);
	if (!strcmp(verb, "as-version") && argc == 5)
		return change(argv + 2, VERSION);
	if (!strcmp(verb, "require") && argc == 5)
		return change(argv + 2, REQUIRE);
	if (!strcmp(verb, "offer") && argc == 5)
		return change(argv + 2, OFFER);
	if (!strcmp(verb, "bend") && argc == 4)
		return bend(argv + 2);
	fprintf(stderr, "image_tool: see the head of its source\n");
	return 2;
}
