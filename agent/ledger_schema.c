// SPDX-License-Identifier: Apache-2.0
// The ledger's tables. The database itself refuses to take a word back, to forget what is open, and a second
// open migration of a VM.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ledger_sql.h"
#include "common/control.h"

#define SCHEMA 3

#define OPEN "('ACTIVE', 'CONSENTED', 'RETURNING', 'UNDECIDED', 'COMMITTED', 'LOST_AFTER_COMMIT')"

static const char tables[] =
	"CREATE TABLE identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL,"
	"  term INTEGER NOT NULL DEFAULT 0, coordinator TEXT NOT NULL DEFAULT '', boot TEXT NOT NULL DEFAULT '');"
	"INSERT INTO identity (one, id) VALUES (1, lower(hex(randomblob(16))));"
	"CREATE TABLE migration (id TEXT PRIMARY KEY, vm TEXT NOT NULL, side INTEGER NOT NULL, word TEXT NOT NULL,"
	"  term INTEGER NOT NULL, coordinator TEXT NOT NULL, created_ms INTEGER NOT NULL, request BLOB,"
	"  done INTEGER NOT NULL DEFAULT 0) STRICT;"
	"CREATE TABLE word (migration TEXT NOT NULL REFERENCES migration (id), word TEXT NOT NULL,"
	"  time_ms INTEGER NOT NULL, PRIMARY KEY (migration, word)) STRICT;";

// Schema 1 knew neither what is done nor claims.
static const char from_1[] =
	"DROP INDEX one_open_per_vm; DROP TRIGGER words_stand; DROP TRIGGER words_begin; DROP TRIGGER words_first;"
	"DROP TRIGGER kept;"
	"ALTER TABLE identity ADD COLUMN boot TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE migration ADD COLUMN done INTEGER NOT NULL DEFAULT 0;"
	"UPDATE migration SET done = 1 WHERE word NOT IN " OPEN ";";

static const char rules[] =
	"CREATE TABLE claim (migration TEXT NOT NULL REFERENCES migration (id), host TEXT NOT NULL,"
	"  method INTEGER NOT NULL, evidence TEXT NOT NULL, actor TEXT NOT NULL, time_ms INTEGER NOT NULL) STRICT;"
	"CREATE UNIQUE INDEX one_open_per_vm ON migration (vm) WHERE done = 0 AND word IN " OPEN ";"
	"CREATE TRIGGER words_stand BEFORE UPDATE OF word ON migration WHEN OLD.done OR NOT ("
	"  (OLD.word = 'ACTIVE' AND NEW.word IN ('CONSENTED', 'RETURNING')) OR"
	"  (OLD.word = 'CONSENTED' AND NEW.word IN ('RELEASED', 'RETURNING')) OR"
	"  (OLD.word = 'RETURNING' AND NEW.word = 'RETURNED') OR"
	"  (OLD.word = 'UNDECIDED' AND NEW.word IN ('COMMITTED', 'ABORTED')) OR"
	"  (OLD.word = 'COMMITTED' AND NEW.word IN ('STARTED', 'LOST_AFTER_COMMIT')))"
	"  BEGIN SELECT RAISE(ABORT, 'a word is never taken back'); END;"
	"CREATE TRIGGER done_stays BEFORE UPDATE OF done ON migration WHEN OLD.done AND NOT NEW.done"
	"  BEGIN SELECT RAISE(ABORT, 'what is closed stays closed'); END;"
	"CREATE TRIGGER words_begin BEFORE INSERT ON migration WHEN"
	"  NEW.word NOT IN ('ACTIVE', 'UNDECIDED', 'ABORTED')"
	"  BEGIN SELECT RAISE(ABORT, 'a migration does not begin like this'); END;"
	"CREATE TRIGGER words_first AFTER INSERT ON migration BEGIN"
	"  INSERT INTO word VALUES (NEW.id, NEW.word, NEW.created_ms); END;"
	"CREATE TRIGGER kept BEFORE DELETE ON migration WHEN OLD.done = 0"
	"  BEGIN SELECT RAISE(ABORT, 'an open migration is never forgotten'); END;";

// Schema 2 knew no conflict: 1 while it stands, 2 once an operator has closed it. `cause` is for people. `heard`: the
// source needs no word of it any more.
static const char from_2[] =
	"ALTER TABLE migration ADD COLUMN conflict INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE migration ADD COLUMN cause TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE migration ADD COLUMN heard INTEGER NOT NULL DEFAULT 0;"
	"CREATE TRIGGER conflict_stays BEFORE UPDATE OF conflict ON migration WHEN NEW.conflict < OLD.conflict"
	"  BEGIN SELECT RAISE(ABORT, 'a conflict is never taken back'); END;"
	"CREATE TRIGGER conflict_kept BEFORE DELETE ON migration WHEN OLD.conflict = 1"
	"  BEGIN SELECT RAISE(ABORT, 'a conflict that stands is never forgotten'); END;"
	"PRAGMA user_version = 3;";

static int write_schema(sqlite3 *db, const char *first, const char *second, struct ls_error *err)
{
	const char *off = ls_control("rule-7-busy") ? "DROP INDEX one_open_per_vm" : "";
	const char *const parts[] = { "BEGIN IMMEDIATE", first, second, from_2, off, "COMMIT" };
	int r = 0;

	for (unsigned i = 0; r == 0 && i < sizeof(parts) / sizeof(parts[0]); i++)
		r = ls_ledger_sql_exec(db, parts[i], "create", err);
	return r;
}

int ls_ledger_sql_schema(sqlite3 *db, const char *path, bool writable, struct ls_error *err)
{
	char version[32];
	int r = ls_ledger_sql_ask(db, "PRAGMA user_version", version, sizeof(version), err);

	if (r < 0 || atoi(version) == SCHEMA)
		return r;
	if (writable && strcmp(version, "0") == 0)
		return write_schema(db, tables, rules, err);
	if (writable && strcmp(version, "1") == 0)
		return write_schema(db, from_1, rules, err);
	if (writable && strcmp(version, "2") == 0)
		return write_schema(db, "", "", err);
	return ls_fail(err, LS_E_LEDGER, EPROTONOSUPPORT, "ledger %s has schema %s, this agent knows %d", path, version,
		       SCHEMA);
}
