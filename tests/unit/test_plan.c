// SPDX-License-Identifier: Apache-2.0
// A table of bad situations: each starts from a good pair of hosts, breaks one thing, and names the row it must cause.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/message.h"
#include "coordinator/plan.h"
#include "coordinator/validate.h"

#define DEVICES 3
#define FAIL LOCKSTEP__V1__CHECK__RESULT__FAIL
#define WARN LOCKSTEP__V1__CHECK__RESULT__WARN
#define PASS LOCKSTEP__V1__CHECK__RESULT__PASS

struct scene {
	Lockstep__V1__MigrationSpec *spec;
	Lockstep__V1__HelloResponse *hello[2];
	Lockstep__V1__DescribeResponse *describe[2];
	Lockstep__V1__CheckVersionResponse *verdict[2 * LS_MAX_DEVICES];
	const char *busy;
	struct ls_history *history;
	struct ls_pairs pairs;
};

static Lockstep__V1__Device *device(const char *prefix, unsigned i)
{
	Lockstep__V1__Device *d;

	LS_MSG_NEW(d, LOCKSTEP__V1__DEVICE__INIT);
	ls_msg_setf(&d->name, "%s%u", prefix, i);
	ls_msg_setf(&d->slot, "s%u", i);
	ls_msg_set(&d->vm, "vm1");
	ls_msg_set(&d->driver, "toy");
	ls_msg_set(&d->type, "toy-full");
	ls_msg_set(&d->version, "v1");
	d->flags = 7;
	d->state = LS_STATE_RUNNING;
	d->open = d->size_known = d->dirty_tracking = true;
	d->size = 1 << 20;
	d->max_image = 1 << 24;
	return d;
}

static struct scene *scene(void)
{
	struct scene *s = ls_msg_alloc(sizeof(*s));

	LS_MSG_NEW(s->spec, LOCKSTEP__V1__MIGRATION_SPEC__INIT);
	ls_msg_set(&s->spec->vm, "vm1");
	ls_msg_set(&s->spec->source, "A");
	ls_msg_set(&s->spec->destination, "B");
	for (int h = 0; h < 2; h++) {
		Lockstep__V1__VmmInfo *v;

		LS_MSG_NEW(s->hello[h], LOCKSTEP__V1__HELLO_RESPONSE__INIT);
		s->hello[h]->protocol_min = s->hello[h]->protocol_max = LS_PROTOCOL;
		ls_msg_set(&s->hello[h]->ledger_id, h ? "ledger-b" : "ledger-a");
		LS_MSG_NEW(s->describe[h], LOCKSTEP__V1__DESCRIBE_RESPONSE__INIT);
		for (unsigned i = 0; i < DEVICES; i++)
			LS_MSG_APPEND(s->describe[h]->n_device, s->describe[h]->device, device(h ? "b" : "a", i));
		LS_MSG_NEW(v, LOCKSTEP__V1__VMM_INFO__INIT);
		ls_msg_set(&v->vm, "vm1");
		ls_msg_set(&v->adapter, "native");
		v->connected = true;
		v->incoming = h;
		v->ram_bytes = 1 << 30;
		LS_MSG_APPEND(s->describe[h]->n_vmm, s->describe[h]->vmm, v);
	}
	for (unsigned i = 0; i < 2 * LS_MAX_DEVICES; i++) {
		LS_MSG_NEW(s->verdict[i], LOCKSTEP__V1__CHECK_VERSION_RESPONSE__INIT);
		s->verdict[i]->verdict = LOCKSTEP__V1__CHECK_VERSION_RESPONSE__VERDICT__COMPATIBLE;
	}
	s->history = ls_history_new();
	return s;
}

static void scene_free(struct scene *s)
{
	for (int h = 0; h < 2; h++) {
		ls_msg_free(s->hello[h]);
		ls_msg_free(s->describe[h]);
	}
	for (unsigned i = 0; i < 2 * LS_MAX_DEVICES; i++)
		ls_msg_free(s->verdict[i]);
	ls_msg_free(s->spec);
	ls_history_free(s->history);
	free(s);
}

static Lockstep__V1__DryRunResponse *plan(struct scene *s, struct ls_schedule *sched)
{
	const Lockstep__V1__CheckVersionResponse *verdict[2 * LS_MAX_DEVICES];
	struct ls_plan_input in = {.spec = s->spec, .verdict = verdict, .history = s->history, .busy_with = s->busy};
	struct ls_plan_host *host[2] = {&in.source, &in.dest};

	for (int h = 0; h < 2; h++) {
		host[h]->name = h ? s->spec->destination : s->spec->source;
		host[h]->hello = s->hello[h];
		host[h]->describe = s->describe[h];
	}
	if (s->describe[0] && s->describe[1]) {
		ls_plan_pair(s->spec->vm, s->describe[0], s->describe[1], &s->pairs);
		in.pairs = &s->pairs;
	}
	for (unsigned i = 0; i < 2 * LS_MAX_DEVICES; i++)
		verdict[i] = s->verdict[i];
	return ls_plan_make(&in, sched);
}

static const Lockstep__V1__Check *find(const Lockstep__V1__DryRunResponse *p, const char *id, const char *device_name)
{
	const Lockstep__V1__Check *best = NULL;

	for (size_t i = 0; i < p->n_check; i++)
		if (strcmp(p->check[i]->id, id) == 0 && strcmp(p->check[i]->device, device_name) == 0 &&
		    (!best || p->check[i]->result > best->result))
			best = p->check[i];
	return best;
}

// ---- what can be wrong ----

static Lockstep__V1__Device *src(struct scene *s, unsigned i)
{
	return s->describe[0]->device[i];
}
static Lockstep__V1__Device *dst(struct scene *s, unsigned i)
{
	return s->describe[1]->device[i];
}

static void problem(Lockstep__V1__Device *d, const char *reason)
{
	LS_MSG_NEW(d->problem, LOCKSTEP__V1__ERROR_DETAIL__INIT);
	ls_msg_set(&d->problem->reason, reason);
	ls_msg_set(&d->problem->message, "found so");
}

static void source_down(struct scene *s)
{
	ls_msg_free(s->hello[0]);
	s->hello[0] = NULL;
}
static void dest_down(struct scene *s)
{
	ls_msg_free(s->describe[1]);
	s->describe[1] = NULL;
}
static void newer_protocol(struct scene *s)
{
	s->hello[1]->protocol_min = s->hello[1]->protocol_max = 2;
}
static void vm_busy(struct scene *s)
{
	s->busy = "m7";
}
static void same_host(struct scene *s)
{
	ls_msg_set(&s->spec->destination, "A");
}
static void same_ledger(struct scene *s)
{
	ls_msg_set(&s->hello[1]->ledger_id, "ledger-a");
}
static void no_source_vmm(struct scene *s)
{
	s->describe[0]->vmm[0]->connected = false;
}
static void source_waits(struct scene *s)
{
	s->describe[0]->vmm[0]->incoming = true;
}
static void no_dest_vmm(struct scene *s)
{
	ls_msg_set(&s->describe[1]->vmm[0]->vm, "other");
}
static void dest_runs(struct scene *s)
{
	s->describe[1]->vmm[0]->incoming = false;
}
static void other_ram(struct scene *s)
{
	s->describe[1]->vmm[0]->ram_bytes = 1 << 29;
}
static void no_adapter(struct scene *s)
{
	ls_msg_set(&s->describe[0]->vmm[0]->adapter, "none");
}
static void no_such_vm(struct scene *s)
{
	for (unsigned i = 0; i < DEVICES; i++)
		ls_msg_set(&src(s, i)->vm, "vm2");
}
static void fewer(struct scene *s)
{
	ls_msg_set(&dst(s, 2)->vm, "vm2");
}
static void other_slot(struct scene *s)
{
	ls_msg_set(&dst(s, 1)->slot, "s9");
}
static void absent(struct scene *s)
{
	problem(src(s, 1), "DEVICE_ABSENT");
}
static void busy_dest(struct scene *s)
{
	problem(dst(s, 1), "DEVICE_BUSY");
}
static void v1_only(struct scene *s)
{
	problem(src(s, 1), "V1_ONLY");
}
static void not_migratable(struct scene *s)
{
	problem(dst(s, 1), "NOT_MIGRATABLE");
}
static void wrong_state(struct scene *s)
{
	problem(src(s, 1), "BAD_STATE");
}
static void stopped(struct scene *s)
{
	src(s, 1)->state = LS_STATE_STOP_COPY;
}
static void broken(struct scene *s)
{
	problem(src(s, 1), "RESOURCE");
}
static void other_type(struct scene *s)
{
	ls_msg_set(&dst(s, 1)->type, "toy-small");
}
static void not_created(struct scene *s)
{
	ls_msg_set(&dst(s, 1)->type, "");
	ls_msg_set(&dst(s, 1)->version, "");
	s->verdict[1]->verdict = LOCKSTEP__V1__CHECK_VERSION_RESPONSE__VERDICT__ABSENT;
	ls_msg_set(&s->verdict[1]->where, "");
	problem(dst(s, 1), "DEVICE_ABSENT");
}
static void incompatible(struct scene *s)
{
	s->verdict[1]->verdict = LOCKSTEP__V1__CHECK_VERSION_RESPONSE__VERDICT__INCOMPATIBLE;
	s->verdict[1]->errno_value = 22;
}
static void version_absent_there(struct scene *s)
{
	s->verdict[1]->verdict = LOCKSTEP__V1__CHECK_VERSION_RESPONSE__VERDICT__ABSENT;
}
static void version_absent_here(struct scene *s)
{
	ls_msg_set(&src(s, 1)->version, "");
	ls_msg_free(s->verdict[1]);
	s->verdict[1] = NULL;
}
static void version_unanswered(struct scene *s)
{
	ls_msg_free(s->verdict[1]);
	s->verdict[1] = NULL;
}
static void no_versions(struct scene *s)
{
	version_absent_here(s);
	ls_msg_set(&dst(s, 1)->version, "");
}
static void other_driver(struct scene *s)
{
	no_versions(s);
	ls_msg_set(&dst(s, 1)->driver, "tin");
}
static void no_stop_copy(struct scene *s)
{
	dst(s, 1)->flags = 2;
}
static void precopy_here_only(struct scene *s)
{
	dst(s, 1)->flags = 3;
}
static void two_without_p2p(struct scene *s)
{
	src(s, 0)->flags = 1;
	dst(s, 1)->flags = 5;
}
static void too_large(struct scene *s)
{
	src(s, 1)->size = 1 << 25;
}
static void size_unknown(struct scene *s)
{
	src(s, 1)->size_known = false;
}
static void deadline_unknown(struct scene *s)
{
	s->spec->deadline_ms = 100;
}

static const struct {
	const char *name;
	void (*spoil)(struct scene *s);
	const char *id, *device;
	Lockstep__V1__Check__Result result;
} table[] = {
	{"source unreachable", source_down, "host.reachable", "", FAIL},
	{"destination unreachable", dest_down, "host.reachable", "", FAIL},
	{"protocol", newer_protocol, "host.protocol", "", FAIL},
	{"another migration", vm_busy, "vm.free", "", FAIL},
	{"same host", same_host, "host.distinct", "", FAIL},
	{"same agent", same_ledger, "host.distinct", "", FAIL},
	{"no VMM at the source", no_source_vmm, "vmm.source", "", FAIL},
	{"the source waits", source_waits, "vmm.source", "", FAIL},
	{"no VMM at the destination", no_dest_vmm, "vmm.destination", "", FAIL},
	{"the destination runs", dest_runs, "vmm.destination", "", FAIL},
	{"other memory", other_ram, "vmm.memory", "", FAIL},
	{"adapter none", no_adapter, "vmm.adapter", "", WARN},
	{"VM unknown", no_such_vm, "vm.known", "", FAIL},
	{"fewer devices", fewer, "device.count", "", FAIL},
	{"unpaired at the source", other_slot, "pair.slot", "a1", FAIL},
	{"unpaired at the destination", other_slot, "pair.slot", "b1", FAIL},
	{"absent", absent, "device.present", "a1", FAIL},
	{"busy", busy_dest, "device.free", "b1", FAIL},
	{"v1 only", v1_only, "device.v2", "a1", FAIL},
	{"not migratable", not_migratable, "device.v2", "b1", FAIL},
	{"wrong state, as told", wrong_state, "device.state", "a1", FAIL},
	{"wrong state, as seen", stopped, "device.state", "a1", FAIL},
	{"another problem", broken, "device.ready", "a1", FAIL},
	{"type", other_type, "pair.type", "a1", FAIL},
	{"not created there yet: absent", not_created, "device.present", "b1", FAIL},
	{"not created there yet: of that type", not_created, "pair.type", "a1", FAIL},
	{"version refused", incompatible, "pair.version", "a1", FAIL},
	{"version absent there", version_absent_there, "pair.version", "a1", FAIL},
	{"version absent here", version_absent_here, "pair.version", "a1", FAIL},
	{"version unanswered", version_unanswered, "pair.version", "a1", FAIL},
	{"no versions", no_versions, "pair.version", "a1", WARN},
	{"no versions, other driver", other_driver, "pair.version", "a1", FAIL},
	{"no STOP_COPY", no_stop_copy, "pair.flags", "a1", FAIL},
	{"PRE_COPY here only", precopy_here_only, "pair.flags", "a1", WARN},
	{"first of two without P2P", two_without_p2p, "p2p", "a0", FAIL},
	{"second of two without P2P", two_without_p2p, "p2p", "a1", FAIL},
	{"image too large", too_large, "size", "a1", FAIL},
	{"size unknown", size_unknown, "size", "a1", WARN},
	{"deadline without estimate", deadline_unknown, "deadline", "", WARN},
};

static void each_bad_situation_causes_its_row(void **state)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct scene *s = scene();
		const Lockstep__V1__Check *row;
		Lockstep__V1__DryRunResponse *p;

		table[i].spoil(s);
		p = plan(s, NULL);
		row = find(p, table[i].id, table[i].device);
		if (!row || row->result != table[i].result || !row->seen[0] || !row->remedy[0] ||
		    p->feasible != (table[i].result != FAIL) || !p->feasible != !p->schedule)
			fail_msg("%s: %s %s: %s", table[i].name, table[i].id, table[i].device,
				 row ? row->seen : "there is no such row");
		ls_msg_free(p);
		scene_free(s);
	}
}

static void a_good_pair_has_neither_warning_nor_failure(void **state)
{
	struct scene *s = scene();
	struct ls_schedule sched;
	Lockstep__V1__DryRunResponse *p = plan(s, &sched);

	assert_true(p->feasible);
	for (size_t i = 0; i < p->n_check; i++) {
		assert_int_equal(p->check[i]->result, PASS);
		assert_string_equal(p->check[i]->remedy, "");
	}
	assert_int_equal(sched.n_devices, DEVICES);
	assert_int_equal(p->n_source_device, DEVICES);
	assert_int_equal(p->schedule->n_device, DEVICES);
	assert_false(p->estimate->known);
	ls_msg_free(p);
	scene_free(s);
}

static void an_unknown_numa_node_is_told_and_is_no_warning(void **state)
{
	struct scene *s = scene();
	Lockstep__V1__DryRunResponse *p;

	dst(s, 1)->numa_node = -1;
	p = plan(s, NULL);
	assert_int_equal(find(p, "numa", "a1")->result, PASS);
	assert_non_null(strstr(find(p, "numa", "a1")->seen, "node unknown at the destination"));
	assert_string_equal(find(p, "numa", "a1")->remedy, "");
	ls_msg_free(p);
	scene_free(s);
}

static void all_blockers_come_at_once(void **state)
{
	struct scene *s = scene();
	Lockstep__V1__DryRunResponse *p;
	struct ls_error err;

	vm_busy(s);
	no_dest_vmm(s);
	other_type(s);
	incompatible(s);
	busy_dest(s);
	too_large(s);
	src(s, 0)->flags = src(s, 2)->flags = 1;
	p = plan(s, NULL);
	assert_int_equal(find(p, "vm.free", "")->result, FAIL);
	assert_int_equal(find(p, "vmm.destination", "")->result, FAIL);
	assert_int_equal(find(p, "pair.type", "a1")->result, FAIL);
	assert_int_equal(find(p, "pair.version", "a1")->result, FAIL);
	assert_int_equal(find(p, "device.free", "b1")->result, FAIL);
	assert_int_equal(find(p, "p2p", "a0")->result, FAIL);
	assert_int_equal(find(p, "p2p", "a2")->result, FAIL);
	ls_plan_error(p, &err);
	assert_int_equal(err.reason, LS_E_VM_BUSY);
	assert_non_null(strstr(err.message, "and 6 more"));
	ls_msg_free(p);
	scene_free(s);
}

static void one_device_without_p2p_is_feasible(void **state)
{
	struct scene *s = scene();
	Lockstep__V1__DryRunResponse *p;

	src(s, 1)->flags = 1;
	p = plan(s, NULL);
	assert_true(p->feasible);
	assert_int_equal(find(p, "p2p", "a1")->result, PASS);
	ls_msg_free(p);
	scene_free(s);
}

static void devices_pair_by_slot_whatever_their_order_and_by_name_without_slots(void **state)
{
	struct scene *s = scene();

	ls_msg_set(&dst(s, 0)->slot, "s2");
	ls_msg_set(&dst(s, 2)->slot, "s0");
	ls_plan_pair("vm1", s->describe[0], s->describe[1], &s->pairs);
	assert_int_equal(s->pairs.n, 3);
	assert_int_equal(s->pairs.pair[0].dest, 2);
	assert_int_equal(s->pairs.pair[2].dest, 0);
	for (unsigned i = 0; i < DEVICES; i++) {
		ls_msg_set(&src(s, i)->slot, "");
		ls_msg_setf(&dst(s, i)->name, "a%u", 2 - i);
	}
	ls_plan_pair("vm1", s->describe[0], s->describe[1], &s->pairs);
	assert_int_equal(s->pairs.n, 3);
	assert_int_equal(s->pairs.pair[0].dest, 2);
	assert_true(s->pairs.pair[0].by_name);
	scene_free(s);
}

static void more_devices_than_a_schedule_holds_are_counted(void **state)
{
	struct scene *s = scene();
	Lockstep__V1__DryRunResponse *p;

	for (unsigned i = DEVICES; i < 100; i++)
		for (int h = 0; h < 2; h++)
			LS_MSG_APPEND(s->describe[h]->n_device, s->describe[h]->device, device(h ? "b" : "a", i));
	p = plan(s, NULL);
	assert_false(p->feasible);
	assert_int_equal(find(p, "device.count", "")->result, FAIL);
	ls_msg_free(p);
	scene_free(s);
}

// ---- estimates ----

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
	Lockstep__V1__DryRunResponse *p = plan(s, NULL);
	Lockstep__V1__Migration *m;

	LS_MSG_NEW(m, LOCKSTEP__V1__MIGRATION__INIT);
	m->spec = ls_msg_clone(s->spec);
	m->phase = LOCKSTEP__V1__PHASE__PHASE_DONE;
	m->schedule = ls_msg_clone(p->schedule);
	for (unsigned i = 0; i < DEVICES; i++) {
		arc(m, "A", src(s, i)->name, LS_STATE_RUNNING_P2P, ms);
		arc(m, "A", src(s, i)->name, LS_STATE_PRE_COPY_P2P, ms);
		arc(m, "A", src(s, i)->name, LS_STATE_STOP_COPY, i == 1 ? slow : ms);
		arc(m, "B", dst(s, i)->name, LS_STATE_RUNNING_P2P, ms);
		arc(m, "B", dst(s, i)->name, LS_STATE_RUNNING, ms);
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
	struct scene *s = scene();
	Lockstep__V1__DryRunResponse *p;

	ls_msg_set(&src(s, 1)->type, "toy-slow");
	ls_msg_set(&dst(s, 1)->type, "toy-slow");
	learn_move(s, 4, 20, 30);
	learn_move(s, 5, 30, 30);
	learn_move(s, 900, 900, 30); // one odd move
	s->spec->deadline_ms = 90;
	p = plan(s, NULL);
	assert_true(p->estimate->known);
	assert_float_equal(p->estimate->quiesce_ms, 5, 0.01);
	assert_float_equal(p->estimate->stop_ms, 30, 0.01); // the slowest device of the step
	assert_float_equal(p->estimate->transfer_ms, 30, 0.01);
	assert_float_equal(p->estimate->start_ms, 10, 0.01); // two steps
	assert_float_equal(p->estimate->blackout_ms, 78, 0.01);
	assert_int_equal(find(p, "deadline", "")->result, PASS);
	ls_msg_free(p);

	s->spec->deadline_ms = 70;
	p = plan(s, NULL);
	assert_int_equal(find(p, "deadline", "")->result, FAIL);
	assert_false(p->feasible);
	ls_msg_free(p);

	s->spec->deadline_ms = 0;
	src(s, 1)->size_known = false;
	p = plan(s, NULL);
	assert_false(p->estimate->known);
	assert_non_null(strstr(p->estimate->basis, "size of the state of a1"));
	ls_msg_free(p);
	scene_free(s);
}

static void a_type_that_never_moved_is_not_guessed(void **state)
{
	struct scene *s = scene();
	Lockstep__V1__DryRunResponse *p;

	learn_move(s, 4, 4, 30);
	ls_msg_set(&src(s, 2)->type, "new");
	ls_msg_set(&dst(s, 2)->type, "new");
	p = plan(s, NULL);
	assert_false(p->estimate->known);
	assert_non_null(strstr(p->estimate->basis, "a2"));
	ls_msg_free(p);
	scene_free(s);
}

static void specs_are_validated_field_by_field(void **state)
{
	struct scene *s = scene();
	struct ls_error err;

	assert_int_equal(ls_validate_spec(s->spec, true, &err), 0);
	assert_true(ls_validate_spec(s->spec, false, &err) < 0);
	assert_int_equal(err.reason, LS_E_INVALID);
	assert_non_null(strstr(err.message, "spec.id:"));
	ls_msg_set(&s->spec->vm, "a/b\n");
	assert_true(ls_validate_spec(s->spec, true, &err) < 0);
	assert_non_null(strstr(err.message, "spec.vm: must be 1 to 63 of [A-Za-z0-9._-], is `a/b?`"));
	assert_true(ls_validate_actor("a\tb", &err) < 0);
	scene_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_pair_has_neither_warning_nor_failure),
		cmocka_unit_test(each_bad_situation_causes_its_row),
		cmocka_unit_test(an_unknown_numa_node_is_told_and_is_no_warning),
		cmocka_unit_test(all_blockers_come_at_once),
		cmocka_unit_test(one_device_without_p2p_is_feasible),
		cmocka_unit_test(devices_pair_by_slot_whatever_their_order_and_by_name_without_slots),
		cmocka_unit_test(more_devices_than_a_schedule_holds_are_counted),
		cmocka_unit_test(the_estimate_follows_the_schedule),
		cmocka_unit_test(a_type_that_never_moved_is_not_guessed),
		cmocka_unit_test(specs_are_validated_field_by_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
