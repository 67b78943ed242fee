// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/fault_vfs.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#define FILES_MAX 4
#define CHANGES_MAX 4096

// One file of the database: what the disk has of it, and what has been asked for since.
struct shadow {
	char path[512];
	unsigned char *synced;
	sqlite3_int64 synced_len;
	struct change {
		sqlite3_int64 at; // of a truncation: the new length
		int len;          // -1: a truncation
		unsigned char *bytes;
	} change[CHANGES_MAX];
	unsigned n;
};

struct file {
	sqlite3_file base;
	struct shadow *shadow; // NULL: a file that the test does not care for
	sqlite3_file *real;    // behind this struct
};

static sqlite3_vfs *real_vfs;
static struct shadow files[FILES_MAX];
static enum fault_kind kind;
static enum fault_kept kept;
static unsigned long strike_at;
static bool lying;
static atomic_ulong count;
static atomic_bool struck;

// ---- what the disk has ----

static void forget_changes(struct shadow *s)
{
	for (unsigned i = 0; i < s->n; i++)
		free(s->change[i].bytes);
	s->n = 0;
}

static void change(struct shadow *s, sqlite3_int64 at, const void *bytes, int len)
{
	struct change *c = &s->change[s->n];

	if (s->n == CHANGES_MAX)
		abort();
	*c = (struct change){ .at = at, .len = len };
	if (len > 0) {
		c->bytes = malloc((size_t)len);
		memcpy(c->bytes, bytes, (size_t)len);
	}
	s->n++;
}

static void apply(struct shadow *s, const struct change *c, int len)
{
	sqlite3_int64 end = c->at + (c->len < 0 ? 0 : len);

	if (c->len < 0 ? end != s->synced_len : end > s->synced_len) {
		s->synced = realloc(s->synced, (size_t)end + 1);
		if (end > s->synced_len)
			memset(s->synced + s->synced_len, 0, (size_t)(end - s->synced_len));
		s->synced_len = end;
	}
	if (len > 0)
		memcpy(s->synced + c->at, c->bytes, (size_t)len);
}

static void sync_now(struct shadow *s)
{
	for (unsigned i = 0; i < s->n; i++)
		apply(s, &s->change[i], s->change[i].len);
	forget_changes(s);
}

static void lose_power(struct shadow *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		const struct change *c = &s->change[i];
		bool last = i + 1 == s->n;
		if (kept == KEPT_EVERYTHING || (kept == KEPT_TORN && i % 2 == 0 && !last))
			apply(s, c, c->len);
		else if (kept == KEPT_TORN && last && c->len > 0)
			apply(s, c, c->len / 2);
	}
	forget_changes(s);
}

static void load(struct shadow *s)
{
	struct stat st;
	int fd = open(s->path, O_RDONLY);

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_size > 0) {
		s->synced = malloc((size_t)st.st_size);
		s->synced_len = read(fd, s->synced, (size_t)st.st_size);
	}
	close(fd);
}

static void drop(struct shadow *s)
{
	forget_changes(s);
	free(s->synced);
	s->synced = NULL;
	s->synced_len = 0;
	s->path[0] = '\0';
}

static struct shadow *shadow_of(const char *path)
{
	struct shadow *free_one = NULL;

	for (unsigned i = 0; i < FILES_MAX; i++) {
		if (strcmp(files[i].path, path) == 0)
			return &files[i];
		if (!files[i].path[0] && !free_one)
			free_one = &files[i];
	}
	if (!free_one)
		abort();
	strncpy(free_one->path, path, sizeof(free_one->path) - 1);
	load(free_one);
	return free_one;
}

// ---- when it strikes ----

static int strike(void)
{
	unsigned long n = atomic_fetch_add(&count, 1) + 1;
	bool now = strike_at && n == strike_at, later = strike_at && n > strike_at;

	if (now)
		atomic_store(&struck, true);
	if (!now && (!later || kind == FAULT_EIO_ONCE))
		return SQLITE_OK;
	return kind == FAULT_NONE ? SQLITE_OK :
	       kind == FAULT_FULL ? SQLITE_FULL : kind == FAULT_READONLY ? SQLITE_READONLY : SQLITE_IOERR;
}

static bool dead(void)
{
	return kind == FAULT_CUT && atomic_load(&struck);
}

// ---- files ----

#define REAL(f) (((struct file *)(f))->real)
#define PASS(f, method, ...) (REAL(f)->pMethods->method(REAL(f), ##__VA_ARGS__))

static int f_close(sqlite3_file *f)
{
	return PASS(f, xClose);
}

static int f_read(sqlite3_file *f, void *to, int len, sqlite3_int64 at)
{
	return dead() ? SQLITE_IOERR_READ : PASS(f, xRead, to, len, at);
}

static int f_write(sqlite3_file *f, const void *from, int len, sqlite3_int64 at)
{
	struct shadow *s = ((struct file *)f)->shadow;
	int r = s ? strike() : SQLITE_OK;

	if (s && (r == SQLITE_OK || (kind == FAULT_CUT && atomic_load(&count) == strike_at)))
		change(s, at, from, len); // what is written when the power goes may get there, or half of it
	return r == SQLITE_OK ? PASS(f, xWrite, from, len, at) : r;
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 len)
{
	struct shadow *s = ((struct file *)f)->shadow;
	int r = s ? strike() : SQLITE_OK;

	if (s && r == SQLITE_OK)
		change(s, len, NULL, -1);
	return r == SQLITE_OK ? PASS(f, xTruncate, len) : r;
}

static int f_sync(sqlite3_file *f, int flags)
{
	struct shadow *s = ((struct file *)f)->shadow;
	int r = s ? strike() : SQLITE_OK;

	if (s && r == SQLITE_OK && !lying)
		sync_now(s);
	return r == SQLITE_OK || r == SQLITE_FULL ? r : SQLITE_IOERR_FSYNC;
}

static int f_size(sqlite3_file *f, sqlite3_int64 *ret)
{
	return dead() ? SQLITE_IOERR_FSTAT : PASS(f, xFileSize, ret);
}

static int f_lock(sqlite3_file *f, int level)
{
	return PASS(f, xLock, level);
}

static int f_unlock(sqlite3_file *f, int level)
{
	return PASS(f, xUnlock, level);
}

static int f_check(sqlite3_file *f, int *ret)
{
	return PASS(f, xCheckReservedLock, ret);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
	return PASS(f, xFileControl, op, arg);
}

static int f_sector(sqlite3_file *f)
{
	return PASS(f, xSectorSize);
}

static int f_traits(sqlite3_file *f)
{
	// Nothing is promised: neither atomic writes nor that unsynced ones keep their order.
	return PASS(f, xDeviceCharacteristics) & ~(SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_ATOMIC);
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
	return dead() ? SQLITE_IOERR_SHMMAP : PASS(f, xShmMap, page, size, extend, ret);
}

static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return PASS(f, xShmLock, offset, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
	PASS(f, xShmBarrier);
}

static int f_shm_unmap(sqlite3_file *f, int delete)
{
	return PASS(f, xShmUnmap, delete);
}

static const sqlite3_io_methods methods = {
	.iVersion = 2, .xClose = f_close, .xRead = f_read, .xWrite = f_write, .xTruncate = f_truncate, .xSync = f_sync,
	.xFileSize = f_size, .xLock = f_lock, .xUnlock = f_unlock, .xCheckReservedLock = f_check,
	.xFileControl = f_control, .xSectorSize = f_sector, .xDeviceCharacteristics = f_traits, .xShmMap = f_shm_map,
	.xShmLock = f_shm_lock, .xShmBarrier = f_shm_barrier, .xShmUnmap = f_shm_unmap,
};

static int v_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *ret_flags)
{
	const int kinds = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL;
	struct file *f = (struct file *)base;
	int r;

	f->real = (sqlite3_file *)(f + 1);
	f->base.pMethods = NULL;
	if (dead())
		return SQLITE_CANTOPEN;
	f->shadow = path && (flags & kinds) ? shadow_of(path) : NULL;
	r = real_vfs->xOpen(real_vfs, path, f->real, flags, ret_flags);
	if (r == SQLITE_OK || f->real->pMethods)
		f->base.pMethods = &methods;
	return r;
}

static int v_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
	if (dead())
		return SQLITE_IOERR_DELETE;
	drop(shadow_of(path));
	return real_vfs->xDelete(real_vfs, path, sync_dir);
}

// ---- tests' side ----

void fault_vfs_install(void)
{
	static sqlite3_vfs vfs;

	real_vfs = sqlite3_vfs_find(NULL);
	vfs = *real_vfs;
	vfs.zName = "fault";
	vfs.pNext = NULL;
	vfs.szOsFile = (int)sizeof(struct file) + real_vfs->szOsFile;
	vfs.xOpen = v_open;
	vfs.xDelete = v_delete;
	sqlite3_vfs_register(&vfs, 1);
}

void fault_vfs_begin(enum fault_kind k, unsigned long at, enum fault_kept what, bool lies)
{
	kind = k;
	kept = what;
	strike_at = at;
	lying = lies;
	atomic_store(&count, 0);
	atomic_store(&struck, false);
	for (unsigned i = 0; i < FILES_MAX; i++)
		drop(&files[i]);
}

unsigned long fault_vfs_count(void)
{
	return atomic_load(&count);
}

bool fault_vfs_struck(void)
{
	return atomic_load(&struck);
}

static void restore(struct shadow *s)
{
	int fd = open(s->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	lose_power(s);
	if (fd < 0 || write(fd, s->synced ? s->synced : (unsigned char *)"", (size_t)s->synced_len) != s->synced_len)
		abort();
	close(fd);
}

void fault_vfs_repair(void)
{
	if (dead())
		for (unsigned i = 0; i < FILES_MAX; i++)
			if (files[i].path[0])
				restore(&files[i]);
	fault_vfs_begin(FAULT_NONE, 0, KEPT_NOTHING, false);
}
