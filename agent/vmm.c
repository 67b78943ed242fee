// SPDX-License-Identifier: Apache-2.0
#include "agent/vmm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/vmm_native.h"
#include "common/fault.h"
#include "common/log.h"

struct ls_vmms {
	const struct ls_agent_config *config;
	struct ls_vmm_socket *socket;
	unsigned n, closing;
	struct ls_vmm *vmm;
};

int ls_blobs_add(struct ls_blobs *b, const char *device, const void *content, size_t len)
{
	uint8_t *copy;

	if (b->n == LS_BLOBS_MAX || len > LS_BLOB_MAX)
		return -E2BIG;
	for (unsigned i = 0; i < b->n; i++)
		if (strcmp(b->at[i].device, device) == 0)
			return -EEXIST;
	copy = malloc(len ? len : 1);
	if (!copy)
		return -ENOMEM;
	if (len)
		memcpy(copy, content, len);
	snprintf(b->at[b->n].device, sizeof(b->at[b->n].device), "%s", device);
	b->at[b->n].content = copy;
	b->at[b->n++].len = len;
	return 0;
}

void ls_blobs_clear(struct ls_blobs *b)
{
	for (unsigned i = 0; i < b->n; i++)
		free(b->at[i].content);
	b->n = 0;
}

static const struct ls_vmm_ops *adapter(const char *name)
{
	static const struct ls_vmm_ops *const all[] = { &ls_vmm_native, &ls_vmm_qmp, &ls_vmm_exec, &ls_vmm_none };

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}

static void none_request(struct ls_vmm *v, enum ls_vmm_op op)
{
	ls_vmm_answer(v, NULL, NULL);
}

const struct ls_vmm_ops ls_vmm_none = { .name = "none", .request = none_request };

static void on_timeout(uv_timer_t *timer)
{
	struct ls_vmm *v = timer->data;
	struct ls_error err;

	if (!v->busy)
		return;
	ls_fail(&err, LS_E_VMM_FAILED, ETIMEDOUT, "the VMM of %s has not answered within %llu ms", v->config->name,
		(unsigned long long)v->config->timeout_ms);
	if (v->ops->give_up)
		v->ops->give_up(v);
	ls_vmm_answer(v, &err, NULL);
}

int ls_vmms_open(uv_loop_t *loop, const struct ls_agent_config *config, const struct ls_vmm_events *events, void *user,
		 struct ls_vmms **ret, struct ls_error *err)
{
	struct ls_vmms *m = calloc(1, sizeof(*m));

	if (m)
		m->vmm = calloc(config->n_vms ? config->n_vms : 1, sizeof(*m->vmm));
	if (!m || !m->vmm) {
		free(m);
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	}
	m->config = config;
	int r = ls_vmm_socket_open(loop, config->vmm, m, &m->socket, err);
	if (r < 0) {
		free(m->vmm);
		free(m);
		return r;
	}
	for (unsigned i = 0; i < config->n_vms; i++) {
		struct ls_vmm *v = &m->vmm[m->n++];
		v->config = &config->vm[i];
		v->ops = adapter(v->config->adapter);
		v->events = events;
		v->events_user = user;
		v->loop = loop;
		v->connected = !v->ops->lends; // found out when first asked
		uv_timer_init(loop, &v->timer);
		v->timer.data = v;
	}
	*ret = m;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct ls_vmms *m = handle->data;

	if (--m->closing)
		return;
	free(m->vmm);
	free(m);
}

void ls_vmms_close(struct ls_vmms *m)
{
	if (!m)
		return;
	ls_vmm_socket_close(m->socket);
	m->closing = m->n;
	if (m->n == 0) {
		free(m->vmm);
		free(m);
		return;
	}
	for (unsigned i = 0; i < m->n; i++) {
		struct ls_vmm *v = &m->vmm[i];
		if (v->busy && v->ops->give_up)
			v->ops->give_up(v);
		v->busy = false;
		v->timer.data = m;
		uv_close((uv_handle_t *)&v->timer, on_closed);
	}
}

const struct ls_agent_config *ls_vmms_config(const struct ls_vmms *m)
{
	return m->config;
}

struct ls_vmm *ls_vmms_find(struct ls_vmms *m, const char *vm)
{
	for (unsigned i = 0; i < m->n; i++)
		if (strcmp(m->vmm[i].config->name, vm) == 0)
			return &m->vmm[i];
	return NULL;
}

struct ls_vmm *ls_vmms_at(struct ls_vmms *m, unsigned i)
{
	return i < m->n ? &m->vmm[i] : NULL;
}

static int begin(struct ls_vmm *v)
{
	if (!v->connected)
		return -ENOTCONN;
	if (v->busy)
		return -EBUSY;
	v->busy = true;
	v->done = NULL;
	v->lent = NULL;
	v->blobs = NULL;
	uv_timer_start(&v->timer, on_timeout, v->config->timeout_ms, 0);
	return 0;
}

static const char *op_name(enum ls_vmm_op op)
{
	static const char *const names[] = { "pause", "final", "ready", "resume", "gone", "discard", "return" };

	return (unsigned)op < sizeof(names) / sizeof(names[0]) ? names[op] : "other";
}

int ls_vmm_lend(struct ls_vmm *v, const char *migration, bool probe, ls_vmm_lent_fn *lent, void *user)
{
	int r = v->ops->lends ? begin(v) : -ENOTSUP;

	if (r == 0)
		r = ls_fault_of(agent_vmm_ask, "lend");
	if (r < 0)
		return r;
	v->lent = lent;
	v->user = user;
	v->ops->lend(v, migration, probe);
	return 0;
}

int ls_vmm_request(struct ls_vmm *v, enum ls_vmm_op op, struct ls_blobs *blobs, ls_vmm_done_fn *done, void *user)
{
	int r = begin(v);

	if (r == 0)
		r = ls_fault_of(agent_vmm_ask, op_name(op));
	if (r < 0)
		return r;
	v->op = op;
	v->blobs = blobs;
	v->blobs_sent = 0;
	v->done = done;
	v->user = user;
	v->ops->request(v, op);
	return 0;
}

void ls_vmm_answer(struct ls_vmm *v, const struct ls_error *err, struct ls_lent *lent)
{
	struct ls_lent none = { .n = 0 };

	if (!v->busy)
		return;
	ls_fault_of(agent_vmm_answer, v->lent ? "lend" : op_name(v->op));
	v->busy = false;
	uv_timer_stop(&v->timer);
	if (!err && !v->lent && v->op == LS_VMM_RESUME)
		v->incoming = false; // it runs the VM now, and may be the source of the next move
	if (v->lent)
		v->lent(v->user, err, lent ? lent : &none);
	else
		v->done(v->user, err);
}

void ls_vmm_gone(struct ls_vmm *v)
{
	struct ls_error err;

	v->connected = false;
	v->events->lost(v->events_user, v);
	ls_fail(&err, LS_E_VMM_FAILED, EPIPE, "the VMM of %s went away", v->config->name);
	ls_vmm_answer(v, &err, NULL);
}
