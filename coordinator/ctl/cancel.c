// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "coordinator/ctl/ctl.h"
#include "proto/wire/pb.h"

static int run(struct ctl *c, int argc, char **argv)
{
	Lockstep__V1__CancelRequest request = LOCKSTEP__V1__CANCEL_REQUEST__INIT;
	ProtobufCMessage *reply;
	char who[64];
	const char *id = NULL;
	int code = ctl_parse(&ctl_cancel, argc, argv, NULL, 0, &id, 1);

	request.id = (char *)(uintptr_t)id;
	request.actor = (char *)(uintptr_t)ctl_actor(who);
	if (code == 0)
		code = ctl_call(c, "Cancel", &request.base, &lockstep__v1__migration__descriptor, &reply);
	if (code)
		return code;
	if (c->json)
		ctl_print_json(reply, true);
	else
		printf("Migration %s: cancelled, %s returns to %s; see: lockstepctl watch %s\n", id,
		       ((const Lockstep__V1__Migration *)reply)->spec->vm,
		       ((const Lockstep__V1__Migration *)reply)->spec->source, id);
	ls_pb_free(reply);
	return CTL_DONE;
}

const struct ctl_verb ctl_cancel = {.name = "cancel",
				    .arguments = "ID",
				    .summary = "return the VM to the source",
				    .help = "Refused once the source has given its consent.\n",
				    .run = run};
