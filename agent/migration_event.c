// SPDX-License-Identifier: Apache-2.0
// What a migration tells its watchers. Everything but progress is kept; progress is read from the workers
// now and then, and only when the watcher has taken what it was sent.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/migration.h"
#include "common/clock.h"
#include "common/fault.h"
#include "proto/rpc/rpc_pb.h"
#include "proto/wire/pb.h"

#define PROGRESS_MS 200

struct ls_watcher {
	struct ls_watcher *next;
	struct ls_migration *m;
	struct ls_rpc_call *call;
	uint64_t next_sequence;
	uint64_t sent[LS_MAX_DEVICES], loaded[LS_MAX_DEVICES];
	int state[LS_MAX_DEVICES];
	unsigned rounds[LS_MAX_DEVICES];
};

void ls_error_to_pb(const struct ls_error *err, Lockstep__V1__ErrorDetail *ret)
{
	lockstep__v1__error_detail__init(ret);
	ret->reason = (char *)ls_reason_name(err->reason);
	ret->message = (char *)err->message;
	ret->host = (char *)err->host;
	ret->device = (char *)err->device;
	ret->arc = (char *)err->arc;
	ret->errno_value = err->err;
}

static void watcher_free(struct ls_watcher *w)
{
	for (struct ls_watcher **at = &w->m->watchers; *at; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			break;
		}
	if (!w->m->watchers)
		uv_timer_stop(&w->m->progress);
	free(w);
}

// Sends what it can; true: the watcher is gone.
static bool push(struct ls_watcher *w)
{
	struct ls_migration *m = w->m;

	while (w->next_sequence <= m->n_events && ls_rpc_queued(w->call) < 65536) {
		const struct ls_stored_event *e = &m->events[w->next_sequence - 1];
		if (ls_rpc_send(w->call, e->bytes, e->len) < 0)
			return false; // tried again when the queue has run empty, or the call is cancelled
		w->next_sequence++;
	}
	if (!m->ended || w->next_sequence <= m->n_events)
		return false;
	ls_rpc_call_on_cancel(w->call, NULL, NULL);
	ls_rpc_finish(w->call, LS_RPC_OK, NULL);
	watcher_free(w);
	return true;
}

static void on_writable(struct ls_rpc_call *call, void *user)
{
	push(user);
}

static void on_cancel(struct ls_rpc_call *call, void *user)
{
	watcher_free(user);
	ls_rpc_finish(call, LS_RPC_CANCELLED, NULL);
}

static bool moved(struct ls_watcher *w, unsigned i, const struct ls_worker_progress *p)
{
	uint64_t sent = p->sent, loaded = p->loaded;
	int state = p->state >= 0 ? p->state : w->state[i]; // closed: where it was last
	unsigned rounds = p->rounds; // one may have sent nothing
	bool is = sent != w->sent[i] || loaded != w->loaded[i] || state != w->state[i] || rounds != w->rounds[i];

	w->sent[i] = sent;
	w->loaded[i] = loaded;
	w->state[i] = state;
	w->rounds[i] = rounds;
	return is;
}

static void send_progress(struct ls_watcher *w)
{
	struct ls_migration *m = w->m;

	if (!m->role || ls_rpc_queued(w->call))
		return;
	for (unsigned i = 0; i < m->params.schedule.n_devices; i++) {
		if (!m->dev[i])
			continue;
		const struct ls_worker_progress *p = ls_worker_progress(m->dev[i]->worker);
		Lockstep__V1__AgentEvent event = LOCKSTEP__V1__AGENT_EVENT__INIT;
		Lockstep__V1__DeviceProgress progress = LOCKSTEP__V1__DEVICE_PROGRESS__INIT;
		if (!moved(w, i, p))
			continue;
		progress.name = (char *)ls_role_device_name(m->role, i);
		uint32_t *state = m->params.side == LS_SIDE_SOURCE ? &progress.source_state :
								     &progress.destination_state;
		*state = w->state[i] >= 0 ? (uint32_t)w->state[i] : 0;
		progress.bytes_sent = w->sent[i];
		progress.bytes_loaded = w->loaded[i];
		progress.initial_left = p->initial_left;
		progress.dirty_left = p->dirty_left;
		progress.rounds = p->rounds;
		progress.restarts = p->restarts;
		event.time_ns = ls_now_ns();
		event.kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_PROGRESS;
		event.progress = &progress;
		ls_rpc_send_message(w->call, &event.base);
	}
}

static void send_all_progress(struct ls_migration *m)
{
	for (struct ls_watcher *w = m->watchers, *next; w; w = next) {
		next = w->next;
		send_progress(w);
	}
}

static void on_progress(uv_timer_t *timer)
{
	send_all_progress(timer->data);
}

static void store(struct ls_migration *m, Lockstep__V1__AgentEvent *event)
{
	if (m->n_events == m->capacity) {
		unsigned capacity = m->capacity ? m->capacity * 2 : 64;
		struct ls_stored_event *grown = realloc(m->events, capacity * sizeof(*grown));
		if (!grown)
			abort();
		m->events = grown;
		m->capacity = capacity;
	}
	event->sequence = m->sequence_base + m->n_events + 1;
	if (!event->time_ns)
		event->time_ns = ls_now_ns();
	if (ls_pb_pack(&event->base, &m->events[m->n_events].bytes, &m->events[m->n_events].len) < 0)
		abort();
	m->n_events++;
	for (struct ls_watcher *w = m->watchers, *next; w; w = next) {
		next = w->next;
		push(w);
	}
}

static void store_step(struct ls_migration *m, const struct ls_role_action *a, Lockstep__V1__AgentEvent *event)
{
	Lockstep__V1__StepTime time = LOCKSTEP__V1__STEP_TIME__INIT;
	Lockstep__V1__Step step = LOCKSTEP__V1__STEP__INIT;

	step.kind = (Lockstep__V1__StepKind)a->step->kind;
	step.devices = a->step->devices;
	step.target = a->step->target;
	step.gate = (Lockstep__V1__Gate)a->step->gate;
	time.host = m->params.host;
	time.unwind = a->unwind;
	time.index = a->index;
	time.step = &step;
	time.begin_ns = a->begin_ns;
	time.end_ns = a->end_ns;
	if (a->device >= 0) {
		time.device = (char *)ls_role_device_name(m->role, (unsigned)a->device);
		time.from_state = a->from_state >= 0 ? (uint32_t)a->from_state : 0;
		time.errno_value = a->errno_value;
	}
	event->kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_STEP;
	event->step = &time;
	store(m, event);
}

static const char *gate_name(enum ls_gate gate)
{
	static const char *const names[] = { "", "before-pause", "stopped", "decide" };

	return names[gate];
}

static double ms(uint64_t from, uint64_t to)
{
	return from && to > from ? (double)(to - from) / 1e6 : 0;
}

static void store_blackout(struct ls_migration *m, Lockstep__V1__AgentEvent *event)
{
	const struct ls_role_blackout *b = ls_role_blackout(m->role);
	Lockstep__V1__Blackout out = LOCKSTEP__V1__BLACKOUT__INIT;

	out.total_ms = ms(b->pause_ns, b->started_ns);
	out.pause_ms = ms(b->pause_ns, b->paused_ns);
	out.quiesce_ms = ms(b->paused_ns, b->quiesced_ns);
	out.stop_ms = ms(b->quiesced_ns, b->stopped_ns);
	out.transfer_load_ms = ms(b->stopped_ns, b->asked_ns);
	out.decide_ms = ms(b->asked_ns, b->answered_ns);
	out.start_ms = ms(b->answered_ns, b->started_ns);
	event->kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_BLACKOUT;
	event->blackout = &out;
	store(m, event);
}

void ls_migration_emit(struct ls_migration *m, const struct ls_role_action *a)
{
	Lockstep__V1__AgentEvent event = LOCKSTEP__V1__AGENT_EVENT__INIT;
	Lockstep__V1__ErrorDetail detail;
	Lockstep__V1__Ended ended = LOCKSTEP__V1__ENDED__INIT;

	if (a->error) {
		ls_error_to_pb(a->error, &detail);
		if (!detail.host[0])
			detail.host = m->params.host;
	}
	switch (a->kind) {
	case LS_ACT_EMIT_STEP:
		if (a->end_ns)
			send_all_progress(m); // figures come before what they led to
		store_step(m, a, &event);
		break;
	case LS_ACT_EMIT_GATE:
		ls_fault_of(agent_gate_reached, gate_name(a->gate));
		event.kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_GATE;
		event.gate = (Lockstep__V1__Gate)a->gate;
		store(m, &event);
		break;
	case LS_ACT_EMIT_WORD:
		event.kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_WORD;
		event.word = (char *)ls_word_name(a->word);
		store(m, &event);
		break;
	case LS_ACT_EMIT_ERROR:
		event.kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_ERROR;
		event.error = &detail;
		store(m, &event);
		break;
	case LS_ACT_EMIT_BLACKOUT:
		store_blackout(m, &event);
		break;
	case LS_ACT_END:
		ended.how = (Lockstep__V1__Ended__How)a->how;
		ended.error = a->error ? &detail : NULL;
		event.kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_ENDED;
		event.ended = &ended;
		send_all_progress(m);
		store(m, &event);
		break;
	default:
		break;
	}
}

void ls_migration_watch(struct ls_migration *m, struct ls_rpc_call *call, uint64_t after_sequence)
{
	struct ls_watcher *w = calloc(1, sizeof(*w));

	if (!w) {
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	w->m = m;
	w->call = call;
	uint64_t after = after_sequence > m->sequence_base ? after_sequence - m->sequence_base : 0;
	w->next_sequence = after < m->n_events ? after + 1 : m->n_events + 1u;
	w->next = m->watchers;
	for (unsigned i = 0; i < LS_MAX_DEVICES; i++)
		w->state[i] = -1;
	m->watchers = w;
	if (!uv_is_active((uv_handle_t *)&m->progress))
		uv_timer_start(&m->progress, on_progress, PROGRESS_MS, PROGRESS_MS);
	ls_rpc_call_on_cancel(call, on_cancel, w);
	ls_rpc_call_on_writable(call, on_writable, w);
	push(w);
}

void ls_migration_drop_watchers(struct ls_migration *m)
{
	while (m->watchers) {
		struct ls_rpc_call *call = m->watchers->call;
		ls_rpc_call_on_cancel(call, NULL, NULL);
		watcher_free(m->watchers);
		ls_rpc_finish(call, LS_RPC_UNAVAILABLE, "the agent is closing");
	}
}
