// SPDX-License-Identifier: Apache-2.0
// What earlier moves say about the next one.
#include "plan_scene.h"

static void arc(Lockstep__V1__Migration *m, const char *host, const char *name, int target, double ms)
{
	Lockstep__V1__StepTime *t;

	LS_MSG_NEW(t, LOCKSTEP__V1__STEP_TIME__INIT);
	ls_msg_set(&t->host, host);
	ls_msg_set(&t->device, name);
	LS_MSG_NEW(t->step, LOCKSTEP__V1__STEP__INIT);
	t->step->kind = LOCKSTEP__V1__STEP_KIND__STEP_ARC;
	t->step->target = (uint32_t)target;
	t->index = (uint32_t)target; // one step for each
	t->begin_ns = 1000000;
	t->end_ns = t->begin_ns + (uint64_t)(ms * 1e6);
	LS_MSG_APPEND(m->n_step, m->step, t);
}

// A move whose devices took ms for each arc but one, which took `slow`.
static void learn_move(struct scene *s, double ms, double slow, double transfer)
{
	Lockstep__V1__DryRunResponse *p = plan_of(s, NULL);
	Lockstep__V1__Migration *m;

	LS_MSG_NEW(m, LOCKSTEP__V1__MIGRATION__INIT);
	m->spec = ls_msg_clone(s->spec);
	m->phase = LOCKSTEP__V1__PHASE__PHASE_DONE;
	m->schedule = ls_msg_clone(p->schedule);
	for (unsigned i = 0; i < DEVICES; i++) {
		arc(m, "A", plan_source(s, i)->name, LS_STATE_RUNNING_P2P, ms);
		arc(m, "A", plan_source(s, i)->name, LS_STATE_PRE_COPY_P2P, ms);
		arc(m, "A", plan_source(s, i)->name, LS_STATE_STOP_COPY, i == 1 ? slow : ms);
		arc(m, "B", plan_dest(s, i)->name, LS_STATE_RUNNING_P2P, ms);
		arc(m, "B", plan_dest(s, i)->name, LS_STATE_RUNNING, ms);
	}
	LS_MSG_NEW(m->blackout, LOCKSTEP__V1__BLACKOUT__INIT);
	m->blackout->total_ms = 4 * ms + slow + transfer + 3; // 3: what no arc explains
	m->blackout->transfer_load_ms = transfer;
	ls_history_learn(s->history, m, p->source_device, p->destination_device);
	ls_msg_free(m);
	ls_msg_free(p);
}

static void the_estimate_follows_the_schedule(void **state)
{
	struct scene *s = plan_scene();
	Lockstep__V1__DryRunResponse *p;

	ls_msg_set(&plan_source(s, 1)->type, "toy-slow");
	ls_msg_set(&plan_dest(s, 1)->type, "toy-slow");
	learn_move(s, 4, 20, 30);
	learn_move(s, 5, 30, 30);
	learn_move(s, 900, 900, 30); // one odd move
	s->spec->deadline_ms = 90;
	p = plan_of(s, NULL);
	assert_true(p->estimate->known);
	assert_float_equal(p->estimate->quiesce_ms, 5, 0.01);
	assert_float_equal(p->estimate->stop_ms, 30, 0.01); // the slowest device of the step
	assert_float_equal(p->estimate->transfer_ms, 30, 0.01);
	assert_float_equal(p->estimate->start_ms, 10, 0.01); // two steps
	assert_float_equal(p->estimate->blackout_ms, 78, 0.01);
	assert_int_equal(plan_find(p, "deadline", "")->result, PASS);
	ls_msg_free(p);

	s->spec->deadline_ms = 70;
	p = plan_of(s, NULL);
	assert_int_equal(plan_find(p, "deadline", "")->result, FAIL);
	assert_false(p->feasible);
	ls_msg_free(p);

	s->spec->deadline_ms = 0;
	plan_source(s, 1)->size_known = false;
	p = plan_of(s, NULL);
	assert_false(p->estimate->known);
	assert_non_null(strstr(p->estimate->basis, "size of the state of a1"));
	ls_msg_free(p);
	plan_scene_free(s);
}

static void a_type_that_never_moved_is_not_guessed(void **state)
{
	struct scene *s = plan_scene();
	Lockstep__V1__DryRunResponse *p;

	learn_move(s, 4, 4, 30);
	ls_msg_set(&plan_source(s, 2)->type, "new");
	ls_msg_set(&plan_dest(s, 2)->type, "new");
	p = plan_of(s, NULL);
	assert_false(p->estimate->known);
	assert_non_null(strstr(p->estimate->basis, "a2"));
	ls_msg_free(p);
	plan_scene_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_estimate_follows_the_schedule),
		cmocka_unit_test(a_type_that_never_moved_is_not_guessed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
