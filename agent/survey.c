// SPDX-License-Identifier: Apache-2.0
#include "agent/survey.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

// Of one who asks: `left` surveys, and the one that still begins them.
struct wait {
	unsigned left;
	ls_survey_done_fn *done;
	void *user;
	bool cancelled;
};

struct waiter {
	struct waiter *next;
	struct wait *wait;
};

// Given up (in the agent's `strays`): `survey` is NULL, and whoever comes back from the kernel frees it.
struct ls_look {
	struct ls_look *next;
	struct ls_agent *agent;
	struct ls_survey *survey;
	struct ls_agent_device *device;
	const struct ls_device_config *config;
	struct ls_dev_info info;
	struct ls_error error;
	int status;
	bool taken, out; // out: its worker has a job
};

// `agent` NULL: nobody is interested any more, the work request's end frees it.
struct ls_survey {
	struct ls_survey *next;
	struct ls_agent *agent;
	struct ls_vmm *vmm;
	uv_work_t work;
	uv_timer_t timer;
	struct ls_look *looks;
	unsigned left;
	bool inspecting;
	bool lent; // the VMM gets its devices back in the end
	struct waiter *waiters;
};

static void release(struct wait *w)
{
	if (!w || --w->left)
		return;
	w->done(w->user, w->cancelled);
	free(w);
}

static void tell(struct ls_survey *s, bool cancelled)
{
	struct waiter *all = s->waiters;

	s->waiters = NULL;
	while (all) {
		struct waiter *w = all;
		all = w->next;
		w->wait->cancelled = w->wait->cancelled || cancelled;
		release(w->wait);
		free(w);
	}
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct ls_survey *s = handle->data;

	while (s->looks) {
		struct ls_look *l = s->looks;
		s->looks = l->next;
		free(l);
	}
	free(s);
}

static void unlink_survey(struct ls_survey *s)
{
	struct ls_survey **at = &s->agent->surveys;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
}

static void finish(struct ls_survey *s)
{
	unlink_survey(s);
	tell(s, false);
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

static void on_given_back(void *user, const struct ls_error *err)
{
	finish(user);
}

static void all_done(struct ls_survey *s)
{
	uv_timer_stop(&s->timer);
	for (struct ls_look *l = s->looks; l; l = l->next)
		if (l->taken) { // the VMM did not lend it
			l->taken = false;
			ls_device_leave(l->device);
			l->device->looked = false;
			ls_fail(&l->device->problem, LS_E_VMM_FAILED, 0,
				"the VMM of %s does not lend it: see the VMM's own log", l->config->vm);
		}
	if (!s->lent || ls_vmm_request(s->vmm, LS_VMM_RETURN, NULL, on_given_back, s) < 0)
		finish(s);
}

static void one_done(struct ls_survey *s)
{
	if (--s->left == 0)
		all_done(s);
}

static void forget_stray(struct ls_look *l)
{
	struct ls_look **at = &l->agent->strays;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	free(l);
}

static void stray_returned(struct ls_look *l)
{
	ls_log(LS_LOG_WARN, "device.returned", "device=%s cause=\"its driver has answered after all\"",
	       l->config->name);
	memset(&l->device->problem, 0, sizeof(l->device->problem));
	ls_device_leave(l->device);
	forget_stray(l);
}

static void on_job(void *user, const struct ls_job_result *job)
{
	struct ls_look *l = user;
	struct ls_agent_device *d = l->device;
	struct ls_job close_job = { .kind = LS_JOB_CLOSE, .fd = -1 };

	if (job->kind == LS_JOB_ADOPT) {
		if (l->survey) {
			d->looked = job->status == 0;
			d->problem = job->error;
			d->caps = job->caps;
			d->size = job->size;
			d->state = job->state;
			if (job->status < 0)
				ls_error_at(&d->problem, d->config->name, NULL);
			else
				memset(&d->problem, 0, sizeof(d->problem));
		}
		if (job->status == 0 && ls_worker_submit(d->worker, &close_job) == 0)
			return;
	}
	if (!l->survey) {
		stray_returned(l);
		return;
	}
	ls_device_leave(d);
	l->taken = l->out = false;
	one_done(l->survey);
}

static void on_late(uv_timer_t *timer)
{
	struct ls_survey *s = timer->data;
	struct ls_agent *a = s->agent;

	s->left++;
	for (struct ls_look **at = &s->looks, *l; (l = *at);) {
		if (!l->out) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		l->next = a->strays;
		a->strays = l;
		l->survey = NULL;
		l->device->looked = false;
		ls_fail(&l->device->problem, LS_E_ARC_STUCK, ETIMEDOUT, "its driver has not returned");
		ls_error_at(&l->device->problem, l->config->name, NULL);
		ls_log_error("device.stuck", &l->device->problem, "vm=%s", l->config->vm);
		s->left--;
	}
	one_done(s);
}

static void probe(struct ls_look *l, int fd)
{
	struct ls_job job = { .kind = LS_JOB_ADOPT, .fd = fd };

	if (ls_worker_submit(l->device->worker, &job) == 0) {
		l->out = true;
		l->survey->left++;
		return;
	}
	if (fd >= 0)
		close(fd);
	ls_device_leave(l->device);
	l->taken = false;
}

static void begin_probes(struct ls_survey *s)
{
	uint64_t ms = s->agent->config->arc_timeout_ms;

	s->left = 1;
	uv_update_time(s->agent->loop);
	uv_timer_start(&s->timer, on_late, ms < LS_SURVEY_MS ? ms : LS_SURVEY_MS, 0);
}

static void on_lent(void *user, const struct ls_error *err, struct ls_lent *lent)
{
	struct ls_survey *s = user;

	begin_probes(s);
	for (unsigned k = 0; k < lent->n; k++) {
		struct ls_look *found = NULL;
		for (struct ls_look *l = s->looks; l && !found; l = l->next)
			if (l->taken && !l->out && strcmp(l->config->name, lent->at[k].name) == 0)
				found = l;
		if (found)
			probe(found, lent->at[k].fd);
		else
			close(lent->at[k].fd);
	}
	one_done(s);
}

static void look_at_all(struct ls_survey *s)
{
	struct ls_vmm *v = s->vmm;
	bool any = false;

	for (struct ls_look *l = s->looks; l; l = l->next) {
		if (l->status < 0 || !l->info.present || !v->connected || v->busy)
			continue;
		l->taken = ls_device_take(l->device, on_job, l) == 0;
		any = any || l->taken;
	}
	if (any && v->ops->lends) {
		s->lent = ls_vmm_lend(v, "", true, on_lent, s) == 0;
		if (!s->lent)
			all_done(s);
		return;
	}
	begin_probes(s);
	for (struct ls_look *l = s->looks; l; l = l->next)
		if (l->taken)
			probe(l, -1);
	one_done(s);
}

static void inspect_all(uv_work_t *work)
{
	struct ls_survey *s = work->data;

	for (struct ls_look *l = s->looks; l; l = l->next) {
		l->info.numa_node = -1;
		l->status = ls_provider_find(l->config->provider)->inspect(l->config->path, &l->info, &l->error);
	}
}

static void on_inspected(uv_work_t *work, int status)
{
	struct ls_survey *s = work->data;

	s->inspecting = false;
	if (!s->agent) {
		uv_close((uv_handle_t *)&s->timer, on_timer_closed);
		return;
	}
	for (struct ls_look *l = s->looks; l; l = l->next) {
		struct ls_agent_device *d = l->device;
		if (d->done)
			continue; // a migration has it, or its driver
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
	look_at_all(s);
}

static struct ls_survey *find(const struct ls_agent *a, const char *vm)
{
	for (struct ls_survey *s = a->surveys; s; s = s->next)
		if (strcmp(s->vmm->config->name, vm) == 0)
			return s;
	return NULL;
}

static struct ls_survey *start(struct ls_agent *a, struct ls_vmm *v)
{
	struct ls_survey *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	uv_timer_init(a->loop, &s->timer);
	s->timer.data = s->work.data = s;
	s->agent = a;
	s->vmm = v;
	for (unsigned i = a->config->n_devices; i--;) {
		struct ls_agent_device *d = &a->device[i];
		if (strcmp(d->config->vm, v->config->name) != 0)
			continue;
		struct ls_look *l = calloc(1, sizeof(*l));
		if (!l) {
			uv_close((uv_handle_t *)&s->timer, on_timer_closed);
			return NULL;
		}
		*l = (struct ls_look){ .next = s->looks, .agent = a, .survey = s, .device = d, .config = d->config };
		s->looks = l;
	}
	s->next = a->surveys;
	a->surveys = s;
	s->inspecting = true;
	uv_queue_work(a->loop, &s->work, inspect_all, on_inspected);
	return s;
}

int ls_survey(struct ls_agent *a, const char *vm, ls_survey_done_fn *done, void *user)
{
	struct wait *w = done ? calloc(1, sizeof(*w)) : NULL;
	struct ls_vmm *v;

	if (done && !w)
		return -ENOMEM;
	if (w)
		*w = (struct wait){ .left = 1, .done = done, .user = user };
	for (unsigned i = 0; (v = ls_vmms_at(a->vmms, i)); i++) {
		if (vm[0] && strcmp(vm, v->config->name) != 0)
			continue;
		struct ls_survey *s = find(a, v->config->name);
		struct waiter *waiter = w ? calloc(1, sizeof(*waiter)) : NULL;
		if (!s)
			s = start(a, v);
		if (!s || !waiter) { // what is known must do
			free(waiter);
			continue;
		}
		waiter->wait = w;
		w->left++;
		waiter->next = s->waiters;
		s->waiters = waiter;
	}
	release(w);
	return 0;
}

bool ls_survey_under_way(const struct ls_agent *a, const char *vm)
{
	return find(a, vm);
}

void ls_survey_vm(struct ls_agent *a, struct ls_vmm *v)
{
	ls_survey(a, v->config->name, NULL, NULL);
}

void ls_survey_drop(struct ls_agent *a)
{
	struct ls_survey *all = a->surveys;

	a->surveys = NULL;
	while (a->strays)
		forget_stray(a->strays);
	while (all) {
		struct ls_survey *s = all;
		all = s->next;
		s->agent = NULL;
		tell(s, true);
		if (!s->inspecting) // no worker and no VMM answers it any more
			uv_close((uv_handle_t *)&s->timer, on_timer_closed);
	}
}
