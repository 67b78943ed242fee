// SPDX-License-Identifier: Apache-2.0
#include "coordinator/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *ls_msg_alloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		abort();
	return p;
}

void *ls_msg_grow(void *array, size_t count)
{
	void *p = realloc(array, (count + 1) * sizeof(void *));

	if (!p)
		abort();
	return p;
}

void ls_msg_set(char **field, const char *text)
{
	char *fresh = (char *)protobuf_c_empty_string;

	if (text && *text) {
		fresh = strdup(text);
		if (!fresh)
			abort();
	}
	if (*field != protobuf_c_empty_string)
		free(*field);
	*field = fresh;
}

void ls_msg_setf(char **field, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	ls_msg_set(field, text);
	free(text);
}

void ls_msg_set_bytes(ProtobufCBinaryData *field, const void *bytes, size_t len)
{
	uint8_t *fresh = len ? ls_msg_alloc(len) : NULL;

	if (len)
		memcpy(fresh, bytes, len);
	free(field->data);
	field->data = fresh;
	field->len = len;
}

void ls_msg_free(void *message)
{
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
}

void *ls_msg_clone(const void *message)
{
	const ProtobufCMessage *m = message;
	ProtobufCMessage *copy;
	uint8_t *bytes;
	size_t len;

	if (!m)
		return NULL;
	len = protobuf_c_message_get_packed_size(m);
	bytes = ls_msg_alloc(len);
	protobuf_c_message_pack(m, bytes);
	copy = protobuf_c_message_unpack(m->descriptor, NULL, len, bytes);
	free(bytes);
	if (!copy)
		abort();
	return copy;
}

int ls_msg_equal(const void *a, const void *b)
{
	const ProtobufCMessage *ma = a, *mb = b;
	uint8_t *x, *y;
	size_t len;
	int equal;

	if (!ma || !mb)
		return ma == mb;
	len = protobuf_c_message_get_packed_size(ma);
	if (ma->descriptor != mb->descriptor || len != protobuf_c_message_get_packed_size(mb))
		return 0;
	x = ls_msg_alloc(len);
	y = ls_msg_alloc(len);
	protobuf_c_message_pack(ma, x);
	protobuf_c_message_pack(mb, y);
	equal = memcmp(x, y, len) == 0;
	free(x);
	free(y);
	return equal;
}

Lockstep__V1__ErrorDetail *ls_msg_error(const struct ls_error *err)
{
	Lockstep__V1__ErrorDetail *d;

	LS_MSG_NEW(d, LOCKSTEP__V1__ERROR_DETAIL__INIT);
	ls_msg_set(&d->reason, ls_reason_name(err->reason));
	ls_msg_set(&d->message, err->message);
	ls_msg_set(&d->host, err->host);
	ls_msg_set(&d->device, err->device);
	ls_msg_set(&d->arc, err->arc);
	d->errno_value = err->err;
	return d;
}

void ls_msg_error_read(const Lockstep__V1__ErrorDetail *d, struct ls_error *ret)
{
	*ret = (struct ls_error){.reason = ls_reason_parse(d->reason), .err = d->errno_value};
	snprintf(ret->message, sizeof(ret->message), "%s", d->message);
	snprintf(ret->host, sizeof(ret->host), "%s", d->host);
	snprintf(ret->device, sizeof(ret->device), "%s", d->device);
	snprintf(ret->arc, sizeof(ret->arc), "%s", d->arc);
}
