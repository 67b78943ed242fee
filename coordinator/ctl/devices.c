// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "common/schedule.h"
#include "coordinator/ctl/ctl.h"
#include "proto/wire/pb.h"

static const char *caps(uint32_t flags)
{
	static const char *const name[] = {"-",	   "stop",     "p2p?",	   "stop,p2p",
					   "pre?", "stop,pre", "p2p,pre?", "stop,p2p,pre"};

	return name[flags & 7];
}

static void print(const Lockstep__V1__ListDevicesResponse *r)
{
	struct ctl_table t = {.right = {false, false, false, false, false, true}};
	char size[16];

	ctl_row(&t, "DEVICE\tVM\tSLOT\tSTATE\tCAN\tSIZE\tNODE\tDRIVER TYPE");
	for (size_t i = 0; i < r->n_device; i++) {
		const Lockstep__V1__Device *d = r->device[i];
		char node[16] = "-";

		if (d->numa_node >= 0)
			snprintf(node, sizeof(node), "%d", d->numa_node);
		ctl_row(&t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s %s", d->name, d->vm[0] ? d->vm : "-",
			d->slot[0] ? d->slot : "-", d->open ? ls_state_name((int)d->state) : "-", caps(d->flags),
			d->size_known ? ctl_size(d->size, size) : "?", node, d->driver, d->type);
	}
	ctl_table_end(&t);
	for (size_t i = 0; i < r->n_device; i++)
		if (r->device[i]->problem) {
			printf("%s cannot migrate\n", r->device[i]->name);
			ctl_print_problem(r->device[i]->problem);
		}
}

static int run(struct ctl *c, int argc, char **argv)
{
	Lockstep__V1__ListDevicesRequest request = LOCKSTEP__V1__LIST_DEVICES_REQUEST__INIT;
	const char *host = NULL, *vm = "";
	const struct ctl_option options[] = {{"vm", CTL_TEXT, &vm, false}};
	ProtobufCMessage *reply;
	int code = ctl_parse(&ctl_devices, argc, argv, options, 1, &host, 1);

	request.host = (char *)(uintptr_t)host;
	request.vm = (char *)(uintptr_t)vm;
	if (code == 0)
		code = ctl_call(c, "ListDevices", &request.base, &lockstep__v1__list_devices_response__descriptor,
				&reply);
	if (code)
		return code;
	if (c->json)
		ctl_print_json(reply, false);
	else
		print((const Lockstep__V1__ListDevicesResponse *)reply);
	ls_pb_free(reply);
	return CTL_DONE;
}

const struct ctl_verb ctl_devices = {.name = "devices",
				     .arguments = "HOST [--vm VM]",
				     .summary = "a host's devices and what they can do",
				     .help = "CAN: stop (STOP_COPY), p2p (P2P), pre (PRE_COPY).\n",
				     .run = run};
