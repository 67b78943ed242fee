// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "coordinator/ctl/ctl.h"
#include "proto/wire/pb.h"

static void print(const Lockstep__V1__ListHostsResponse *r)
{
	struct ctl_table t = {.right = {false, false, false, true, true}};

	ctl_row(&t, "HOST\tADDRESS\tSTATE\tDEVICES\tMOVES\tKERNEL");
	for (size_t i = 0; i < r->n_host; i++) {
		const Lockstep__V1__Host *h = r->host[i];

		if (h->reachable)
			ctl_row(&t, "%s\t%s\tup\t%u\t%u\t%s", h->name, h->address, h->devices, h->open_migrations,
				h->kernel);
		else
			ctl_row(&t, "%s\t%s\tDOWN\t-\t-\t-", h->name, h->address);
	}
	ctl_table_end(&t);
	for (size_t i = 0; i < r->n_host; i++)
		if (r->host[i]->problem)
			ctl_print_problem(r->host[i]->problem);
}

static int run(struct ctl *c, int argc, char **argv)
{
	Lockstep__V1__ListHostsRequest request = LOCKSTEP__V1__LIST_HOSTS_REQUEST__INIT;
	ProtobufCMessage *reply;
	int code = ctl_parse(&ctl_hosts, argc, argv, NULL, 0, NULL, 0);

	if (code == 0)
		code = ctl_call(c, "ListHosts", &request.base, &lockstep__v1__list_hosts_response__descriptor, &reply);
	if (code)
		return code;
	if (c->json)
		ctl_print_json(reply, false);
	else
		print((const Lockstep__V1__ListHostsResponse *)reply);
	ls_pb_free(reply);
	return CTL_DONE;
}

const struct ctl_verb ctl_hosts = {.name = "hosts",
				   .arguments = "",
				   .summary = "the hosts and whether their agents answer",
				   .help = "",
				   .run = run};
