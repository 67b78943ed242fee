// SPDX-License-Identifier: Apache-2.0
// For a migration that waits for an operator: first what is known, then, if wanted and confirmed, the decision.
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "coordinator/ctl/ctl.h"
#include "proto/wire/pb.h"

#define ACTION(name) LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_##name

static const char *const action_name[] = {"",		   "return-fenced",	"return-lost",
					  "reset-source", "reset-destination", "close"};
#define N_ACTIONS (sizeof(action_name) / sizeof(action_name[0]))

static const char *name_of(Lockstep__V1__ResolveAction action)
{
	return (unsigned)action < N_ACTIONS ? action_name[action] : "?";
}

static void print_known(const Lockstep__V1__ResolveResponse *r)
{
	const Lockstep__V1__Migration *m = r->migration;

	printf("Migration %s: %s, %s -> %s: %s\n", m->spec->id, m->spec->vm, m->spec->source, m->spec->destination,
	       ctl_phase(m->phase));
	if (m->error)
		ctl_print_problem(m->error);
	printf("Known\n");
	for (size_t i = 0; i < r->n_known; i++)
		ctl_wrap(CTL_INDENT, "", r->known[i]);
}

static void print_options(const Lockstep__V1__ResolveResponse *r)
{
	unsigned open = 0;

	for (int pass = 1; pass >= 0; pass--) {
		bool title = false;

		for (size_t i = 0; i < r->n_option; i++) {
			const Lockstep__V1__ResolveResponse__Option *o = r->option[i];
			char label[40];

			if (o->open != pass)
				continue;
			open += (unsigned)pass;
			if (!title)
				printf(pass ? "You may\n" : "Not now\n");
			title = true;
			snprintf(label, sizeof(label), "%-17s  ", name_of(o->action));
			ctl_wrap(CTL_INDENT, label, pass ? o->effect : o->why_not);
		}
	}
	if (!open)
		printf("There is nothing to decide now.\n");
}

static int ask(struct ctl *c, Lockstep__V1__ResolveRequest *q, Lockstep__V1__ResolveAction action,
	       ProtobufCMessage **ret)
{
	q->action = action;
	return ctl_call(c, "Resolve", &q->base, &lockstep__v1__resolve_response__descriptor, ret);
}

static int explain(struct ctl *c, Lockstep__V1__ResolveRequest *q)
{
	ProtobufCMessage *reply;
	int code = ask(c, q, ACTION(EXPLAIN), &reply);

	if (code)
		return code;
	if (c->json) {
		ctl_print_json(reply, false);
	} else {
		print_known((const Lockstep__V1__ResolveResponse *)reply);
		print_options((const Lockstep__V1__ResolveResponse *)reply);
	}
	ls_pb_free(reply);
	return CTL_DONE;
}

// The name of the action typed once more.
static bool confirmed(const struct ctl *c, const char *action)
{
	char line[64];

	if (!isatty(0)) {
		ctl_complain("nothing was done: --yes says that you mean it");
		return false;
	}
	printf("Type %s to do it: ", action);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin)) {
		printf("\nNothing was done.\n");
		return false;
	}
	line[strcspn(line, "\r\n")] = 0;
	if (strcmp(line, action) == 0)
		return true;
	printf("Nothing was done.\n");
	return false;
}

static const Lockstep__V1__ResolveResponse__Option *option_of(const Lockstep__V1__ResolveResponse *r,
							       Lockstep__V1__ResolveAction action)
{
	for (size_t i = 0; i < r->n_option; i++)
		if (r->option[i]->action == action)
			return r->option[i];
	return NULL;
}

// Says what is about to be done. False: it is not open, and why was said.
static bool announce(const struct ctl *c, const Lockstep__V1__ResolveResponse *r, Lockstep__V1__ResolveAction action,
		     Lockstep__V1__FenceClaim *claim)
{
	const Lockstep__V1__ResolveResponse__Option *o = option_of(r, action);
	char text[400];

	if (!o || !o->open) {
		snprintf(text, sizeof(text), "%s: not now: %s", name_of(action),
			 o ? o->why_not : "the coordinator does not know it");
		ctl_complain(text);
		return false;
	}
	if (c->json)
		return true;
	print_known(r);
	printf("About to do: %s\n", name_of(action));
	ctl_wrap(CTL_INDENT, "", o->effect);
	if (claim)
		ctl_wrap(CTL_INDENT, "you vouch: ", claim->evidence);
	fflush(stdout);
	return true;
}

static int decide(struct ctl *c, Lockstep__V1__ResolveRequest *q, Lockstep__V1__ResolveAction action,
		  Lockstep__V1__FenceClaim *claim, bool yes)
{
	const Lockstep__V1__Migration *m;
	ProtobufCMessage *reply;
	int code = ask(c, q, ACTION(EXPLAIN), &reply);
	bool go;

	if (code)
		return code;
	m = ((const Lockstep__V1__ResolveResponse *)reply)->migration;
	if (claim && !claim->host[0])
		claim->host = m->spec->destination;
	go = announce(c, (const Lockstep__V1__ResolveResponse *)reply, action, claim) &&
	     (yes || confirmed(c, name_of(action)));
	if (!go) {
		ls_pb_free(reply);
		return CTL_FAILED;
	}
	q->claim = claim;
	ProtobufCMessage *done = NULL;
	code = ask(c, q, action, &done);
	ls_pb_free(reply);
	if (code)
		return code;
	m = ((const Lockstep__V1__ResolveResponse *)done)->migration;
	if (c->json)
		ctl_print_json(done, false);
	else if (m->closed_by[0])
		printf("Done: the record is closed, and nothing more is done about it\n");
	else
		printf("Done: the agent agrees; what becomes of it: lockstepctl watch %s\n", q->id);
	ls_pb_free(done);
	return CTL_DONE;
}

static int run(struct ctl *c, int argc, char **argv)
{
	Lockstep__V1__ResolveRequest request = LOCKSTEP__V1__RESOLVE_REQUEST__INIT;
	Lockstep__V1__FenceClaim claim = LOCKSTEP__V1__FENCE_CLAIM__INIT;
	const char *arg[2] = {0}, *method = NULL, *evidence = NULL;
	bool yes = false, fence;
	const struct ctl_option options[] = {{"method", CTL_TEXT, &method, false},
					     {"evidence", CTL_TEXT, &evidence, false},
					     {"yes", CTL_FLAG, &yes, false}};
	unsigned action = 1;
	char who[64];
	int code = ctl_parse(&ctl_resolve, argc, argv, options, 3, arg, 2);

	if (code)
		return code;
	request.id = (char *)(uintptr_t)arg[0];
	request.actor = (char *)(uintptr_t)ctl_actor(who);
	if (!arg[1])
		return method || evidence || yes ? ctl_usage(&ctl_resolve, "resolve: which ACTION?")
						 : explain(c, &request);
	while (action < N_ACTIONS && strcmp(arg[1], action_name[action]) != 0)
		action++;
	if (action == N_ACTIONS)
		return ctl_usage(
			&ctl_resolve,
			"ACTION: return-fenced, return-lost, reset-source, reset-destination or close, not `%s`",
			arg[1]);
	fence = action == ACTION(RETURN_FENCED);
	if (fence && (!method || !evidence))
		return ctl_usage(&ctl_resolve, "return-fenced: --method and --evidence say how the host was fenced");
	if (!fence && (method || evidence))
		return ctl_usage(&ctl_resolve, "--method and --evidence belong to return-fenced");
	if (fence && strcmp(method, "powered-off") != 0 && strcmp(method, "processes-killed") != 0)
		return ctl_usage(&ctl_resolve, "--method: powered-off or processes-killed, not `%s`", method);
	if (fence) {
		claim.method = strcmp(method, "powered-off") == 0 ? LOCKSTEP__V1__FENCE_CLAIM__METHOD__POWERED_OFF
								  : LOCKSTEP__V1__FENCE_CLAIM__METHOD__PROCESSES_KILLED;
		claim.evidence = (char *)(uintptr_t)evidence;
	}
	return decide(c, &request, (Lockstep__V1__ResolveAction)action, fence ? &claim : NULL, yes);
}

const struct ctl_verb ctl_resolve = {
	.name = "resolve",
	.arguments = "ID [ACTION] [--yes]\n"
		     "         [--method powered-off|processes-killed --evidence TEXT]",
	.summary = "what is known, and what you may decide; then decide it",
	.help = "Without ACTION nothing is changed. With one, it is asked for once more.\n"
		"  return-fenced      the destination's host is powered off, or its agent and VMM\n"
		"                     are killed: the VM returns to the source\n"
		"    --method METHOD  powered-off or processes-killed; unreachable is not enough\n"
		"    --evidence TEXT  how it was done and seen; kept with your name\n"
		"  return-lost        the destination lost the devices after the commit\n"
		"  reset-source       devices that failed on the way back lose their state\n"
		"  reset-destination  devices that failed to start lose their state\n"
		"  close              nothing is done any more\n"
		"  --yes              do not ask once more\n",
	.run = run};
