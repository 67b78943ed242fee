# SPDX-License-Identifier: Apache-2.0
"""A stream's job that hangs in the kernel is told, without any deadline; one that waits for its peer is not."""
import time

import pytest

from agent_support import Pair, ended, errors, words
from test_agent_stop import reach

TIMEOUT = 1.0
RETURNED, ABORTED, DONE, OPERATOR = 2, 3, 1, 4
BEFORE_PAUSE = 1


@pytest.fixture
def pair(tmp_path):
    p = Pair(tmp_path, arc_timeout_ms=int(TIMEOUT * 1000))
    yield p
    p.close()


def test_a_load_that_hangs_gives_the_vm_back_and_wants_an_operator(pair):
    pair.hosts[1].debug("b1", "stick RESUMING STOP")
    name = pair.prepare()
    pair.grant(name, 1, 2, 3)
    source, destination = pair.end(name)
    assert ended(destination) == OPERATOR and ended(source) == RETURNED, (source, destination)
    stuck = [e for e in errors(destination) if e.reason == "ARC_STUCK"]
    assert stuck and {e.device for e in stuck} == {"b1"}, errors(destination)
    pair.hosts[1].debug("b1", "release")
    pair.destination.expect("how=aborted")


@pytest.mark.parametrize("where", ("pre-copy", "send"))
def test_a_read_that_hangs_takes_the_vm_back_and_wants_an_operator_until_it_returns(tmp_path, where):
    p = Pair(tmp_path, kinds=("full", "full"), arc_timeout_ms=int(TIMEOUT * 1000))
    try:
        if where == "pre-copy":
            p.hosts[0].debug("a1", "stick-read")
        name = p.prepare(precopy=True)
        if where == "send":
            reach(p.source, name, BEFORE_PAUSE)
            p.hosts[0].debug("a1", "stick-read")
            p.grant(name, 1, 2, 3)
        source, destination = p.end(name)
        assert ended(source) == OPERATOR and ended(destination) == ABORTED, (source, destination)
        assert words(source)[-1] == "RETURNING", words(source)
        stuck = [e for e in errors(source) if e.reason == "ARC_STUCK"]
        assert stuck and {e.device for e in stuck} == {"a1"}, errors(source)
        p.hosts[0].debug("a1", "release")
        p.source.expect("how=returned")
        assert p.source.word(name) == "RETURNED"
    finally:
        p.close()


def test_a_load_that_waits_for_its_peer_is_not_stuck(pair):
    name = pair.prepare()
    pair.source.expect("migration.begun")
    time.sleep(2.5 * TIMEOUT)  # the loads are under way, and nothing is to happen
    pair.grant(name, 1, 2, 3)
    source, destination = pair.end(name)
    assert ended(source) == ended(destination) == DONE, (errors(source), errors(destination))
    assert words(destination)[-1:] and not errors(destination)
