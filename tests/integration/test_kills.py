# SPDX-License-Identifier: Apache-2.0
"""A process killed, frozen or cut off, or a VMM dead, at every named fault point that a migration passes: whatever
happens, the VM runs on one host and is whole, or waits for an operator with a reason that the rules know.

CI takes every other point with one kind, rotating; LOCKSTEP_TEST_MODE=full all points with all kinds. Records go to
LOCKSTEP_KILLS, one line of JSON each; reliability.py makes the table of docs/reliability.md from them."""
import json
import os
import re
import subprocess
import time

import pytest

import judge
import kills
from processes import binary, sanitizer

FULL = os.environ.get("LOCKSTEP_TEST_MODE") == "full" and not sanitizer()
EVERY = 12 if sanitizer() else 2


def keep(record):
    path = os.environ.get("LOCKSTEP_KILLS")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            json.dump(record, file)
            file.write("\n")


@pytest.mark.parametrize("place", kills.PLACES)
@pytest.mark.parametrize("flow", ("move", "unwind"))
def test_at_every_fault_point(flow, place):
    scenarios = kills.all_scenarios() if FULL else kills.sample(EVERY)
    scenarios = [s for s in scenarios if (s.flow, s.place) == (flow, place)]
    bad, missed = [], []
    for scenario in scenarios:
        record, tails = kills.run(scenario)
        keep(record)
        if record["violation"]:
            bad.append(f"{scenario}: {record['outcome']}: {record['violation']}\n{tails}")
        elif record["outcome"] == "not reached":
            missed.append(str(scenario))
    assert not bad, f"{len(bad)} of {len(scenarios)}:\n" + "\n".join(bad)
    assert len(missed) <= max(3, len(scenarios) // 10), f"these points were not passed: {missed}"


def test_every_point_that_a_restart_passes():
    """Killed, and killed again while the next life reads what the first one left."""
    for place, daemon, first in (("source", "agent", "agent.word.known.CONSENTED"),
                                 ("destination", "agent", "agent.ledger.commit.COMMITTED"),
                                 ("coordinator", "coordinator", "coordinator.record.known.planned")):
        for point in (f"{daemon}.restart.record", f"{daemon}.restart.ready"):
            scenario = kills.Scenario("move", place, first, 1, "kill")
            record, tails = kills.run(scenario, then=point)
            record["point"] = f"{first} then {point}"
            keep(record)
            assert not record["violation"], f"{scenario}, then {point}: {record['violation']}\n{tails}"


# ---- could the judge say no? ----

def test_the_judge_sees_two_that_run():
    """A VMM that nobody asked boots the VM again where it came from."""
    with kills.Run() as r:
        migration, _ = r.to_the_end()
        assert migration.phase == kills.M.PHASE_DONE
        assert r.judge()["running"] == ["destination"] and not r.judge()["overlaps"]
        r.stack.a.start_vmm(peer=r.stack.b.ram)
        verdict = r.judge()
        assert sorted(verdict["running"]) == ["destination", "source"] and verdict["overlaps"]
        scenario = kills.Scenario("move", "source", "x", 1, "kill")
        assert kills.outcome(scenario, migration, True, verdict)[1]


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


def test_every_listed_point_is_accepted_and_every_passed_one_is_listed():
    listed = {}
    for program in ("lockstep-agent", "lockstepd"):
        told = subprocess.run([binary(program), "--faults"], check=True, capture_output=True, text=True).stdout
        listed.update({line.split()[0]: program for line in told.splitlines()})
    assert len(listed) > 150
    assert {point for _, _, point, _ in kills.points()} <= set(listed)


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
