// SPDX-License-Identifier: Apache-2.0
// While the VM is paused at the source: what the streams still have to carry, told to the role, which
// turns back at once where it cannot fit. Only a device that did not pre-copy says beforehand how much there is.
#include "agent/migration.h"
#include "agent/rest.h"
#include "common/clock.h"

#define LOOK_MS 20

void ls_migration_sending(struct ls_migration *m, unsigned i)
{
	m->slot[i].send_ns = ls_now_ns();
	m->slot[i].send_from = ls_worker_progress(m->dev[i]->worker)->sent;
}

static void look(uv_timer_t *timer)
{
	struct ls_migration *m = timer->data;
	struct ls_rest rest[LS_MAX_DEVICES] = { 0 };
	unsigned n = m->params.schedule.n_devices;

	for (unsigned i = 0; i < n; i++) {
		const struct slot *s = &m->slot[i];
		if (!s->send_ns || !m->dev[i] || m->params.schedule.device[i].precopy)
			continue;
		rest[i].total = s->size;
		rest[i].sent = ls_worker_progress(m->dev[i]->worker)->sent - s->send_from;
		rest[i].sending_ns = ls_now_ns() - s->send_ns;
	}
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_REST, .rest_ns = ls_rest_ns(rest, n) });
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
