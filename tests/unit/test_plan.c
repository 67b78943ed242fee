// SPDX-License-Identifier: Apache-2.0
// A table of bad situations: each starts from a good pair of hosts, breaks one thing, and names the row it must cause.
#include "plan_scene.h"

// ---- what can be wrong ----

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
		ls_msg_set(&plan_source(s, i)->vm, "vm2");
}
static void fewer(struct scene *s)
{
	ls_msg_set(&plan_dest(s, 2)->vm, "vm2");
}
static void other_slot(struct scene *s)
{
	ls_msg_set(&plan_dest(s, 1)->slot, "s9");
}
static void absent(struct scene *s)
{
	problem(plan_source(s, 1), "DEVICE_ABSENT");
}
static void busy_dest(struct scene *s)
{
	problem(plan_dest(s, 1), "DEVICE_BUSY");
}
static void v1_only(struct scene *s)
{
	problem(plan_source(s, 1), "V1_ONLY");
}
static void not_migratable(struct scene *s)
{
	problem(plan_dest(s, 1), "NOT_MIGRATABLE");
}
static void wrong_state(struct scene *s)
{
	problem(plan_source(s, 1), "BAD_STATE");
}
static void stopped(struct scene *s)
{
	plan_source(s, 1)->state = LS_STATE_STOP_COPY;
}
static void broken(struct scene *s)
{
	problem(plan_source(s, 1), "RESOURCE");
}
static void other_type(struct scene *s)
{
	ls_msg_set(&plan_dest(s, 1)->type, "toy-small");
}
static void not_created(struct scene *s)
{
	ls_msg_set(&plan_dest(s, 1)->type, "");
	ls_msg_set(&plan_dest(s, 1)->version, "");
	s->verdict[1]->verdict = LOCKSTEP__V1__CHECK_VERSION_RESPONSE__VERDICT__ABSENT;
	ls_msg_set(&s->verdict[1]->where, "");
	problem(plan_dest(s, 1), "DEVICE_ABSENT");
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
	ls_msg_set(&plan_source(s, 1)->version, "");
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
	ls_msg_set(&plan_dest(s, 1)->version, "");
}
static void other_driver(struct scene *s)
{
	no_versions(s);
	ls_msg_set(&plan_dest(s, 1)->driver, "tin");
}
static void no_stop_copy(struct scene *s)
{
	plan_dest(s, 1)->flags = 2;
}
static void precopy_here_only(struct scene *s)
{
	plan_dest(s, 1)->flags = 3;
}
static void two_without_p2p(struct scene *s)
{
	plan_source(s, 0)->flags = 1;
	plan_dest(s, 1)->flags = 5;
}
static void too_large(struct scene *s)
{
	plan_source(s, 1)->size = 1 << 25;
}
static void size_unknown(struct scene *s)
{
	plan_source(s, 1)->size_known = false;
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
		struct scene *s = plan_scene();
		const Lockstep__V1__Check *row;
		Lockstep__V1__DryRunResponse *p;

		table[i].spoil(s);
		p = plan_of(s, NULL);
		row = plan_find(p, table[i].id, table[i].device);
		if (!row || row->result != table[i].result || !row->seen[0] || !row->remedy[0] ||
		    p->feasible != (table[i].result != FAIL) || !p->feasible != !p->schedule)
			fail_msg("%s: %s %s: %s", table[i].name, table[i].id, table[i].device,
				 row ? row->seen : "there is no such row");
		ls_msg_free(p);
		plan_scene_free(s);
	}
}

static void a_good_pair_has_neither_warning_nor_failure(void **state)
{
	struct scene *s = plan_scene();
	struct ls_schedule sched;
	Lockstep__V1__DryRunResponse *p = plan_of(s, &sched);

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
	plan_scene_free(s);
}

static void an_unknown_numa_node_is_told_and_is_no_warning(void **state)
{
	struct scene *s = plan_scene();
	Lockstep__V1__DryRunResponse *p;

	plan_dest(s, 1)->numa_node = -1;
	p = plan_of(s, NULL);
	assert_int_equal(plan_find(p, "numa", "a1")->result, PASS);
	assert_non_null(strstr(plan_find(p, "numa", "a1")->seen, "node unknown at the destination"));
	assert_string_equal(plan_find(p, "numa", "a1")->remedy, "");
	ls_msg_free(p);
	plan_scene_free(s);
}

static void all_blockers_come_at_once(void **state)
{
	struct scene *s = plan_scene();
	Lockstep__V1__DryRunResponse *p;
	struct ls_error err;

	vm_busy(s);
	no_dest_vmm(s);
	other_type(s);
	incompatible(s);
	busy_dest(s);
	too_large(s);
	stopped(s);
	plan_source(s, 0)->flags = plan_source(s, 2)->flags = 1;
	p = plan_of(s, NULL);
	assert_int_equal(plan_find(p, "vm.free", "")->result, FAIL);
	// It is where the other migration took it.
	assert_null(strstr(plan_find(p, "device.state", "a1")->remedy, "reset the device"));
	assert_int_equal(plan_find(p, "vmm.destination", "")->result, FAIL);
	assert_int_equal(plan_find(p, "pair.type", "a1")->result, FAIL);
	assert_int_equal(plan_find(p, "pair.version", "a1")->result, FAIL);
	assert_int_equal(plan_find(p, "device.free", "b1")->result, FAIL);
	assert_int_equal(plan_find(p, "p2p", "a0")->result, FAIL);
	assert_int_equal(plan_find(p, "p2p", "a2")->result, FAIL);
	ls_plan_error(p, &err);
	assert_int_equal(err.reason, LS_E_VM_BUSY);
	assert_non_null(strstr(err.message, "and 7 more"));
	ls_msg_free(p);
	plan_scene_free(s);
}

static void one_device_without_p2p_is_feasible(void **state)
{
	struct scene *s = plan_scene();
	Lockstep__V1__DryRunResponse *p;

	plan_source(s, 1)->flags = 1;
	p = plan_of(s, NULL);
	assert_true(p->feasible);
	assert_int_equal(plan_find(p, "p2p", "a1")->result, PASS);
	ls_msg_free(p);
	plan_scene_free(s);
}

static void devices_pair_by_slot_whatever_their_order_and_by_name_without_slots(void **state)
{
	struct scene *s = plan_scene();

	ls_msg_set(&plan_dest(s, 0)->slot, "s2");
	ls_msg_set(&plan_dest(s, 2)->slot, "s0");
	ls_plan_pair("vm1", s->describe[0], s->describe[1], &s->pairs);
	assert_int_equal(s->pairs.n, 3);
	assert_int_equal(s->pairs.pair[0].dest, 2);
	assert_int_equal(s->pairs.pair[2].dest, 0);
	for (unsigned i = 0; i < DEVICES; i++) {
		ls_msg_set(&plan_source(s, i)->slot, "");
		ls_msg_setf(&plan_dest(s, i)->name, "a%u", 2 - i);
	}
	ls_plan_pair("vm1", s->describe[0], s->describe[1], &s->pairs);
	assert_int_equal(s->pairs.n, 3);
	assert_int_equal(s->pairs.pair[0].dest, 2);
	assert_true(s->pairs.pair[0].by_name);
	plan_scene_free(s);
}

static void more_devices_than_a_schedule_holds_are_counted(void **state)
{
	struct scene *s = plan_scene();
	Lockstep__V1__DryRunResponse *p;

	for (unsigned i = DEVICES; i < 100; i++)
		for (int h = 0; h < 2; h++)
			LS_MSG_APPEND(s->describe[h]->n_device, s->describe[h]->device, plan_device(h ? "b" : "a", i));
	p = plan_of(s, NULL);
	assert_false(p->feasible);
	assert_int_equal(plan_find(p, "device.count", "")->result, FAIL);
	ls_msg_free(p);
	plan_scene_free(s);
}

static void specs_are_validated_field_by_field(void **state)
{
	struct scene *s = plan_scene();
	struct ls_error err;

	assert_int_equal(ls_validate_spec(s->spec, true, &err), 0);
	assert_true(ls_validate_spec(s->spec, false, &err) < 0);
	assert_int_equal(err.reason, LS_E_INVALID);
	assert_non_null(strstr(err.message, "spec.id:"));
	ls_msg_set(&s->spec->vm, "a/b\n");
	assert_true(ls_validate_spec(s->spec, true, &err) < 0);
	assert_non_null(strstr(err.message, "spec.vm: must be 1 to 63 of [A-Za-z0-9._-], is `a/b?`"));
	assert_true(ls_validate_actor("a\tb", &err) < 0);
	plan_scene_free(s);
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
		cmocka_unit_test(specs_are_validated_field_by_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
