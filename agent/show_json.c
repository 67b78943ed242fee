// SPDX-License-Identifier: Apache-2.0
// For programs: one object.
#include "agent/show_int.h"

#include <errno.h>
#include <stdio.h>
#include <jansson.h>

static json_t *device(const struct show_device *d)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", d->config->name, "vm", d->config->vm, "slot",
			      d->config->slot, "path", d->config->path, "present", d->info.present);

	if (d->info.present) {
		json_object_set_new(j, "driver", json_string(d->info.driver));
		json_object_set_new(j, "type", json_string(d->info.type));
		json_object_set_new(j, "numa_node", json_integer(d->info.numa_node));
	}
	if (d->state)
		json_object_set_new(j, "state", json_string(d->state));
	if (d->problem.reason)
		json_object_set_new(j, "problem",
				    json_pack("{s:s, s:s}", "reason", ls_reason_name(d->problem.reason), "message",
					      d->problem.message));
	return j;
}

static json_t *migration(const struct show_migration *m)
{
	const struct ls_ledger_record *r = &m->record;
	json_t *words = json_array(), *claims = json_array();

	for (unsigned i = 0; i < m->n_words; i++)
		json_array_append_new(words, json_pack("{s:s, s:I}", "word", ls_word_name(m->word[i].word), "time_ms",
						       (json_int_t)m->word[i].time_ms));
	for (unsigned i = 0; i < m->n_claims; i++) {
		const struct ls_ledger_claim *c = &m->claim[i];
		json_array_append_new(claims, json_pack("{s:s, s:s, s:s, s:s, s:I}", "host", c->host, "method",
							show_method(c->method), "actor", c->actor, "evidence",
							c->evidence, "time_ms", (json_int_t)c->time_ms));
	}
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:s, s:I, s:s, s:I, s:o, s:o}", "id", r->migration,
			 "vm", r->vm, "side", r->side == LS_SIDE_SOURCE ? "source" : "destination", "peer", m->peer,
			 "word", ls_word_name(r->word), "status", show_status(r), "over", r->done, "conflict",
			 r->conflict, "ended", m->cause, "term", (json_int_t)r->term, "coordinator", r->coordinator,
			 "created_ms", (json_int_t)r->created_ms, "words", words, "claims", claims);
}

int show_as_json(const struct show *s)
{
	json_t *devices = json_array(), *migrations = json_array(), *all;
	int r;

	for (unsigned i = 0; i < s->config->n_devices; i++)
		json_array_append_new(devices, device(&s->device[i]));
	for (size_t i = 0; i < s->n_migrations; i++)
		json_array_append_new(migrations, migration(&s->migration[i]));
	all = json_pack("{s:s, s:b, s:{s:s, s:s, s:I, s:s}, s:o, s:o}", "host", s->config->host, "agent_runs",
			s->running, "ledger", "id", s->identity.id, "path", s->config->ledger, "term",
			(json_int_t)s->identity.term, "coordinator", s->identity.coordinator, "devices", devices,
			"migrations", migrations);
	r = all ? json_dumpf(all, stdout, JSON_INDENT(2)) : -1;
	if (r == 0)
		putchar('\n');
	json_decref(all);
	return r < 0 ? -EIO : 0;
}
