// SPDX-License-Identifier: Apache-2.0
// While the VM is paused at the source: what the streams still have to carry, told to the role, which
// turns back at once where it cannot fit. How much there is the device estimates when it has stopped.
#include "agent/migration.h"
#include "agent/rest.h"
#include "common/clock.h"

#define LOOK_MS 20

void ls_migration_sending(struct ls_migration *m, unsigned i)
{
	m->slot[i].send_ns = ls_now_ns();
	m->slot[i].sent_ns = 0;
	m->slot[i].send_from = ls_worker_progress(m->dev[i]->worker)->sent;
}

void ls_migration_sent(struct ls_migration *m, unsigned i)
{
	m->slot[i].sent_ns = ls_now_ns();
}

// Of the time that was needed in earlier moves when all had been sent, what has not passed yet.
static uint64_t load_left(const struct ls_migration *m)
{
	uint64_t last = 0, now = ls_now_ns();

	for (unsigned i = 0; i < m->params.schedule.n_devices; i++) {
		if (!m->slot[i].sent_ns)
			return m->load_ns;
		if (m->slot[i].sent_ns > last)
			last = m->slot[i].sent_ns;
	}
	return now - last < m->load_ns ? m->load_ns - (now - last) : 0;
}

// What a stopped device says of its image is the whole of it with some drivers, and the rest of it with others: one
// that is far below what it was while the device ran is the rest.
static void look(uv_timer_t *timer)
{
	struct ls_migration *m = timer->data;
	struct ls_rest rest[LS_MAX_DEVICES] = { 0 };
	unsigned n = m->params.schedule.n_devices;

	for (unsigned i = 0; i < n; i++) {
		const struct slot *s = &m->slot[i];
		if (!s->send_ns || s->sent_ns || !m->dev[i])
			continue;
		const struct ls_worker_progress *p = ls_worker_progress(m->dev[i]->worker);
		uint64_t sent = p->sent, before = sent < s->send_from ? sent : s->send_from; // less: it started over
		rest[i].total = p->total;
		rest[i].before = p->total > s->size / 2 ? before : 0;
		rest[i].sent = sent - before;
		rest[i].sending_ns = ls_now_ns() - s->send_ns;
	}
	ls_migration_feed(m,
			  (struct ls_role_event){ .kind = LS_EV_REST, .rest_ns = ls_rest_ns(rest, n, load_left(m)) });
}

void ls_migration_watch_rest(struct ls_migration *m)
{
	bool paused = m->params.deadline_ns && ls_role_blackout(m->role)->pause_ns &&
		      ls_role_word(m->role) == LS_WORD_ACTIVE && !ls_role_unwinding(m->role);

	if (!paused)
		uv_timer_stop(&m->rest);
	else if (!uv_is_active((uv_handle_t *)&m->rest))
		uv_timer_start(&m->rest, look, LOOK_MS, LOOK_MS);
}
