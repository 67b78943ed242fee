/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc/outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire/grpc.h"

struct ls_outbox_message {
	struct ls_outbox_message *next;
	size_t len;
	uint8_t bytes[];
};

int ls_outbox_push(struct ls_outbox *outbox, const void *bytes, size_t len)
{
	struct ls_outbox_message *message;

	if (len > UINT32_MAX)
		return -EMSGSIZE;
	message = malloc(sizeof(*message) + LS_GRPC_PREFIX + len);
	if (!message)
		return -ENOMEM;
	message->next = NULL;
	message->len = LS_GRPC_PREFIX + len;
	ls_grpc_prefix(message->bytes, (uint32_t)len);
	if (len)
		memcpy(message->bytes + LS_GRPC_PREFIX, bytes, len);
	if (outbox->last)
		outbox->last->next = message;
	else
		outbox->first = message;
	outbox->last = message;
	outbox->bytes += message->len;
	return 0;
}

static void drop_first(struct ls_outbox *outbox)
{
	struct ls_outbox_message *first = outbox->first;

	outbox->first = first->next;
	if (!outbox->first)
		outbox->last = NULL;
	outbox->offset = 0;
	free(first);
}

size_t ls_outbox_pull(struct ls_outbox *outbox, uint8_t *buffer, size_t size)
{
	size_t pulled = 0;

	while (pulled < size && outbox->first) {
		size_t take = outbox->first->len - outbox->offset;

		if (take > size - pulled)
			take = size - pulled;
		memcpy(buffer + pulled, outbox->first->bytes + outbox->offset, take);
		pulled += take;
		outbox->offset += take;
		if (outbox->offset == outbox->first->len)
			drop_first(outbox);
	}
	outbox->bytes -= pulled;
	return pulled;
}

void ls_outbox_clear(struct ls_outbox *outbox)
{
	while (outbox->first)
		drop_first(outbox);
	outbox->bytes = 0;
}
