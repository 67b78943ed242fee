// SPDX-License-Identifier: Apache-2.0
// A copy of the store as of one moment, by SQLite's online backup: a coordinator may use the store meanwhile.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/store_sql.h"

#define PATH_MOST 4096

static int fail(struct ls_error *err, const char *path, sqlite3 *db)
{
	return ls_fail(err, LS_E_LEDGER, EIO, "%.150s: %.80s", path, db ? sqlite3_errmsg(db) : "out of memory");
}

static int copy(sqlite3 *from, sqlite3 *to, const char *path, struct ls_error *err)
{
	sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
	int rc;

	if (!b)
		return fail(err, path, to);
	// All at once: one read transaction, so one moment.
	do
		rc = sqlite3_backup_step(b, -1);
	while (rc == SQLITE_OK);
	if (sqlite3_backup_finish(b) != SQLITE_OK || rc != SQLITE_DONE)
		return fail(err, path, to);
	return ls_sql_check(to, path, err);
}

static int sync_path(const char *path, int flags)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | flags), r;

	if (fd < 0)
		return -errno;
	r = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static int put_in_place(const char *part, const char *to, struct ls_error *err)
{
	char dir[PATH_MOST + 8];
	char *slash;
	int r = sync_path(part, 0);

	// Not rename(): it would replace a file that came meanwhile.
	if (r == 0 && (link(part, to) < 0 || unlink(part) < 0))
		r = -errno;
	snprintf(dir, sizeof(dir), "%s", to);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	if (r == 0)
		r = sync_path(slash ? dir : ".", O_DIRECTORY);
	return r < 0 ? ls_fail(err, LS_E_LEDGER, -r, "%.200s: cannot be put in place", to) : 0;
}

static int open_source(const char *path, sqlite3 **ret, struct ls_error *err)
{
	sqlite3_stmt *st = NULL;
	bool ours;

	if (sqlite3_open_v2(path, ret, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
		return fail(err, path, *ret);
	sqlite3_busy_timeout(*ret, 10000);
	if (sqlite3_prepare_v2(*ret, "SELECT count(*) FROM migration, meta", -1, &st, NULL) != SQLITE_OK)
		return fail(err, path, *ret);
	ours = sqlite3_step(st) == SQLITE_ROW;
	sqlite3_finalize(st);
	return ours ? 0 : fail(err, path, *ret);
}

int ls_store_backup(const char *from, const char *to, struct ls_error *err)
{
	char part[PATH_MOST + 16];
	sqlite3 *source = NULL, *target = NULL;
	int fd = -1, r;

	if (strlen(to) > PATH_MOST)
		return ls_fail(err, LS_E_INVALID, ENAMETOOLONG, "the backup's name is too long");
	if (access(to, F_OK) == 0)
		return ls_fail(err, LS_E_ALREADY_EXISTS, EEXIST, "%.200s is there already", to);
	snprintf(part, sizeof(part), "%s.part", to);
	r = open_source(from, &source, err);
	if (r < 0)
		goto out;
	unlink(part); // of a backup that was killed
	fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		r = ls_fail(err, LS_E_LEDGER, errno, "%.200s: cannot be made", part);
		goto out;
	}
	close(fd);
	r = sqlite3_open_v2(part, &target, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK ? 0 : fail(err, part, target);
	if (r == 0)
		r = copy(source, target, part, err);
out:
	sqlite3_close(source);
	if (sqlite3_close(target) != SQLITE_OK && r == 0)
		r = ls_fail(err, LS_E_LEDGER, EIO, "%.200s: cannot be closed", part);
	if (r == 0)
		r = put_in_place(part, to, err);
	if (r < 0 && fd >= 0)
		unlink(part);
	return r;
}
