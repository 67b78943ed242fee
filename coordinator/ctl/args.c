// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/schedule.h"
#include "coordinator/ctl/ctl.h"

int ctl_usage(const struct ctl_verb *verb, const char *fmt, ...)
{
	va_list ap;

	fputs("lockstepctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (verb)
		fprintf(stderr, "\nusage: lockstepctl %s%s%s\n", verb->name, verb->arguments[0] ? " " : "",
			verb->arguments);
	else
		fputs("\nTry `lockstepctl --help`.\n", stderr);
	return CTL_USAGE;
}

const char *ctl_actor(char buf[64])
{
	const char *user = getenv("SUDO_USER") ? getenv("SUDO_USER") : getenv("USER");

	snprintf(buf, 64, "%s", user && *user ? user : "lockstepctl");
	return buf;
}

static int take(const struct ctl_verb *verb, const struct ctl_option *o, const char *value)
{
	char *end;
	enum ls_gate gate;

	switch (o->kind) {
	case CTL_TEXT:
		*(const char **)o->to = value;
		return 0;
	case CTL_NUMBER:
		errno = 0;
		*(uint64_t *)o->to = strtoull(value, &end, 10);
		if (errno || *end || value[0] < '0' || value[0] > '9')
			return ctl_usage(verb, "--%s: a number, not `%s`", o->name, value);
		return 0;
	case CTL_GATES:
		if (ls_gate_parse(value, &gate) < 0 || gate == LS_GATE_NONE)
			return ctl_usage(verb, "--%s: before-pause, stopped or decide, not `%s`", o->name, value);
		*(uint32_t *)o->to |= 1u << gate;
		return 0;
	default:
		*(bool *)o->to = true;
		return 0;
	}
}

static const struct ctl_option *find(const struct ctl_option *options, unsigned n, const char *name, size_t len)
{
	for (unsigned i = 0; i < n; i++)
		if (strlen(options[i].name) == len && strncmp(options[i].name, name, len) == 0)
			return &options[i];
	return NULL;
}

// Is the n-th word of the verb's arguments in brackets?
static bool optional(const struct ctl_verb *verb, unsigned n)
{
	const char *word = verb->arguments;

	while (n-- && word)
		word = strchr(word, ' ') ? strchr(word, ' ') + 1 : NULL;
	return word && word[0] == '[' && word[1] != '-';
}

int ctl_parse(const struct ctl_verb *verb, int argc, char **argv, const struct ctl_option *options, unsigned n_options,
	      const char **positional, unsigned n_positional)
{
	uint32_t given = 0;
	unsigned n = 0;
	int r;

	for (int i = 0; i < argc; i++) {
		const char *a = argv[i], *eq = strchr(a, '=');
		size_t len = eq ? (size_t)(eq - a) : strlen(a);
		const struct ctl_option *o;

		if (strncmp(a, "--", 2) != 0) {
			if (n == n_positional)
				return ctl_usage(verb, "%s: `%s` is one argument too many", verb->name, a);
			positional[n++] = a;
			continue;
		}
		o = find(options, n_options, a + 2, len - 2);
		if (!o)
			return ctl_usage(verb, "%s: unknown option `%.*s`", verb->name, (int)len, a);
		if (o->kind == CTL_FLAG ? eq != NULL : !eq && i + 1 == argc)
			return ctl_usage(verb, "--%s %s", o->name, eq ? "takes no value" : "needs a value");
		r = take(verb, o, o->kind == CTL_FLAG ? NULL : eq ? eq + 1 : argv[++i]);
		if (r)
			return r;
		given |= 1u << (o - options);
	}
	// The optional ones come last: "ID [ACTION]".
	while (n < n_positional && optional(verb, n))
		positional[n++] = NULL;
	if (n < n_positional)
		return ctl_usage(verb, "%s: an argument is missing", verb->name);
	for (unsigned i = 0; i < n_options; i++)
		if (options[i].required && !(given & 1u << i))
			return ctl_usage(verb, "%s: --%s is missing", verb->name, options[i].name);
	return 0;
}
