// SPDX-License-Identifier: Apache-2.0
// Records on their way to the disk and back into the sequencer.
#include <stdlib.h>

#include "common/log.h"
#include "common/fault.h"
#include "coordinator/message.h"
#include "coordinator/migrations_internal.h"
#include "proto/wire/pb.h"

void ls_migrations_learn(struct ls_migrations *ms, const struct ls_seq *q)
{
	const Lockstep__Store__Planned *p = ls_seq_plan(q);

	// A plan that was learnt from an agent has no devices to go with.
	if (p && p->plan->feasible && p->plan->schedule && p->plan->n_source_device == p->plan->schedule->n_device)
		ls_history_learn(ms->history, ls_seq_view(q), p->plan->source_device, p->plan->destination_device);
}

static const char *fault_name(const Lockstep__Store__Record *r)
{
	switch (r->kind_case) {
	case LOCKSTEP__STORE__RECORD__KIND_CREATED:
		return "created";
	case LOCKSTEP__STORE__RECORD__KIND_PLANNED:
		return "planned";
	case LOCKSTEP__STORE__RECORD__KIND_PREPARED:
		return "prepared";
	case LOCKSTEP__STORE__RECORD__KIND_PREPARE_FAILED:
		return "prepare-failed";
	case LOCKSTEP__STORE__RECORD__KIND_AGENT:
		return "agent";
	case LOCKSTEP__STORE__RECORD__KIND_ASKED:
		return "asked";
	case LOCKSTEP__STORE__RECORD__KIND_TOLD:
		return "told";
	case LOCKSTEP__STORE__RECORD__KIND_FINISHED:
		return "finished";
	case LOCKSTEP__STORE__RECORD__KIND_FOUND:
		return "found";
	case LOCKSTEP__STORE__RECORD__KIND_RESOLVED:
		return "resolved";
	case LOCKSTEP__STORE__RECORD__KIND_RESOLVE_ANSWERED:
		return "resolve-answered";
	default:
		return "resumed";
	}
}

static void log_end(const struct ls_migration *m)
{
	const Lockstep__V1__Migration *v = ls_seq_view(m->seq);
	const ProtobufCEnumValue *phase =
		protobuf_c_enum_descriptor_get_value(&lockstep__v1__phase__descriptor, v->phase);

	ls_log(v->phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR ? LS_LOG_ERROR : LS_LOG_INFO, "migration.ended",
	       "migration=%s phase=%s reason=%s blackout_ms=%.1f", v->spec->id, phase ? phase->name : "?",
	       v->error ? v->error->reason : "NONE", v->blackout ? v->blackout->total_ms : 0.0);
}

static void lost(struct ls_migration *m, const struct ls_error *err)
{
	struct ls_migrations *ms = m->all;

	ls_log_error("store.refused", err, "migration=%s", ls_migration_spec(m)->id);
	ls_migration_tell(m, err);
	ms->open--;
	ls_migration_unlink(m);
	ls_migration_free(m);
}

static void on_stored(void *user, int status, const struct ls_error *err)
{
	struct pending *p = user;
	struct ls_migration *m = p->migration;
	Lockstep__Store__Record *record = p->record;
	bool was_open;

	if (m->all->stopped)
		return;
	if (status < 0)
		return lost(m, err); // only a first record can fail
	ls_fault_of(coordinator_record_known, fault_name(record));
	m->pending = p->next;
	if (!m->pending)
		m->pending_tail = &m->pending;
	free(p);
	m->stored = true;
	was_open = ls_migration_open(m->seq);
	ls_seq_persisted(m->seq, record, ls_migrations_now());
	m->all->open += (unsigned)ls_migration_open(m->seq) - (unsigned)was_open;
	m->all->ended += (unsigned)was_open - (unsigned)ls_migration_open(m->seq);
	if (record->kind_case == LOCKSTEP__STORE__RECORD__KIND_FINISHED) {
		ls_migrations_learn(m->all, m->seq);
		log_end(m);
	} else if (record->kind_case == LOCKSTEP__STORE__RECORD__KIND_RESUMED) {
		ls_log(LS_LOG_INFO, "migration.resumed", "migration=%s: no operator is needed any more",
		       ls_migration_spec(m)->id);
	}
	ls_msg_free(record);
	ls_migration_drive(m);
}

static void summarize(const struct ls_migration *m, const Lockstep__Store__Finished *f, uint64_t now_ms,
		      uint8_t **bytes, size_t *len)
{
	Lockstep__V1__Migration v = *ls_seq_view(m->seq);

	if (f)
		v.phase = f->phase;
	if (f && f->closed)
		v.closed_by = (char *)(uintptr_t)ls_seq_closer(m->seq);
	else if (f && f->phase != LOCKSTEP__V1__PHASE__PHASE_OPERATOR)
		v.error = (Lockstep__V1__ErrorDetail *)(uintptr_t)ls_seq_first_cause(m->seq);
	if (f && f->error && (!v.error || f->phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR))
		v.error = f->error;
	v.waiting_at = LOCKSTEP__V1__GATE__GATE_NONE;
	v.changed_ms = now_ms;
	v.sequence++;
	v.n_step = v.n_check = 0;
	v.schedule = NULL;
	if (ls_pb_pack(&v.base, bytes, len) < 0)
		abort();
}

// The record by which a destination that was silent at the end is known to have given up.
static bool ties_up(const Lockstep__Store__Record *r)
{
	return r->kind_case == LOCKSTEP__STORE__RECORD__KIND_RESOLVE_ANSWERED ||
	       (r->kind_case == LOCKSTEP__STORE__RECORD__KIND_TOLD && (r->told->ended || !r->told->known)) ||
	       (r->kind_case == LOCKSTEP__STORE__RECORD__KIND_AGENT &&
		r->agent->event->kind_case == LOCKSTEP__V1__AGENT_EVENT__KIND_ENDED);
}

void ls_migration_persist(struct ls_migration *m, Lockstep__Store__Record *record)
{
	struct ls_store_append a = {.id = ls_migration_spec(m)->id};
	struct pending *p = ls_msg_alloc(sizeof(*p));
	uint8_t *bytes, *summary = NULL;

	ls_fault_of(coordinator_record_before, fault_name(record));
	*p = (struct pending){.record = record, .migration = m};
	*m->pending_tail = p;
	m->pending_tail = &p->next;
	if (record->kind_case == LOCKSTEP__STORE__RECORD__KIND_CREATED) {
		a.vm = ls_migration_spec(m)->vm;
		a.created_ms = record->time_ms;
	} else if (record->kind_case == LOCKSTEP__STORE__RECORD__KIND_FINISHED) {
		summarize(m, record->finished, record->time_ms, &summary, &a.summary_len);
		a.summary = summary;
		a.close = !record->finished->loose && (record->finished->closed ||
						       record->finished->phase != LOCKSTEP__V1__PHASE__PHASE_OPERATOR);
	} else if (ls_seq_loose(m->seq) && ties_up(record)) {
		summarize(m, NULL, record->time_ms, &summary, &a.summary_len);
		a.summary = summary;
		a.close = true;
	}
	if (ls_pb_pack(&record->base, &bytes, &a.len) < 0)
		abort();
	a.bytes = bytes;
	ls_store_append(m->all->store, &a, on_stored, p);
	free(bytes);
	free(summary);
}
