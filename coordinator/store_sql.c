// SPDX-License-Identifier: Apache-2.0
#include "coordinator/store_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char *const schema =
	"BEGIN IMMEDIATE;"
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE migration(n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, vm TEXT NOT NULL,"
	" created_ms INTEGER NOT NULL, open INTEGER NOT NULL, summary BLOB);"
	"CREATE INDEX migration_open ON migration(open, n);"
	"CREATE INDEX migration_vm ON migration(vm, n);"
	"CREATE TABLE record(migration TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL,"
	" PRIMARY KEY(migration, seq)) WITHOUT ROWID;"
	"PRAGMA user_version = 1;"
	"COMMIT;";

static int fail(sqlite3 *db, struct ls_error *err, const char *what)
{
	int code = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;

	ls_fail(err, LS_E_LEDGER, (code & 0xff) == SQLITE_FULL ? ENOSPC : EIO, "store: %s: %s", what,
		db ? sqlite3_errmsg(db) : "out of memory");
	return (code & 0xff) == SQLITE_FULL ? -ENOSPC : -EIO;
}

int ls_sql_exec(sqlite3 *db, const char *sql, struct ls_error *err)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(db, err, "statement failed");
}

static int get_number(sqlite3 *db, const char *sql, uint64_t *ret, struct ls_error *err)
{
	sqlite3_stmt *st;
	int rc;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		return fail(db, err, "cannot read");
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : fail(db, err, "cannot read");
}

static int check_schema(sqlite3 *db, const char *path, struct ls_error *err)
{
	uint64_t version = 0, tables = 0;
	int r = get_number(db, "PRAGMA user_version", &version, err);

	if (r == 0)
		r = get_number(db, "SELECT count(*) FROM sqlite_master", &tables, err);
	if (r < 0)
		return r;
	if (version == LS_STORE_SCHEMA)
		return 0;
	if (version > LS_STORE_SCHEMA)
		return ls_fail(err, LS_E_LEDGER, EPROTO,
			       "store %s has schema %llu, this release knows %d: update lockstepd", path,
			       (unsigned long long)version, LS_STORE_SCHEMA);
	if (tables)
		return ls_fail(err, LS_E_LEDGER, EINVAL, "%s is a database, but not a lockstep store", path);
	return ls_sql_exec(db, schema, err);
}

static int damaged(const char *path, const char *how, struct ls_error *err)
{
	return ls_fail(
		err, LS_E_LEDGER, EIO,
		"store %s is damaged (%.60s): put a backup in its place, or move it away: the agents tell what is open",
		path, how);
}

int ls_sql_check(sqlite3 *db, const char *path, struct ls_error *err)
{
	sqlite3_stmt *st;
	char text[160] = "";
	int rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &st, NULL);

	if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW)
		snprintf(text, sizeof(text), "%s", (const char *)sqlite3_column_text(st, 0));
	else
		snprintf(text, sizeof(text), "%s", sqlite3_errmsg(db));
	sqlite3_finalize(st);
	if (strcmp(text, "ok") == 0)
		return 0;
	text[strcspn(text, "\n")] = 0;
	return damaged(path, text, err);
}

// One coordinator, one store: a second one started by mistake is told so.
static int lock(const char *path, int *ret, struct ls_error *err)
{
	char name[4200];
	int fd;

	snprintf(name, sizeof(name), "%s.lock", path);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return ls_fail(err, LS_E_LEDGER, errno, "store: cannot open %s", name);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return ls_fail(err, LS_E_LEDGER, EBUSY, "store %s is in use by another lockstepd", path);
	}
	*ret = fd;
	return 0;
}

int ls_sql_open(const char *path, sqlite3 **ret, int *ret_lock, struct ls_error *err)
{
	sqlite3 *db = NULL;
	int fd = -1, r = lock(path, &fd, err);

	if (r < 0)
		return r;
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) !=
	    SQLITE_OK) {
		r = ls_fail(err, LS_E_LEDGER, EIO, "store %s: %s", path, db ? sqlite3_errmsg(db) : "out of memory");
		goto fail;
	}
	sqlite3_busy_timeout(db, 2000);
	r = ls_sql_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", err);
	if (r < 0 && (sqlite3_errcode(db) & 0xff) == SQLITE_CORRUPT)
		r = damaged(path, sqlite3_errmsg(db), err);
	if (r == 0)
		r = ls_sql_check(db, path, err);
	if (r == 0)
		r = check_schema(db, path, err);
	if (r == 0)
		r = ls_sql_exec(db, "BEGIN IMMEDIATE; COMMIT;", err);
	if (r == 0) {
		*ret = db;
		*ret_lock = fd;
		return 0;
	}
fail:
	sqlite3_close(db);
	close(fd);
	return r;
}

static int run(sqlite3 *db, sqlite3_stmt *st, struct ls_error *err)
{
	int rc = sqlite3_step(st);

	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : fail(db, err, "cannot write");
}

static int prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret, struct ls_error *err)
{
	return sqlite3_prepare_v2(db, sql, -1, ret, NULL) == SQLITE_OK ? 0 : fail(db, err, "cannot prepare");
}

int ls_sql_append(sqlite3 *db, const struct ls_store_append *a, struct ls_error *err)
{
	sqlite3_stmt *st;
	int r;

	if (a->vm) {
		r = prepare(db, "INSERT INTO migration(id, vm, created_ms, open) VALUES(?1, ?2, ?3, 1)", &st, err);
		if (r < 0)
			return r;
		sqlite3_bind_text(st, 1, a->id, -1, SQLITE_STATIC);
		sqlite3_bind_text(st, 2, a->vm, -1, SQLITE_STATIC);
		sqlite3_bind_int64(st, 3, (sqlite3_int64)a->created_ms);
		r = run(db, st, err);
		if (r < 0)
			return r;
	}
	r = prepare(db,
		    "INSERT INTO record(migration, seq, body) VALUES(?1,"
		    " (SELECT ifnull(max(seq), 0) + 1 FROM record WHERE migration = ?1), ?2)",
		    &st, err);
	if (r < 0)
		return r;
	sqlite3_bind_text(st, 1, a->id, -1, SQLITE_STATIC);
	sqlite3_bind_blob64(st, 2, a->bytes, a->len, SQLITE_STATIC);
	r = run(db, st, err);
	if (r < 0 || !a->summary)
		return r;
	r = prepare(db, "UPDATE migration SET open = ?2, summary = ?3 WHERE id = ?1", &st, err);
	if (r < 0)
		return r;
	sqlite3_bind_text(st, 1, a->id, -1, SQLITE_STATIC);
	sqlite3_bind_int(st, 2, !a->close);
	sqlite3_bind_blob64(st, 3, a->summary, a->summary_len, SQLITE_STATIC);
	return run(db, st, err);
}

int ls_sql_each(sqlite3 *db, bool open, unsigned limit, ls_store_record_fn *fn, void *user, struct ls_error *err)
{
	sqlite3_stmt *st;
	char id[80] = "";
	int rc, r = prepare(db,
			    "SELECT m.id, r.body FROM (SELECT id, n FROM migration WHERE open = ?1 ORDER BY n DESC "
			    "LIMIT ?2) m"
			    " JOIN record r ON r.migration = m.id ORDER BY m.n, r.seq",
			    &st, err);

	if (r < 0)
		return r;
	sqlite3_bind_int(st, 1, open);
	sqlite3_bind_int64(st, 2, limit ? (sqlite3_int64)limit : -1);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && r == 0) {
		const char *this_id = (const char *)sqlite3_column_text(st, 0);
		struct ls_blob b = {.bytes = (uint8_t *)(uintptr_t)sqlite3_column_blob(st, 1),
				    .len = (size_t)sqlite3_column_bytes(st, 1)};

		if (id[0] && strcmp(id, this_id) != 0)
			r = fn(user, id, NULL, true);
		snprintf(id, sizeof(id), "%s", this_id);
		if (r == 0)
			r = fn(user, id, &b, false);
	}
	if (r == 0 && id[0])
		r = fn(user, id, NULL, true);
	sqlite3_finalize(st);
	return r != 0 ? r : rc == SQLITE_DONE ? 0 : fail(db, err, "cannot read");
}

void ls_blobs_free(struct ls_blob *blobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(blobs[i].bytes);
	free(blobs);
}

static int collect(sqlite3 *db, sqlite3_stmt *st, struct ls_blob **ret, size_t *n, struct ls_error *err)
{
	struct ls_blob *all = NULL;
	size_t count = 0;
	int rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		size_t len = (size_t)sqlite3_column_bytes(st, 0);
		struct ls_blob *more = realloc(all, (count + 1) * sizeof(*more));

		if (!more)
			break;
		all = more;
		all[count].bytes = malloc(len ? len : 1);
		if (!all[count].bytes)
			break;
		if (len)
			memcpy(all[count].bytes, sqlite3_column_blob(st, 0), len);
		all[count++].len = len;
	}
	sqlite3_finalize(st);
	if (rc != SQLITE_DONE) {
		ls_blobs_free(all, count);
		return fail(db, err, "cannot read");
	}
	*ret = all;
	*n = count;
	return 0;
}

int ls_sql_get(sqlite3 *db, const char *id, struct ls_blob **ret, size_t *n, struct ls_error *err)
{
	sqlite3_stmt *st;
	int r = prepare(db, "SELECT body FROM record WHERE migration = ?1 ORDER BY seq", &st, err);

	if (r < 0)
		return r;
	sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
	return collect(db, st, ret, n, err);
}

int ls_sql_list(sqlite3 *db, const char *vm, unsigned limit, struct ls_blob **ret, size_t *n, struct ls_error *err)
{
	sqlite3_stmt *st;
	int r = prepare(db,
			"SELECT summary FROM migration WHERE open = 0 AND summary NOT NULL AND (?1 = '' OR vm = ?1)"
			" ORDER BY n DESC LIMIT ?2",
			&st, err);

	if (r < 0)
		return r;
	sqlite3_bind_text(st, 1, vm ? vm : "", -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, limit);
	return collect(db, st, ret, n, err);
}

int ls_sql_term(sqlite3 *db, uint64_t *ret, struct ls_error *err)
{
	*ret = 0;
	return get_number(db, "SELECT value FROM meta WHERE key = 'term'", ret, err);
}

int ls_sql_set_term(sqlite3 *db, uint64_t number, struct ls_error *err)
{
	sqlite3_stmt *st;
	int r = prepare(db, "INSERT OR REPLACE INTO meta(key, value) VALUES('term', ?1)", &st, err);

	if (r < 0)
		return r;
	sqlite3_bind_int64(st, 1, (sqlite3_int64)number);
	return run(db, st, err);
}
