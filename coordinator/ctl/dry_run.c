// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "coordinator/ctl/ctl.h"
#include "proto/wire/pb.h"

static void print(const Lockstep__V1__DryRunResponse *r, const Lockstep__V1__MigrationSpec *spec, bool verbose)
{
	unsigned fails = 0, warns = 0;

	printf("Dry run: %s, %s -> %s. Nothing is touched.\n\nChecks\n", spec->vm, spec->source, spec->destination);
	ctl_print_checks(r->check, r->n_check, verbose ? CTL_PASSES_ALL : CTL_PASSES_SUM);
	for (size_t i = 0; i < r->n_check; i++) {
		fails += r->check[i]->result == LOCKSTEP__V1__CHECK__RESULT__FAIL;
		warns += r->check[i]->result == LOCKSTEP__V1__CHECK__RESULT__WARN;
	}
	if (r->schedule) {
		printf("\n");
		ctl_print_schedule(r->schedule, spec->source, spec->destination);
	}
	printf("\n");
	if (r->estimate)
		ctl_print_estimate(r->estimate);
	if (r->feasible)
		printf("FEASIBLE: no blocker, %u warning%s\n", warns, warns == 1 ? "" : "s");
	else
		printf("NOT FEASIBLE: %u blocker%s, %u warning%s; nothing was touched\n", fails, fails == 1 ? "" : "s",
		       warns, warns == 1 ? "" : "s");
}

static int run(struct ctl *c, int argc, char **argv)
{
	Lockstep__V1__MigrationSpec spec = LOCKSTEP__V1__MIGRATION_SPEC__INIT;
	Lockstep__V1__PrecopyPolicy precopy = LOCKSTEP__V1__PRECOPY_POLICY__INIT;
	const char *vm = NULL, *from = NULL, *to = NULL;
	uint64_t deadline = 0;
	bool no_precopy = false, verbose = false;
	const struct ctl_option options[] = {{"from", CTL_TEXT, &from, true},
					     {"to", CTL_TEXT, &to, true},
					     {"deadline", CTL_NUMBER, &deadline, false},
					     {"no-precopy", CTL_FLAG, &no_precopy, false},
					     {"verbose", CTL_FLAG, &verbose, false}};
	ProtobufCMessage *reply;
	int code = ctl_parse(&ctl_dry_run, argc, argv, options, 5, &vm, 1);

	if (code)
		return code;
	spec.vm = (char *)(uintptr_t)vm;
	spec.source = (char *)(uintptr_t)from;
	spec.destination = (char *)(uintptr_t)to;
	spec.deadline_ms = deadline;
	precopy.skip = no_precopy;
	if (no_precopy)
		spec.precopy = &precopy;
	code = ctl_call(c, "DryRun", &spec.base, &lockstep__v1__dry_run_response__descriptor, &reply);
	if (code)
		return code;
	if (c->json)
		ctl_print_json(reply, false);
	else
		print((const Lockstep__V1__DryRunResponse *)reply, &spec, verbose);
	code = ((const Lockstep__V1__DryRunResponse *)reply)->feasible ? CTL_DONE : CTL_NOT_FEASIBLE;
	ls_pb_free(reply);
	return code;
}

const struct ctl_verb ctl_dry_run = {.name = "dry-run",
				     .arguments = "VM --from HOST --to HOST [--deadline MS]\n"
						  "         [--no-precopy] [--verbose]",
				     .summary = "whether a move will work, what will be done, how long it takes",
				     .help = "Touches nothing. Every blocker is named at once, with its remedy;\n"
					     "what is well is summed up, or listed device by device with --verbose.\n"
					     "Exit code 0: feasible, 3: not feasible.\n",
				     .run = run};
