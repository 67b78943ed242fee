# SPDX-License-Identifier: Apache-2.0
"""Safety switched off on purpose, one switch at a time: each time it must be noticed, and with none switched
off there is no alarm. The latency of arcs and the rate of writes make it certain."""
import os

import pytest

from moves import M, assert_in_order, assert_moved, assert_returned, assert_whole, explain
from processes import has_controls, sanitizer
from stack import Stack

MOVES = int(os.environ.get("LOCKSTEP_REPEAT", "3" if sanitizer() else "20"))

pytestmark = pytest.mark.skipif(not has_controls(), reason="this build has no switches (-DLOCKSTEP_CONTROLS=ON)")


def fresh_moves(stack, source=None, **env):
    """Each with VMMs and devices that have just started, so that every alarm is of this very move."""
    for _ in range(MOVES):
        stack.b.start_vmm(incoming=True, **env)
        stack.a.start_vmm(peer=stack.b.ram, **env)
        yield stack.move()
        for host in (stack.a, stack.b):
            host.vmm.kill()
            for name in host.devices:
                host.debug(name, "wait-closed")


def with_control(name, stack_options=None):
    stack = Stack(**(stack_options or {}))
    for host in (stack.a, stack.b):
        host.agent_env = {"LOCKSTEP_CONTROL": name}
    return stack


def test_no_false_alarm():
    with Stack() as stack:
        for migration in fresh_moves(stack):
            assert_moved(migration)
            assert_whole(stack.b.verify())


@pytest.mark.parametrize("control,trace", [
    ("forget-bus-master", "bus master off"),
    ("forget-signal", "its interrupt never came"),
])
def test_what_the_vmm_forgets(control, trace):
    with Stack() as stack:
        seen = 0
        for migration in fresh_moves(stack, LOCKSTEP_CONTROL=control):
            assert_moved(migration)
            report = stack.b.verify()
            assert not report["ok"]
            seen += any(trace in error for error in report["errors"])
        assert seen == MOVES


def test_final_ram_sent_before_the_devices_stop():
    with with_control("final-before-stop") as stack:
        seen = 0
        for migration in fresh_moves(stack):
            assert migration.phase == M.PHASE_DONE, explain(migration)
            report = stack.b.verify()
            seen += any("never came into RAM" in e or "not in RAM" in e for e in report["errors"])
        assert seen == MOVES


def test_the_quiesce_barrier_left_out():
    with with_control("skip-quiesce-barrier") as stack:
        # Devices of one host take different times: the barrier is what makes the fast wait for the slow.
        for i, name in enumerate(stack.a.devices):
            for arc in ("RUNNING RUNNING_P2P", "PRE_COPY PRE_COPY_P2P", "RUNNING STOP"):
                stack.a.debug(name, f"latency {arc} {10 + 40 * i}")
        seen = 0
        for migration in fresh_moves(stack):
            assert migration.phase == M.PHASE_DONE, explain(migration)
            report = stack.b.verify()
            seen += any(pair["first_missing"] for pair in report["pairs"])
            with pytest.raises(AssertionError):
                assert_in_order(migration)  # the timestamps show it too
        assert seen == MOVES


@pytest.mark.parametrize("control", ["bend-stream-byte", "cut-stream"])
def test_a_damaged_stream_never_starts_at_the_destination(control):
    # A driver with digests of its own refuses a bent image before the stream's digest is compared.
    reasons = {"bend-stream-byte": ("LOAD_FAILED", "DIGEST_MISMATCH"),
               "cut-stream": ("STREAM_BROKEN", "DIGEST_MISMATCH")}[control]
    with with_control(control) as stack:
        for migration in fresh_moves(stack):
            assert_returned(migration)
            said = {migration.error.reason} | {d.error.reason for d in migration.device}
            assert said & set(reasons), explain(migration)
            assert_whole(stack.a.verify())
