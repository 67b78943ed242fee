// SPDX-License-Identifier: Apache-2.0
#include "plan_scene.h"

Lockstep__V1__Device *plan_device(const char *prefix, unsigned i)
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

struct scene *plan_scene(void)
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
			LS_MSG_APPEND(s->describe[h]->n_device, s->describe[h]->device, plan_device(h ? "b" : "a", i));
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

void plan_scene_free(struct scene *s)
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

Lockstep__V1__DryRunResponse *plan_of(struct scene *s, struct ls_schedule *sched)
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

const Lockstep__V1__Check *plan_find(const Lockstep__V1__DryRunResponse *p, const char *id, const char *device_name)
{
	const Lockstep__V1__Check *best = NULL;

	for (size_t i = 0; i < p->n_check; i++)
		if (strcmp(p->check[i]->id, id) == 0 && strcmp(p->check[i]->device, device_name) == 0 &&
		    (!best || p->check[i]->result > best->result))
			best = p->check[i];
	return best;
}

Lockstep__V1__Device *plan_source(struct scene *s, unsigned i)
{
	return s->describe[0]->device[i];
}
Lockstep__V1__Device *plan_dest(struct scene *s, unsigned i)
{
	return s->describe[1]->device[i];
}
