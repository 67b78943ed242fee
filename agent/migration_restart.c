// SPDX-License-Identifier: Apache-2.0
// Migrations of earlier lives: their devices come from the fd store or from the VMM, what they do next is the
// role's to say.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/migration.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/wire/pb.h"

#define REQUEST_BUDGET (1024u * 1024u)

static const char *own_name(const struct ls_migration *m, unsigned i)
{
	const struct ls_sched_device *d = &m->params.schedule.device[i];

	return m->params.side == LS_SIDE_SOURCE ? d->source_name : d->dest_name;
}

void ls_migration_keep(struct ls_migration *m, unsigned i, int fd)
{
	if (!m->slot[i].kept)
		m->slot[i].kept = ls_notify_keep(m->params.migration, own_name(m, i), fd);
}

void ls_migration_unkeep(struct ls_migration *m, unsigned i)
{
	if (m->slot[i].kept)
		ls_notify_drop(m->params.migration, own_name(m, i));
	m->slot[i].kept = false;
}

void ls_migration_let_go(struct ls_migration *m)
{
	for (unsigned i = 0; i < m->params.schedule.n_devices; i++) {
		struct slot *s = &m->slot[i];
		if (m->dev[i] && m->dev[i]->user == s)
			ls_device_leave(m->dev[i]);
		ls_migration_unkeep(m, i);
		if (s->lent >= 0)
			close(s->lent);
		s->lent = -1;
	}
}

static void on_lent(void *user, const struct ls_error *err, struct ls_lent *lent)
{
	struct ls_migration *m = user;

	for (unsigned k = 0; k < lent->n; k++) {
		int fd = lent->at[k].fd;
		for (unsigned i = 0; i < m->params.schedule.n_devices && fd >= 0; i++)
			if (m->slot[i].lent < 0 && !m->slot[i].kept && strcmp(own_name(m, i), lent->at[k].name) == 0) {
				m->slot[i].lent = fd;
				fd = -1;
			}
		if (fd >= 0)
			close(fd);
	}
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_VMM_DONE, .op = LS_VMM_LEND, .error = err });
}

// As a probe: its RAM stays where it is.
void ls_migration_lend(struct ls_migration *m)
{
	struct ls_error err;
	int r = ls_vmm_lend(m->vmm, m->params.migration, true, on_lent, m);

	if (r == 0)
		return;
	ls_fail(&err, LS_E_VMM_ABSENT, -r, "the VMM of %s cannot be asked for its devices", m->params.vm);
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_VMM_DONE, .op = LS_VMM_LEND, .error = &err });
}

// What Prepare was told, from the ledger.
static struct ls_migration *rebuild(struct ls_agent *a, const struct ls_ledger_record *record, struct ls_error *err)
{
	ProtobufCMessage *base;
	struct ls_migration *m;

	if (ls_pb_unpack(&lockstep__v1__prepare_request__descriptor, REQUEST_BUDGET, record->request,
			 record->request_len, &base) < 0) {
		ls_fail(err, LS_E_LEDGER, EUCLEAN, "ledger: the request of migration %s cannot be read",
			record->migration);
		return NULL;
	}
	m = ls_migration_new(a);
	if (!m)
		abort();
	if (ls_migration_check(a, (Lockstep__V1__PrepareRequest *)base, &m->params, err) < 0) {
		ls_pb_free(base);
		ls_migration_free(m);
		return NULL;
	}
	ls_migration_fill(m, (Lockstep__V1__PrepareRequest *)base);
	ls_pb_free(base);
	m->request = malloc(record->request_len);
	m->role = ls_role_new(&m->params);
	if (!m->request || !m->role)
		abort();
	memcpy(m->request, record->request, record->request_len);
	m->request_len = record->request_len;
	m->term = record->term;
	memcpy(m->coordinator, record->coordinator, sizeof(m->coordinator));
	m->done = record->done && !record->conflict;
	m->restarted = true;
	m->sequence_base = ls_unix_ms() * 1000; // above whatever an earlier life told: its watchers go on from there
	m->next = a->migrations;
	a->migrations = m;
	return m;
}

static bool claimed(const struct ls_agent *a, const char *migration)
{
	for (const struct ls_known_claim *k = a->claims; k; k = k->next)
		if (strcmp(k->claim.migration, migration) == 0)
			return true;
	return false;
}

static uint32_t take_devices(struct ls_migration *m)
{
	uint32_t held = 0;

	m->vmm = ls_vmms_find(m->agent->vmms, m->params.vm);
	for (unsigned i = 0; i < m->params.schedule.n_devices; i++) {
		struct ls_agent_device *d = ls_agent_device(m->agent, own_name(m, i));
		if (d && ls_device_take(d, ls_migration_on_job, &m->slot[i]) == 0)
			m->dev[i] = d;
		m->slot[i].lent = ls_kept_take(&m->agent->kept, m->params.migration, own_name(m, i));
		m->slot[i].kept = m->slot[i].lent >= 0;
		held |= (uint32_t)m->slot[i].kept << i;
	}
	return held;
}

int ls_migration_restart(struct ls_agent *a, const struct ls_known *known, struct ls_error *err)
{
	const struct ls_ledger_record *record = &known->record;
	struct ls_role_event event = { .kind = LS_EV_RESTART, .word = record->word,
				       .restart = { .done = record->done, .conflict = record->conflict } };
	struct ls_migration *m;

	if (!record->request_len)
		return 0; // settled without a Prepare: there is nothing but its word
	m = rebuild(a, record, err);
	if (!m)
		return -EUCLEAN;
	event.restart.held = take_devices(m);
	event.restart.fenced = claimed(a, record->migration);
	event.restart.rebooted = ls_ledger_rebooted(a->ledger);
	event.restart.vmm_here = m->vmm && m->vmm->connected;
	event.restart.vmm_none = m->vmm && m->vmm->ops == &ls_vmm_none;
	event.restart.vmm_lends = !m->vmm || m->vmm->ops->lends;
	ls_log(LS_LOG_INFO, "migration.restarted", "migration=%s word=%s devices=%u held=%d", record->migration,
	       ls_word_name(record->word), m->params.schedule.n_devices, __builtin_popcount(event.restart.held));
	ls_migration_feed(m, event);
	return 0;
}

struct ls_migration *ls_migration_recall(struct ls_agent *a, const char *id)
{
	struct ls_migration *m = ls_migration_find(a, id);
	const struct ls_known *known = m ? NULL : ls_agent_known(a, id);
	struct ls_error err;

	if (!known || !known->record.request_len || !known->record.done || a->silent.reason)
		return m;
	m = rebuild(a, &known->record, &err);
	if (m)
		ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_RESTART, .word = known->record.word,
							     .restart = { .done = true } });
	else
		ls_log_error("migration.lost", &err, "migration=%s", id);
	return m;
}
