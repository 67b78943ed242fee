// SPDX-License-Identifier: Apache-2.0
// How an agent comes to its end: no new work, every word said, then everything closed.
#include <stdio.h>
#include <stdlib.h>

#include "agent/migration.h"
#include "common/clock.h"
#include "common/log.h"

#define REPORT_MS 10000
#define LEAVE_MS 10000 // for closing, when nothing is left to decide

void ls_agent_stop_end(struct ls_agent *a)
{
	if (a->reporter)
		uv_close((uv_handle_t *)a->reporter, (uv_close_cb)free);
	a->reporter = NULL;
}

void ls_agent_check_stopped(struct ls_agent *a)
{
	if (!a->stopping || !a->stopped || a->terms_written)
		return;
	for (struct ls_migration *m = a->migrations; m; m = m->next)
		if (!m->ended)
			return;
	void (*stopped)(struct ls_agent *) = a->stopped;
	a->stopped = NULL;
	stopped(a);
}

static void on_report(uv_timer_t *timer)
{
	struct ls_agent *a = timer->data;
	char what[160];

	if (!a->stopped)
		return;
	if (a->terms_written)
		ls_log(LS_LOG_WARN, "agent.waits", "for=\"the ledger to hold a term\"");
	for (const struct ls_migration *m = a->migrations; m; m = m->next) {
		if (m->ended)
			continue;
		snprintf(what, sizeof(what), "its devices and its VMM, to be prepared");
		if (m->role)
			ls_role_waits(m->role, what, sizeof(what));
		ls_log(LS_LOG_WARN, "agent.waits", "migration=%s word=%s for=\"%s\"", m->params.migration,
		       m->role ? ls_word_name(ls_role_word(m->role)) : "none", what);
	}
}

static void report(struct ls_agent *a)
{
	a->reporter = calloc(1, sizeof(*a->reporter));
	if (!a->reporter)
		return; // it stops all the same
	uv_timer_init(a->loop, a->reporter);
	a->reporter->data = a;
	uv_timer_start(a->reporter, on_report, REPORT_MS, REPORT_MS);
	uv_unref((uv_handle_t *)a->reporter);
}

void ls_agent_stop(struct ls_agent *a, void (*stopped)(struct ls_agent *a))
{
	struct ls_error err;

	if (a->stopping)
		return;
	a->stopping = true;
	a->stopped = stopped;
	report(a);
	ls_notify("STOPPING=1\nSTATUS=no new work; what is open finishes or unwinds");
	ls_fail(&err, LS_E_CANCELLED, 0, "the agent on %s was told to stop", a->config->host);
	for (struct ls_migration *m = a->migrations; m; m = m->next)
		if (m->role && !m->ended)
			ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_STOP, .error = &err });
	ls_agent_check_stopped(a);
}

static void on_late(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
	uv_stop(timer->loop);
}

bool ls_agent_leave(struct ls_agent *a)
{
	bool late = false;
	uv_timer_t timer;

	ls_agent_close(a);
	uv_timer_init(a->loop, &timer);
	timer.data = &late;
	uv_timer_start(&timer, on_late, LEAVE_MS, 0);
	uv_unref((uv_handle_t *)&timer);
	uv_run(a->loop, UV_RUN_DEFAULT);
	for (unsigned i = 0; late && a->closing && i < a->config->n_devices; i++) {
		const struct ls_worker *w = a->device[i].worker;
		uint64_t since = w ? ls_worker_progress(w)->busy_since_ns : 0;
		if (w)
			ls_log(LS_LOG_ERROR, "agent.leaves",
			       "device=%s cause=\"its worker has not come back%s\" ms=%llu", a->config->device[i].name,
			       since ? " from the kernel" : "",
			       since ? (unsigned long long)((ls_now_ns() - since) / 1000000) : 0ull);
	}
	if (late && !a->closing)
		ls_log(LS_LOG_ERROR, "agent.leaves", "cause=\"a connection or a child does not let go\"");
	uv_close((uv_handle_t *)&timer, NULL);
	if (!late)
		uv_run(a->loop, UV_RUN_DEFAULT);
	return !late;
}
