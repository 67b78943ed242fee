// SPDX-License-Identifier: Apache-2.0
// What passes between the loop and the store's thread: requests to it, answered ones back. No locks here.
#ifndef LS_COORDINATOR_STORE_QUEUE_H
#define LS_COORDINATOR_STORE_QUEUE_H

#include "coordinator/store.h"

enum request_kind { APPEND, GET, LIST, TERM };

struct request {
	struct request *next;
	enum request_kind kind;
	struct ls_store_append append; // its pointers lead to memory of the request's own
	char id[80], vm[80];
	unsigned limit;
	uint64_t number;
	ls_store_done_fn *done;
	ls_store_blobs_fn *blobs_done;
	void *user;
	// The answer:
	int status;
	struct ls_error error;
	struct ls_blob *blobs;
	size_t n_blobs;
};

struct queue {
	struct request *head, **tail; // tail: &head while it is empty
};

void ls_store_put(struct queue *q, struct request *r); // at the end
struct request *ls_store_take(struct queue *q);	       // the first; NULL: none
void ls_store_request_free(struct request *r);	       // with its answer; NULL is fine

#endif
