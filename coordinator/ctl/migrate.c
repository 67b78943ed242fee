// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/schedule.h"
#include "coordinator/ctl/ctl.h"
#include "proto/wire/pb.h"

// "vm1-20260131-120000-9f3a"
static void make_id(const char *vm, char *id, size_t size)
{
	time_t now = time(NULL);
	uint16_t random = 0;
	char stamp[32];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	if (getrandom(&random, sizeof(random), 0) < 0)
		random = (uint16_t)getpid();
	snprintf(id, size, "%.40s-%s-%04x", vm, stamp, random);
}

static int start(struct ctl *c, Lockstep__V1__MigrationSpec *spec, bool detach)
{
	Lockstep__V1__StartRequest request = LOCKSTEP__V1__START_REQUEST__INIT;
	ProtobufCMessage *reply;
	char who[64], text[200];
	int code;

	request.spec = spec;
	request.actor = (char *)(uintptr_t)ctl_actor(who);
	code = ctl_call(c, "Start", &request.base, &lockstep__v1__migration__descriptor, &reply);
	if (code && c->unsure) {
		snprintf(text, sizeof(text), "whether it began is not known; see: lockstepctl status %.80s", spec->id);
		ctl_complain(text);
		return CTL_OPERATOR;
	}
	if (code)
		return code;
	if (detach && c->json)
		ctl_print_json(reply, true);
	else if (!c->json)
		printf("Migration %s: %s, %s -> %s\n", spec->id, spec->vm, spec->source, spec->destination);
	ls_pb_free(reply);
	if (detach && !c->json)
		printf("Started. Follow it: lockstepctl watch %s\n", spec->id);
	if (detach)
		return CTL_DONE;
	return ctl_follow(c, spec->id);
}

static int run(struct ctl *c, int argc, char **argv)
{
	Lockstep__V1__MigrationSpec spec = LOCKSTEP__V1__MIGRATION_SPEC__INIT;
	Lockstep__V1__PrecopyPolicy precopy = LOCKSTEP__V1__PRECOPY_POLICY__INIT;
	Lockstep__V1__Gate hold[LS_GATE_COUNT];
	const char *vm = NULL, *from = NULL, *to = NULL, *id = NULL;
	uint64_t deadline = 0, rounds = 0;
	bool detach = false, no_precopy = false;
	uint32_t gates = 0;
	char own_id[80];
	const struct ctl_option options[] = {{"from", CTL_TEXT, &from, true},
					     {"to", CTL_TEXT, &to, true},
					     {"id", CTL_TEXT, &id, false},
					     {"deadline", CTL_NUMBER, &deadline, false},
					     {"no-precopy", CTL_FLAG, &no_precopy, false},
					     {"precopy-rounds", CTL_NUMBER, &rounds, false},
					     {"hold", CTL_GATES, &gates, false},
					     {"detach", CTL_FLAG, &detach, false}};
	int code = ctl_parse(&ctl_migrate, argc, argv, options, 8, &vm, 1);

	if (code)
		return code;
	if (rounds > 1000)
		return ctl_usage(&ctl_migrate, "--precopy-rounds: at most 1000");
	if (!id) {
		make_id(vm, own_id, sizeof(own_id));
		id = own_id;
	}
	spec.id = (char *)(uintptr_t)id;
	spec.vm = (char *)(uintptr_t)vm;
	spec.source = (char *)(uintptr_t)from;
	spec.destination = (char *)(uintptr_t)to;
	spec.deadline_ms = deadline;
	precopy.skip = no_precopy;
	precopy.max_rounds = (uint32_t)rounds;
	if (no_precopy || rounds)
		spec.precopy = &precopy;
	spec.hold = hold;
	for (unsigned g = 1; g < LS_GATE_COUNT; g++)
		if (gates & 1u << g)
			hold[spec.n_hold++] = (Lockstep__V1__Gate)g;
	return start(c, &spec, detach);
}

const struct ctl_verb ctl_migrate = {
	.name = "migrate",
	.arguments = "VM --from HOST --to HOST [--id ID] [--deadline MS]\n"
		     "         [--no-precopy] [--precopy-rounds N] [--hold GATE]... [--detach]",
	.summary = "move a VM's devices",
	.help = "  --id ID             name of this attempt; default: made from VM and time.\n"
		"                      The same id again follows the same migration\n"
		"  --deadline MS       the longest blackout; the VM returns if it cannot be kept\n"
		"  --no-precopy        move all state while the VM stands still\n"
		"  --precopy-rounds N  at most; default 8\n"
		"  --hold GATE         wait there until `release`: before-pause, stopped, decide\n"
		"  --detach            start it and leave; see `status`, `watch`\n"
		"\n"
		"Interrupting this command does not cancel the migration; `cancel` does.\n",
	.run = run};
