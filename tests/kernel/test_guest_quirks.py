# SPDX-License-Identifier: Apache-2.0
"""What drivers do differently, with a real kernel: each has its switch in our driver's debugfs, and the agent does not mind."""
import json

import pytest

from guests import GuestProcess, GuestStack
from moves import M, assert_moved, assert_whole, explain

KEEPS_STATE, ZERO_AT_THE_END_OF_A_ROUND, NO_DATA_SIZE, CAN_BE_POLLED = 1, 2, 4, 8
FULL = ("full", "full")


def with_quirks(stack, quirks):
    for host in (stack.a, stack.b):
        for name in host.devices:
            host.debug(name, f"quirks {quirks}")


@pytest.mark.parametrize("quirks", [ZERO_AT_THE_END_OF_A_ROUND, NO_DATA_SIZE, KEEPS_STATE, CAN_BE_POLLED,
                                    KEEPS_STATE | ZERO_AT_THE_END_OF_A_ROUND | NO_DATA_SIZE])
def test_a_driver_of_other_habits_moves_too(guests, quirks):
    with GuestStack(guests, types=FULL) as stack:
        with_quirks(stack, quirks)
        stack.boot()
        migration = stack.move()
        assert_moved(migration)
        assert any(step.step.kind == M.STEP_PRECOPY for step in migration.step), explain(migration)
        assert_whole(stack.b.verify())
        # A device left in STOP_COPY by its last user, where the driver keeps that, does not stop the way back.
        stack.turn(stack.b, stack.a)
        assert_moved(stack.move(stack.b, stack.a))
        assert_whole(stack.a.verify())


def sizes(stack):
    dry = stack.ctl("dry-run", "vm1", "--from", "host-a", "--to", "host-b", "--output", "json")
    assert dry.returncode == 0, dry.stdout
    return [device["size_known"] for device in json.loads(dry.stdout)["source_device"]]


def test_a_size_that_no_driver_tells_is_said_to_be_unknown(guests):
    with GuestStack(guests, types=FULL) as stack:
        stack.a.debug("a1", f"quirks {NO_DATA_SIZE}")
        stack.boot()
        assert sizes(stack) == [True, False]


@pytest.mark.parametrize("types", [("stopcopy",), ("p2p", "p2p"), ("stopcopy", "full")])
def test_drivers_without_p2p_or_without_precopy_move(guests, types):
    with GuestStack(guests, types=types) as stack:
        stack.boot()
        assert_moved(stack.move())
        assert_whole(stack.b.verify())


def test_two_devices_without_p2p_that_reach_each_other_are_refused_before_anything_is_touched(guests):
    with GuestStack(guests, types=("stopcopy", "stopcopy")) as stack:
        stack.boot()
        dry = stack.ctl("dry-run", "vm1", "--from", "host-a", "--to", "host-b")
        assert dry.returncode == 3, dry.stdout + dry.stderr
        assert_whole(stack.a.verify())


def dry_run(stack):
    return stack.ctl("--output", "json", "dry-run", "vm1", "--from", "host-a", "--to", "host-b")


def test_too_few_file_descriptors_are_noticed_before_the_pause(guests):
    with GuestStack(guests, types=FULL) as stack:
        stack.boot()
        assert dry_run(stack).returncode == 0
        # All connections are made, nothing is lent: what it holds now it always needs.
        fds = int(stack.a.shell.run(f"ls /proc/{stack.a.agent.pid}/fd | wc -l"))
        stack.a.agent.stop()
        # And the two devices, but not what is reserved for their streams (K2): EMFILE where nothing has begun.
        stack.a.agent = stack.add(GuestProcess(stack.a.shell, "agent-a", [
            "/bin/sh", "-c", f"ulimit -n {fds + len(FULL) + 1}; exec /bin/lockstep-agent --config {stack.a.path('agent.conf')}"]))
        stack.a.agent.expect_log("agent.ready")
        stack.a.agent.expect_log("vmm.hello")
        said = dry_run(stack)
        assert said.returncode == 3, said.stdout + said.stderr
        failed = [row for row in json.loads(said.stdout)["check"] if row["result"] == "FAIL"]
        assert failed and all("no file descriptors left to reserve" in row["seen"] for row in failed), failed
        spec = stack.spec()
        stack.begin(spec)
        ended = stack.finish(spec)
        assert ended.phase == M.PHASE_REFUSED and ended.error.reason == "NOT_FEASIBLE", explain(ended)
        assert not any("vmm.paused" in line for line in stack.a.vmm.out)
        assert_whole(stack.a.verify())
