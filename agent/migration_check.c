// SPDX-License-Identifier: Apache-2.0
// What a request to prepare says by itself, checked field by field before anything is looked at or touched.
#include <string.h>

#include "agent/migration.h"
#include "common/config.h"
#include "common/control.h"
#include "proto/wire/sched_pb.h"

#define MS 1000000ull
#define RETRY_MS 500
#define PEER_MS 60000
#define VMM_MS 30000

#define REFUSE(reason, ...) return ls_fail(err, LS_E_##reason, 0, __VA_ARGS__)

int ls_migration_check(const struct ls_agent *a, const Lockstep__V1__PrepareRequest *q, struct ls_role_params *p,
		       struct ls_error *err)
{
	const struct ls_vm_config *vm = ls_agent_config_vm(a->config, q->vm);
	int r;

	if (!ls_name_valid(q->migration) || !ls_name_valid(q->vm) || !ls_name_valid(q->peer_host))
		REFUSE(INVALID, "migration, vm and peer_host want 1 to 63 of A-Z a-z 0-9 . _ -");
	if (q->side != LOCKSTEP__V1__SIDE__SIDE_SOURCE && q->side != LOCKSTEP__V1__SIDE__SIDE_DESTINATION)
		REFUSE(INVALID, "side %d: source or destination is wanted", (int)q->side);
	p->side = (enum ls_side)q->side;
	if (q->token.len != 32)
		REFUSE(INVALID, "token has %zu bytes, not 32", q->token.len);
	if (p->side == LS_SIDE_SOURCE && (!q->peer_address[0] || strlen(q->peer_address) >= 128))
		REFUSE(INVALID, "peer_address is missing or longer than 127 bytes");
	if (p->side == LS_SIDE_SOURCE && strlen(q->peer_ledger_id) != LS_LEDGER_ID_SIZE - 1)
		REFUSE(INVALID, "peer_ledger_id has %zu characters, not %d", strlen(q->peer_ledger_id),
		       LS_LEDGER_ID_SIZE - 1);
	if (q->deadline_ms && (q->deadline_ms < 10 || q->deadline_ms > 3600000))
		REFUSE(INVALID, "deadline_ms is 0 or 10 to 3600000");
	if (q->load_us > 3600000000u)
		REFUSE(INVALID, "load_us is at most 3600000000");
	if (q->precopy && q->precopy->max_rounds > 1000)
		REFUSE(INVALID, "precopy.max_rounds is at most 1000");
	r = ls_schedule_from_pb(q->schedule, &p->schedule, err);
	if (r == 0)
		r = ls_schedule_verify(&p->schedule, err);
	if (r < 0)
		return r;
	snprintf(p->migration, sizeof(p->migration), "%s", q->migration);
	snprintf(p->vm, sizeof(p->vm), "%s", q->vm);
	snprintf(p->host, sizeof(p->host), "%s", a->config->host);
	snprintf(p->peer_host, sizeof(p->peer_host), "%s", q->peer_host);
	snprintf(p->ledger_id, sizeof(p->ledger_id), "%s", ls_ledger_id(a->ledger));
	if (strlen(q->peer_ledger_id) == LS_LEDGER_ID_SIZE - 1)
		memcpy(p->peer_ledger_id, q->peer_ledger_id, LS_LEDGER_ID_SIZE);
	p->deadline_ns = q->deadline_ms * MS;
	p->stuck_ns = a->config->arc_timeout_ms * MS;
	p->retry_ns = RETRY_MS * MS;
	p->peer_ns = PEER_MS * MS;
	p->vmm_ns = (vm ? vm->timeout_ms : VMM_MS) * MS;
	p->skip_quiesce = ls_control("skip-quiesce-barrier");
	p->final_before_stop = ls_control("final-before-stop");
	return 0;
}
