# SPDX-License-Identifier: Apache-2.0
"""The longest blackout: what is known not to fit turns back as soon as it is known, what fits does not. Nothing here waits
for a deadline: what tells the two apart is why the source turned back, and how much it had sent by then."""
import re

import pytest

from agent_support import Pair
from moves import assert_moved, assert_returned, assert_whole, explain
from stack import Stack

FAR_MS = 20_000
MIB = 1 << 20


def stack_of(kinds, memory, ballast_kib):
    stack = Stack(types=kinds)
    for host in (stack.a, stack.b):
        host.memory, host.ballast_kib = [memory] * len(kinds), ballast_kib
    return stack


def slow(host, what, rate):
    for name in host.devices:
        host.debug(name, f"{what} {rate}")


def assert_turned_back_early(migration, size):
    assert_returned(migration, "DEADLINE")
    assert "the rest takes at least" in migration.error.message, explain(migration)
    assert f"{FAR_MS} ms are allowed" in migration.error.message
    sent = max(d.bytes_sent for d in migration.device)
    assert 0 < sent < size / 2, f"{sent} of {size}"
    assert "CONSENTED" not in migration.source_word and migration.destination_word == "ABORTED"


@pytest.mark.parametrize("side,what,mib", [("a", "save-rate", 16), ("b", "load-rate", 48)])
def test_a_stream_whose_rest_cannot_fit_turns_back_early(side, what, mib):
    """Half a minute's worth, or more, at 512 KiB a second; a few seconds of it are enough to know. What a slow
    destination has not read yet lies in the sockets between."""
    with stack_of(("p2p",), "64M", mib * 1024) as stack:
        stack.boot()
        slow(getattr(stack, side), what, MIB // 2)
        spec = stack.spec(deadline_ms=FAR_MS)
        stack.begin(spec)
        assert_turned_back_early(stack.finish(spec), mib * MIB)
        slow(getattr(stack, side), what, 0)
        assert_whole(stack.a.verify())
        assert_moved(stack.move())
        assert_whole(stack.b.verify())


@pytest.mark.parametrize("kind", ["p2p", "full"])
def test_a_slow_stream_that_fits_is_not_turned_back(kind):
    """Long enough to be measured, again and again, and far from its limit."""
    with stack_of((kind,), "16M", 6 * 1024) as stack:
        stack.boot()
        slow(stack.b, "load-rate", 4 * MIB)
        spec = stack.spec(deadline_ms=FAR_MS)
        stack.begin(spec)
        assert_moved(stack.finish(spec))
        assert_whole(stack.b.verify())


def test_the_plan_learns_what_is_left_when_every_byte_is_sent():
    with Stack(types=("p2p", "p2p")) as stack:
        stack.boot()
        for name in stack.b.devices:
            stack.b.debug(name, "latency RESUMING STOP 400")
        assert_moved(stack.move())
        stack.turn(stack.b, stack.a)
        estimate = stack.api.DryRun(stack.spec(source=stack.b, destination=stack.a)).estimate
        assert estimate.least_load_ms >= 400, estimate


@pytest.mark.parametrize("load_us,turned_back", [(3_000_000, True), (300_000, False)])
def test_a_load_that_cannot_fit_is_not_waited_for(tmp_path, load_us, turned_back):
    """Known beforehand: nothing has to be measured."""
    pair = Pair(tmp_path)
    try:
        name, source, destination = pair.requests(deadline_ms=2000)
        source.load_us = load_us
        source.peer_ledger_id = pair.destination.call("Prepare", destination).ledger_id
        pair.source.call("Prepare", source)
        pair.grant(name, 1, 2)
        if turned_back:
            events = list(pair.source.watch(name))
            assert events[-1].ended.error.reason == "DEADLINE"
            assert int(re.search(r"the rest takes at least (\d+) ms", events[-1].ended.error.message)[1]) > 2000
            return
        # All is there, and only the decision is missing: the limit itself ends it, not a guess.
        events = list(pair.source.watch(name))
        assert "its limit" in events[-1].ended.error.message
    finally:
        pair.close()
