// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/fault_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void fault_place_remove(struct place *p)
{
	static const char *const ends[] = { "", ".lock", "-wal", "-shm", "-journal" };
	char name[100];

	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", p->path, ends[i]);
		unlink(name);
	}
}

void fault_place_lose_memory(struct place *p)
{
	char name[100];

	snprintf(name, sizeof(name), "%s-shm", p->path);
	unlink(name);
}

int fault_place_set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/faults-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->path, sizeof(p->path), "%s/db", p->dir);
	uv_loop_init(&p->loop);
	*state = p;
	return 0;
}

int fault_place_tear_down(void **state)
{
	struct place *p = *state;

	uv_run(&p->loop, UV_RUN_DEFAULT);
	uv_loop_close(&p->loop);
	fault_place_remove(p);
	rmdir(p->dir);
	free(p);
	return 0;
}

void fault_place_done(void *user, int status, const struct ls_error *err)
{
	struct place *p = user;

	p->answered = true;
	p->status = status;
}
