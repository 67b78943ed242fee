// SPDX-License-Identifier: Apache-2.0
// Any message as JSON, by its descriptor: names as in the .proto files, enums by name, bytes in hexadecimal; messages
// that are not set are left out.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/ctl.h"

static json_t *to_json(const ProtobufCMessage *m);

static json_t *hex(const ProtobufCBinaryData *b)
{
	char *text = malloc(b->len * 2 + 1);
	json_t *j;

	if (!text)
		abort();
	for (size_t i = 0; i < b->len; i++)
		sprintf(text + 2 * i, "%02x", b->data[i]);
	text[2 * b->len] = 0;
	j = json_string(text);
	free(text);
	return j;
}

static json_t *text_of(const char *text)
{
	json_t *j = json_string(text);

	return j ? j : json_string("(not UTF-8)");
}

// One value of the field's type at `p`; NULL: an unset message.
static json_t *value(const ProtobufCFieldDescriptor *f, const void *p)
{
	const ProtobufCEnumValue *e;

	switch (f->type) {
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)p);
	case PROTOBUF_C_TYPE_ENUM:
		e = protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int *)p);
		return e ? json_string(e->name) : json_integer(*(const int *)p);
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return json_integer(*(const int32_t *)p);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_integer(*(const uint32_t *)p);
	case PROTOBUF_C_TYPE_FLOAT:
		return json_real((double)*(const float *)p);
	case PROTOBUF_C_TYPE_DOUBLE:
		return json_real(*(const double *)p);
	case PROTOBUF_C_TYPE_STRING:
		return text_of(*(const char *const *)p);
	case PROTOBUF_C_TYPE_BYTES:
		return hex(p);
	case PROTOBUF_C_TYPE_MESSAGE:
		return *(const ProtobufCMessage *const *)p ? to_json(*(const ProtobufCMessage *const *)p) : NULL;
	default:
		return json_integer((json_int_t) * (const uint64_t *)p);
	}
}

static size_t size_of(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	default:
		return 4;
	}
}

static json_t *to_json(const ProtobufCMessage *m)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		const char *at = (const char *)m + f->offset;
		json_t *j;

		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			size_t n = *(const size_t *)((const char *)m + f->quantifier_offset);
			const char *items = *(const char *const *)at;

			j = json_array();
			for (size_t k = 0; k < n; k++)
				json_array_append_new(j, value(f, items + k * size_of(f)));
		} else {
			j = value(f, at);
		}
		if (j)
			json_object_set_new(o, f->name, j);
	}
	return o;
}

void ctl_print_json(const ProtobufCMessage *message, bool one_line)
{
	json_t *j = to_json(message);

	json_dumpf(j, stdout, one_line ? JSON_COMPACT : JSON_INDENT(2));
	fputc('\n', stdout);
	fflush(stdout);
	json_decref(j);
}
