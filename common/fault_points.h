// SPDX-License-Identifier: Apache-2.0
// Every place where a crash, a delay or an error means something. X(identifier, name, variants, may fail): a
// point with variants is one point for each, "NAME.VARIANT"; what may fail hands the errno to its caller.
#ifndef LS_COMMON_FAULT_POINTS_H
#define LS_COMMON_FAULT_POINTS_H

#include <stdbool.h>

#define LS_FAULT_WORDS \
	"ACTIVE CONSENTED RETURNING RETURNED RELEASED UNDECIDED COMMITTED ABORTED STARTED LOST_AFTER_COMMIT"
#define LS_FAULT_WRITES LS_FAULT_WORDS " close conflict heard note claim term prune"
#define LS_FAULT_JOBS \
	"adopt reset connect accept precopy send load close other ERROR STOP RUNNING STOP_COPY RESUMING RUNNING_P2P" \
	" PRE_COPY PRE_COPY_P2P"
#define LS_FAULT_OPS "lend pause final ready resume gone discard return other"
#define LS_FAULT_MESSAGES "blobs consent-request consent started abort word-query word other"
#define LS_FAULT_GATES "before-pause stopped decide"
#define LS_FAULT_SIDES(what) what ".source " what ".destination"
#define LS_FAULT_CALLS \
	LS_FAULT_SIDES("prepare") " " LS_FAULT_SIDES("grant") " " LS_FAULT_SIDES("unwind") " " \
	LS_FAULT_SIDES("settle") " " LS_FAULT_SIDES("get-word") " " LS_FAULT_SIDES("watch") " " \
	LS_FAULT_SIDES("find") " " LS_FAULT_SIDES("resolve")

#define LS_FAULT_AGENT(X) \
	X(agent_prepare_accepted, "agent.prepare.accepted", "", false)     /* checked; nothing is touched yet */ \
	X(agent_prepare_done, "agent.prepare.done", "", false)             /* the first word is durable */ \
	X(agent_ledger_before, "agent.ledger.before", LS_FAULT_WRITES, true) /* on the ledger's thread */ \
	X(agent_ledger_commit, "agent.ledger.commit", LS_FAULT_WRITES, true) /* committed; nobody knows yet */ \
	X(agent_word_known, "agent.word.known", LS_FAULT_WORDS, false)     /* on the loop; not yet the role */ \
	X(agent_job_before, "agent.job.before", LS_FAULT_JOBS, true)       /* on the worker; an arc by its target */ \
	X(agent_job_after, "agent.job.after", LS_FAULT_JOBS, false) \
	X(agent_stream_data, "agent.stream.data", "sent received", false)  /* after each piece */ \
	X(agent_stream_end, "agent.stream.end", "sent received", false) \
	X(agent_vmm_ask, "agent.vmm.ask", LS_FAULT_OPS, true) \
	X(agent_vmm_answer, "agent.vmm.answer", LS_FAULT_OPS, false) \
	X(agent_peer_dial, "agent.peer.dial", "", false) \
	X(agent_peer_up, "agent.peer.up", "", false) \
	X(agent_peer_send, "agent.peer.send", LS_FAULT_MESSAGES, false)    /* before it goes */ \
	X(agent_peer_sent, "agent.peer.sent", LS_FAULT_MESSAGES, false)    /* it may be on the wire, or not */ \
	X(agent_peer_receive, "agent.peer.receive", LS_FAULT_MESSAGES, false) \
	X(agent_gate_reached, "agent.gate.reached", LS_FAULT_GATES, false) \
	X(agent_grant, "agent.grant", "", false) \
	X(agent_unwind, "agent.unwind", "", false)                         /* the coordinator asks for it */ \
	X(agent_ended, "agent.ended", "done returned aborted operator other", false) \
	X(agent_restart_record, "agent.restart.record", "", false)         /* a record of an earlier life was read */ \
	X(agent_restart_ready, "agent.restart.ready", "", false)           /* all were, and the ports listen */

#define LS_FAULT_COORDINATOR(X) \
	X(coordinator_record_before, "coordinator.record.before", LS_FAULT_RECORDS, false) \
	X(coordinator_record_known, "coordinator.record.known", LS_FAULT_RECORDS, false) /* durable, not folded */ \
	X(coordinator_store_before, "coordinator.store.before", "", true)  /* on the store's thread */ \
	X(coordinator_store_commit, "coordinator.store.commit", "", false) /* committed; nobody knows yet */ \
	X(coordinator_plan_before, "coordinator.plan.before", "", false) \
	X(coordinator_plan_after, "coordinator.plan.after", "", false) \
	X(coordinator_call_before, "coordinator.call.before", LS_FAULT_CALLS, false) \
	X(coordinator_call_after, "coordinator.call.after", LS_FAULT_CALLS, false) \
	X(coordinator_event, "coordinator.event", "step gate word error blackout ended progress", false) \
	X(coordinator_restart_record, "coordinator.restart.record", "", false) /* read, not yet folded */ \
	X(coordinator_restart_ready, "coordinator.restart.ready", "", false)   /* folded; before anything goes on */

#define LS_FAULT_RECORDS \
	"created planned prepared prepare-failed agent asked told finished found resolved resolve-answered resumed"

#define LS_FAULT_POINTS(X) LS_FAULT_AGENT(X) LS_FAULT_COORDINATOR(X)

enum ls_fault_point {
#define X(id, name, variants, may_fail) LS_FAULT_##id,
	LS_FAULT_POINTS(X)
#undef X
	LS_FAULT_COUNT
};

#endif
