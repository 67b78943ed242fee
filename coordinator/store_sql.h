// SPDX-License-Identifier: Apache-2.0
// The statements behind store.h. One thread at a time.
#ifndef LS_COORDINATOR_STORE_SQL_H
#define LS_COORDINATOR_STORE_SQL_H

#include <sqlite3.h>

#include "coordinator/store.h"

#define LS_STORE_SCHEMA 1

// *ret_lock: an fd to be closed after the database; it keeps a second coordinator out.
int ls_sql_open(const char *path, sqlite3 **ret, int *ret_lock, struct ls_error *err);
// LEDGER: damaged. Reads all of it.
int ls_sql_check(sqlite3 *db, const char *path, struct ls_error *err);
int ls_sql_exec(sqlite3 *db, const char *sql, struct ls_error *err);
int ls_sql_append(sqlite3 *db, const struct ls_store_append *a, struct ls_error *err);
int ls_sql_each(sqlite3 *db, bool open, unsigned limit, ls_store_record_fn *fn, void *user, struct ls_error *err);
// *ret: malloc'ed array of malloc'ed blobs.
int ls_sql_get(sqlite3 *db, const char *id, struct ls_blob **ret, size_t *n, struct ls_error *err);
int ls_sql_list(sqlite3 *db, const char *vm, unsigned limit, struct ls_blob **ret, size_t *n, struct ls_error *err);
void ls_blobs_free(struct ls_blob *blobs, size_t n);
int ls_sql_term(sqlite3 *db, uint64_t *ret, struct ls_error *err);
int ls_sql_set_term(sqlite3 *db, uint64_t number, struct ls_error *err);

#endif
