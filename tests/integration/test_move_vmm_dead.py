# SPDX-License-Identifier: Apache-2.0
"""A VMM that dies, at either side, in each phase: its devices are reset, every fd is dropped, and it is said so."""
import pytest

from moves import M, assert_whole, explain
from stack import Stack

GATES = ("GATE_BEFORE_PAUSE", "GATE_STOPPED", "GATE_DECIDE")


def let_go(host):
    """The simulated kernel answers once nobody has the device open, and the last to close it leaves it as new."""
    for name in host.devices:
        host.debug(name, "wait-closed")


def told(host, reason="VMM_FAILED"):
    host.agent.expect_log(f"reason={reason}")


def held_at(stack, gate):
    spec = stack.spec(hold=[M.Gate.Value(gate)])
    stack.begin(spec)
    held = stack.until(spec, lambda m: m.waiting_at == M.Gate.Value(gate))
    assert held.waiting_at == M.Gate.Value(gate), explain(held)
    return spec


@pytest.mark.parametrize("gate", GATES)
def test_the_source_vmm_dies(gate):
    """There is no VM left to return: an operator hears that, and not what followed from it."""
    with Stack(types=("p2p", "full")) as stack:
        stack.boot()
        spec = held_at(stack, gate)
        stack.a.vmm.kill()
        last = stack.finish(spec)
        assert last.phase == M.PHASE_OPERATOR and last.error.reason == "VMM_FAILED", explain(last)
        assert last.error.host == stack.a.name
        told(stack.a)
        let_go(stack.a)


@pytest.mark.parametrize("gate", GATES)
def test_the_destination_vmm_dies(gate):
    """Nothing is decided: the VM returns, whole."""
    with Stack(types=("p2p", "full")) as stack:
        stack.boot()
        spec = held_at(stack, gate)
        stack.b.vmm.kill()
        last = stack.finish(spec)
        assert last.phase == M.PHASE_RETURNED and last.error.reason == "VMM_FAILED", explain(last)
        assert last.error.host == stack.b.name
        told(stack.b)
        let_go(stack.b)
        assert_whole(stack.a.verify())


def test_the_destination_vmm_dies_between_the_commit_and_the_start():
    """The source may not take the VM back by itself; what the destination had loaded is let go all the same."""
    with Stack(types=("p2p", "full")) as stack:
        stack.boot()
        stack.b.debug("b0", "stick STOP RUNNING_P2P")
        spec = stack.spec()
        stack.begin(spec)
        stack.b.debug("b0", "wait-stuck")
        stack.b.vmm.kill()
        stack.b.agent.expect_log("vmm.gone")
        stack.b.debug("b0", "release")
        last = stack.finish(spec)
        assert last.phase == M.PHASE_OPERATOR and last.error.reason == "VMM_FAILED", explain(last)
        assert (last.source_word, last.destination_word) == ("CONSENTED", "COMMITTED")
        let_go(stack.b)
        stack.a.agent.kill()  # told to stop it would wait for the destination's word


def test_a_side_that_is_held_for_an_operator_lets_go_when_its_vmm_dies():
    with Stack(types=("p2p", "full")) as stack:
        stack.boot()
        stack.a.debug("a1", "fail-error RUNNING_P2P RUNNING EIO")
        spec = held_at(stack, "GATE_STOPPED")
        stack.api.Cancel(M.CancelRequest(id=spec.id, actor="test"))
        last = stack.finish(spec)
        assert last.phase == M.PHASE_OPERATOR and last.error.reason == "ARC_FAILED", explain(last)
        stack.a.vmm.kill()
        told(stack.a)
        let_go(stack.a)
