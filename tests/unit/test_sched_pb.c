// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire/pb.h"
#include "proto/wire/sched_pb.h"

static void four(struct ls_schedule *s)
{
	static const unsigned flags[] = { 1, 3, 7, 7 };

	memset(s, 0, sizeof(*s));
	s->n_devices = 4;
	for (unsigned i = 0; i < 4; i++) {
		snprintf(s->device[i].source_name, LS_NAME_MAX, "nic%u", i);
		snprintf(s->device[i].dest_name, LS_NAME_MAX, "dst%u", i);
		s->device[i].source_flags = s->device[i].dest_flags = flags[i];
		s->device[i].reaches = 15;
		s->device[i].precopy = flags[i] & 4;
	}
	assert_int_equal(ls_schedule_make(s, NULL), 0);
}

static void a_schedule_survives_the_wire(void **state)
{
	Lockstep__V1__Schedule *msg;
	ProtobufCMessage *back;
	struct ls_schedule s, got;
	struct ls_error err;
	uint8_t *bytes;
	size_t n;

	four(&s);
	assert_int_equal(ls_schedule_to_pb(&s, &msg), 0);
	assert_int_equal(ls_pb_pack(&msg->base, &bytes, &n), 0);
	ls_pb_free(&msg->base);
	assert_int_equal(ls_pb_unpack(&lockstep__v1__schedule__descriptor, 1 << 16, bytes, n, &back), 0);
	free(bytes);
	assert_int_equal(ls_schedule_from_pb((Lockstep__V1__Schedule *)back, &got, &err), 0);
	ls_pb_free(back);
	assert_int_equal(ls_schedule_verify(&got, &err), 0);
	assert_memory_equal(&got, &s, sizeof(s));
}

static void each_field_out_of_range_is_named(void **state)
{
	Lockstep__V1__Schedule *msg;
	struct ls_schedule s, got;
	struct ls_error err;

	four(&s);
	assert_int_equal(ls_schedule_to_pb(&s, &msg), 0);
#define REFUSED(field, value, words) do { \
		__typeof__(msg->field) kept = msg->field; \
		msg->field = value; \
		memset(&got, 0x55, sizeof(got)); \
		assert_int_equal(ls_schedule_from_pb(msg, &got, &err), -EINVAL); \
		assert_int_equal(got.n_devices, 0x55555555); \
		msg->field = kept; \
		assert_int_equal(err.reason, LS_E_SCHEDULE_INVALID); \
		if (!strstr(err.message, words)) \
			fail_msg("'%s' lacks '%s'", err.message, words); \
	} while (0)
	REFUSED(n_device, 0, "device: 0 of them");
	REFUSED(n_device, 33, "device: 33 of them");
	REFUSED(n_source, 25, "source: 25 steps");
	REFUSED(n_destination_unwind, 0, "destination_unwind: 0 steps");
	REFUSED(device[1]->source_name, (char *)"", "device[1].source_name");
	REFUSED(device[3]->destination_name, (char *)"a/b", "device[3].destination_name");
	REFUSED(device[0]->source_flags, 2, "device[0].source_flags: 2");
	REFUSED(device[0]->destination_flags, 15, "device[0].destination_flags: 15");
	REFUSED(device[2]->reaches, 16, "device[2].reaches: 0x10");
	REFUSED(source[1]->kind, 17, "source[1].kind: 17 is not known here");
	REFUSED(source[1]->kind, 0, "source[1].kind");
	REFUSED(source[1]->kind, -1, "source[1].kind");
	REFUSED(source[1]->devices, 16, "source[1].devices: 0x10");
	REFUSED(destination[0]->target, 8, "destination[0].target: 8");
	REFUSED(source_unwind[0]->gate, 4, "source_unwind[0].gate: 4");
	REFUSED(source_unwind[0]->gate, -1, "source_unwind[0].gate: -1");
	assert_int_equal(ls_schedule_from_pb(msg, &got, &err), 0);
	ls_pb_free(&msg->base);
	assert_int_equal(ls_schedule_from_pb(NULL, &got, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_schedule_survives_the_wire),
		cmocka_unit_test(each_field_out_of_range_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
