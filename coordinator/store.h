// SPDX-License-Identifier: Apache-2.0
// Every migration as an append-only list of records, in SQLite. Opened and read by the caller before the
// loop runs; from ls_store_start() on a thread of its own does all work, and many appends share one
// commit. Callbacks run on the loop. What is not in the store did not happen.
//
// A commit that fails (disk full, read-only, failed sync) fails the first records of new migrations at once; all others
// wait, in order, and are tried again every second.
#ifndef LS_COORDINATOR_STORE_H
#define LS_COORDINATOR_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/error.h"

struct ls_store;

struct ls_blob {
	uint8_t *bytes;
	size_t len;
};

// Creates the file if needed. LEDGER: cannot be read, not a store, or of a newer schema.
int ls_store_open(const char *path, struct ls_store **ret, struct ls_error *err);
// Ends the thread after what is queued; callbacks that have not run yet never will. NULL is fine.
void ls_store_free(struct ls_store *s);

// ---- before ls_store_start(); these block ----

// The records of migrations, in order: all open ones (`open`), or the newest `limit` that are closed. The last record
// of each comes with `last`. A nonzero answer stops.
typedef int ls_store_record_fn(void *user, const char *id, const struct ls_blob *record, bool last);
int ls_store_read(struct ls_store *s, bool open, unsigned limit, ls_store_record_fn *fn, void *user,
		  struct ls_error *err);
uint64_t ls_store_term(const struct ls_store *s); // the highest ever used here; 0: none
int ls_store_set_term(struct ls_store *s, uint64_t number, struct ls_error *err);

int ls_store_start(struct ls_store *s, uv_loop_t *loop, struct ls_error *err);

// Copies the store at `from` into the new file `to`, as of one moment, also while a coordinator uses it. Blocks.
// ALREADY_EXISTS, LEDGER.
int ls_store_backup(const char *from, const char *to, struct ls_error *err);

// ---- on the loop ----

// Runs when commits begin to fail (`err`), and when they work again (NULL).
typedef void ls_store_failing_fn(void *user, const struct ls_error *err);
void ls_store_on_failing(struct ls_store *s, ls_store_failing_fn *fn, void *user);

typedef void ls_store_done_fn(void *user, int status, const struct ls_error *err);
typedef void ls_store_blobs_fn(void *user, int status, const struct ls_blob *blobs, size_t n,
			       const struct ls_error *err);

struct ls_store_append {
	const char *id;
	const void *bytes; // copied
	size_t len;
	// The first record:
	const char *vm; // else NULL
	uint64_t created_ms;
	// The last record: how it ended, for lists (copied). OPERATOR leaves it open.
	const void *summary;
	size_t summary_len;
	bool close;
};
void ls_store_append(struct ls_store *s, const struct ls_store_append *a, ls_store_done_fn *done, void *user);
// All records of one migration; n == 0: unknown.
void ls_store_get(struct ls_store *s, const char *id, ls_store_blobs_fn *done, void *user);
// Summaries of closed migrations, newest first. vm NULL or empty: of any.
void ls_store_list(struct ls_store *s, const char *vm, unsigned limit, ls_store_blobs_fn *done, void *user);
void ls_store_save_term(struct ls_store *s, uint64_t number, ls_store_done_fn *done, void *user);

#endif
