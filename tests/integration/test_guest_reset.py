# SPDX-License-Identifier: Apache-2.0
"""K5: a guest that resets a device of its while that is pre-copied. The device starts over, the others keep what they sent,
the move succeeds, and nothing is lost but what the guest itself threw away."""
import random
import threading

import pytest

from moves import M, assert_moved, assert_returned, assert_whole, explain
from processes import has_controls, sanitizer
from stack import Stack

SEED, MOVES = 20220412, 4 if sanitizer() else 10
FULL = ("full", "full", "full", "full")


def resets(report):
    return [device["resets"] for device in report["devices"]]


def restarts(migration):
    return [device.restarts for device in migration.device]


def reset(host, device):
    answer = host.ask(f"reset {device}").strip()
    assert answer == "ok", answer


def held_before_the_pause(stack, **fields):
    """Pre-copy is over for every device and its figures have come, the VM still runs."""
    full = [name for name, kind in zip(stack.a.devices, stack.a.types) if kind == "full"]
    spec = stack.spec(hold=[M.GATE_BEFORE_PAUSE], **fields)
    stack.begin(spec)
    held = stack.until(spec, lambda m: m.waiting_at == M.GATE_BEFORE_PAUSE and
                       all(d.bytes_sent for d in m.device if d.name in full))
    assert held.waiting_at == M.GATE_BEFORE_PAUSE, explain(held)
    return spec, held


def release(stack, spec):
    stack.api.Release(M.ReleaseRequest(id=spec.id, gate=M.GATE_BEFORE_PAUSE, actor="test"))
    return stack.finish(spec)


def test_a_reset_without_a_move_is_told_apart_and_the_rest_stays_checked():
    with Stack() as stack:
        stack.boot()
        reset(stack.a, "a3")
        reset(stack.a, "a1")
        report = stack.a.verify()
        assert_whole(report, at_least=0)
        assert resets(report) == [0, 1, 0, 1]
        reset(stack.a, "a3")
        assert resets(stack.a.verify()) == [0, 1, 0, 2]
        assert_moved(stack.move())
        assert_whole(stack.b.verify(), at_least=0)


def test_one_of_four_reset_between_precopy_and_pause():
    with Stack() as stack:
        stack.boot()
        spec, held = held_before_the_pause(stack)
        sent = {device.name: device.bytes_sent for device in held.device}
        reset(stack.a, "a3")
        migration = release(stack, spec)
        assert_moved(migration)
        assert restarts(migration) == [0, 0, 0, 1]
        assert all(device.bytes_sent >= sent[device.name] for device in migration.device if device.name == "a2")
        stack.b.agent.expect_log("device.started-over")
        report = stack.b.verify()
        assert_whole(report, at_least=0)
        assert resets(report) == [0, 0, 0, 1]


def test_all_four_reset_between_precopy_and_pause():
    with Stack(types=FULL) as stack:
        stack.boot()
        spec, _ = held_before_the_pause(stack)
        for name in stack.a.devices:
            reset(stack.a, name)
        migration = release(stack, spec)
        assert_moved(migration)
        assert restarts(migration) == [1, 1, 1, 1]
        report = stack.b.verify()
        assert_whole(report, at_least=0)
        assert resets(report) == [1, 1, 1, 1]


def test_one_reset_in_the_middle_of_its_precopy():
    with Stack() as stack:
        stack.boot()
        stack.a.debug("a2", "save-rate 400000")
        # Rounds that never suffice and take long: it is read from when the reset comes.
        spec = stack.spec(precopy=M.PrecopyPolicy(max_rounds=50, rest_bytes=1))
        stack.begin(spec)
        stack.until(spec, lambda m: any(d.name == "a2" and d.bytes_sent for d in m.device))
        reset(stack.a, "a2")
        noticed = stack.until(spec, lambda m: any(d.restarts for d in m.device))
        assert noticed.phase == M.PHASE_PRECOPY, explain(noticed)
        stack.a.debug("a2", "save-rate 0")
        migration = stack.finish(spec)
        assert_moved(migration)
        assert restarts(migration) == [0, 0, 1, 0]
        report = stack.b.verify()
        assert_whole(report, at_least=0)
        assert resets(report) == [0, 0, 1, 0]


def test_reset_and_then_turned_back_the_vm_is_whole_at_the_source():
    with Stack() as stack:
        stack.boot()
        spec, _ = held_before_the_pause(stack)
        reset(stack.a, "a3")
        stack.api.Cancel(M.CancelRequest(id=spec.id, actor="test"))
        assert_returned(stack.finish(spec), "CANCELLED")
        assert_whole(stack.a.verify(), at_least=0)
        assert_moved(stack.move())
        assert_whole(stack.b.verify(), at_least=0)


def test_resets_at_any_moment_of_a_move():
    """Whenever the VM can be asked, it resets one device of four; every move succeeds."""
    dice = random.Random(SEED)
    with Stack(types=FULL) as stack:
        stack.boot()
        here, there, expected, seen = stack.a, stack.b, [0, 0, 0, 0], 0
        for move in range(MOVES):
            # Every other move waits before the pause, so that none of its resets comes too late.
            hold = [M.GATE_BEFORE_PAUSE] if move % 2 else []
            victim, spec = dice.randrange(4), stack.spec(here, there, hold=hold)
            delay = threading.Event()
            thread = threading.Thread(target=stack.begin, args=(spec,))
            thread.start()
            delay.wait(dice.uniform(0, 0.1))
            answer = here.ask(f"reset {here.device(victim)}").strip()
            thread.join()
            migration = release(stack, spec) if hold else stack.finish(spec)
            assert_moved(migration)
            # A VM that is paused or gone resets nothing.
            expected[victim] += answer == "ok"
            seen += sum(restarts(migration))
            report = there.verify()
            assert_whole(report, at_least=0)
            assert resets(report) == expected
            stack.turn(there, here)
            here, there = there, here
        print("resets:", expected, "of them void what was sent:", seen)


@pytest.mark.skipif(not has_controls(), reason="this build has no switches (-DLOCKSTEP_CONTROLS=ON)")
@pytest.mark.parametrize("attempt", range(3))
def test_without_the_marker_no_image_is_believed(attempt):
    """The control: a source that forgets to say Discard."""
    with Stack() as stack:
        stack.a.agent.stop()
        stack.a.start_agent(LOCKSTEP_CONTROL="forget-discard")
        stack.boot()
        spec, _ = held_before_the_pause(stack, id=f"forget{attempt}")
        reset(stack.a, "a3")
        migration = release(stack, spec)
        assert_returned(migration)
        assert migration.error.reason in ("DIGEST_MISMATCH", "LOAD_FAILED", "STREAM_BROKEN"), explain(migration)
        assert_whole(stack.a.verify(), at_least=0)
