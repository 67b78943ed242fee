// SPDX-License-Identifier: Apache-2.0
// Calls that wait for a migration: one answer, or a stream of them.
#include <errno.h>
#include <stdlib.h>

#include "coordinator/message.h"
#include "coordinator/service_internal.h"

struct waiter {
	struct ls_listener listener; // first
	struct ls_rpc_call *call;
	struct ls_migration *m;
	bool cancel;	   // a Cancel
	unsigned marks;	   // watch: so many of the migration's states are sent
	uint64_t sequence; // watch: of the newest view sent
};

static struct waiter *waiter_new(struct ls_rpc_call *call, struct ls_migration *m)
{
	struct waiter *w = ls_msg_alloc(sizeof(*w));

	w->call = call;
	w->m = m;
	return w;
}

// Off all lists; the call is still to be finished.
static struct ls_rpc_call *waiter_end(struct waiter *w)
{
	struct ls_rpc_call *call = w->call;

	ls_rpc_call_on_cancel(call, NULL, NULL);
	ls_rpc_call_on_writable(call, NULL, NULL);
	ls_migration_unlisten(w->m, &w->listener);
	free(w);
	return call;
}

static void on_gone(struct ls_rpc_call *call, void *user)
{
	ls_rpc_finish(waiter_end(user), LS_RPC_CANCELLED, "the caller has gone");
}

// ---- one answer ----

static void too_late(struct ls_rpc_call *call)
{
	struct ls_error err;

	ls_fail(&err, LS_E_BAD_STATE, 0, "too late: the source has given its consent, the destination decides");
	ls_service_fail(call, &err);
}

static bool answer(struct waiter *w)
{
	const struct ls_seq *q = ls_migration_seq(w->m);
	enum ls_seq_cancel cancel = ls_seq_cancel_state(q);

	if (!ls_migration_durable(w->m) && !(w->cancel && ls_seq_ended(q)))
		return false;
	if (w->cancel && cancel == LS_SEQ_ASKED && !ls_seq_ended(q))
		return false;
	if (w->cancel && cancel == LS_SEQ_REFUSED)
		too_late(waiter_end(w));
	else
		ls_rpc_reply_message(waiter_end(w), &ls_seq_view(q)->base);
	return true;
}

static void on_changed(struct ls_listener *l, struct ls_migration *m, const struct ls_error *lost)
{
	struct waiter *w = (struct waiter *)l;

	if (lost)
		ls_service_fail(waiter_end(w), lost);
	else
		answer(w);
}

void ls_service_wait(struct ls_rpc_call *call, struct ls_migration *m, bool cancel)
{
	struct waiter *w = waiter_new(call, m);

	w->cancel = cancel;
	w->listener.changed = on_changed;
	ls_migration_listen(m, &w->listener);
	if (!answer(w))
		ls_rpc_call_on_cancel(call, on_gone, w);
}

// ---- an operator's decision ----

static bool answer_resolved(struct waiter *w)
{
	const struct ls_seq *q = ls_migration_seq(w->m);
	const Lockstep__V1__ErrorDetail *refused = ls_seq_resolve_refused(q);
	struct ls_error err;

	if (ls_seq_resolving(q))
		return false;
	if (refused) {
		ls_msg_error_read(refused, &err);
		ls_service_fail(waiter_end(w), &err);
	} else {
		ls_service_reply_resolve(waiter_end(w), q);
	}
	return true;
}

static void on_resolving(struct ls_listener *l, struct ls_migration *m, const struct ls_error *lost)
{
	if (lost)
		ls_service_fail(waiter_end((struct waiter *)l), lost);
	else
		answer_resolved((struct waiter *)l);
}

void ls_service_wait_resolved(struct ls_rpc_call *call, struct ls_migration *m)
{
	struct waiter *w = waiter_new(call, m);

	w->listener.changed = on_resolving;
	ls_migration_listen(m, &w->listener);
	if (!answer_resolved(w))
		ls_rpc_call_on_cancel(call, on_gone, w);
}

// ---- a stream ----

// The next view that this watcher has not seen: every state once, of all else the newest. False: none.
static bool next_view(struct waiter *w, Lockstep__V1__Migration *ret)
{
	const struct ls_seq *q = ls_migration_seq(w->m);
	const Lockstep__V1__Migration *v = ls_seq_view(q);
	const struct ls_seq_mark *mark;
	unsigned n = ls_seq_marks(q, &mark);

	*ret = *v;
	if (w->marks + 1 < n) {
		const struct ls_seq_mark *m = &mark[w->marks++];

		ret->phase = m->phase;
		ret->waiting_at = m->waiting_at;
		ret->sequence = m->sequence;
		ret->changed_ms = m->changed_ms;
		w->sequence = m->sequence;
		return true;
	}
	if (v->sequence <= w->sequence)
		return false;
	w->marks = n;
	w->sequence = v->sequence;
	return true;
}

// At most one message is queued at a time, so a slow reader costs no memory.
static void pump(struct waiter *w)
{
	Lockstep__V1__Migration v;

	while (!ls_rpc_queued(w->call)) {
		if (next_view(w, &v)) {
			if (ls_rpc_send_message(w->call, &v.base) < 0)
				return; // the call is being cancelled
			continue;
		}
		if (ls_seq_ended(ls_migration_seq(w->m)))
			ls_rpc_finish(waiter_end(w), LS_RPC_OK, NULL);
		return;
	}
}

static void on_writable(struct ls_rpc_call *call, void *user)
{
	pump(user);
}

static void on_news(struct ls_listener *l, struct ls_migration *m, const struct ls_error *lost)
{
	struct waiter *w = (struct waiter *)l;

	if (lost)
		ls_service_fail(waiter_end(w), lost);
	else
		pump(w);
}

void ls_service_watch(struct ls_rpc_call *call, struct ls_migration *m)
{
	struct waiter *w = waiter_new(call, m);
	const struct ls_seq_mark *mark;
	unsigned n = ls_seq_marks(ls_migration_seq(m), &mark);

	w->marks = n ? n - 1 : 0;
	w->listener.changed = on_news;
	ls_migration_listen(m, &w->listener);
	ls_rpc_call_on_cancel(call, on_gone, w);
	ls_rpc_call_on_writable(call, on_writable, w);
	pump(w);
}
