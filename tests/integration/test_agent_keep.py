# SPDX-License-Identifier: Apache-2.0
"""What a destination keeps for a source that may still ask."""
import os

import pytest
from agent_support import Agent, Pair, agent_pb, ended, words


@pytest.fixture
def pair(tmp_path):
    p = Pair(tmp_path, keep_ended=1)
    yield p
    p.close()


def again(pair, **env):
    """The source, in its next life."""
    place = os.path.dirname(pair.source.config)
    with open(pair.source.config, encoding="utf-8") as config:
        text = config.read().split("\n", 1)[1]
    devices = text[text.index("[device"):]
    pair.agents[0] = pair.source = Agent(place, "ha", devices, env=env, keep_ended=1, arc_timeout_ms=5000)


def end_some(pair, n):
    """Migrations that end at the destination, the last with all that they set off in its ledger."""
    for _ in range(n):
        name, _, request = pair.requests()
        pair.destination.call("Prepare", request)
        pair.destination.call("Unwind", agent_pb.UnwindRequest(term=pair.term, migration=name, cause="test"))
        assert ended(list(pair.destination.watch(name))) == 3
    for i in range(2):  # the ledger writes in order
        pair.destination.call("Settle", agent_pb.SettleRequest(term=pair.term, migration=f"last-{i}", vm="vm9"))


def whole(pair, name):
    known = pair.destination.call("ListMigrations", agent_pb.ListAgentMigrationsRequest()).migration
    return [bool(e.prepare.migration) for e in known if e.migration == name] == [True]


def test_a_source_that_was_dead_while_much_ended_still_hears_started(pair):
    pair.source.stop()
    again(pair, LOCKSTEP_FAULT="agent.peer.receive.started=kill")
    name = pair.prepare()
    pair.grant(name, 1, 2, 3)
    assert words(list(pair.destination.watch(name)))[-1] == "STARTED"
    pair.source.process.wait(timeout=30)
    end_some(pair, 3)
    assert whole(pair, name)
    again(pair)
    assert words(list(pair.source.watch(name)))[-1] == "RELEASED"
    # Now that it has heard of that, the destination forgets it like any other.
    end_some(pair, 3)
    assert not whole(pair, name)


def test_what_the_source_saw_through_is_forgotten(pair):
    name, *_ = pair.move()
    assert whole(pair, name)
    end_some(pair, 3)
    assert not whole(pair, name)
