// SPDX-License-Identifier: Apache-2.0
// Prepare: everything is checked and every device is in hand before the first word is written.
//
//   check -> VMM lends -> workers adopt -> (destination: reset what is not RUNNING) -> ledger -> role
//              any failure: devices closed, VMM told, Prepare refused; nothing has happened
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/migration.h"
#include "agent/term.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "proto/wire/pb.h"

#define DEFAULT_ROUNDS 8
#define DEFAULT_REST (256u * 1024u)

static void give_up(struct ls_migration *m);

static const char *own_name(const struct ls_migration *m, unsigned i)
{
	const struct ls_sched_device *d = &m->params.schedule.device[i];

	return m->params.side == LS_SIDE_SOURCE ? d->source_name : d->dest_name;
}

static void keep_failure(struct ls_migration *m, const struct ls_error *err)
{
	if (!m->failure.reason)
		m->failure = *err;
}

static void failed_for_good(struct ls_migration *m)
{
	m->returning = false;
	ls_migration_let_go(m);
	m->failed = true;
	m->ended = true;
	ls_log_error("prepare.refused", &m->failure, "migration=%s vm=%s", m->params.migration, m->params.vm);
	ls_migration_tell_waiters(m, NULL);
	ls_agent_check_stopped(m->agent);
}

static void on_returned(void *user, const struct ls_error *err)
{
	failed_for_good(user);
}

static void on_closed(struct ls_migration *m)
{
	if (--m->waiting)
		return;
	if (m->vmm_gone || !m->vmm->ops->lends || ls_vmm_request(m->vmm, LS_VMM_RETURN, NULL, on_returned, m) < 0)
		failed_for_good(m);
}

static void give_up(struct ls_migration *m)
{
	m->returning = true;
	m->waiting = 1;
	for (unsigned i = 0; i < m->params.schedule.n_devices; i++) {
		struct ls_job job = { .kind = LS_JOB_CLOSE, .fd = -1 };
		if (m->slot[i].lent >= 0)
			close(m->slot[i].lent);
		m->slot[i].lent = -1;
		if (m->slot[i].adopted && ls_worker_submit(m->dev[i]->worker, &job) == 0)
			m->waiting++;
	}
	on_closed(m);
}

static struct ls_ledger_record first_record(const struct ls_migration *m)
{
	struct ls_ledger_record record = { .side = m->params.side,
					   .term = m->term,
					   .created_ms = ls_unix_ms(),
					   .word = m->params.side == LS_SIDE_SOURCE ? LS_WORD_ACTIVE
										    : LS_WORD_UNDECIDED,
					   .request = m->request,
					   .request_len = m->request_len };

	memcpy(record.migration, m->params.migration, sizeof(record.migration));
	memcpy(record.vm, m->params.vm, sizeof(record.vm));
	memcpy(record.coordinator, m->coordinator, sizeof(record.coordinator));
	return record;
}

static void on_begun(void *user, int status, const struct ls_error *err)
{
	struct ls_migration *m = user;
	struct ls_error silent;

	if (status == 0) {
		status = ls_agent_may_speak(m->agent, &silent); // it may have fallen silent meanwhile
		err = &silent;
	}
	if (status < 0) {
		keep_failure(m, err);
		give_up(m);
		return;
	}
	ls_fault(agent_prepare_done);
	struct ls_ledger_record record = first_record(m);
	if (!ls_agent_remember(m->agent, &record))
		abort();
	ls_migration_begin(m);
}

static void write_first_word(struct ls_migration *m)
{
	struct ls_ledger_record record = first_record(m);

	ls_ledger_begin(m->agent->ledger, &record, on_begun, m);
}

static void check_adopted(struct ls_migration *m, unsigned i, const struct ls_job_result *job)
{
	const struct ls_sched_device *d = &m->params.schedule.device[i];
	bool source = m->params.side == LS_SIDE_SOURCE;
	unsigned flags = source ? d->source_flags : d->dest_flags;
	struct ls_error err = job->error;

	if (job->status == 0 && job->caps.flags != flags)
		ls_fail(&err, LS_E_SCHEDULE_INVALID, 0, "the device has flags %u, the schedule says %u: plan again",
			job->caps.flags, flags);
	else if (job->status == 0 && source && job->state != LS_STATE_RUNNING)
		ls_fail(&err, LS_E_BAD_STATE, 0, "is in %s, not RUNNING: reset it, or end what holds it",
			ls_state_name(job->state));
	else if (job->status == 0)
		return;
	ls_error_at(&err, own_name(m, i), NULL);
	keep_failure(m, &err);
}

static void on_job(void *user, const struct ls_job_result *job)
{
	struct slot *s = user;
	struct ls_migration *m = s->m;
	struct ls_job reset = { .kind = LS_JOB_RESET, .fd = -1 };

	if (job->kind == LS_JOB_CLOSE) {
		on_closed(m);
		return;
	}
	if (job->kind == LS_JOB_ADOPT) {
		s->adopted = job->status == 0;
		s->size = job->size;
		if (s->adopted)
			ls_migration_keep(m, s->i, job->fd);
		check_adopted(m, s->i, job);
	} else if (job->status < 0) {
		keep_failure(m, &job->error);
	}
	m->params.state[s->i] = job->state;
	if (!m->failure.reason && job->state != LS_STATE_RUNNING && job->kind == LS_JOB_ADOPT &&
	    ls_worker_submit(m->dev[s->i]->worker, &reset) == 0)
		return; // K2: whatever its last user left
	if (--m->waiting)
		return;
	if (m->vmm_gone && !m->failure.reason)
		ls_fail(&m->failure, LS_E_VMM_FAILED, EPIPE, "the VMM of %s went away", m->params.vm);
	if (m->failure.reason)
		give_up(m);
	else
		write_first_word(m);
}

static void adopt(struct ls_migration *m)
{
	m->waiting = m->params.schedule.n_devices;
	for (unsigned i = 0; i < m->params.schedule.n_devices; i++) {
		struct ls_job job = { .kind = LS_JOB_ADOPT, .fd = m->slot[i].lent };
		struct ls_job_result none = { .kind = LS_JOB_ADOPT, .state = -1, .status = -EBUSY };
		if (ls_worker_submit(m->dev[i]->worker, &job) == 0) {
			m->slot[i].lent = -1;
			continue;
		}
		ls_fail(&none.error, LS_E_DEVICE_BUSY, EBUSY, "its worker is busy");
		on_job(&m->slot[i], &none);
	}
}

static void on_lent(void *user, const struct ls_error *err, struct ls_lent *lent)
{
	struct ls_migration *m = user;
	struct ls_error own;
	unsigned found = 0;

	for (unsigned k = 0; k < lent->n; k++) {
		bool used = false;
		for (unsigned i = 0; i < m->params.schedule.n_devices && !used; i++)
			if (m->slot[i].lent < 0 && strcmp(own_name(m, i), lent->at[k].name) == 0) {
				m->slot[i].lent = lent->at[k].fd;
				used = true;
				found++;
			}
		if (!used)
			close(lent->at[k].fd);
	}
	if (err) {
		keep_failure(m, err);
	} else if (found != m->params.schedule.n_devices || found != lent->n) {
		ls_fail(&own, LS_E_VMM_FAILED, 0,
			"the VMM of %s lends %u devices, %u of the %u that the schedule moves", m->params.vm, lent->n,
			found, m->params.schedule.n_devices);
		keep_failure(m, &own);
	}
	if (m->failure.reason)
		give_up(m);
	else
		adopt(m);
}

#define REFUSE(reason, ...) return ls_fail(err, LS_E_##reason, 0, __VA_ARGS__)

static int check_here(struct ls_agent *a, struct ls_migration *m, struct ls_error *err)
{
	const struct ls_role_params *p = &m->params;
	unsigned configured = 0;

	m->vmm = ls_vmms_find(a->vmms, p->vm);
	if (!m->vmm)
		REFUSE(NOT_FOUND, "no device of VM %s in %s", p->vm, a->config->file);
	for (unsigned i = 0; i < a->config->n_devices; i++)
		configured += strcmp(a->config->device[i].vm, p->vm) == 0;
	for (unsigned i = 0; i < p->schedule.n_devices; i++) {
		m->dev[i] = ls_agent_device(a, own_name(m, i));
		if (!m->dev[i] || strcmp(m->dev[i]->config->vm, p->vm) != 0)
			REFUSE(NOT_FOUND, "VM %s has no device %s in %s", p->vm, own_name(m, i), a->config->file);
	}
	if (configured != p->schedule.n_devices)
		REFUSE(SCHEDULE_INVALID, "VM %s has %u devices here, the schedule moves %u: all move together", p->vm,
		       configured, p->schedule.n_devices);
	if (!m->vmm->connected)
		REFUSE(VMM_ABSENT, "no VMM of %s is connected to %s", p->vm, a->config->vmm);
	if (m->vmm->ops->lends && m->vmm->incoming != (p->side == LS_SIDE_DEST))
		REFUSE(VMM_FAILED, "the VMM of %s %s", p->vm,
		       m->vmm->incoming ? "waits for a VM, it runs none" : "runs the VM already: start one that waits");
	if (m->vmm->busy)
		REFUSE(VM_BUSY, "the VMM of %s is busy with another request: try again", p->vm);
	return ls_agent_vm_free(a, p->vm, p->migration, err);
}

static int take_devices(struct ls_migration *m, struct ls_error *err)
{
	for (unsigned i = 0; i < m->params.schedule.n_devices; i++) {
		if (ls_device_take(m->dev[i], on_job, &m->slot[i]) == 0)
			continue;
		while (i--)
			ls_device_leave(m->dev[i]);
		return ls_fail(err, LS_E_VM_BUSY, EBUSY, "the devices of VM %s are in use: try again", m->params.vm);
	}
	return 0;
}

static int pack(const Lockstep__V1__PrepareRequest *q, uint8_t **ret, size_t *ret_len)
{
	Lockstep__V1__PrepareRequest copy = *q;

	copy.term = NULL; // a newer coordinator may repeat it,
	copy.load_us = 0; // and know of more moves
	return ls_pb_pack(&copy.base, ret, ret_len);
}

static int repeated(struct ls_migration *m, const uint8_t *request, size_t len, struct ls_waiter *waiter,
		    struct ls_error *err)
{
	if (len != m->request_len || memcmp(request, m->request, len) != 0)
		REFUSE(ALREADY_EXISTS, "migration %s was prepared with another request", m->params.migration);
	if (m->restarted)
		REFUSE(ALREADY_EXISTS,
		       "migration %s was given up in a restart, with the word %s: a retry wants a new id",
		       m->params.migration, ls_word_name(ls_role_word(m->role)));
	ls_migration_wait(m, waiter);
	return 0;
}

struct ls_migration *ls_migration_new(struct ls_agent *a)
{
	struct ls_migration *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->agent = a;
	m->last = &m->first;
	for (unsigned i = 0; i < LS_MAX_DEVICES; i++) {
		m->slot[i].m = m;
		m->slot[i].i = i;
		m->slot[i].lent = m->slot[i].stream = -1;
	}
	uv_timer_init(a->loop, &m->timer);
	uv_timer_init(a->loop, &m->progress);
	uv_timer_init(a->loop, &m->rest);
	m->timer.data = m->progress.data = m->rest.data = m;
	return m;
}

// What was refused long ago is of no use to anyone.
static void reap(struct ls_agent *a)
{
	for (struct ls_migration **at = &a->migrations, *m; (m = *at);) {
		if (m->failed && !m->waiters) {
			*at = m->next;
			ls_migration_free(m);
		} else {
			at = &m->next;
		}
	}
}

void ls_migration_fill(struct ls_migration *m, const Lockstep__V1__PrepareRequest *q)
{
	memcpy(m->token, q->token.data, sizeof(m->token));
	snprintf(m->peer_address, sizeof(m->peer_address), "%s", q->peer_address);
	m->max_rounds = q->precopy && q->precopy->max_rounds ? q->precopy->max_rounds : DEFAULT_ROUNDS;
	m->rest_bytes = q->precopy && q->precopy->rest_bytes ? q->precopy->rest_bytes : DEFAULT_REST;
	m->load_ns = q->load_us * 1000;
}

int ls_migration_prepare(struct ls_agent *a, const Lockstep__V1__PrepareRequest *q, struct ls_waiter *waiter,
			 struct ls_error *err)
{
	struct ls_migration *m = ls_migration_find(a, q->migration);
	const struct ls_known *known = ls_agent_known(a, q->migration);
	uint8_t *request;
	size_t len;
	int r = ls_agent_may_speak(a, err);

	if (r == 0) // devices may have been looked at since it was durable
		r = ls_term_check(a->term, a->coordinator, q->term->number, q->term->coordinator, err);

	if (r < 0)
		return r;
	if (pack(q, &request, &len) < 0)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	if (m) {
		r = repeated(m, request, len, waiter, err);
		free(request);
		return r;
	}
	if (known || a->stopping) {
		free(request);
		if (known)
			REFUSE(ALREADY_EXISTS, "migration %s is over here with the word %s: a retry wants a new id",
			       q->migration, ls_word_name(known->record.word));
		REFUSE(UNAVAILABLE, "the agent is stopping");
	}
	reap(a);
	m = ls_migration_new(a);
	if (!m) {
		free(request);
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	}
	m->request = request;
	m->request_len = len;
	r = ls_migration_check(a, q, &m->params, err);
	if (r == 0)
		r = check_here(a, m, err);
	if (r == 0)
		r = take_devices(m, err);
	if (r < 0) {
		ls_migration_free(m);
		return r;
	}
	ls_fault(agent_prepare_accepted);
	ls_migration_fill(m, q);
	m->term = q->term->number;
	snprintf(m->coordinator, sizeof(m->coordinator), "%s", q->term->coordinator);
	m->next = a->migrations;
	a->migrations = m;
	ls_migration_wait(m, waiter);
	if (!m->vmm->ops->lends)
		adopt(m);
	else if ((r = ls_vmm_lend(m->vmm, m->params.migration, false, on_lent, m)) < 0) {
		ls_fail(&m->failure, LS_E_VMM_ABSENT, -r, "the VMM of %s cannot be asked", m->params.vm);
		give_up(m);
	}
	return 0;
}
