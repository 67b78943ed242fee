/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The device as it travels: image, version, saving and resuming sessions. */
#ifndef LSM_IMAGE_H
#define LSM_IMAGE_H

#include "lsm_dev.h"

/* ---- image ---------------------------------------------------------------- */
/*
 * Little-endian, the same bytes whichever side produced them:
 *
 *   header, 64 bytes: u64 magic, u32 version, u32 type, u32 mem_size,
 *       u32 page_size, u32 slot, u32 pci_device, u32 required, u32 offered,
 *       u64 reserved[2] = 0, u64 digest of the 56 bytes before
 *   records, each a 24-byte head { u32 kind, u32 arg, u32 len, u32 zero,
 *       u64 digest of the 16 bytes before and the payload } and len bytes:
 *     ROUND  arg = 0, 1, ...; only before a page that does not ascend
 *     PAGE   arg = page number, 4096 bytes; ascending within a round
 *     ZERO   arg = page number, sent before and all zeros now
 *     REGS   struct lsm_regs as little-endian words; once, after all pages
 *     END    u64 bytes before this record, u64 chain: digest of the digests
 *
 * Pages of zeros are left out. The digest is lsm_digest(): a 64-bit
 * multiply-rotate hash over 8-byte words, each step a bijection of state and
 * word, so that damage confined to one word never goes unnoticed.
 *
 * `required` and `offered` are features, one bit each, for later use: a reader
 * refuses a required one that it does not know, and passes over an offered one.
 * Version 1 had neither (zero). A reader takes its own version and the one before.
 */
#define LSM_IMAGE_MAGIC		0x474d4956444b534cull	/* "LSKDVIMG" */
#define LSM_IMAGE_VERSION	2u
#define LSM_IMAGE_OLDEST	(LSM_IMAGE_VERSION - 1)
#define LSM_IMAGE_FEATURES	0u		/* that this reader knows */
#define LSM_IMAGE_HEADER	64u
#define LSM_RECORD_HEAD		24u
#define LSM_RECORD_PAGE		(LSM_RECORD_HEAD + LSM_PAGE_SIZE)
#define LSM_ROUNDS_MAX		65536u

enum lsm_record {
	LSM_REC_ROUND = 1,
	LSM_REC_PAGE = 2,
	LSM_REC_ZERO = 3,
	LSM_REC_REGS = 4,
	LSM_REC_END = 5,
};

/* len is a multiple of 8. Pure. */
uint64_t lsm_digest(uint64_t seed, const void *buf, uint32_t len);

/*
 * Bytes that STOP_COPY would deliver from now on: the rest of an open saving
 * session, else the whole image. An upper bound by the pages that are zeros.
 */
uint64_t lsm_image_size(const struct lsm_dev *d);

/*
 * "<vendor>-<device>-<type>-<image version>.<MiB>": what is read at the source and
 * written at the destination to ask whether an image will be taken. `image` is the
 * version that the writer speaks (LSM_IMAGE_VERSION; tests pretend). Pure.
 */
#define LSM_VERSION_MAX		32u		/* with the final 0 */
void lsm_version_print(const struct lsm_type_info *info, uint32_t image,
		       uint32_t mem_size, char *buf);
/*
 * 0: compatible. EINVAL wrong format (one newline may follow), ENODEV other
 * hardware, EMEDIUMTYPE other type, EOPNOTSUPP image version newer than `image` or
 * older than the one before it, EFBIG memory size (mem_size 0: any will do).
 */
int lsm_version_check(const struct lsm_type_info *info, uint32_t image,
		      uint32_t mem_size, const char *text);

/* ---- saving session --------------------------------------------------------- */

#define LSM_SAVE_BUF	(64u << 10)

struct lsm_save {
	struct lsm_dev *d;
	uint32_t epoch;
	bool final;		/* the device is stopped: to the end */
	bool header_sent, initial_sent, ended;
	bool pass;		/* a sweep over the pages is under way */
	bool armed;		/* another may begin while pre-copying */
	bool page_sent;		/* this sweep has sent something */
	uint32_t round, cursor;
	uint32_t n_dirty, n_initial;
	uint64_t *dirty, *initial, *sent;	/* one bit per page */
	uint64_t total, chain;
	uint8_t *buf;		/* staged bytes: [pos, len) */
	uint32_t pos, len;
};

/*
 * One session at a time per device; `s` is the caller's, and must stay until
 * lsm_save_end(). precopy: the device runs on and its dirty pages are tracked.
 * 0, EBUSY, ENOMEM.
 */
int lsm_save_begin(struct lsm_save *s, struct lsm_dev *d, bool precopy);
/* The device has stopped: what is left and the registers may go out. */
void lsm_save_final(struct lsm_save *s);
/* Idempotent. */
void lsm_save_end(struct lsm_save *s);
/*
 * Stages bytes if none are. > 0: that many wait at s->buf + s->pos; take some
 * and call lsm_save_consume(). 0: end of state. ENOMSG: nothing for now (only
 * while pre-copying; a new round begins after lsm_save_info()). ENODEV: the
 * device was reset. Staged bytes may be copied out, and consumed, without the
 * lock.
 */
int lsm_save_fill(struct lsm_save *s);
void lsm_save_consume(struct lsm_save *s, uint32_t n);
/* Would lsm_save_fill() answer anything but ENOMSG? */
bool lsm_save_ready(const struct lsm_save *s);
/*
 * Bytes still to be read while pre-copying, and permission for the next round.
 * EINVAL once final.
 */
int lsm_save_info(struct lsm_save *s, uint64_t *ret_initial, uint64_t *ret_dirty);

/* ---- resuming session -------------------------------------------------------- */

#define LSM_LOAD_BUF	(LSM_RECORD_HEAD + LSM_PAGE_SIZE)

struct lsm_load {
	struct lsm_dev *d;
	int error;		/* sticky */
	uint32_t stage, have, need;
	uint32_t kind, arg, len;
	bool round_open, ended, regs_seen;
	uint32_t round;
	uint32_t next_page;	/* lowest page number allowed now */
	uint64_t total, chain;
	void **pages;
	uint32_t touched;
	struct lsm_regs r;
	uint8_t *buf;
};

/* 0, ENOMEM. Nothing of the device changes before lsm_load_commit(). */
int lsm_load_begin(struct lsm_load *l, struct lsm_dev *d);
/*
 * Takes bytes in any segmentation. NOT locked; one caller at a time. Errors are
 * sticky: EINVAL magic or header, EOPNOTSUPP version or required feature,
 * EMEDIUMTYPE type, EFBIG memory or page size, EXDEV slot, EBADMSG digest,
 * EPROTO record out of place, range or order, E2BIG bytes after the end, ENOMEM.
 */
int lsm_load_feed(struct lsm_load *l, const void *buf, size_t len);
/*
 * EINVAL: nothing was fed; ENODATA: the end is missing; or the sticky error.
 * On success the device holds the image's state; its flags (initiator, ...) stay.
 */
int lsm_load_commit(struct lsm_load *l);
/* Idempotent; frees what was not committed. */
void lsm_load_end(struct lsm_load *l);

#endif
