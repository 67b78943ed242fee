# SPDX-License-Identifier: Apache-2.0
"""One device of four fails at one arc of a migration, in a real kernel: it answers an errno, ends in ERROR, takes
long, takes longer than the deadline, or never returns. Whichever arc it is, on either side, on the way there or back:
the VM runs at one host, or an operator is called and told which device it is, and can be helped.

CI takes a sample; LOCKSTEP_TEST_MODE=full each arc of three types of device with each failure."""
import dataclasses
import os
import time

import pytest

import guest_judge
from guests import GUEST_LIMIT, GuestStack
from moves import M, assert_in_order, explain

FULL = os.environ.get("LOCKSTEP_TEST_MODE") == "full"
RATE = 500  # its ring is not to be lapped while vCPUs wait for an arc that hangs
ARC_TIMEOUT_MS, SLOW_MS, LATE_MS, DEADLINE_MS = 6000, 1000, 3000, 2000

# By number of the device (stopcopy, p2p, full): what a move takes at the source, and at the destination to its load and
# from the commit on; and what the way back from STOP_COPY takes.
THERE = {0: ("RUNNING STOP", "STOP STOP_COPY"), 1: ("RUNNING RUNNING_P2P", "RUNNING_P2P STOP", "STOP STOP_COPY"),
         2: ("RUNNING PRE_COPY", "PRE_COPY PRE_COPY_P2P", "PRE_COPY_P2P STOP_COPY")}
LOAD = {0: ("RUNNING STOP", "STOP RESUMING", "RESUMING STOP")}
LOAD[1] = LOAD[2] = ("RUNNING RUNNING_P2P", "RUNNING_P2P STOP", "STOP RESUMING", "RESUMING STOP")
START = {0: ("STOP RUNNING",), 1: ("STOP RUNNING_P2P", "RUNNING_P2P RUNNING")}
START[2] = START[1]
BACK = {0: ("STOP_COPY STOP", "STOP RUNNING"), 1: ("STOP_COPY STOP", "STOP RUNNING_P2P", "RUNNING_P2P RUNNING")}
BACK[2] = BACK[1]
WAYS = ("errno", "error", "slow", "late", "stuck")
BEFORE_THE_PAUSE = {("there", "RUNNING PRE_COPY"), ("load", "RUNNING STOP"), ("load", "STOP RESUMING"),
                    ("load", "RUNNING RUNNING_P2P"), ("load", "RUNNING_P2P STOP")}


@dataclasses.dataclass(frozen=True)
class Case:
    part: str     # of the migration: there, load, start, back
    number: int   # of the device
    arc: str
    way: str      # in which it fails

    def __str__(self):
        return f"{self.part}-{self.number}-{self.arc.replace(' ', '>')}-{self.way}"

    @property
    def paused(self):
        return (self.part, self.arc) not in BEFORE_THE_PAUSE


def all_cases():
    for part, arcs in (("there", THERE), ("load", LOAD), ("start", START), ("back", BACK)):
        for number, names in arcs.items():
            for arc in names:
                for way in WAYS:
                    case = Case(part, number, arc, way)
                    if way != "late" or (case.paused and part != "back"):
                        yield case


SAMPLE = [Case("there", 1, "RUNNING_P2P STOP", "errno"), Case("there", 2, "PRE_COPY_P2P STOP_COPY", "stuck"),
          Case("there", 2, "PRE_COPY PRE_COPY_P2P", "late"), Case("load", 0, "STOP RESUMING", "error"),
          Case("load", 2, "RESUMING STOP", "errno"), Case("back", 1, "STOP RUNNING_P2P", "errno"),
          Case("there", 0, "STOP STOP_COPY", "error"), Case("start", 2, "STOP RUNNING_P2P", "stuck"),
          Case("start", 1, "RUNNING_P2P RUNNING", "error")]


class Bench:
    """A stack with a VM at the source; the same one again as long as the VM came back whole."""

    def __init__(self, guests):
        self.guests, self.stack = guests, None

    def ready(self):
        if not self.stack:
            self.stack = GuestStack(self.guests, rate=RATE, latency_ms=1)
            self.stack.a.arc_timeout_ms = self.stack.b.arc_timeout_ms = ARC_TIMEOUT_MS
            self.stack.start()
            self.stack.boot()
        return self.stack

    def clear(self):
        if self.stack:
            for host in (self.stack.a, self.stack.b):
                host.agent.kill()  # one that waits for an operator would not end
            stack, self.stack = self.stack, None
            stack.stop()


@pytest.fixture(scope="module", name="bench")
def one_bench(guests):
    bench = Bench(guests)
    yield bench
    bench.clear()


def fail(host, device, case):
    command = {"errno": f"fail {case.arc} EIO", "error": f"fail-error {case.arc} EIO", "stuck": f"stick {case.arc}",
               "slow": f"latency {case.arc} {SLOW_MS}", "late": f"latency {case.arc} {LATE_MS}"}[case.way]
    host.debug(device, command)


def heal(host, device, case):
    host.debug(device, f"release {case.arc}")
    host.debug(device, f"fail {case.arc} 0")


def after(stack, spec):
    """The migration as it ends after an operator had been called for; a watch ends where one is."""
    end = time.monotonic() + GUEST_LIMIT
    while time.monotonic() < end:
        last = stack.finish(spec)
        if last.phase != M.PHASE_OPERATOR:
            break
        time.sleep(0.05)  # between two looks
    return last


def expect(stack, verdict, migration, **end):
    bad = guest_judge.wrong(verdict, **end)
    assert not bad, "\n".join(bad + [explain(migration), stack.tails()])


def phase(migration):
    return M.Phase.Name(migration.phase).removeprefix("PHASE_")


def run(bench, case):
    stack = bench.ready()
    host = stack.b if case.part in ("load", "start") else stack.a
    device = host.device(case.number)
    if case.part == "back":
        stack.b.debug("b3", "fail RESUMING STOP EBADMSG")
    fail(host, device, case)
    spec = stack.spec(deadline_ms=DEADLINE_MS if case.way == "late" else 0)
    stack.begin(spec)
    migration = stack.finish(spec)
    verdict = guest_judge.look(stack)
    judge_first_end(stack, case, device, migration, verdict)
    if migration.phase == M.PHASE_OPERATOR:
        migration, verdict = help_it(stack, case, host, device, spec, migration)
    heal(host, device, case)
    return migration, verdict


def judge_first_end(stack, case, device, migration, verdict):
    back, fails = case.part == "back", case.way in ("errno", "error")
    if case.way == "stuck":
        assert (phase(migration), migration.error.reason) == ("OPERATOR", "ARC_STUCK"), explain(migration)
        assert migration.error.device == device, explain(migration)
        stays = case.part == "load" or not case.paused
        expect(stack, verdict, migration, runs_at="host-a" if stays else None, hangs=device)
    elif fails and case.part in ("start", "back"):
        assert (phase(migration), migration.error.reason) == ("OPERATOR", "ARC_FAILED"), explain(migration)
        assert migration.error.device == device and migration.error.errno_value == 5, explain(migration)
        expect(stack, verdict, migration, runs_at=None, lost=(device,))
    elif fails:
        assert phase(migration) == "RETURNED" and migration.error.device == device, explain(migration)
        assert migration.error.errno_value == 5, explain(migration)
        # What a source's device in ERROR held is gone: it is reset, and its guest sets it up anew.
        lost = (device,) if case.way == "error" and case.part == "there" else ()
        expect(stack, verdict, migration, runs_at="host-a", lost=lost)
        if case.paused and not lost:
            assert_in_order(migration)
    elif back or (case.way == "late" and case.part != "start"):
        assert phase(migration) == "RETURNED", explain(migration)
        assert back or migration.error.reason == "DEADLINE", explain(migration)
        expect(stack, verdict, migration, runs_at="host-a")
        assert_in_order(migration)
    else:
        assert phase(migration) == "DONE", explain(migration)
        expect(stack, verdict, migration, runs_at="host-b")
        assert_in_order(migration)


def help_it(stack, case, host, device, spec, held):
    """What an operator can do: the call comes back, or the device is reset."""
    if case.way == "stuck":
        host.debug(device, f"release {case.arc}")
    else:
        action = "reset-source" if case.part == "back" else "reset-destination"
        said = stack.ctl("resolve", spec.id, action, "--yes")
        assert said.returncode == 0, said.stdout + said.stderr
    migration = after(stack, spec)
    wanted = "DONE" if case.part == "start" else "RETURNED"
    assert phase(migration) == wanted, f"{explain(held)}\n{explain(migration)}\n{stack.tails()}"
    verdict = guest_judge.look(stack)
    expect(stack, verdict, migration, runs_at="host-b" if wanted == "DONE" else "host-a",
           lost=() if case.way == "stuck" else (device,))
    return migration, verdict


@pytest.mark.parametrize("case", list(all_cases()) if FULL else SAMPLE, ids=str)
def test_one_of_four_fails_at_one_arc(bench, case):
    whole = False
    try:
        migration, verdict = run(bench, case)
        whole = migration.phase == M.PHASE_RETURNED and verdict.whole
    finally:
        if not whole:
            bench.clear()


def test_no_arc_of_a_move_or_of_a_way_back_is_left_out(bench):
    def taken(host, number):
        told = host.shell.run(f"cat {host.debugfs(host.device(number))}/arcs").splitlines()
        return {" ".join(line.split()[:2]) for line in told if " count " in line}

    bench.clear()
    stack = bench.ready()
    try:
        stack.b.debug("b3", "fail RESUMING STOP EBADMSG")
        assert phase(stack.move()) == "RETURNED"
        for number in range(3):
            assert taken(stack.a, number) == set(THERE[number] + BACK[number])
        assert phase(stack.move()) == "DONE"
        for number in range(3):
            assert taken(stack.b, number) == set(LOAD[number] + START[number])
    finally:
        bench.clear()


# ---- could the judge say no? ----

def test_the_judge_sees_planted_ends(bench):
    stack = bench.ready()
    try:
        assert not guest_judge.wrong(guest_judge.look(stack), "host-a")
        assert guest_judge.wrong(guest_judge.look(stack), "host-b") and guest_judge.wrong(guest_judge.look(stack), None)
        # The guest's own reset: its state is gone, and only this one's.
        stack.a.shell.run(f"echo 1 >{stack.a.debugfs('a1')}/reset")
        lame = guest_judge.look(stack)
        assert guest_judge.wrong(lame, "host-a") and not guest_judge.wrong(lame, "host-a", lost=("a1",))
        assert guest_judge.wrong(lame, "host-a", lost=("a2",))
        # A VMM that nobody asked boots the VM again.
        stack.b.vmm.kill()
        for name in stack.b.devices:
            stack.b.debug(name, "wait-closed")
        stack.b.start_vmm()
        two = guest_judge.look(stack)
        assert sorted(two.running) == ["host-a", "host-b"] and two.overlaps
        assert guest_judge.wrong(two, "host-a") and guest_judge.wrong(two, "host-b")
    finally:
        bench.clear()


def test_the_judge_sees_a_barrier_broken():
    verdict = guest_judge.Verdict([], {"host-a": "paused"}, {"host-a": {"a0": "RUNNING", "a1": "STOP"}}, [], [], 0)
    assert guest_judge.wrong(verdict, None) and not guest_judge.wrong(verdict, None, hangs="a1")
    verdict.devices["host-a"]["a0"] = "RUNNING_P2P"
    assert not guest_judge.wrong(verdict, None)
