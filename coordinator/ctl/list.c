// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "coordinator/ctl/ctl.h"
#include "proto/wire/pb.h"

static void print(const Lockstep__V1__ListResponse *r)
{
	struct ctl_table t = {.right = {false, false, false, false, true}};
	char began[24], ms[16];

	if (!r->n_migration) {
		printf("no migrations\n");
		return;
	}
	ctl_row(&t, "ID\tVM\tFROM -> TO\tPHASE\tBLACKOUT\tSTARTED");
	for (size_t i = 0; i < r->n_migration; i++) {
		const Lockstep__V1__Migration *m = r->migration[i];

		ctl_row(&t, "%s\t%s\t%s -> %s\t%s\t%s\t%s", m->spec->id, m->spec->vm, m->spec->source,
			m->spec->destination, ctl_phase(m->phase),
			m->blackout && m->blackout->total_ms > 0 ? ctl_ms(m->blackout->total_ms, ms) : "-",
			ctl_when(m->created_ms, began));
	}
	ctl_table_end(&t);
}

static int run(struct ctl *c, int argc, char **argv)
{
	Lockstep__V1__ListRequest request = LOCKSTEP__V1__LIST_REQUEST__INIT;
	ProtobufCMessage *reply;
	const char *vm = "";
	uint64_t limit = 0;
	bool open = false;
	const struct ctl_option options[] = {
		{"vm", CTL_TEXT, &vm, false}, {"open", CTL_FLAG, &open, false}, {"limit", CTL_NUMBER, &limit, false}};
	int code = ctl_parse(&ctl_list, argc, argv, options, 3, NULL, 0);

	request.vm = (char *)(uintptr_t)vm;
	request.open_only = open;
	request.limit = limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
	if (code == 0)
		code = ctl_call(c, "List", &request.base, &lockstep__v1__list_response__descriptor, &reply);
	if (code)
		return code;
	if (c->json)
		ctl_print_json(reply, false);
	else
		print((const Lockstep__V1__ListResponse *)reply);
	ls_pb_free(reply);
	return CTL_DONE;
}

const struct ctl_verb ctl_list = {.name = "list",
				  .arguments = "[--vm VM] [--open] [--limit N]",
				  .summary = "migrations, newest first",
				  .help = "  --open     those that have not ended, or wait for an operator\n"
					  "  --limit N  default 100, at most 1000\n",
				  .run = run};
