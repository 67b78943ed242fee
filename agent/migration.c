// SPDX-License-Identifier: Apache-2.0
#include "agent/migration.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/term.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"

#define STREAM_CONNECT_MS 10000

struct ls_queued_event {
	struct ls_queued_event *next;
	struct ls_role_event event;
	struct ls_error error;
	struct ls_job_result job;
	struct ls_role_msg msg;
	char ledger_id[LS_LEDGER_ID_SIZE];
};

struct ls_migration *ls_migration_find(struct ls_agent *a, const char *id)
{
	for (struct ls_migration *m = a->migrations; m; m = m->next)
		if (!m->failed && strcmp(m->params.migration, id) == 0)
			return m;
	return NULL;
}

bool ls_migration_holds_vm(const struct ls_migration *m)
{
	if (m->failed)
		return m->returning;
	return !m->done && (!m->role || ls_role_holds_vm(m->role));
}

static void on_vmm(void *user, const struct ls_error *err)
{
	struct ls_migration *m = user;

	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_VMM_DONE, .op = m->vmm->op, .error = err });
}

static void ask_vmm(struct ls_migration *m, enum ls_vmm_op op)
{
	struct ls_error err;
	int r;

	if (op == LS_VMM_LEND) {
		ls_migration_lend(m);
		return;
	}
	if (op == LS_VMM_FINAL)
		ls_blobs_clear(&m->blobs);
	r = ls_vmm_request(m->vmm, op, &m->blobs, on_vmm, m);
	if (r == 0)
		return;
	ls_fail(&err, LS_E_VMM_FAILED, -r, "the VMM of %s cannot be asked", m->params.vm);
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_VMM_DONE, .op = op, .error = &err });
}

void ls_migration_on_job(void *user, const struct ls_job_result *result)
{
	struct slot *s = user;
	const char *id = s->m->params.migration, *device = s->m->dev[s->i]->config->name;
	const struct ls_worker_progress *p = ls_worker_progress(s->m->dev[s->i]->worker);
	uint32_t restarts = p->restarts;
	unsigned long long left = p->initial_left;

	if (restarts > s->restarts)
		ls_log(LS_LOG_INFO, "device.started-over",
		       "migration=%s device=%s restarts=%u cause=\"its guest reset it\"", id, device, restarts);
	s->restarts = restarts;
	if (result->kind == LS_JOB_PRECOPY && result->status == 0 && left)
		ls_log(LS_LOG_WARN, "precopy.initial-left",
		       "migration=%s device=%s bytes=%llu cause=\"goes in the pause\"", id, device, left);
	if (result->kind == LS_JOB_ADOPT && result->status == 0)
		ls_migration_keep(s->m, s->i, result->fd);
	if (result->kind == LS_JOB_SEND && result->status == 0)
		ls_migration_sent(s->m, s->i);
	if (result->kind == LS_JOB_CLOSE)
		ls_migration_unkeep(s->m, s->i); // or the service manager would hold it open
	ls_migration_feed(s->m, (struct ls_role_event){ .kind = LS_EV_JOB_DONE, .device = s->i, .job = result });
}

static void submit(struct ls_migration *m, const struct ls_role_action *a)
{
	unsigned i = (unsigned)a->device;
	const struct ls_sched_device *names = &m->params.schedule.device[i];
	struct ls_job job = { .kind = a->job, .target = a->target, .fd = -1, .max_rounds = m->max_rounds,
			      .rest_bytes = m->rest_bytes, .timeout_ms = STREAM_CONNECT_MS };
	struct ls_job_result failed = { .kind = a->job, .state = -1, .from_state = -1 };
	int r = 0;

	if (a->job == LS_JOB_CONNECT || a->job == LS_JOB_ACCEPT)
		r = ls_migration_hello(m, names->dest_name, &job.hello, &job.hello_len, &failed.error);
	snprintf(job.address, sizeof(job.address), "%s", m->peer_address);
	if (a->job == LS_JOB_ACCEPT) {
		job.fd = m->slot[i].stream;
		m->slot[i].stream = -1;
	}
	if (a->job == LS_JOB_ADOPT) {
		job.fd = m->slot[i].lent;
		m->slot[i].lent = -1;
		if (job.fd < 0 && m->vmm && m->vmm->ops->lends)
			r = ls_fail(&failed.error, LS_E_VMM_FAILED, ENODEV, "the VMM of %s does not lend it",
				    m->params.vm);
	}
	if (r == 0 && !m->dev[i])
		r = ls_fail(&failed.error, LS_E_NOT_FOUND, ENODEV, "is not in %s any more, or another migration has it",
			    m->agent->config->file);
	if (r == 0) {
		r = ls_worker_submit(m->dev[i]->worker, &job);
		if (r < 0) {
			free(job.hello);
			ls_fail(&failed.error, LS_E_INTERNAL, -r, "the device's worker did not take the job");
		}
	}
	if (r == 0 && a->job == LS_JOB_SEND)
		ls_migration_sending(m, i);
	if (r == 0)
		return;
	if (job.fd >= 0)
		close(job.fd);
	failed.status = r;
	ls_error_at(&failed.error, ls_role_device_name(m->role, i), NULL);
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_JOB_DONE, .device = i, .job = &failed });
}

static void interrupt(struct ls_migration *m, unsigned i)
{
	if (m->dev[i])
		ls_worker_interrupt(m->dev[i]->worker);
	if (m->slot[i].stream >= 0)
		close(m->slot[i].stream);
	m->slot[i].stream = -1;
}

static void end(struct ls_migration *m, const struct ls_role_action *a)
{
	static const char *const hows[] = { "none", "done", "returned", "aborted", "operator" };

	ls_fault_of(agent_ended, hows[a->how]);
	if (m->done)
		; // in an earlier life
	else if (a->error)
		ls_log_error("migration.ended", a->error, "migration=%s how=%s", m->params.migration, hows[a->how]);
	else
		ls_log(LS_LOG_INFO, "migration.ended", "migration=%s how=%s", m->params.migration, hows[a->how]);
	m->ended = true;
	m->how = a->how;
	memset(&m->end_error, 0, sizeof(m->end_error));
	if (a->error)
		m->end_error = *a->error;
	ls_migration_note(m, hows[a->how]);
	if (a->how != LS_END_OPERATOR)
		ls_migration_let_go(m);
	ls_blobs_clear(&m->blobs);
}

static void carry_out(struct ls_migration *m, const struct ls_role_action *a)
{
	switch (a->kind) {
	case LS_ACT_PERSIST:
		ls_migration_persist(m, a->word);
		break;
	case LS_ACT_JOB:
		submit(m, a);
		break;
	case LS_ACT_INTERRUPT:
		interrupt(m, (unsigned)a->device);
		break;
	case LS_ACT_VMM:
		ask_vmm(m, a->op);
		break;
	case LS_ACT_PEER_CONNECT:
		ls_migration_dial(m);
		break;
	case LS_ACT_PEER_CLOSE:
		ls_migration_hang_up(m);
		break;
	case LS_ACT_PEER_SEND:
		ls_migration_send(m, a);
		break;
	case LS_ACT_EMIT_ERROR:
		ls_log_error("migration.error", a->error, "migration=%s", m->params.migration);
		ls_migration_emit(m, a);
		break;
	case LS_ACT_END:
		end(m, a);
		ls_migration_emit(m, a);
		break;
	case LS_ACT_CONFLICT:
		ls_migration_conflict(m);
		break;
	case LS_ACT_HEARD:
		ls_migration_heard(m);
		break;
	case LS_ACT_DONE:
		ls_migration_close(m);
		break;
	default:
		ls_migration_emit(m, a);
		break;
	}
}

// A stream's job waits for the other side, as long as that takes, or in the kernel: only its worker knows which. When
// to call a call stuck, or when to look again.
static uint64_t hung_at(const struct ls_migration *m, unsigned i, uint64_t now)
{
	enum ls_word word = ls_role_word(m->role);
	bool forward = (word == LS_WORD_ACTIVE || word == LS_WORD_UNDECIDED) && !ls_role_unwinding(m->role) &&
		       !ls_role_persisting(m->role) && !ls_role_mute(m->role) && !ls_role_ended(m->role);

	if (!forward || !m->dev[i] || !m->params.stuck_ns)
		return LS_NO_DEADLINE;
	uint64_t since = ls_worker_progress(m->dev[i]->worker)->busy_since_ns;
	return (since ? since : now) + m->params.stuck_ns;
}

static void on_timer(uv_timer_t *timer)
{
	struct ls_migration *m = timer->data;
	uint64_t now = ls_now_ns();
	struct ls_error stuck;

	for (unsigned i = 0; i < m->params.schedule.n_devices; i++) {
		if (hung_at(m, i, now) > now)
			continue;
		ls_fail(&stuck, LS_E_ARC_STUCK, ETIMEDOUT, "the kernel has not returned for %llu ms",
			(unsigned long long)(m->params.stuck_ns / 1000000));
		ls_error_at(&stuck, ls_role_device_name(m->role, i), NULL);
		ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_UNWIND, .error = &stuck });
	}
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_TIMER });
}

static void arm(struct ls_migration *m)
{
	uint64_t at = ls_role_deadline(m->role), now = ls_now_ns();

	for (unsigned i = 0; i < m->params.schedule.n_devices; i++) {
		uint64_t hung = hung_at(m, i, now);
		at = hung < at ? hung : at;
	}
	if (at == LS_NO_DEADLINE)
		uv_timer_stop(&m->timer);
	else // the loop's time may lag behind: uv counts from there
		uv_timer_start(&m->timer, on_timer, at > now ? (at - now) / 1000000 + 1 : 1, 0);
}

// An operator's decision, or a VMM that came back, makes one that ended go on, perhaps to another end at once.
static bool goes_on(const struct ls_role *role, const struct ls_role_actions *actions)
{
	bool ends = false;

	for (unsigned i = 0; i < actions->n; i++)
		ends = ends || actions->at[i].kind == LS_ACT_END;
	return ends || !ls_role_ended(role);
}

void ls_migration_feed(struct ls_migration *m, struct ls_role_event event)
{
	struct ls_queued_event *q = calloc(1, sizeof(*q));

	if (!q)
		abort(); // an event lost here would be a decision lost
	q->event = event;
	q->event.time_ns = ls_now_ns();
	if (event.error) {
		q->error = *event.error;
		q->event.error = &q->error;
	}
	if (event.job) {
		q->job = *event.job;
		q->event.job = &q->job;
	}
	if (event.msg) {
		q->msg = *event.msg;
		q->event.msg = &q->msg;
	}
	if (event.ledger_id) {
		snprintf(q->ledger_id, sizeof(q->ledger_id), "%s", event.ledger_id);
		q->event.ledger_id = q->ledger_id;
	}
	*m->last = q;
	m->last = &q->next;
	if (m->feeding)
		return;
	m->feeding = true;
	while ((q = m->first)) {
		m->first = q->next;
		if (!m->first)
			m->last = &m->first;
		const struct ls_role_actions *actions = ls_role_event(m->role, &q->event);
		m->ended = m->ended && !goes_on(m->role, actions);
		for (unsigned i = 0; i < actions->n; i++)
			carry_out(m, &actions->at[i]);
		free(q);
	}
	m->feeding = false;
	uv_update_time(m->agent->loop);
	arm(m);
	ls_migration_watch_rest(m);
	ls_migration_tell_waiters(m, NULL);
	if (m->ended)
		ls_agent_check_stopped(m->agent);
}

void ls_migration_begin(struct ls_migration *m)
{
	m->role = ls_role_new(&m->params);
	if (!m->role)
		abort(); // the word is on the disk; the next life reads it
	for (unsigned i = 0; i < m->params.schedule.n_devices; i++) {
		m->dev[i]->done = ls_migration_on_job;
		m->dev[i]->user = &m->slot[i];
	}
	ls_log(LS_LOG_INFO, "migration.begun", "migration=%s vm=%s side=%s devices=%u", m->params.migration,
	       m->params.vm, m->params.side == LS_SIDE_SOURCE ? "source" : "destination", m->params.schedule.n_devices);
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_BEGIN,
						     .word = m->params.side == LS_SIDE_SOURCE ? LS_WORD_ACTIVE :
											      LS_WORD_UNDECIDED });
	if (m->vmm_gone || !m->vmm->connected)
		ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_VMM_LOST });
	if (m->agent->stopping) {
		struct ls_error err;
		ls_fail(&err, LS_E_CANCELLED, 0, "the agent on %s was told to stop", m->params.host);
		ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_UNWIND, .error = &err });
	}
}

void ls_migration_wait(struct ls_migration *m, struct ls_waiter *waiter)
{
	waiter->next = m->waiters;
	m->waiters = waiter;
	ls_migration_tell_waiters(m, NULL);
}

void ls_migration_tell_waiters(struct ls_migration *m, const struct ls_error *unwritten)
{
	struct ls_waiter **at = &m->waiters, *w;

	while ((w = *at)) {
		bool ready = m->failed || (m->role && (!w->word || !(ls_role_persisting(m->role) || m->unclosed)));
		if (!ready) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->ready(w->user, m, m->failed ? &m->failure : unwritten);
		free(w);
		at = &m->waiters;
	}
}

static void on_timers_closed(uv_handle_t *handle)
{
	struct ls_migration *m = handle->data;

	if (--m->closing)
		return;
	ls_role_free(m->role);
	ls_blobs_clear(&m->blobs);
	for (unsigned i = 0; i < m->n_events; i++)
		free(m->events[i].bytes);
	free(m->events);
	free(m->request);
	free(m);
}

void ls_migration_free(struct ls_migration *m)
{
	struct ls_error closing;

	ls_fail(&closing, LS_E_UNAVAILABLE, 0, "the agent is closing");
	for (struct ls_waiter *w = m->waiters, *next; w; w = next) {
		next = w->next;
		w->ready(w->user, m, &closing);
		free(w);
	}
	m->waiters = NULL;
	ls_migration_drop_watchers(m);
	ls_conn_close(m->conn);
	m->conn = NULL;
	for (unsigned i = 0; i < LS_MAX_DEVICES; i++) {
		if (m->slot[i].lent >= 0)
			close(m->slot[i].lent);
		if (m->slot[i].stream >= 0)
			close(m->slot[i].stream);
	}
	m->closing = 3;
	uv_close((uv_handle_t *)&m->rest, on_timers_closed);
	uv_close((uv_handle_t *)&m->progress, on_timers_closed);
	uv_close((uv_handle_t *)&m->timer, on_timers_closed);
}
