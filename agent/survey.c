// SPDX-License-Identifier: Apache-2.0
#include "agent/survey.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

struct waiter {
	struct waiter *next;
	ls_survey_done_fn *done;
	void *user;
};

struct look {
	struct ls_survey *survey;
	struct ls_agent_device *device;
	struct ls_dev_info info;
	struct ls_error error;
	int status;
	bool taken;
};

// `agent` NULL: nobody is interested any more, the work request's end frees it.
struct ls_survey {
	struct ls_agent *agent;
	uv_work_t work;
	unsigned n, left;
	struct look *look;
	unsigned next_vm;
	bool inspecting;
	struct ls_vmm *lender; // gets its devices back before the next VM's turn
	struct waiter *waiters;
};

static void finish(struct ls_survey *s)
{
	struct waiter *all = s->waiters;

	s->agent->survey = NULL;
	while (all) {
		struct waiter *w = all;
		all = w->next;
		w->done(w->user, false);
		free(w);
	}
	free(s->look);
	free(s);
}

static void next_vm(struct ls_survey *s);

static void one_done(struct ls_survey *s)
{
	if (--s->left == 0)
		next_vm(s);
}

static void on_job(void *user, const struct ls_job_result *job)
{
	struct look *l = user;
	struct ls_agent_device *d = l->device;
	struct ls_job close_job = { .kind = LS_JOB_CLOSE, .fd = -1 };

	if (job->kind == LS_JOB_ADOPT) {
		d->looked = job->status == 0;
		d->problem = job->error;
		d->caps = job->caps;
		d->size = job->size;
		d->state = job->state;
		if (job->status < 0)
			ls_error_at(&d->problem, d->config->name, NULL);
		else
			memset(&d->problem, 0, sizeof(d->problem));
		if (job->status == 0 && ls_worker_submit(d->worker, &close_job) == 0)
			return;
	}
	ls_device_leave(d);
	l->taken = false;
	one_done(l->survey);
}

static void probe(struct look *l, int fd)
{
	struct ls_job job = { .kind = LS_JOB_ADOPT, .fd = fd };

	if (ls_worker_submit(l->device->worker, &job) == 0) {
		l->survey->left++;
		return;
	}
	if (fd >= 0)
		close(fd);
	ls_device_leave(l->device);
	l->taken = false;
}

static void on_given_back(void *user, const struct ls_error *err)
{
	next_vm(user);
}

static void on_lent(void *user, const struct ls_error *err, struct ls_lent *lent)
{
	struct ls_survey *s = user;

	s->left = 1;
	for (unsigned k = 0; k < lent->n; k++) {
		struct look *found = NULL;
		for (unsigned i = 0; i < s->n; i++)
			if (s->look[i].taken && strcmp(s->look[i].device->config->name, lent->at[k].name) == 0)
				found = &s->look[i];
		if (found)
			probe(found, lent->at[k].fd);
		else
			close(lent->at[k].fd);
	}
	one_done(s);
}

static bool of_vm(const struct look *l, const struct ls_vmm *v)
{
	return strcmp(l->device->config->vm, v->config->name) == 0;
}

// After a VM's devices: give them back, go on with the next VM.
static void next_vm(struct ls_survey *s)
{
	struct ls_vmm *v;

	for (unsigned i = 0; i < s->n; i++)
		if (s->look[i].taken) { // the VMM did not lend it
			s->look[i].taken = false;
			ls_device_leave(s->look[i].device);
			s->look[i].device->looked = false;
			ls_fail(&s->look[i].device->problem, LS_E_VMM_FAILED, 0,
				"the VMM of %s does not lend it: see the VMM's own log", s->look[i].device->config->vm);
		}
	v = s->lender;
	s->lender = NULL;
	if (v && ls_vmm_request(v, LS_VMM_RETURN, NULL, on_given_back, s) == 0)
		return;
	while ((v = ls_vmms_at(s->agent->vmms, s->next_vm))) {
		s->next_vm++;
		bool any = false;
		for (unsigned i = 0; i < s->n; i++) {
			struct look *l = &s->look[i];
			if (!of_vm(l, v) || l->status < 0 || !l->info.present || !v->connected || v->busy)
				continue;
			l->taken = ls_device_take(l->device, on_job, l) == 0;
			any = any || l->taken;
		}
		if (!any)
			continue;
		if (v->ops->lends) {
			s->lender = v;
			if (ls_vmm_lend(v, "", true, on_lent, s) == 0)
				return;
			s->lender = NULL;
			continue;
		}
		s->left = 1;
		for (unsigned i = 0; i < s->n; i++)
			if (s->look[i].taken)
				probe(&s->look[i], -1);
		one_done(s);
		return;
	}
	finish(s);
}

static void inspect_all(uv_work_t *work)
{
	struct ls_survey *s = work->data;

	for (unsigned i = 0; i < s->n; i++) {
		struct look *l = &s->look[i];
		const struct ls_device_config *c = l->device->config;
		l->info.numa_node = -1;
		l->status = ls_provider_find(c->provider)->inspect(c->path, &l->info, &l->error);
	}
}

static void on_inspected(uv_work_t *work, int status)
{
	struct ls_survey *s = work->data;

	s->inspecting = false;
	if (!s->agent) {
		free(s->look);
		free(s);
		return;
	}
	for (unsigned i = 0; i < s->n; i++) {
		struct look *l = &s->look[i];
		struct ls_agent_device *d = l->device;
		if (d->done)
			continue; // a migration has it
		d->info = l->info;
		if (l->status < 0)
			d->problem = l->error;
		else if (!l->info.present)
			ls_fail(&d->problem, LS_E_DEVICE_ABSENT, ENODEV, "not there, or without a VFIO driver: %.100s",
				d->config->path);
		else
			continue;
		d->looked = false;
	}
	next_vm(s);
}

static int wait_for(struct ls_survey *s, ls_survey_done_fn *done, void *user)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->done = done;
	w->user = user;
	w->next = s->waiters;
	s->waiters = w;
	return 0;
}

int ls_survey(struct ls_agent *a, ls_survey_done_fn *done, void *user)
{
	struct ls_survey *s = a->survey;

	if (s)
		return done ? wait_for(s, done, user) : 0;
	s = calloc(1, sizeof(*s));
	if (s)
		s->look = calloc(a->config->n_devices + 1, sizeof(*s->look));
	if (!s || !s->look || (done && wait_for(s, done, user) < 0)) {
		if (s)
			free(s->look);
		free(s);
		return -ENOMEM;
	}
	s->agent = a;
	s->n = a->config->n_devices;
	for (unsigned i = 0; i < s->n; i++)
		s->look[i] = (struct look){ .survey = s, .device = &a->device[i] };
	s->work.data = s;
	a->survey = s;
	s->inspecting = true;
	uv_queue_work(a->loop, &s->work, inspect_all, on_inspected);
	return 0;
}

void ls_survey_vm(struct ls_agent *a, struct ls_vmm *v)
{
	ls_survey(a, NULL, NULL);
}

void ls_survey_drop(struct ls_agent *a)
{
	struct ls_survey *s = a->survey;

	if (!s)
		return;
	a->survey = NULL;
	struct waiter *all = s->waiters;
	s->waiters = NULL;
	s->agent = NULL;
	while (all) {
		struct waiter *w = all;
		all = w->next;
		w->done(w->user, true);
		free(w);
	}
	if (s->inspecting)
		return;
	free(s->look); // no worker and no VMM answers it any more
	free(s);
}
