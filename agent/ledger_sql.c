// SPDX-License-Identifier: Apache-2.0
#include "agent/ledger_sql.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define SCHEMA 1

static const char schema[] =
	"CREATE TABLE identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL,"
	"  term INTEGER NOT NULL DEFAULT 0, coordinator TEXT NOT NULL DEFAULT '');"
	"INSERT INTO identity (one, id) VALUES (1, lower(hex(randomblob(16))));"
	"CREATE TABLE migration (id TEXT PRIMARY KEY, vm TEXT NOT NULL, side INTEGER NOT NULL, word TEXT NOT NULL,"
	"  term INTEGER NOT NULL, coordinator TEXT NOT NULL, created_ms INTEGER NOT NULL, request BLOB) STRICT;"
	"CREATE UNIQUE INDEX one_open_per_vm ON migration (vm)"
	"  WHERE word IN ('ACTIVE', 'CONSENTED', 'RETURNING', 'UNDECIDED', 'COMMITTED');"
	"CREATE TABLE word (migration TEXT NOT NULL REFERENCES migration (id), word TEXT NOT NULL,"
	"  time_ms INTEGER NOT NULL, PRIMARY KEY (migration, word)) STRICT;"
	"CREATE TRIGGER words_stand BEFORE UPDATE OF word ON migration WHEN NOT ("
	"  (OLD.word = 'ACTIVE' AND NEW.word IN ('CONSENTED', 'RETURNING')) OR"
	"  (OLD.word = 'CONSENTED' AND NEW.word IN ('RELEASED', 'RETURNING')) OR"
	"  (OLD.word = 'RETURNING' AND NEW.word = 'RETURNED') OR"
	"  (OLD.word = 'UNDECIDED' AND NEW.word IN ('COMMITTED', 'ABORTED')) OR"
	"  (OLD.word = 'COMMITTED' AND NEW.word = 'STARTED'))"
	"  BEGIN SELECT RAISE(ABORT, 'a word is never taken back'); END;"
	"CREATE TRIGGER words_begin BEFORE INSERT ON migration WHEN"
	"  NEW.word NOT IN ('ACTIVE', 'UNDECIDED', 'ABORTED')"
	"  BEGIN SELECT RAISE(ABORT, 'a migration does not begin like this'); END;"
	"CREATE TRIGGER words_first AFTER INSERT ON migration BEGIN"
	"  INSERT INTO word VALUES (NEW.id, NEW.word, NEW.created_ms); END;"
	"CREATE TRIGGER kept BEFORE DELETE ON migration WHEN"
	"  OLD.word IN ('ACTIVE', 'CONSENTED', 'RETURNING', 'UNDECIDED', 'COMMITTED')"
	"  BEGIN SELECT RAISE(ABORT, 'an open migration is never forgotten'); END;"
	"PRAGMA user_version = 1;";

static int failed(sqlite3 *db, const char *what, struct ls_error *err)
{
	int code = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;
	int number = (code & 0xff) == SQLITE_CONSTRAINT ? EEXIST :
		     (code & 0xff) == SQLITE_FULL	 ? ENOSPC :
		     (code & 0xff) == SQLITE_READONLY	 ? EROFS :
							   EIO;
	return ls_fail(err, LS_E_LEDGER, number, "ledger: %s: %s", what, db ? sqlite3_errmsg(db) : "out of memory");
}

static int exec(sqlite3 *db, const char *sql, const char *what, struct ls_error *err)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(db, what, err);
}

// One row's first column as text.
static int ask(sqlite3 *db, const char *sql, char *ret, size_t size, struct ls_error *err)
{
	sqlite3_stmt *q = NULL;
	int r = -EIO;

	if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(q, 0);
		strncpy(ret, text ? text : "", size - 1);
		ret[size - 1] = 0;
		r = 0;
	} else {
		r = failed(db, "cannot be read", err);
	}
	sqlite3_finalize(q);
	return r;
}

static int prepare_file(sqlite3 *db, const char *path, bool writable, struct ls_error *err)
{
	char answer[64];
	int r = exec(db, "PRAGMA busy_timeout = 2000; PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;", "open", err);

	if (r == 0 && writable)
		r = exec(db, "PRAGMA journal_mode = WAL;", "open", err);
	if (r == 0)
		r = ask(db, "PRAGMA quick_check(1)", answer, sizeof(answer), err);
	if (r == 0 && strcmp(answer, "ok") != 0)
		return ls_fail(err, LS_E_LEDGER, EUCLEAN, "ledger %s is damaged: %s", path, answer);
	if (r == 0)
		r = ask(db, "PRAGMA user_version", answer, sizeof(answer), err);
	if (r == 0 && strcmp(answer, "0") == 0 && writable) {
		r = exec(db, "BEGIN IMMEDIATE", "create", err);
		if (r == 0)
			r = exec(db, schema, "create", err);
		if (r == 0)
			r = exec(db, "COMMIT", "create", err);
		return r;
	}
	if (r == 0 && atoi(answer) != SCHEMA)
		return ls_fail(err, LS_E_LEDGER, EPROTONOSUPPORT, "ledger %s has schema %s, this agent knows %d", path,
			       answer, SCHEMA);
	return r;
}

int ls_ledger_sql_open(const char *path, bool writable, sqlite3 **ret, struct ls_error *err)
{
	int flags = writable ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
	sqlite3 *db = NULL;
	int r;

	if (sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_FULLMUTEX, NULL) != SQLITE_OK)
		r = ls_fail(err, LS_E_LEDGER, EIO, "ledger %s: %s", path, db ? sqlite3_errmsg(db) : "out of memory");
	else
		r = prepare_file(db, path, writable, err);
	if (r < 0) {
		sqlite3_close_v2(db);
		return r;
	}
	*ret = db;
	return 0;
}

int ls_ledger_sql_identity(sqlite3 *db, char id[LS_LEDGER_ID_SIZE], uint64_t *term, char coordinator[LS_NAME_MAX],
			   struct ls_error *err)
{
	char number[32];
	int r = ask(db, "SELECT id FROM identity", id, LS_LEDGER_ID_SIZE, err);

	if (r == 0)
		r = ask(db, "SELECT term FROM identity", number, sizeof(number), err);
	if (r == 0)
		r = ask(db, "SELECT coordinator FROM identity", coordinator, LS_NAME_MAX, err);
	if (r == 0)
		*term = strtoull(number, NULL, 10);
	return r;
}

static int finish(sqlite3 *db, sqlite3_stmt *q, const char *what, struct ls_error *err)
{
	int r = q && sqlite3_step(q) == SQLITE_DONE ? 0 : failed(db, what, err);

	sqlite3_finalize(q);
	if (r < 0)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

static int write_term(sqlite3 *db, uint64_t term, const char *coordinator, struct ls_error *err)
{
	sqlite3_stmt *q = NULL;

	if (sqlite3_prepare_v2(db, "UPDATE identity SET term = ?1, coordinator = ?2 WHERE term <= ?1", -1, &q, NULL) ==
	    SQLITE_OK) {
		sqlite3_bind_int64(q, 1, (sqlite3_int64)term);
		sqlite3_bind_text(q, 2, coordinator, -1, SQLITE_STATIC);
	}
	return finish(db, q, "term", err);
}

static int commit(sqlite3 *db, struct ls_error *err)
{
	int r = exec(db, "COMMIT", "commit", err);

	if (r < 0)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

int ls_ledger_sql_term(sqlite3 *db, uint64_t term, const char *coordinator, struct ls_error *err)
{
	int r = exec(db, "BEGIN IMMEDIATE", "term", err);

	if (r == 0)
		r = write_term(db, term, coordinator, err);
	return r == 0 ? commit(db, err) : r;
}

int ls_ledger_sql_begin(sqlite3 *db, const struct ls_ledger_record *record, struct ls_error *err)
{
	sqlite3_stmt *q = NULL;
	int r = exec(db, "BEGIN IMMEDIATE", "begin", err);

	if (r == 0 && record->term)
		r = write_term(db, record->term, record->coordinator, err);
	if (r < 0)
		return r;
	if (sqlite3_prepare_v2(db, "INSERT INTO migration VALUES (?, ?, ?, ?, ?, ?, ?, ?)", -1, &q, NULL) == SQLITE_OK) {
		sqlite3_bind_text(q, 1, record->migration, -1, SQLITE_STATIC);
		sqlite3_bind_text(q, 2, record->vm, -1, SQLITE_STATIC);
		sqlite3_bind_int(q, 3, record->side);
		sqlite3_bind_text(q, 4, ls_word_name(record->word), -1, SQLITE_STATIC);
		sqlite3_bind_int64(q, 5, (sqlite3_int64)record->term);
		sqlite3_bind_text(q, 6, record->coordinator, -1, SQLITE_STATIC);
		sqlite3_bind_int64(q, 7, (sqlite3_int64)record->created_ms);
		sqlite3_bind_blob64(q, 8, record->request, record->request_len, SQLITE_STATIC);
	}
	r = finish(db, q, "begin", err);
	return r == 0 ? commit(db, err) : r;
}

int ls_ledger_sql_persist(sqlite3 *db, const char *migration, enum ls_word word, struct ls_error *err)
{
	sqlite3_stmt *q = NULL;
	int r = exec(db, "BEGIN IMMEDIATE", ls_word_name(word), err);

	if (r < 0)
		return r;
	if (sqlite3_prepare_v2(db, "UPDATE migration SET word = ?2 WHERE id = ?1", -1, &q, NULL) == SQLITE_OK) {
		sqlite3_bind_text(q, 1, migration, -1, SQLITE_STATIC);
		sqlite3_bind_text(q, 2, ls_word_name(word), -1, SQLITE_STATIC);
	}
	r = finish(db, q, ls_word_name(word), err);
	if (r < 0)
		return r;
	if (sqlite3_changes(db) != 1) {
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
		return ls_fail(err, LS_E_LEDGER, ENOENT, "ledger: no migration %s", migration);
	}
	q = NULL;
	if (sqlite3_prepare_v2(db, "INSERT INTO word VALUES (?, ?, ?)", -1, &q, NULL) == SQLITE_OK) {
		sqlite3_bind_text(q, 1, migration, -1, SQLITE_STATIC);
		sqlite3_bind_text(q, 2, ls_word_name(word), -1, SQLITE_STATIC);
		sqlite3_bind_int64(q, 3, (sqlite3_int64)ls_unix_ms());
	}
	r = finish(db, q, ls_word_name(word), err);
	return r == 0 ? commit(db, err) : r;
}

static void copy_text(char *to, size_t size, sqlite3_stmt *q, int column)
{
	const char *text = (const char *)sqlite3_column_text(q, column);

	strncpy(to, text ? text : "", size - 1);
	to[size - 1] = 0;
}

int ls_ledger_sql_each(sqlite3 *db, ls_ledger_each_fn *each, void *user, struct ls_error *err)
{
	sqlite3_stmt *q = NULL;
	int step, r = 0;

	if (sqlite3_prepare_v2(db, "SELECT id, vm, side, word, term, coordinator, created_ms, request FROM migration"
				   " ORDER BY created_ms, id", -1, &q, NULL) != SQLITE_OK)
		return failed(db, "cannot be read", err);
	while ((step = sqlite3_step(q)) == SQLITE_ROW) {
		struct ls_ledger_record record = {
			.side = (enum ls_side)sqlite3_column_int(q, 2),
			.word = ls_word_parse((const char *)sqlite3_column_text(q, 3)),
			.term = (uint64_t)sqlite3_column_int64(q, 4),
			.created_ms = (uint64_t)sqlite3_column_int64(q, 6),
			.request = sqlite3_column_blob(q, 7),
			.request_len = (size_t)sqlite3_column_bytes(q, 7),
		};
		copy_text(record.migration, sizeof(record.migration), q, 0);
		copy_text(record.vm, sizeof(record.vm), q, 1);
		copy_text(record.coordinator, sizeof(record.coordinator), q, 5);
		if (record.word == LS_WORD_NONE) {
			r = ls_fail(err, LS_E_LEDGER, EUCLEAN, "ledger: migration %s has an unknown word",
				    record.migration);
			break;
		}
		each(user, &record);
	}
	if (r == 0 && step != SQLITE_DONE)
		r = failed(db, "cannot be read", err);
	sqlite3_finalize(q);
	return r;
}
