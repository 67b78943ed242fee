# SPDX-License-Identifier: Apache-2.0
"""What an agent keeps and what it does when it cannot: conflicts, terms, a ledger that fails, what is over, `show`."""
import json
import subprocess

import grpc
import pytest

from agent_support import BUILD, LIMIT, Pair, agent_pb, errors, words
from test_agent_resolve import CLOSE, FENCED, OPERATOR, RETURNED, again, claim, consented, end, ended, listed, refused, \
    resolve, send


@pytest.fixture
def pair(tmp_path):
    p = Pair(tmp_path)
    yield p
    p.close()


def show(agent, *options):
    return subprocess.run([f"{BUILD}/agent/lockstep-agent", "show", "--config", agent.config, *options],
                          capture_output=True, text=True, timeout=LIMIT, check=True).stdout


def shown(agent, name, *options):
    for entry in json.loads(show(agent, "--output", "json", *options))["migrations"]:
        if entry["id"] == name:
            return entry
    raise AssertionError(name)


def term(number, coordinator="c"):
    return agent_pb.Term(number=number, coordinator=coordinator)


def request(pair, agent, name):
    """A Prepare as it would come late."""
    _, source, destination = pair.requests(name=name)
    source.peer_ledger_id = "0" * 32
    return source if agent is pair.source else destination


# ---- rule 8

def test_a_conflict_is_told_in_every_life_until_an_operator_closes_it(pair):
    name = consented(pair, "agent.ledger.commit.STARTED")
    send(pair.source, resolve(pair, name, FENCED, claim()))
    assert ended(list(pair.source.watch(name))) == RETURNED
    again(pair, 1)   # and it ran all the time
    pair.source.expect("conflict.kept")
    pair.destination.expect("conflict.kept")
    for number, word in ((0, "RETURNED"), (1, "STARTED"), (0, "RETURNED")):
        again(pair, number)
        entry = listed(pair.agents[number], name)
        assert entry.word == word and entry.open and entry.ended.how == OPERATOR, entry
        assert entry.ended.error.reason == "CONFLICT"
        assert shown(pair.agents[number], name)["conflict"]
    # Neither lets another migration have the VM.
    code, reason, _ = pair.source.refusal("Prepare", request(pair, pair.source, "other"))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "VM_BUSY")
    for agent in pair.agents:
        send(agent, resolve(pair, name, CLOSE))
        assert not listed(agent, name).open
        assert refused(agent, resolve(pair, name, CLOSE)) is not None
    for number in (0, 1):
        again(pair, number)
        assert not listed(pair.agents[number], name).open
        assert not shown(pair.agents[number], name)["conflict"]


def test_a_true_fence_leaves_no_conflict(pair):
    name = consented(pair, "agent.ledger.before.COMMITTED")
    send(pair.source, resolve(pair, name, FENCED, claim()))
    again(pair, 1)
    assert ended(list(pair.source.watch(name))) == RETURNED
    again(pair, 0)
    assert not shown(pair.source, name)["conflict"] and not listed(pair.source, name).open


# ---- rules 7 and 10

def silent(agent, *requests):
    for method, request in requests:
        code, reason, _ = agent.refusal(method, request)
        assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LEDGER"), method


def test_a_tombstone_that_fails_silences_every_migration_of_the_agent(pair):
    again(pair, 1, LOCKSTEP_FAULT="agent.ledger.commit.ABORTED=error:EIO")
    other = pair.prepare()
    code, reason, _ = pair.destination.refusal("Settle", agent_pb.SettleRequest(term=pair.term, migration="x", vm="vm9"))
    assert reason == "LEDGER"
    # The one that is open had nothing to do with it.
    events = list(pair.destination.watch(other))
    assert ended(events) == OPERATOR and end(events).error.reason == "LEDGER" and words(events) == ["UNDECIDED"]
    silent(pair.destination,
           ("GetWord", agent_pb.WordRequest(migration=other)),
           ("Settle", agent_pb.SettleRequest(term=pair.term, migration=other, vm="vm1")),
           ("Grant", agent_pb.GrantRequest(term=pair.term, migration=other, gate=[1])),
           ("Unwind", agent_pb.UnwindRequest(term=pair.term, migration=other)),
           ("Prepare", request(pair, pair.destination, "third")),
           ("ListMigrations", agent_pb.ListAgentMigrationsRequest()))
    # The source hears nothing, and returns by itself; the next life reads what the disk holds.
    assert ended(list(pair.source.watch(other))) == RETURNED
    again(pair, 1)
    pair.destination.expect(f"migration={other} word=ABORTED")
    assert pair.destination.word("x") == "ABORTED"


@pytest.mark.parametrize("point", ("before", "commit"))
def test_after_a_close_that_fails_nothing_begins_that_the_next_life_would_undo(pair, point):
    """ABORTED and not closed: the next life resets and discards again, and another migration's VM may be there then."""
    again(pair, 1, LOCKSTEP_FAULT=f"agent.ledger.{point}.close=error:EIO")
    name = pair.prepare()
    pair.source.call("Unwind", agent_pb.UnwindRequest(term=pair.term, migration=name, cause="test"))
    assert ended(list(pair.source.watch(name))) == RETURNED
    pair.destination.expect("agent.silent")
    _, _, destination = pair.requests()
    code, reason, _ = pair.destination.refusal("Prepare", destination)
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LEDGER")
    again(pair, 1)
    assert [ended(events) for events in pair.move()[1:]] == [1, 1]
    assert pair.destination.word(name) == "ABORTED"


@pytest.mark.parametrize("point", ("agent.ledger.before.term#2=error:EIO", "agent.ledger.commit.term#2=error:EIO"))
def test_nothing_obeys_a_term_that_cannot_be_kept(tmp_path, point):
    p = Pair(tmp_path, env={"LOCKSTEP_FAULT": point})
    try:
        name = p.prepare()
        code, reason, _ = p.source.refusal("Unwind", agent_pb.UnwindRequest(term=term(2), migration=name, cause="test"))
        assert reason == "LEDGER"
        events = list(p.source.watch(name))
        assert words(events) == ["ACTIVE"] and end(events).error.reason == "LEDGER"
        assert p.source.call("Hello", agent_pb.HelloRequest()).highest_term.number == 1
    finally:
        p.close()


def test_a_term_is_on_the_disk_before_anything_obeys_it(tmp_path):
    p = Pair(tmp_path, env={"LOCKSTEP_FAULT": "agent.ledger.before.term#2=kill"})
    try:
        name = p.prepare()
        with pytest.raises(grpc.RpcError):
            p.source.call("Unwind", agent_pb.UnwindRequest(term=term(2), migration=name, cause="test"))
        p.source.process.wait(timeout=LIMIT)
        entry = shown(p.source, name)
        assert [w["word"] for w in entry["words"]] == ["ACTIVE"]
    finally:
        p.close()


def test_a_list_with_a_newer_term_is_followed_before_it_is_answered(pair):
    name = pair.prepare()
    entries = pair.source.call("ListMigrations", agent_pb.ListAgentMigrationsRequest(open_only=True, term=term(5, "d")))
    assert [e.migration for e in entries.migration] == [name]
    hello = pair.source.call("Hello", agent_pb.HelloRequest())
    assert (hello.highest_term.number, hello.highest_term.coordinator, hello.open_migrations) == (5, "d", 1)
    assert pair.source.refusal("Grant", agent_pb.GrantRequest(term=pair.term, migration=name, gate=[1]))[1] == \
        "STALE_COORDINATOR"
    assert json.loads(show(pair.source, "--output", "json"))["ledger"]["term"] == 5


# ---- what is over

def test_of_what_is_over_the_newest_stay_whole(tmp_path):
    p = Pair(tmp_path, keep_ended=3)
    try:
        names = [f"m{i}" for i in range(5)]
        for name in names:
            p.prepare(name=name)
            p.source.call("Unwind", agent_pb.UnwindRequest(term=p.term, migration=name, cause="test"))
            assert ended(list(p.source.watch(name))) == RETURNED
            assert ended(list(p.destination.watch(name))) == 3
        # The ledger writes in order: with the second answer, what the first or an earlier end set off is through.
        settle(p.destination, p.term, "late-1", "late-2")
        whole = {e.migration: bool(e.prepare.migration) for e in list_all(p.destination)}
        assert whole["m4"] and not whole["m0"] and not whole["m1"], whole
        # Under the same term a late Prepare must still meet the word.
        for name in names:
            assert p.destination.word(name) == "ABORTED"
            assert p.destination.refusal("Prepare", request(p, p.destination, name))[1] == "ALREADY_EXISTS"
        # A newer one makes such a Prepare stale: what no rule needs is forgotten.
        settle(p.destination, term(2), "n1", "n2")
        left = {e.migration for e in list_all(p.destination)}
        assert {"n1", "n2"} <= left and not left & set(names), left
        assert p.destination.refusal("Prepare", request(p, p.destination, "m0"))[1] == "STALE_COORDINATOR"
        again(p, 1)
        left = {e["id"] for e in json.loads(show(p.destination, "--output", "json"))["migrations"]}
        assert {"n1", "n2"} <= left and not left & set(names), left
    finally:
        p.close()


def list_all(agent):
    return agent.call("ListMigrations", agent_pb.ListAgentMigrationsRequest()).migration


def settle(agent, of, *names):
    for name in names:
        assert agent.call("Settle", agent_pb.SettleRequest(term=of, migration=name, vm="vm9")).word == "ABORTED"


# ---- show

def test_show_reads_beside_a_running_agent_and_with_a_dead_one(pair):
    name = consented(pair, "agent.ledger.before.COMMITTED")
    before = show(pair.source)
    assert "agent     runs" in before and "CONSENTED, OPEN" in before and "the other is hb" in before
    assert "by c, term 1" in before
    send(pair.source, resolve(pair, name, FENCED, claim(evidence="pulled the plug " * 12)))
    assert ended(list(pair.source.watch(name))) == RETURNED
    entry = shown(pair.source, name)
    assert [w["word"] for w in entry["words"]] == ["ACTIVE", "CONSENTED", "RETURNING", "RETURNED"]
    assert entry["peer"] == "hb" and entry["side"] == "source" and entry["claims"][0]["actor"] == "ann"
    dead = show(pair.destination, "--devices")
    assert "does not run" in dead and "UNDECIDED, OPEN" in dead and "b0" in dead and "b1" in dead
    for text in (before, dead, show(pair.source)):
        assert max(map(len, text.splitlines())) <= 80, text
    again(pair, 1)   # and reading took nothing away
    pair.destination.expect("word=ABORTED")
    wanted = json.loads(show(pair.destination, "--output", "json", "--devices"))
    assert wanted["agent_runs"] and [d["name"] for d in wanted["devices"]] == ["b0", "b1"]
    assert len(wanted["ledger"]["id"]) == 32


def test_show_says_how_it_ended_and_why(pair):
    name = pair.prepare()
    pair.source.call("Unwind", agent_pb.UnwindRequest(term=pair.term, migration=name, cause="no more coffee"))
    assert ended(list(pair.source.watch(name))) == RETURNED
    assert "no more coffee" in show(pair.source)
    assert shown(pair.source, name)["ended"].startswith("returned: CANCELLED")
    assert errors(list(pair.destination.watch(name)))
    assert shown(pair.destination, name)["ended"].startswith("aborted: PEER_ABORTED")
