// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "common/schedule.h"
#include "coordinator/ctl/ctl.h"
#include "proto/wire/pb.h"

static int run(struct ctl *c, int argc, char **argv)
{
	Lockstep__V1__ReleaseRequest request = LOCKSTEP__V1__RELEASE_REQUEST__INIT;
	ProtobufCMessage *reply;
	char who[64];
	const char *arg[2] = {0};
	enum ls_gate gate = LS_GATE_NONE;
	int code = ctl_parse(&ctl_release, argc, argv, NULL, 0, arg, 2);

	if (code)
		return code;
	if (ls_gate_parse(arg[1], &gate) < 0 || gate == LS_GATE_NONE)
		return ctl_usage(&ctl_release, "GATE: before-pause, stopped or decide, not `%s`", arg[1]);
	request.id = (char *)(uintptr_t)arg[0];
	request.gate = (Lockstep__V1__Gate)gate;
	request.actor = (char *)(uintptr_t)ctl_actor(who);
	code = ctl_call(c, "Release", &request.base, &lockstep__v1__migration__descriptor, &reply);
	if (code)
		return code;
	if (c->json)
		ctl_print_json(reply, true);
	else
		printf("Migration %s: may pass the gate %s\n", arg[0], ls_gate_name(gate));
	ls_pb_free(reply);
	return CTL_DONE;
}

const struct ctl_verb ctl_release = {.name = "release",
				     .arguments = "ID GATE",
				     .summary = "let a migration pass a gate that it holds",
				     .help = "GATE: before-pause, stopped or decide, as given to `migrate --hold`.\n",
				     .run = run};
