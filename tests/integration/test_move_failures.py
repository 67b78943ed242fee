# SPDX-License-Identifier: Apache-2.0
"""Whatever fails before the source consents, the VM runs on at the source, whole, and can move later."""
import json
import signal

import pytest

import order
from moves import M, assert_moved, assert_returned, assert_whole, explain
from stack import Stack


def moves_after_all(stack):
    """The VM is whole at the source; then another attempt takes it to the destination, whole."""
    assert_whole(stack.a.verify())
    migration = stack.move()
    assert_moved(migration)
    assert_whole(stack.b.verify())


@pytest.mark.parametrize("gate", ["GATE_BEFORE_PAUSE", "GATE_STOPPED", "GATE_DECIDE"])
def test_cancelled_at_a_gate(gate):
    with Stack() as stack:
        stack.boot()
        spec = stack.spec(hold=[M.Gate.Value(gate)])
        stack.begin(spec)
        held = stack.until(spec, lambda m: m.waiting_at == M.Gate.Value(gate))
        assert held.waiting_at == M.Gate.Value(gate), explain(held)
        stack.api.Cancel(M.CancelRequest(id=spec.id, actor="test"))
        assert_returned(stack.finish(spec), "CANCELLED")
        moves_after_all(stack)


@pytest.mark.parametrize("gate", ["GATE_BEFORE_PAUSE", "GATE_STOPPED", "GATE_DECIDE"])
def test_released_at_a_gate(gate):
    with Stack() as stack:
        stack.boot()
        spec = stack.spec(hold=[M.Gate.Value(gate)])
        stack.begin(spec)
        held = stack.until(spec, lambda m: m.waiting_at == M.Gate.Value(gate))
        assert held.waiting_at == M.Gate.Value(gate), explain(held)
        stack.api.Release(M.ReleaseRequest(id=spec.id, gate=M.Gate.Value(gate), actor="test"))
        assert_moved(stack.finish(spec))
        assert_whole(stack.b.verify())


def test_a_deadline_that_cannot_be_kept_returns_the_vm():
    with Stack() as stack:
        stack.boot()
        spec = stack.spec(deadline_ms=500, hold=[M.GATE_STOPPED])
        stack.begin(spec)
        assert_returned(stack.finish(spec), "DEADLINE")
        moves_after_all(stack)


@pytest.mark.parametrize("device,arc,walk", [
    (1, "RUNNING RUNNING_P2P", "RUNNING -> RUNNING_P2P"),
    (1, "RUNNING_P2P STOP", None),
    (0, "RUNNING STOP", None),
    (1, "STOP STOP_COPY", None),
])
def test_an_arc_that_fails_at_the_source(device, arc, walk):
    with Stack() as stack:
        stack.boot()
        name = stack.a.device(device)
        stack.a.debug(name, f"fail {arc} ENOSPC")
        migration = stack.move()
        assert_returned(migration, "ARC_FAILED")
        assert migration.error.device == name and migration.error.errno_value == 28, explain(migration)
        assert walk is None or migration.error.arc == walk, explain(migration)
        moves_after_all(stack)


def test_each_of_two_devices_that_fail_keeps_its_own_error():
    with Stack() as stack:
        stack.boot()
        stack.a.debug("a1", "fail RUNNING_P2P STOP ENOSPC")
        stack.a.debug("a2", "fail PRE_COPY_P2P STOP_COPY ETIMEDOUT")
        migration = stack.move()
        assert_returned(migration, "ARC_FAILED")
        errors = {d.name: d.error.errno_value for d in migration.device if d.error.reason}
        assert errors.get("a1") == 28 and errors.get("a2") == 110, explain(migration)
        moves_after_all(stack)


def test_a_destination_that_refuses_the_image():
    with Stack() as stack:
        stack.boot()
        stack.b.debug("b2", "fail RESUMING STOP EBADMSG")
        migration = stack.move()
        assert_returned(migration)
        assert migration.error.reason in ("LOAD_FAILED", "ARC_FAILED"), explain(migration)
        assert any(d.error.errno_value == 74 for d in migration.device) or migration.error.errno_value == 74, \
            explain(migration)
        moves_after_all(stack)


def test_a_destination_that_cannot_start_its_devices_after_consent_is_not_a_return():
    """After consent the VM is the destination's: an arc that fails there needs an operator, and says so."""
    with Stack() as stack:
        stack.boot()
        stack.b.debug("b1", "fail STOP RUNNING_P2P EIO")
        migration = stack.move()
        assert migration.phase == M.PHASE_OPERATOR, explain(migration)
        assert migration.error.errno_value == 5, explain(migration)
        for host in (stack.a, stack.b):
            host.agent.kill()  # told to stop it would wait for the operator


def test_the_destination_agent_vanishes_while_the_vm_still_runs():
    with Stack() as stack:
        stack.boot()
        spec = stack.spec(hold=[M.GATE_BEFORE_PAUSE])
        stack.begin(spec)
        stack.until(spec, lambda m: m.waiting_at == M.GATE_BEFORE_PAUSE)
        stack.b.agent.kill()
        migration = stack.until(spec, lambda m: m.source_word == "RETURNED")
        assert migration.source_word == "RETURNED", explain(migration)
        assert_whole(stack.a.verify())
        assert not any(line.startswith("vmm.paused") for line in stack.a.vmm.out)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_destination_agent_dies_or_freezes_in_the_blackout(number):
    with Stack() as stack:
        stack.boot()
        spec = stack.spec(hold=[M.GATE_STOPPED], deadline_ms=3000)
        stack.begin(spec)
        stack.until(spec, lambda m: m.waiting_at == M.GATE_STOPPED)
        stack.b.agent.popen.send_signal(number)
        migration = stack.until(spec, lambda m: m.source_word == "RETURNED")
        assert migration.source_word == "RETURNED", explain(migration)
        stack.a.wait("running")
        assert_whole(stack.a.verify())
        stack.b.agent.kill()


def test_the_source_vmm_dies_before_the_pause():
    """Nobody is left to return the VM to; both hosts are free for a new one."""
    with Stack() as stack:
        stack.boot()
        spec = stack.spec(hold=[M.GATE_BEFORE_PAUSE])
        stack.begin(spec)
        stack.until(spec, lambda m: m.waiting_at == M.GATE_BEFORE_PAUSE)
        stack.a.vmm.kill()
        migration = stack.finish(spec)
        assert migration.phase in (M.PHASE_RETURNED, M.PHASE_OPERATOR), explain(migration)
        assert migration.error.reason == "VMM_FAILED", explain(migration)
        if migration.phase == M.PHASE_RETURNED:
            for name in stack.a.devices:
                stack.a.debug(name, "wait-closed")
            stack.a.start_vmm(peer=stack.b.ram)
            moves_after_all(stack)


def test_an_arc_that_hangs_is_reported_by_device_and_the_others_stay_quiesced():
    with Stack() as stack:
        for host in (stack.a, stack.b):
            host.agent.stop()
            host.arc_timeout_ms = 1000
            host.start_agent()
        stack.boot()
        stack.a.debug("a2", "stick PRE_COPY_P2P STOP_COPY")
        spec = stack.spec()
        stack.begin(spec)
        stack.a.debug("a2", "wait-stuck")
        migration = stack.finish(spec)
        assert migration.phase == M.PHASE_OPERATOR, explain(migration)
        assert migration.error.reason == "ARC_STUCK" and migration.error.device == "a2", explain(migration)
        assert json.loads(stack.a.ask("status"))["state"] == "paused", "nothing runs while a device hangs"
        others = {d.name: d.source_state for d in migration.device if d.name != "a2"}
        assert set(others.values()) <= order.DEAF | {order.RUNNING_P2P, order.PRE_COPY_P2P}, others
        stack.a.debug("a2", "release")
        for host in (stack.a, stack.b):
            host.agent.kill()  # told to stop they would wait for the operator


def test_the_destination_vmm_dies():
    with Stack() as stack:
        stack.boot()
        spec = stack.spec(hold=[M.GATE_STOPPED])
        stack.begin(spec)
        stack.until(spec, lambda m: m.waiting_at == M.GATE_STOPPED)
        stack.b.vmm.kill()
        migration = stack.finish(spec)
        assert_returned(migration)
        assert_whole(stack.a.verify())
        stack.b.start_vmm(incoming=True)
        assert stack.a.ask(f"ram-peer {stack.b.ram}") == "ok\n"
        moves_after_all(stack)


def test_the_ram_channel_breaks():
    with Stack() as stack:
        stack.boot()
        assert stack.a.ask("ram-peer 127.0.0.1:1") == "ok\n"
        migration = stack.move()
        assert_returned(migration, "VMM_FAILED")
        assert stack.a.ask(f"ram-peer {stack.b.ram}") == "ok\n"
        moves_after_all(stack)
