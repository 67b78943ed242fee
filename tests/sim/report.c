// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/report.h"

#include <stdlib.h>

#include "coordinator/message.h"

static void fill_step(Lockstep__V1__AgentEvent *e, const struct ls_role *role, const char *host,
		      const struct ls_role_action *act)
{
	Lockstep__V1__StepTime *t;

	LS_MSG_NEW(t, LOCKSTEP__V1__STEP_TIME__INIT);
	ls_msg_set(&t->host, host);
	t->unwind = act->unwind;
	t->index = act->index;
	t->begin_ns = act->begin_ns;
	t->end_ns = act->end_ns;
	LS_MSG_NEW(t->step, LOCKSTEP__V1__STEP__INIT);
	t->step->kind = (Lockstep__V1__StepKind)act->step->kind;
	t->step->devices = act->step->devices;
	t->step->target = act->step->target;
	t->step->gate = (Lockstep__V1__Gate)act->step->gate;
	if (act->device >= 0)
		ls_msg_set(&t->device, ls_role_device_name(role, (unsigned)act->device));
	e->kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_STEP;
	e->step = t;
}

void sim_report_add(struct sim_report *r, const struct ls_role *role, const char *host,
		    const struct ls_role_action *act, uint64_t now)
{
	Lockstep__V1__AgentEvent *e;

	LS_MSG_NEW(e, LOCKSTEP__V1__AGENT_EVENT__INIT);
	e->sequence = r->base + r->n + 1;
	e->time_ns = now;
	switch (act->kind) {
	case LS_ACT_EMIT_STEP:
		fill_step(e, role, host, act);
		break;
	case LS_ACT_EMIT_GATE:
		e->kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_GATE;
		e->gate = (Lockstep__V1__Gate)act->gate;
		break;
	case LS_ACT_EMIT_WORD:
		e->kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_WORD;
		ls_msg_set(&e->word, ls_word_name(act->word));
		break;
	case LS_ACT_EMIT_ERROR:
		e->kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_ERROR;
		e->error = ls_msg_error(act->error);
		break;
	case LS_ACT_END:
		e->kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_ENDED;
		LS_MSG_NEW(e->ended, LOCKSTEP__V1__ENDED__INIT);
		e->ended->how = (Lockstep__V1__Ended__How)act->how;
		if (act->error)
			e->ended->error = ls_msg_error(act->error);
		break;
	default:
		ls_msg_free(e);
		return;
	}
	LS_MSG_APPEND(r->n, r->event, e);
}

void sim_report_each(const struct sim_report *r, uint64_t after, void (*each)(void *user, const void *event),
		     void *user)
{
	for (unsigned i = after > r->base ? (unsigned)(after - r->base) : 0; i < r->n; i++)
		each(user, r->event[i]);
}

void sim_report_free(struct sim_report *r)
{
	for (unsigned i = 0; i < r->n; i++)
		ls_msg_free(r->event[i]);
	free(r->event);
}
