// SPDX-License-Identifier: Apache-2.0
#include "coordinator/ctl/ctl.h"

static int run(struct ctl *c, int argc, char **argv)
{
	const char *id = NULL;
	int code = ctl_parse(&ctl_watch, argc, argv, NULL, 0, &id, 1);

	return code ? code : ctl_follow(c, id);
}

const struct ctl_verb ctl_watch = {
	.name = "watch",
	.arguments = "ID",
	.summary = "follow a migration to its end",
	.help = "With --output json: one object per line. The exit code is the migration's.\n",
	.run = run};
