// SPDX-License-Identifier: Apache-2.0
#include "agent/ledger_sql.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

int ls_ledger_sql_failed(sqlite3 *db, const char *what, struct ls_error *err)
{
	int code = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;
	int number = (code & 0xff) == SQLITE_CONSTRAINT ? EEXIST :
		     (code & 0xff) == SQLITE_FULL	 ? ENOSPC :
		     (code & 0xff) == SQLITE_READONLY	 ? EROFS :
							   EIO;
	return ls_fail(err, LS_E_LEDGER, number, "ledger: %s: %s", what, db ? sqlite3_errmsg(db) : "out of memory");
}

int ls_ledger_sql_exec(sqlite3 *db, const char *sql, const char *what, struct ls_error *err)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : ls_ledger_sql_failed(db, what, err);
}

// One row's first column as text.
int ls_ledger_sql_ask(sqlite3 *db, const char *sql, char *ret, size_t size, struct ls_error *err)
{
	sqlite3_stmt *q = NULL;
	int r = -EIO;

	if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(q, 0);
		strncpy(ret, text ? text : "", size - 1);
		ret[size - 1] = 0;
		r = 0;
	} else {
		r = ls_ledger_sql_failed(db, "cannot be read", err);
	}
	sqlite3_finalize(q);
	return r;
}

static int prepare_file(sqlite3 *db, const char *path, bool writable, struct ls_error *err)
{
	char answer[64];
	int r = ls_ledger_sql_exec(
		db, "PRAGMA busy_timeout = 2000; PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;", "open", err);

	if (r == 0 && writable)
		r = ls_ledger_sql_exec(db, "PRAGMA journal_mode = WAL;", "open", err);
	if (r == 0)
		r = ls_ledger_sql_ask(db, "PRAGMA quick_check(1)", answer, sizeof(answer), err);
	if (r == 0 && strcmp(answer, "ok") != 0)
		return ls_fail(err, LS_E_LEDGER, EUCLEAN, "ledger %s is damaged: %s", path, answer);
	return r == 0 ? ls_ledger_sql_schema(db, path, writable, err) : r;
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
	int r = ls_ledger_sql_ask(db, "SELECT id FROM identity", id, LS_LEDGER_ID_SIZE, err);

	if (r == 0)
		r = ls_ledger_sql_ask(db, "SELECT term FROM identity", number, sizeof(number), err);
	if (r == 0)
		r = ls_ledger_sql_ask(db, "SELECT coordinator FROM identity", coordinator, LS_NAME_MAX, err);
	if (r == 0)
		*term = strtoull(number, NULL, 10);
	return r;
}

// The kernel's id of this boot, or empty: then nobody can tell.
static void read_boot(char *ret, size_t size)
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (!f || !fgets(ret, (int)size, f))
		ret[0] = 0;
	ret[strcspn(ret, "\n")] = 0;
	if (f)
		fclose(f);
}

int ls_ledger_sql_boot(sqlite3 *db, bool *rebooted, struct ls_error *err)
{
	char now[64] = "", then[64];
	int r = ls_ledger_sql_ask(db, "SELECT boot FROM identity", then, sizeof(then), err);

	read_boot(now, sizeof(now));
	*rebooted = r == 0 && now[0] && then[0] && strcmp(now, then) != 0;
	return r;
}

static int finish(sqlite3 *db, sqlite3_stmt *q, const char *what, struct ls_error *err)
{
	int r = q && sqlite3_step(q) == SQLITE_DONE ? 0 : ls_ledger_sql_failed(db, what, err);

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

// With what begins, not when the ledger is opened: a life may end before it has written what the boot means to the
// migrations of the one before.
static int write_boot(sqlite3 *db, struct ls_error *err)
{
	char now[64] = "";
	sqlite3_stmt *q = NULL;

	read_boot(now, sizeof(now));
	if (sqlite3_prepare_v2(db, "UPDATE identity SET boot = ?", -1, &q, NULL) == SQLITE_OK)
		sqlite3_bind_text(q, 1, now, -1, SQLITE_STATIC);
	return finish(db, q, "boot", err);
}

static int commit(sqlite3 *db, struct ls_error *err)
{
	int r = ls_ledger_sql_exec(db, "COMMIT", "commit", err);

	if (r < 0)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

int ls_ledger_sql_term(sqlite3 *db, uint64_t term, const char *coordinator, struct ls_error *err)
{
	int r = ls_ledger_sql_exec(db, "BEGIN IMMEDIATE", "term", err);

	if (r == 0)
		r = write_term(db, term, coordinator, err);
	return r == 0 ? commit(db, err) : r;
}

int ls_ledger_sql_begin(sqlite3 *db, const struct ls_ledger_record *record, struct ls_error *err)
{
	sqlite3_stmt *q = NULL;
	int r = ls_ledger_sql_exec(db, "BEGIN IMMEDIATE", "begin", err);

	if (r == 0 && record->term)
		r = write_term(db, record->term, record->coordinator, err);
	if (r == 0)
		r = write_boot(db, err);
	if (r < 0)
		return r;
	if (sqlite3_prepare_v2(
		    db,
		    "INSERT INTO migration (id, vm, side, word, term, coordinator, created_ms, request, done)"
		    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		    -1, &q, NULL) == SQLITE_OK) {
		sqlite3_bind_text(q, 1, record->migration, -1, SQLITE_STATIC);
		sqlite3_bind_text(q, 2, record->vm, -1, SQLITE_STATIC);
		sqlite3_bind_int(q, 3, record->side);
		sqlite3_bind_text(q, 4, ls_word_name(record->word), -1, SQLITE_STATIC);
		sqlite3_bind_int64(q, 5, (sqlite3_int64)record->term);
		sqlite3_bind_text(q, 6, record->coordinator, -1, SQLITE_STATIC);
		sqlite3_bind_int64(q, 7, (sqlite3_int64)record->created_ms);
		sqlite3_bind_blob64(q, 8, record->request, record->request_len, SQLITE_STATIC);
		sqlite3_bind_int(q, 9, record->done);
	}
	r = finish(db, q, "begin", err);
	return r == 0 ? commit(db, err) : r;
}

int ls_ledger_sql_persist(sqlite3 *db, const char *migration, enum ls_word word, struct ls_error *err)
{
	sqlite3_stmt *q = NULL;
	int r = ls_ledger_sql_exec(db, "BEGIN IMMEDIATE", ls_word_name(word), err);

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

// One statement on one record, with a text for its second parameter.
static int mark(sqlite3 *db, const char *sql, const char *migration, const char *text, const char *what,
		struct ls_error *err)
{
	sqlite3_stmt *q = NULL;
	int r = ls_ledger_sql_exec(db, "BEGIN IMMEDIATE", what, err);

	if (r < 0)
		return r;
	if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK) {
		sqlite3_bind_text(q, 1, migration, -1, SQLITE_STATIC);
		if (text)
			sqlite3_bind_text(q, 2, text, -1, SQLITE_STATIC);
	}
	r = finish(db, q, what, err);
	return r == 0 ? commit(db, err) : r;
}

// An operator who closes a conflict has seen it.
int ls_ledger_sql_close(sqlite3 *db, const char *migration, struct ls_error *err)
{
	return mark(db, "UPDATE migration SET done = 1, conflict = 2 * (conflict <> 0) WHERE id = ?", migration, NULL,
		    "close", err);
}

int ls_ledger_sql_conflict(sqlite3 *db, const char *migration, struct ls_error *err)
{
	return mark(db, "UPDATE migration SET conflict = 1 WHERE id = ? AND conflict = 0", migration, NULL, "conflict",
		    err);
}

int ls_ledger_sql_heard(sqlite3 *db, const char *migration, struct ls_error *err)
{
	return mark(db, "UPDATE migration SET heard = 1 WHERE id = ?", migration, NULL, "heard", err);
}

int ls_ledger_sql_note(sqlite3 *db, const char *migration, const char *cause, struct ls_error *err)
{
	return mark(db, "UPDATE migration SET cause = ?2 WHERE id = ?1", migration, cause, "note", err);
}

// A destination's (side 2) word may still be asked for until its source was heard to be through.
#define OLD "done = 1 AND conflict <> 1 AND (side <> 2 OR heard OR request IS NULL) AND rowid NOT IN" \
	    " (SELECT rowid FROM migration WHERE done = 1 ORDER BY rowid DESC LIMIT %u)"
#define FORGETTABLE "word IN ('ABORTED', 'RETURNED', 'RELEASED') AND term < (SELECT term FROM identity)"

int ls_ledger_sql_prune(sqlite3 *db, unsigned keep, struct ls_error *err)
{
	static const char *const steps[] = {
		"BEGIN IMMEDIATE",
		"UPDATE migration SET request = NULL WHERE request IS NOT NULL AND " OLD,
		"DELETE FROM word WHERE migration IN (SELECT id FROM migration WHERE " FORGETTABLE " AND " OLD ")",
		"DELETE FROM claim WHERE migration IN (SELECT id FROM migration WHERE " FORGETTABLE " AND " OLD ")",
		"DELETE FROM migration WHERE " FORGETTABLE " AND " OLD,
	};
	char sql[500];
	int r = 0;

	for (unsigned i = 0; r == 0 && i < sizeof(steps) / sizeof(steps[0]); i++) {
		sqlite3_snprintf(sizeof(sql), sql, steps[i], keep);
		r = ls_ledger_sql_exec(db, sql, "prune", err);
	}
	if (r == 0)
		return commit(db, err);
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

int ls_ledger_sql_claim(sqlite3 *db, const struct ls_ledger_claim *claim, struct ls_error *err)
{
	sqlite3_stmt *q = NULL;
	int r = ls_ledger_sql_exec(db, "BEGIN IMMEDIATE", "claim", err);

	if (r < 0)
		return r;
	if (sqlite3_prepare_v2(db, "INSERT INTO claim VALUES (?, ?, ?, ?, ?, ?)", -1, &q, NULL) == SQLITE_OK) {
		sqlite3_bind_text(q, 1, claim->migration, -1, SQLITE_STATIC);
		sqlite3_bind_text(q, 2, claim->host, -1, SQLITE_STATIC);
		sqlite3_bind_int(q, 3, (int)claim->method);
		sqlite3_bind_text(q, 4, claim->evidence, -1, SQLITE_STATIC);
		sqlite3_bind_text(q, 5, claim->actor, -1, SQLITE_STATIC);
		sqlite3_bind_int64(q, 6, (sqlite3_int64)claim->time_ms);
	}
	r = finish(db, q, "claim", err);
	return r == 0 ? commit(db, err) : r;
}
