// SPDX-License-Identifier: Apache-2.0
// Finding what somebody asks for by its id, at a coordinator that may have lost its store.
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/message.h"
#include "coordinator/service_internal.h"

struct seeking {
	struct ls_service *service;
	char *id;
	ls_service_found_fn *fn;
	void *user;
};

static void tell(struct seeking *k, struct ls_migration *m, const struct ls_seq *seq, const struct ls_error *err)
{
	k->fn(k->user, m, seq, err);
	free(k->id);
	free(k);
}

// What an agent told of is in memory by now.
static void on_heard(void *user, const struct ls_error *unheard)
{
	struct seeking *k = user;
	struct ls_migration *m = ls_migrations_find(k->service->migrations, k->id);
	struct ls_error err;

	if (m)
		return tell(k, m, ls_migration_seq(m), NULL);
	if (unheard) {
		ls_fail(&err, LS_E_UNAVAILABLE, 0, "id: no migration %s here, and %s", k->id, unheard->message);
		snprintf(err.host, sizeof(err.host), "%s", unheard->host);
	} else {
		ls_fail(&err, LS_E_NOT_FOUND, 0, "id: no migration %s", k->id);
	}
	tell(k, NULL, NULL, &err);
}

static void found(void *user, struct ls_migration *m, const struct ls_seq *seq, const struct ls_error *err)
{
	struct seeking *k = user;

	if (!seq && err->reason == LS_E_NOT_FOUND)
		ls_migrations_hear_all(k->service->migrations, on_heard, k);
	else
		tell(k, m, seq, err);
}

void ls_service_seek(struct ls_service *s, const char *id, ls_service_found_fn *fn, void *user)
{
	struct seeking *k = ls_msg_alloc(sizeof(*k));

	*k = (struct seeking){.service = s, .fn = fn, .user = user};
	ls_msg_set(&k->id, id);
	ls_service_find(s, id, found, k);
}
