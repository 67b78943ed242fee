/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/pb.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

struct budget {
	size_t left;
	bool exceeded;
	bool out_of_memory;
};

/*
 * What the decoder frees while it works is not credited back: the budget
 * bounds the sum, which bounds the peak.
 */
static void *budget_alloc(void *data, size_t size)
{
	struct budget *budget = data;
	void *memory;

	if (size > budget->left) {
		budget->exceeded = true;
		return NULL;
	}
	memory = malloc(size ? size : 1);
	if (!memory) {
		budget->out_of_memory = true;
		return NULL;
	}
	budget->left -= size;
	return memory;
}

static void budget_free(void *data, void *memory)
{
	free(memory);
}

int ls_pb_unpack(const ProtobufCMessageDescriptor *type, size_t budget, const void *bytes,
		 size_t len, ProtobufCMessage **ret_message)
{
	struct budget left = { .left = budget };
	ProtobufCAllocator allocator = {
		.alloc = budget_alloc,
		.free = budget_free,
		.allocator_data = &left,
	};
	static const uint8_t empty;
	ProtobufCMessage *message;

	message = protobuf_c_message_unpack(type, &allocator, len, len ? bytes : &empty);
	if (!message) {
		if (left.exceeded)
			return -E2BIG;
		return left.out_of_memory ? -ENOMEM : -EBADMSG;
	}
	*ret_message = message;
	return 0;
}

/* The budgeted allocator is malloc underneath, so the default one frees. */
void ls_pb_free(ProtobufCMessage *message)
{
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
}

int ls_pb_pack(const ProtobufCMessage *message, uint8_t **ret_bytes, size_t *ret_len)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = malloc(len ? len : 1);

	if (!bytes)
		return -ENOMEM;
	protobuf_c_message_pack(message, bytes);
	*ret_bytes = bytes;
	*ret_len = len;
	return 0;
}
