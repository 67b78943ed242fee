// SPDX-License-Identifier: Apache-2.0
// The ledger's statements. One thread at a time.
#ifndef LS_AGENT_LEDGER_SQL_H
#define LS_AGENT_LEDGER_SQL_H

#include <sqlite3.h>

#include "agent/ledger.h"

int ls_ledger_sql_open(const char *path, bool writable, sqlite3 **ret, struct ls_error *err);
int ls_ledger_sql_identity(sqlite3 *db, char id[LS_LEDGER_ID_SIZE], uint64_t *term, char coordinator[LS_NAME_MAX],
			   struct ls_error *err);
int ls_ledger_sql_boot(sqlite3 *db, bool *rebooted, struct ls_error *err);
int ls_ledger_sql_begin(sqlite3 *db, const struct ls_ledger_record *record, struct ls_error *err);
int ls_ledger_sql_persist(sqlite3 *db, const char *migration, enum ls_word word, struct ls_error *err);
int ls_ledger_sql_close(sqlite3 *db, const char *migration, struct ls_error *err);
int ls_ledger_sql_conflict(sqlite3 *db, const char *migration, struct ls_error *err);
int ls_ledger_sql_heard(sqlite3 *db, const char *migration, struct ls_error *err);
int ls_ledger_sql_note(sqlite3 *db, const char *migration, const char *cause, struct ls_error *err);
int ls_ledger_sql_claim(sqlite3 *db, const struct ls_ledger_claim *claim, struct ls_error *err);
int ls_ledger_sql_term(sqlite3 *db, uint64_t term, const char *coordinator, struct ls_error *err);
int ls_ledger_sql_prune(sqlite3 *db, unsigned keep, struct ls_error *err);

// ledger_read.c
int ls_ledger_sql_each(sqlite3 *db, ls_ledger_each_fn *each, void *user, struct ls_error *err);
int ls_ledger_sql_each_claim(sqlite3 *db, ls_ledger_each_claim_fn *each, void *user, struct ls_error *err);

// ledger_schema.c: creates the tables in an empty file, or brings those of an older release up to date.
int ls_ledger_sql_schema(sqlite3 *db, const char *path, bool writable, struct ls_error *err);

// ledger_sql.c, for ledger_schema.c
int ls_ledger_sql_failed(sqlite3 *db, const char *what, struct ls_error *err);
int ls_ledger_sql_exec(sqlite3 *db, const char *sql, const char *what, struct ls_error *err);
int ls_ledger_sql_ask(sqlite3 *db, const char *sql, char *ret, size_t size, struct ls_error *err);

#endif
