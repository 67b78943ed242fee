// SPDX-License-Identifier: Apache-2.0
#include "coordinator/store_queue.h"

#include <stdlib.h>

#include "coordinator/store_sql.h"

void ls_store_put(struct queue *q, struct request *r)
{
	r->next = NULL;
	*q->tail = r;
	q->tail = &r->next;
}

struct request *ls_store_take(struct queue *q)
{
	struct request *r = q->head;

	if (r) {
		q->head = r->next;
		if (!q->head)
			q->tail = &q->head;
	}
	return r;
}

void ls_store_request_free(struct request *r)
{
	if (!r)
		return;
	free((void *)(uintptr_t)r->append.bytes);
	free((void *)(uintptr_t)r->append.summary);
	ls_blobs_free(r->blobs, r->n_blobs);
	free(r);
}
