# SPDX-License-Identifier: Apache-2.0
"""A process killed, frozen or cut off, or a VMM dead or frozen, at every named fault point that a migration passes, in
every flow of flows.py: whatever happens, the VM runs on one host and is whole, or waits for an operator with a reason
that the rules know.

CI takes each point with one kind, the same ones each time; LOCKSTEP_TEST_MODE=full all kinds, and second passes. Records
go to LOCKSTEP_KILLS, one line of JSON each; reliability.py makes the table of docs/reliability.md from them.
LOCKSTEP_SHARD "I/N" takes every N-th run only, LOCKSTEP_JOBS (2) are under way at once."""
import ctypes
import concurrent.futures
import glob
import json
import multiprocessing
import os
import re
import signal
import subprocess
import time

import pytest

import judge
import kills
from flows import FLOWS
from processes import binary, sanitizer
from verdict import NEVER, outcome

FULL = os.environ.get("LOCKSTEP_TEST_MODE") == "full" and not sanitizer()
JOBS = int(os.environ.get("LOCKSTEP_JOBS", "2"))
SHARD, SHARDS = map(int, os.environ.get("LOCKSTEP_SHARD", "1/1").split("/"))


def keep(record):
    path = os.environ.get("LOCKSTEP_KILLS")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            json.dump(record, file)
            file.write("\n")


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@pytest.fixture(name="pool", scope="module")
def make_pool():
    """Processes, not threads: each run starts a dozen of both."""
    with concurrent.futures.ProcessPoolExecutor(JOBS, multiprocessing.get_context("spawn"), die_with_parent) as pool:
        yield pool


def scenarios():
    chosen = kills.all_scenarios() if FULL else kills.sample()
    if sanitizer():
        chosen = chosen[::6]
    return chosen[SHARD - 1::SHARDS]


@pytest.mark.parametrize("place", kills.PLACES)
@pytest.mark.parametrize("flow", FLOWS)
def test_at_every_fault_point(pool, flow, place):
    chosen = [s for s in scenarios() if (s.flow, s.place) == (flow, place)]
    bad = []
    for scenario, (record, tails, passed) in zip(chosen, pool.map(kills.run, chosen)):
        never = sorted(NEVER.keys() & set(passed))
        if never and not record["violation"]:
            record["violation"] = f"passed {never}, which nobody passes"
        keep(record)
        if record["violation"]:
            bad.append(f"{scenario}: {record['outcome']}: {record['violation']}\n{tails}")
    assert not bad, f"{len(bad)} of {len(chosen)}:\n" + "\n".join(bad)


def test_every_point_is_passed_or_said_why_not():
    listed = set()
    for program in ("lockstep-agent", "lockstepd"):
        told = subprocess.run([binary(program), "--faults"], check=True, capture_output=True, text=True).stdout
        listed |= {line.split()[0] for line in told.splitlines()}
    passed = {point for _, _, point, _ in kills.points()}
    assert len(listed) > 150
    assert passed <= listed
    assert set(NEVER) <= listed
    assert sorted(listed - passed) == sorted(NEVER)


# ---- could the judge say no? ----

@pytest.fixture(name="moved")
def make_moved():
    """A move that went well, and that the judge finds well."""
    with kills.Run() as r:
        migration, _ = r.to_the_end()
        assert violation(migration, r.judge()) is None
        yield r, migration


def violation(migration, verdict):
    return outcome(kills.Scenario("move", "source", "x", 1, "kill"), migration, True, verdict)[1]


def test_the_judge_sees_a_peer_to_peer_write_that_is_lost(moved):
    r, migration = moved
    r.stack.b.debug("b1", "lose-p2p 1")
    assert "first missing number" in violation(migration, r.judge())


def flip_a_byte_of_ram(pid):
    """In the pages that nobody writes (tests/vmm/program.h)."""
    memory = next(fd for fd in glob.glob(f"/proc/{pid}/fd/*") if os.readlink(fd).startswith("/memfd:"))
    with open(memory, "r+b", buffering=0) as file:
        file.seek(0x10000 + 0x1234)
        byte = file.read(1)[0]
        file.seek(0x10000 + 0x1234)
        file.write(bytes([byte ^ 1]))


def test_the_judge_sees_a_byte_of_ram_that_differs(moved):
    r, migration = moved
    flip_a_byte_of_ram(r.stack.b.vmm.pid)
    verdict = r.judge()
    assert "RAM that nobody writes differs at 0x11230" in " ".join(verdict["errors"]), verdict
    assert violation(migration, verdict)


def test_the_judge_sees_a_device_that_was_left_stopped(moved):
    r, migration = moved
    r.stack.b.debug("b0", "go STOP")
    verdict = r.judge()
    assert "destination: b0: state 1, quiet" in verdict["errors"]
    assert violation(migration, verdict)
    r.stack.b.debug("b0", "go RUNNING_P2P")     # its peer hears it, but it may not speak yet
    verdict = r.judge()
    assert "destination: b0: state 5, live" in verdict["errors"]
    assert violation(migration, verdict)


def test_the_judge_sees_two_that_run_and_two_that_ran():
    """A VMM that nobody asked boots the VM again where it came from; and is gone before the judge comes."""
    with kills.Run() as r:
        migration, _ = r.to_the_end()
        verdict = r.judge()
        assert verdict["running"] == ["destination"] and not verdict["overlaps"] and not verdict["live_overlaps"]
        r.stack.a.start_vmm(peer=r.stack.b.ram)
        verdict = r.judge()
        assert sorted(verdict["running"]) == ["destination", "source"] and verdict["overlaps"]
        assert verdict["live"] == {"source": ["a0", "a1"], "destination": ["b0", "b1"]}
        assert "ran at once" in violation(migration, verdict)
        r.bury(r.stack.a)
        verdict = r.judge()
        assert verdict["running"] == ["destination"] and verdict["overlaps"] and verdict["live_overlaps"]
        assert "ran at once" in violation(migration, verdict)
        verdict["overlaps"] = []
        assert "devices could transfer on both sides" in violation(migration, verdict)


@pytest.mark.parametrize("spoil,says", [
    (lambda v: v.update(running=[]), "neither host"),
    (lambda v: v.update(running=["source"]), "the VM runs at ['source']"),
    (lambda v: v.update(whole=False, errors=["bent"]), "bent"),
])
def test_an_end_that_is_not_allowed_is_a_violation(spoil, says):
    verdict = {"running": ["destination"], "overlaps": [], "live_overlaps": [], "whole": True, "errors": [],
               "states": {}, "live": {}}
    migration = kills.M.Migration(phase=kills.M.PHASE_DONE)
    assert violation(migration, verdict) is None
    spoil(verdict)
    assert says in violation(migration, verdict)


@pytest.mark.parametrize("kind,reason,allowed", [
    ("kill", "VMM_FAILED", False), ("source-vmm", "VMM_FAILED", True), ("source-vmm", "PEER_ABORTED", False),
    ("destination-vmm", "VMM_ABSENT", True), ("vmm-freeze", "VMM_FAILED", False), ("cut", "UNAVAILABLE", False),
])
def test_an_operator_is_called_for_a_dead_vmm_alone(kind, reason, allowed):
    verdict = {"running": [], "overlaps": [], "live_overlaps": [], "whole": False, "errors": [], "states": {},
               "live": {}}
    migration = kills.M.Migration(phase=kills.M.PHASE_OPERATOR, error=kills.M.ErrorDetail(reason=reason))
    assert (outcome(kills.Scenario("move", "source", "x", 1, kind), migration, True, verdict)[1] is None) == allowed


@pytest.mark.parametrize("lines,overlap,dark", [
    (["1 running 10", "1 paused 20", "2 running 21"], False, 1),
    (["1 running 10", "1 paused 22", "2 running 21"], True, 0),
    (["1 running 10", "2 running 21", "2 paused 22"], True, 0),
    (["1 running 10", "1 dead 30", "2 running 31", "2 paused 40", "2 running 45"], False, 5),
    (["1 running 10", "1 paused 20", "2 running 25", "2 dead 30", "1 running 29"], True, 5),
])
def test_the_judge_reads_testimony(lines, overlap, dark):
    events = [{"pid": int(pid), "event": event, "ns": int(at) * 1_000_000} for pid, event, at in map(str.split, lines)]
    runs = judge.intervals(events)
    assert bool(judge.overlaps(runs)) == overlap
    assert judge.darkness(runs) == dark


# ---- what the daemons say about fault points ----

@pytest.mark.parametrize("program,fault,says", [
    ("lockstep-agent", "agent.nowhere=kill", "no fault point"),
    ("lockstepd", "agent.peer.up=kill", "no fault point"),
    ("lockstep-agent", "agent.peer.up=error:EIO", "cannot fail"),
    ("lockstepd", "coordinator.plan.before=explode", "kill, stop, exit"),
])
def test_an_unknown_fault_is_one_clear_error(program, fault, says):
    begin = time.monotonic()
    done = subprocess.run([binary(program), "--config", "/dev/null"], env={**os.environ, "LOCKSTEP_FAULT": fault},
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and says in done.stderr, done
    assert done.stderr.count("\n") == 1 and time.monotonic() - begin < 10


def test_every_point_of_the_table_stands_in_the_code():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    code = ""
    for folder in ("agent", "coordinator"):
        for name in os.listdir(os.path.join(root, folder)):
            if name.endswith(".c"):
                with open(os.path.join(root, folder, name), encoding="utf-8") as file:
                    code += file.read()
    with open(os.path.join(root, "common", "fault_points.h"), encoding="utf-8") as file:
        table = re.findall(r"\bX\(((?:agent|coordinator)_\w+),", file.read())
    assert len(table) > 25
    assert [point for point in table if not re.search(rf"ls_fault\w*\({point}\b", code)] == []
