# SPDX-License-Identifier: Apache-2.0
"""A device that is reset behind its agent's back (K6: its parent was reset): nothing runs with it as if nothing had been."""
import pytest

from agent_support import Pair, agent_pb, errors, words
from test_agent_resolve import LOST, OPERATOR, RETURNED, ended, resolve, send


@pytest.fixture
def pair(tmp_path):
    p = Pair(tmp_path)
    yield p
    p.close()


def grant(pair, agent, name, *gates):
    agent.call("Grant", agent_pb.GrantRequest(term=pair.term, migration=name, gate=gates))


def reach(agent, name, gate):
    for event in agent.watch(name):
        if event.WhichOneof("kind") == "gate" and event.gate == gate:
            return


def test_a_loaded_device_that_was_reset_does_not_start(pair):
    name = pair.prepare()
    pair.grant(name, 1, 2)
    reach(pair.destination, name, 3)
    pair.hosts[1].debug("b1", "guest-reset")
    grant(pair, pair.destination, name, 3)
    events = list(pair.destination.watch(name))
    assert words(events)[-2:] == ["COMMITTED", "LOST_AFTER_COMMIT"] and ended(events) == OPERATOR
    assert [(e.reason, e.device) for e in errors(events)][0] == ("BAD_STATE", "b1")
    # The source has heard of it, keeps what it has, and may return the VM when an operator says so.
    events = list(pair.source.watch(name))
    assert words(events)[-1] == "CONSENTED" and ended(events) == OPERATOR
    send(pair.source, resolve(pair, name, LOST))
    assert ended(list(pair.source.watch(name))) == RETURNED
