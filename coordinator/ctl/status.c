// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "coordinator/ctl/ctl.h"
#include "proto/wire/pb.h"

static int run(struct ctl *c, int argc, char **argv)
{
	Lockstep__V1__GetRequest request = LOCKSTEP__V1__GET_REQUEST__INIT;
	const Lockstep__V1__Migration *m;
	ProtobufCMessage *reply;
	const char *id = NULL;
	char began[24], changed[24];
	int code = ctl_parse(&ctl_status, argc, argv, NULL, 0, &id, 1);

	request.id = (char *)(uintptr_t)id;
	if (code == 0)
		code = ctl_call(c, "Get", &request.base, &lockstep__v1__migration__descriptor, &reply);
	if (code) // 1 would say that the VM is at the source
		return code == CTL_FAILED ? CTL_OPERATOR : code;
	m = (const Lockstep__V1__Migration *)reply;
	if (c->json) {
		ctl_print_json(reply, false);
	} else {
		printf("Migration %s: %s, %s -> %s\n", m->spec->id, m->spec->vm, m->spec->source, m->spec->destination);
		printf("Started %s by %s, changed %s\n", ctl_time(m->created_ms, began), m->actor[0] ? m->actor : "?",
		       ctl_time(m->changed_ms, changed));
		printf("Words: source %s, destination %s\n", m->source_word[0] ? m->source_word : "-",
		       m->destination_word[0] ? m->destination_word : "-");
		ctl_print_report(m);
	}
	code = ctl_exit_code(m);
	ls_pb_free(reply);
	return code;
}

const struct ctl_verb ctl_status = {.name = "status",
				    .arguments = "ID",
				    .summary = "one migration: steps, devices, blackout, verdict",
				    .help = "The exit code is the migration's: 0 also while it is going on.\n",
				    .run = run};
