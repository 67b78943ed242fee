# SPDX-License-Identifier: Apache-2.0
"""Agents killed at the places that matter, started again with their device fds kept: the VM ends whole, on one host."""
import signal

import pytest

from moves import M, assert_whole, explain
from stack import Stack

BACK, MOVED = "back", "moved"


def end(stack, spec):
    """The last that the coordinator says, whatever its own connection to the killed agent went through."""
    last = None
    for _ in range(200):
        last = stack.api.Get(M.GetRequest(id=spec.id), timeout=30)
        if last.phase >= M.PHASE_DONE:
            return last
        last = stack.finish(spec) or last
    return last


@pytest.mark.parametrize("side,point,outcome", [
    ("a", "agent.ledger.commit.ACTIVE", BACK),
    ("a", "agent.job.after.RUNNING_P2P", BACK),
    ("a", "agent.job.after.STOP_COPY", BACK),
    ("a", "agent.vmm.answer.final", BACK),
    ("a", "agent.ledger.before.CONSENTED", BACK),
    ("a", "agent.ledger.commit.CONSENTED", BACK),
    ("a", "agent.peer.sent.consent", MOVED),
    ("a", "agent.ledger.before.RELEASED", MOVED),
    ("a", "agent.ledger.commit.RELEASED", MOVED),
    ("b", "agent.ledger.commit.UNDECIDED", BACK),
    ("b", "agent.job.after.load", BACK),
    ("b", "agent.vmm.answer.ready", BACK),
    ("b", "agent.ledger.before.COMMITTED", BACK),
    ("b", "agent.ledger.commit.COMMITTED", MOVED),
    ("b", "agent.job.before.RUNNING_P2P", MOVED),
    ("b", "agent.job.after.RUNNING", MOVED),
    ("b", "agent.vmm.answer.resume", MOVED),
    ("b", "agent.ledger.commit.STARTED", MOVED),
])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "bare"])
def test_killed_and_started_again(side, point, outcome, kept):
    stack = Stack(types=("p2p", "full"), managed=True, latency_ms=5)
    host = stack.a if side == "a" else stack.b
    host.first_env = {"LOCKSTEP_FAULT": f"{point}=kill"}
    # Re-lent by its VMM, devices that all run cannot be told from new ones: then an operator decides (rule 6).
    may_be_lost = not kept and point == "agent.job.after.RUNNING"
    with stack:
        if not kept:
            host.agent_service.fd_store_max = 0
        stack.boot()
        spec = stack.spec()
        stack.begin(spec)
        host.agent_service.wait_starts(2)
        last = end(stack, spec)
        if may_be_lost and last.phase == M.PHASE_OPERATOR:
            assert last.error.reason == "LOST_AFTER_COMMIT", explain(last)
            stack.a.agent_service.stop(signal.SIGKILL)  # it waits for the operator, also when it is asked to stop
            return
        assert last.phase == (M.PHASE_DONE if outcome == MOVED else M.PHASE_RETURNED), explain(last)
        assert_whole((stack.b if outcome == MOVED else stack.a).verify())
        host.agent_service.wait_for(lambda: not host.agent_service.stored(), "end of what it kept")
