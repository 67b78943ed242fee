// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/migration.h"
#include "agent/peer.h"
#include "agent/service.h"
#include "agent/survey.h"
#include "agent/term.h"
#include "common/fault.h"
#include "common/log.h"

int ls_device_take(struct ls_agent_device *d, ls_worker_done_fn *done, void *user)
{
	if (d->done || ls_worker_busy(d->worker))
		return -EBUSY;
	d->done = done;
	d->user = user;
	return 0;
}

void ls_device_leave(struct ls_agent_device *d)
{
	d->done = NULL;
}

struct ls_agent_device *ls_agent_device(struct ls_agent *a, const char *name)
{
	for (unsigned i = 0; i < a->config->n_devices; i++)
		if (strcmp(a->config->device[i].name, name) == 0)
			return &a->device[i];
	return NULL;
}

struct ls_known *ls_agent_known(struct ls_agent *a, const char *migration)
{
	for (struct ls_known *k = a->known; k; k = k->next)
		if (strcmp(k->record.migration, migration) == 0)
			return k;
	return NULL;
}

struct ls_known *ls_agent_remember(struct ls_agent *a, const struct ls_ledger_record *record)
{
	struct ls_known *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->record = *record;
	k->record.request = record->request_len ? malloc(record->request_len) : NULL;
	if (record->request_len && !k->record.request) {
		free(k);
		return NULL;
	}
	if (record->request_len)
		memcpy((void *)k->record.request, record->request, record->request_len);
	k->next = a->known;
	a->known = k;
	return k;
}

void ls_agent_remember_claim(struct ls_agent *a, const struct ls_ledger_claim *claim)
{
	struct ls_known_claim *k = calloc(1, sizeof(*k)), **last = &a->claims;

	if (!k)
		abort();
	k->claim = *claim;
	while (*last)
		last = &(*last)->next;
	*last = k;
}

int ls_agent_vm_free(struct ls_agent *a, const char *vm, const char *except, struct ls_error *err)
{
	const char *holder = NULL;

	for (const struct ls_known *k = a->known; k && !holder; k = k->next)
		if (strcmp(k->record.vm, vm) == 0 && ls_record_holds_vm(k->record.word, k->record.done))
			holder = k->record.migration;
	for (const struct ls_migration *m = a->migrations; m && !holder; m = m->next)
		if (strcmp(m->params.vm, vm) == 0 && ls_migration_holds_vm(m))
			holder = m->params.migration;
	if (!holder || strcmp(holder, except) == 0)
		return 0;
	return ls_fail(err, LS_E_VM_BUSY, EBUSY, "VM %s is held by migration %s", vm, holder);
}

static void on_job(void *user, const struct ls_job_result *result)
{
	struct ls_agent_device *d = user;

	if (d->done)
		d->done(d->user, result);
}

static int start_workers(struct ls_agent *a, struct ls_error *err)
{
	for (unsigned i = 0; i < a->config->n_devices; i++) {
		struct ls_agent_device *d = &a->device[i];
		d->agent = a;
		d->config = &a->config->device[i];
		struct ls_worker_options options = {
			.device = d->config->name,
			.provider = ls_provider_find(d->config->provider),
			.path = d->config->path,
			.numa_node = -1,
			.done = on_job,
			.user = d,
		};
		d->info.numa_node = -1;
		if (options.provider->inspect(d->config->path, &d->info, NULL) == 0)
			options.numa_node = d->info.numa_node;
		int r = ls_worker_start(a->loop, &options, &d->worker, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void vmm_hello(void *user, struct ls_vmm *v)
{
	struct ls_agent *a = user;

	ls_log(LS_LOG_INFO, "vmm.hello", "vm=%s incoming=%s", v->config->name, v->incoming ? "yes" : "no");
	for (struct ls_migration *m = a->migrations; m; m = m->next)
		if (m->vmm == v && m->role)
			ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_VMM_UP, .vmm_runs = !v->incoming });
	ls_survey_vm(a, v);
}

static void vmm_lost(void *user, struct ls_vmm *v)
{
	struct ls_agent *a = user;

	ls_log(LS_LOG_INFO, "vmm.gone", "vm=%s", v->config->name);
	for (struct ls_migration *m = a->migrations; m; m = m->next) {
		if (m->vmm == v && m->role)
			ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_VMM_LOST });
		else if (m->vmm == v)
			m->vmm_gone = true;
	}
}

static const struct ls_vmm_events vmm_events = { .hello = vmm_hello, .lost = vmm_lost };

static void on_record(void *user, const struct ls_ledger_record *record)
{
	ls_fault(agent_restart_record);
	if (!ls_agent_remember(user, record))
		abort();
}

static void on_claim(void *user, const struct ls_ledger_claim *claim)
{
	ls_agent_remember_claim(user, claim);
}

static int read_ledger(struct ls_agent *a, struct ls_error *err)
{
	int r = ls_ledger_each(a->ledger, on_record, a, err);

	if (r == 0)
		r = ls_ledger_each_claim(a->ledger, on_claim, a, err);
	if (r == 0)
		ls_ledger_highest(a->ledger, &a->term, a->coordinator);
	a->term_durable = a->term;
	return r;
}

// What an earlier life left undone, each as its word says.
static int restart_all(struct ls_agent *a, struct ls_error *err)
{
	int r = 0;

	for (struct ls_known *k = a->known; k && r == 0; k = k->next) {
		if (k->record.done && !k->record.conflict)
			continue;
		ls_log(LS_LOG_WARN, "migration.open",
		       "migration=%s vm=%s word=%s cause=\"left by an earlier life of this agent\"",
		       k->record.migration, k->record.vm, ls_word_name(k->record.word));
		r = ls_migration_restart(a, k, err);
	}
	ls_kept_close_rest(&a->kept);
	return r;
}

int ls_agent_open(struct ls_agent *a, uv_loop_t *loop, const struct ls_agent_config *config, struct ls_error *err)
{
	int r;

	memset(a, 0, sizeof(*a));
	a->loop = loop;
	a->config = config;
	a->device = calloc(config->n_devices ? config->n_devices : 1, sizeof(*a->device));
	if (!a->device)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	ls_kept_open(&a->kept);
	r = ls_ledger_open(loop, config->ledger, &a->ledger, err);
	if (r == 0)
		r = read_ledger(a, err);
	if (r == 0)
		r = start_workers(a, err);
	if (r == 0)
		r = ls_vmms_open(loop, config, &vmm_events, a, &a->vmms, err);
	if (r == 0)
		r = restart_all(a, err);
	if (r == 0)
		r = ls_peers_open(a, &a->peers, err);
	if (r == 0)
		r = ls_service_open(a, err);
	if (r == 0)
		ls_fault(agent_restart_ready);
	return r;
}

static void on_worker_freed(void *user)
{
	struct ls_agent_device *d = user;
	struct ls_agent *a = d->agent;

	d->worker = NULL;
	if (--a->closing == 0)
		free(a->device);
}

void ls_agent_close(struct ls_agent *a)
{
	for (unsigned i = 0; a->device && i < a->config->n_devices; i++)
		a->device[i].done = NULL;
	ls_survey_drop(a);
	for (struct ls_migration *m = a->migrations, *next; m; m = next) {
		next = m->next;
		ls_migration_free(m);
	}
	a->migrations = NULL;
	ls_rpc_server_destroy(a->server);
	ls_peers_close(a->peers);
	ls_vmms_close(a->vmms);
	ls_ledger_free(a->ledger);
	ls_agent_stop_end(a);
	for (struct ls_known *k = a->known, *next; k; k = next) {
		next = k->next;
		free((void *)k->record.request);
		free(k);
	}
	a->known = NULL;
	for (struct ls_known_claim *c = a->claims, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	a->claims = NULL;
	a->closing = 1;
	for (unsigned i = 0; a->device && i < a->config->n_devices; i++)
		if (a->device[i].worker) {
			a->closing++;
			ls_worker_free(a->device[i].worker, on_worker_freed, &a->device[i]);
		}
	if (--a->closing == 0)
		free(a->device);
}
