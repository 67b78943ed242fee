// SPDX-License-Identifier: Apache-2.0
// What the ledger holds, record by record.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/ledger_sql.h"

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

	if (sqlite3_prepare_v2(db,
			       "SELECT id, vm, side, word, term, coordinator, created_ms, request, done,"
			       " conflict, cause, heard FROM migration ORDER BY created_ms, id",
			       -1, &q, NULL) != SQLITE_OK)
		return ls_ledger_sql_failed(db, "cannot be read", err);
	while ((step = sqlite3_step(q)) == SQLITE_ROW) {
		struct ls_ledger_record record = {
			.side = (enum ls_side)sqlite3_column_int(q, 2),
			.word = ls_word_parse((const char *)sqlite3_column_text(q, 3)),
			.term = (uint64_t)sqlite3_column_int64(q, 4),
			.created_ms = (uint64_t)sqlite3_column_int64(q, 6),
			.request = sqlite3_column_blob(q, 7),
			.request_len = (size_t)sqlite3_column_bytes(q, 7),
			.done = sqlite3_column_int(q, 8),
			.conflict = sqlite3_column_int(q, 9) == 1,
			.cause = (const char *)sqlite3_column_text(q, 10),
			.heard = sqlite3_column_int(q, 11),
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
		r = ls_ledger_sql_failed(db, "cannot be read", err);
	sqlite3_finalize(q);
	return r;
}

int ls_ledger_sql_each_claim(sqlite3 *db, ls_ledger_each_claim_fn *each, void *user, struct ls_error *err)
{
	sqlite3_stmt *q = NULL;
	int step;

	if (sqlite3_prepare_v2(db, "SELECT migration, host, method, evidence, actor, time_ms FROM claim ORDER BY rowid",
			       -1, &q, NULL) != SQLITE_OK)
		return ls_ledger_sql_failed(db, "cannot be read", err);
	while ((step = sqlite3_step(q)) == SQLITE_ROW) {
		struct ls_ledger_claim claim = { .method = (unsigned)sqlite3_column_int(q, 2),
						 .time_ms = (uint64_t)sqlite3_column_int64(q, 5) };
		copy_text(claim.migration, sizeof(claim.migration), q, 0);
		copy_text(claim.host, sizeof(claim.host), q, 1);
		copy_text(claim.evidence, sizeof(claim.evidence), q, 3);
		copy_text(claim.actor, sizeof(claim.actor), q, 4);
		each(user, &claim);
	}
	int r = step == SQLITE_DONE ? 0 : ls_ledger_sql_failed(db, "cannot be read", err);
	sqlite3_finalize(q);
	return r;
}

static int each_word(sqlite3 *db, const struct ls_ledger_reader *reader, struct ls_error *err)
{
	char migration[LS_NAME_MAX];
	sqlite3_stmt *q = NULL;
	int step;

	if (sqlite3_prepare_v2(db, "SELECT migration, word, time_ms FROM word ORDER BY rowid", -1, &q, NULL) !=
	    SQLITE_OK)
		return ls_ledger_sql_failed(db, "cannot be read", err);
	while ((step = sqlite3_step(q)) == SQLITE_ROW) {
		copy_text(migration, sizeof(migration), q, 0);
		reader->word(reader->user, migration, ls_word_parse((const char *)sqlite3_column_text(q, 1)),
			     (uint64_t)sqlite3_column_int64(q, 2));
	}
	int r = step == SQLITE_DONE ? 0 : ls_ledger_sql_failed(db, "cannot be read", err);
	sqlite3_finalize(q);
	return r;
}

int ls_ledger_read(const char *path, struct ls_ledger_identity *identity, const struct ls_ledger_reader *reader,
		   struct ls_error *err)
{
	sqlite3 *db;
	int r = ls_ledger_sql_open(path, false, &db, err);

	if (r < 0)
		return r;
	r = ls_ledger_sql_exec(db, "BEGIN", "cannot be read", err); // all of it as of one moment
	if (r == 0)
		r = ls_ledger_sql_identity(db, identity->id, &identity->term, identity->coordinator, err);
	if (r == 0)
		r = ls_ledger_sql_each(db, reader->record, reader->user, err);
	if (r == 0)
		r = each_word(db, reader, err);
	if (r == 0)
		r = ls_ledger_sql_each_claim(db, reader->claim, reader->user, err);
	sqlite3_close_v2(db);
	return r;
}

bool ls_ledger_in_use(const char *path)
{
	char name[4096];
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	bool used;
	int fd;

	if ((size_t)snprintf(name, sizeof(name), "%s.lock", path) >= sizeof(name))
		return false;
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	used = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	close(fd);
	return used;
}
