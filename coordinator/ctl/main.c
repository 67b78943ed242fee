// SPDX-License-Identifier: Apache-2.0
// lockstepctl [--server ADDR] [--output text|json] [--timeout S] VERB ...
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/ctl/ctl.h"

static const struct ctl_verb *const verbs[] = {&ctl_hosts, &ctl_devices, &ctl_dry_run, &ctl_migrate, &ctl_status,
					       &ctl_list,  &ctl_watch,	 &ctl_cancel,  &ctl_release, &ctl_resolve};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void help(void)
{
	printf("usage: lockstepctl [--server ADDR] [--output text|json] [--timeout S] VERB\n\n");
	for (size_t i = 0; i < N_VERBS; i++)
		printf("  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
	printf("\n"
	       "  --server ADDR   default: $LOCKSTEP_SERVER, else 127.0.0.1:7700\n"
	       "  --output FORM   text (default) or json\n"
	       "  --timeout S     how long one call may take, seconds; default 30\n"
	       "\n"
	       "Exit codes: 0 done or feasible, 1 failed and the VM is back at the source,\n"
	       "2 usage, 3 not feasible, 4 needs an operator, or the outcome is not known.\n"
	       "`lockstepctl VERB --help` says more about a verb.\n");
}

static int verb_help(const struct ctl_verb *v)
{
	if (!v) {
		help();
		return CTL_DONE;
	}
	printf("usage: lockstepctl %s%s%s\n\n%c%s.\n", v->name, v->arguments[0] ? " " : "", v->arguments,
	       toupper((unsigned char)v->summary[0]), v->summary + 1);
	if (v->help[0])
		printf("\n%s", v->help);
	return CTL_DONE;
}

static const struct ctl_verb *find(const char *name)
{
	for (size_t i = 0; i < N_VERBS; i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	return NULL;
}

// Options that may stand before the verb and behind it. How many arguments were used; 0: none of them; -1: wrong.
static int global(struct ctl *c, int argc, char **argv)
{
	static const char *const name[] = {"--server", "--output", "--timeout"};

	for (int i = 0; i < 3; i++) {
		size_t len = strlen(name[i]);
		const char *value = NULL;
		char *end;
		int used = 2;

		if (strncmp(argv[0], name[i], len) != 0 || (argv[0][len] && argv[0][len] != '='))
			continue;
		if (argv[0][len] == '=') {
			value = argv[0] + len + 1;
			used = 1;
		} else if (argc > 1) {
			value = argv[1];
		}
		if (!value || !*value)
			return ctl_usage(NULL, "%s needs a value", name[i]), -1;
		if (i == 0) {
			c->server = value;
		} else if (i == 1) {
			if (strcmp(value, "json") != 0 && strcmp(value, "text") != 0)
				return ctl_usage(NULL, "--output: text or json, not `%s`", value), -1;
			c->json = value[0] == 'j';
		} else {
			double s = strtod(value, &end);

			if (*end || !(s >= 0.001 && s <= 86400))
				return ctl_usage(NULL, "--timeout: 0.001 to 86400 seconds, not `%s`", value), -1;
			c->timeout_ms = (uint64_t)(s * 1000);
		}
		return used;
	}
	return 0;
}

static int run(struct ctl *c, const struct ctl_verb *verb, int argc, char **argv)
{
	int code;

	uv_loop_init(&c->loop);
	code = verb->run(c, argc, argv);
	ls_rpc_channel_destroy(c->channel);
	uv_run(&c->loop, UV_RUN_DEFAULT);
	uv_loop_close(&c->loop);
	return code;
}

int main(int argc, char **argv)
{
	struct ctl c = {.server = getenv("LOCKSTEP_SERVER"), .timeout_ms = 30000, .tty = isatty(1)};
	const struct ctl_verb *verb = NULL;
	char **rest = calloc((size_t)argc + 1, sizeof(*rest));
	bool want_help = false;
	int n = 0, code;

	if (!rest)
		abort();
	if (!c.server || !*c.server)
		c.server = "127.0.0.1:7700";
	signal(SIGPIPE, SIG_IGN);
	for (int i = 1; i < argc; i++) {
		int used = global(&c, argc - i, argv + i);

		if (used < 0) {
			free(rest);
			return CTL_USAGE;
		}
		if (used) {
			i += used - 1;
		} else if (strcmp(argv[i], "--help") == 0) {
			want_help = true;
		} else if (verb) {
			rest[n++] = argv[i];
		} else if (strcmp(argv[i], "--version") == 0) {
			puts("lockstepctl " LOCKSTEP_VERSION);
			free(rest);
			return CTL_DONE;
		} else if (!(verb = find(argv[i]))) {
			code = ctl_usage(NULL, "unknown %s `%s`", argv[i][0] == '-' ? "option" : "verb", argv[i]);
			free(rest);
			return code;
		}
	}
	if (want_help)
		code = verb_help(verb);
	else if (!verb)
		code = ctl_usage(NULL, "a verb is missing");
	else
		code = run(&c, verb, n, rest);
	free(rest);
	return code;
}
