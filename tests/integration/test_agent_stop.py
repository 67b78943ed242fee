# SPDX-License-Identifier: Apache-2.0
"""An agent that is told to stop: no new work, every word said first, and an end all the same when the kernel hangs."""
import signal

import grpc
import pytest

from agent_support import LIMIT, Pair, agent_pb
from test_agent_ledger import request
from test_agent_resolve import OPERATOR, RETURNED, again, consented, ended


@pytest.fixture
def pair(tmp_path):
    p = Pair(tmp_path)
    yield p
    p.close()


def reach(agent, name, gate):
    for event in agent.watch(name):
        if event.WhichOneof("kind") == "gate" and event.gate == gate:
            return


def told_to_stop(agent):
    agent.process.send_signal(signal.SIGTERM)
    agent.expect("agent.stopping")


@pytest.mark.parametrize("side", (0, 1))
@pytest.mark.parametrize("gate", (1, 2, 3))
def test_what_is_open_unwinds_and_then_it_ends(pair, side, gate):
    name = pair.prepare()
    pair.grant(name, *range(1, gate))
    reach(pair.agents[1 if gate == 3 else 0], name, gate)
    told_to_stop(pair.agents[side])
    assert pair.agents[side].process.wait(timeout=LIMIT) == 0
    pair.agents[side].reader.join(timeout=LIMIT)
    word = "word=ABORTED" if side else "word=RETURNED"
    assert any(word in line for line in pair.agents[side].seen), pair.agents[side].seen
    other = pair.agents[not side]
    assert ended(list(other.watch(name))) == (3 if side == 0 else RETURNED)


def test_between_consent_and_the_last_word_it_stays_and_says_why(pair):
    name = consented(pair, "agent.ledger.before.COMMITTED")
    told_to_stop(pair.source)
    assert pair.source.refusal("Prepare", request(pair, pair.source, "other"))[1] == "UNAVAILABLE"
    assert "the destination's word" in pair.source.expect("agent.waits")
    assert pair.source.process.poll() is None and pair.source.word(name) == "CONSENTED"
    again(pair, 1)
    assert pair.source.process.wait(timeout=LIMIT) == 0
    pair.source.reader.join(timeout=LIMIT)
    assert any("word=RETURNED" in line for line in pair.source.seen)


def test_a_call_that_never_returns_does_not_keep_it_for_ever(tmp_path):
    p = Pair(tmp_path, arc_timeout_ms=500)
    try:
        name = p.prepare()
        p.hosts[0].debug("a1", "stick RUNNING_P2P STOP")
        p.grant(name, 1)
        assert ended(list(p.source.watch(name))) == OPERATOR
        told_to_stop(p.source)
        assert "device=a1" in p.source.expect("agent.leaves")
        assert p.source.process.wait(timeout=LIMIT) == 0
    finally:
        p.hosts[0].debug("a1", "release")
        p.close()


def test_a_word_is_never_cut_off_by_the_end(pair):
    """Told to stop while RETURNING is on its way to the disk, it writes it, walks back and writes RETURNED."""
    again(pair, 0, LOCKSTEP_FAULT="agent.ledger.before.RETURNING=delay:1500")
    name = pair.prepare()
    pair.grant(name, 1)
    reach(pair.source, name, 2)
    with pytest.raises(grpc.RpcError):
        pair.source.call("Unwind", agent_pb.UnwindRequest(term=pair.term, migration=name, cause="test"), timeout=0.2)
    told_to_stop(pair.source)
    assert pair.source.process.wait(timeout=LIMIT) == 0
    pair.source.reader.join(timeout=LIMIT)
    order = [line.split("word=")[1].split()[0] for line in pair.source.seen if " word=" in line and "info word" in line]
    assert order[-2:] == ["RETURNING", "RETURNED"], pair.source.seen
