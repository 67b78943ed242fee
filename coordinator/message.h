// SPDX-License-Identifier: Apache-2.0
// Building protobuf messages on the heap, as protobuf-c's own allocator would have: what is built here is
// freed with ls_msg_free(), wholly. Running out of memory ends the process: a coordinator that lost
// part of its state must not go on, and its store brings the state back.
#ifndef LS_COORDINATOR_MESSAGE_H
#define LS_COORDINATOR_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "lockstep/v1/agent.pb-c.h"
#include "lockstep/v1/migration.pb-c.h"

void *ls_msg_alloc(size_t size); // zeroed, never NULL

// A fresh message of type T with its fields at their defaults.
#define LS_MSG_NEW(var, INIT)                                                                                          \
	do {                                                                                                           \
		(var) = ls_msg_alloc(sizeof(*(var)));                                                                  \
		*(var) = (__typeof__(*(var)))INIT;                                                                     \
	} while (0)

// Replaces a string field; NULL sets it to the empty default.
void ls_msg_set(char **field, const char *text);
void ls_msg_setf(char **field, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ls_msg_set_bytes(ProtobufCBinaryData *field, const void *bytes, size_t len);

// Appends a heap message to a repeated field.
#define LS_MSG_APPEND(count, array, item)                                                                              \
	do {                                                                                                           \
		(array) = ls_msg_grow((array), (count));                                                               \
		(array)[(count)++] = (item);                                                                           \
	} while (0)
void *ls_msg_grow(void *array, size_t count);

void ls_msg_free(void *message);	 // any generated message, NULL is fine
void *ls_msg_clone(const void *message); // NULL gives NULL
// Same type and same bytes on the wire? Both NULL: yes.
int ls_msg_equal(const void *a, const void *b);
// Replaces *field (a message or NULL) by a clone of `message`.
#define LS_MSG_SET_CLONE(field, message)                                                                               \
	do {                                                                                                           \
		__typeof__(field) fresh_ = ls_msg_clone(message);                                                      \
		ls_msg_free(field);                                                                                    \
		(field) = fresh_;                                                                                      \
	} while (0)

// struct ls_error <-> ErrorDetail
Lockstep__V1__ErrorDetail *ls_msg_error(const struct ls_error *err);
void ls_msg_error_read(const Lockstep__V1__ErrorDetail *detail, struct ls_error *ret);

#endif
