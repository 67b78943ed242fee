# SPDX-License-Identifier: Apache-2.0
"""Two agents with simulated devices, and this test as their coordinator."""
import pytest

from agent_support import Pair, agent_pb, ended, errors, words

DONE, RETURNED, ABORTED, OPERATOR = 1, 2, 3, 4


@pytest.fixture
def pair(tmp_path):
    p = Pair(tmp_path)
    yield p
    p.close()


def test_a_move_ends_at_the_destination(pair):
    name, source, destination = pair.move()
    assert words(source) == ["ACTIVE", "CONSENTED", "RELEASED"], errors(source)
    assert words(destination) == ["UNDECIDED", "COMMITTED", "STARTED"]
    assert ended(source) == DONE and ended(destination) == DONE
    assert pair.source.word(name) == "RELEASED" and pair.destination.word(name) == "STARTED"
    blackout = [e.blackout for e in source if e.WhichOneof("kind") == "blackout"][0]
    assert 0 < blackout.total_ms < 30000 and blackout.decide_ms > 0
    numbers = [e.sequence for e in source if e.sequence]
    assert numbers == list(range(1, len(numbers) + 1))


def test_barriers_hold_on_the_agents_own_clock(pair):
    _, source, destination = pair.move()
    for events in (source, destination):
        steps = [e.step for e in events if e.WhichOneof("kind") == "step" and not e.step.device and e.step.end_ns]
        arcs = [e.step for e in events if e.WhichOneof("kind") == "step" and e.step.device]
        for before, after in zip(steps, steps[1:]):
            assert before.end_ns <= after.begin_ns
        for arc in arcs:
            for step in steps:
                if step.index == arc.index and step.step.kind == 2:
                    assert step.begin_ns <= arc.begin_ns and arc.end_ns <= step.end_ns


def test_precopy_then_a_move(tmp_path):
    pair = Pair(tmp_path, kinds=("full", "p2p"))
    try:
        _, source, destination = pair.move(precopy=True)
        assert ended(source) == DONE and ended(destination) == DONE, errors(source) + errors(destination)
    finally:
        pair.close()


@pytest.mark.parametrize("side", [0, 1])
def test_unwind_at_a_gate_returns_the_vm(pair, side):
    name = pair.prepare()
    for event in pair.source.watch(name):
        if event.WhichOneof("kind") == "gate":
            break
    answer = pair.agents[side].call("Unwind", agent_pb.UnwindRequest(term=pair.term, migration=name, cause="test"))
    assert answer.word in ("RETURNING", "RETURNED", "ABORTED")
    source, destination = pair.end(name)
    assert ended(source) == RETURNED and ended(destination) == ABORTED
    assert words(source)[-1] == "RETURNED" and words(destination)[-1] == "ABORTED"
    _, source, destination = pair.move()
    assert ended(source) == DONE and ended(destination) == DONE


@pytest.mark.parametrize("arc", ["RUNNING RUNNING_P2P", "RUNNING_P2P STOP", "STOP STOP_COPY"])
def test_a_source_arc_that_fails_brings_the_vm_back(pair, arc):
    pair.hosts[0].debug("a1", f"fail {arc} ETIMEDOUT")
    name, source, destination = pair.move()
    assert ended(source) == RETURNED and ended(destination) == ABORTED
    assert [(e.reason, e.device) for e in errors(source)][0] == ("ARC_FAILED", "a1")
    assert "a1" in {e.device for e in errors(source)}


def test_a_destination_that_refuses_the_image_brings_the_vm_back(pair):
    pair.hosts[1].debug("b0", "fail RESUMING STOP EINVAL")
    _, source, destination = pair.move()
    assert ended(source) == RETURNED and ended(destination) == ABORTED
    assert "b0" in {e.device for e in errors(destination)}


def test_a_missed_deadline_brings_the_vm_back(pair):
    name = pair.prepare(deadline_ms=200)
    pair.grant(name, 1)  # `stopped` stays shut
    source, destination = pair.end(name)
    assert ended(source) == RETURNED and ended(destination) == ABORTED
    assert errors(source)[0].reason == "DEADLINE"


def test_a_destination_agent_that_dies_brings_the_vm_back(pair):
    name = pair.prepare()
    pair.grant(name, 1)
    for event in pair.source.watch(name):
        if event.WhichOneof("kind") == "gate" and event.gate == 2:
            break
    pair.destination.kill()
    source = list(pair.source.watch(name))
    assert ended(source) == RETURNED and words(source)[-1] == "RETURNED"


def test_a_told_agent_unwinds_before_it_exits(pair):
    name = pair.prepare()
    pair.grant(name, 1)
    for event in pair.source.watch(name):
        if event.WhichOneof("kind") == "gate" and event.gate == 2:
            break
    pair.source.stop()
    assert any("word=RETURNED" in line for line in pair.source.seen)
    assert ended(list(pair.destination.watch(name))) == ABORTED
