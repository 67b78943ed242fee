// SPDX-License-Identifier: Apache-2.0
// The migrations in memory, and who listens to them.
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/migrations_internal.h"

// Of those that have ended the newest stay in memory; the store has them all.
#define ENDED_KEPT 256u

// ---- listeners ----

void ls_migration_listen(struct ls_migration *m, struct ls_listener *l)
{
	l->next = m->listener;
	m->listener = l;
}

void ls_migration_unlisten(struct ls_migration *m, struct ls_listener *l)
{
	for (struct ls_listener **p = &m->listener; *p; p = &(*p)->next)
		if (*p == l) {
			*p = l->next;
			return;
		}
}

void ls_migration_tell(struct ls_migration *m, const struct ls_error *lost)
{
	struct ls_listener *next;

	m->telling++;
	for (struct ls_listener *l = m->listener; l; l = next) {
		next = l->next;
		l->changed(l, m, lost);
	}
	m->telling--;
}

// ---- the list ----

static void free_handle(uv_handle_t *h)
{
	free(h);
}

void ls_migration_free(struct ls_migration *m)
{
	while (m->pending) {
		struct pending *p = m->pending;

		m->pending = p->next;
		ls_msg_free(p->record);
		free(p);
	}
	if (m->timer)
		uv_close((uv_handle_t *)m->timer, free_handle);
	ls_seq_free(m->seq);
	free(m);
}

void ls_migration_unlink(struct ls_migration *m)
{
	struct ls_migrations *ms = m->all;

	*(m->newer ? &m->newer->older : &ms->newest) = m->older;
	*(m->older ? &m->older->newer : &ms->oldest) = m->newer;
}

struct ls_migration *ls_migration_add(struct ls_migrations *ms, struct ls_seq *seq)
{
	struct ls_migration *m = ls_msg_alloc(sizeof(*m));

	m->all = ms;
	m->seq = seq;
	m->pending_tail = &m->pending;
	m->older = ms->newest;
	*(ms->newest ? &ms->newest->newer : &ms->oldest) = m;
	ms->newest = m;
	m->timer = ls_msg_alloc(sizeof(*m->timer));
	uv_timer_init(ms->loop, m->timer);
	m->timer->data = m;
	return m;
}

bool ls_migration_occupies(const struct ls_migration *m)
{
	return !ls_seq_ended(m->seq) || ls_seq_operator(m->seq);
}

bool ls_migration_open(const struct ls_seq *q)
{
	return !ls_seq_ended(q) || ls_seq_operator(q) || ls_seq_loose(q);
}

void ls_migrations_drop_ended(struct ls_migrations *ms)
{
	for (struct ls_migration *m = ms->oldest, *newer; m && ms->ended > ENDED_KEPT; m = newer) {
		newer = m->newer;
		if (ls_migration_open(m->seq) || m->calls || m->listener || m->telling || m->driving ||
		    m->pending)
			continue;
		ls_migration_unlink(m);
		ls_migration_free(m);
		ms->ended--;
	}
}

unsigned ls_migrations_open(const struct ls_migrations *ms)
{
	return ms->open;
}

struct ls_migration *ls_migrations_find(struct ls_migrations *ms, const char *id)
{
	for (struct ls_migration *m = ms->newest; m; m = m->older)
		if (strcmp(ls_migration_spec(m)->id, id) == 0)
			return m;
	return NULL;
}

struct ls_migration *ls_migrations_newest(struct ls_migrations *ms)
{
	return ms->newest;
}

struct ls_migration *ls_migration_older(const struct ls_migration *m)
{
	return m->older;
}
