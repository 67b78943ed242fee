# SPDX-License-Identifier: Apache-2.0
"""What an operator decides, at the agents: fences, lost destinations, devices that failed, closing."""
import os

import grpc
import pytest

from agent_support import Agent, Pair, agent_pb, errors, migration_pb, words

RETURNED, ABORTED, OPERATOR = 2, 3, 4
FENCED, LOST, RESET_SOURCE, RESET_DESTINATION, CLOSE = 1, 2, 3, 4, 5


def end(events):
    """The last one; where one device failed, another's step may still come in behind it."""
    return [e.ended for e in events if e.WhichOneof("kind") == "ended"][-1]


def ended(events):
    return end(events).how


@pytest.fixture
def pair(tmp_path):
    p = Pair(tmp_path)
    yield p
    p.close()


def again(pair, number, **env):
    """The agent anew, with its ledger and at its address."""
    old = pair.agents[number]
    if old.process.poll() is None:
        old.kill()
    text = "[device" + open(old.config).read().split("[device", 1)[1]
    pair.agents[number] = Agent(os.path.dirname(old.config), old.host, text, env=env, arc_timeout_ms=5000,
                                stream=old.stream)
    pair.source, pair.destination = pair.agents


def claim(**changes):
    return migration_pb.FenceClaim(**{**dict(host="hb", method=1, evidence="pulled the plug", actor="ann"), **changes})


def resolve(pair, name, action, what=None):
    return agent_pb.AgentResolveRequest(term=pair.term, migration=name, action=action, claim=what)


def send(agent, request):
    return agent.channel.unary_unary("/lockstep.v1.Agent/Resolve", type(request).SerializeToString,
                                     agent_pb.WordResponse.FromString)(request, timeout=30)


def refused(agent, request):
    with pytest.raises(grpc.RpcError) as e:
        send(agent, request)
    return e.value.code()


def listed(agent, name):
    for entry in agent.call("ListMigrations", agent_pb.ListAgentMigrationsRequest()).migration:
        if entry.migration == name:
            return entry
    raise AssertionError(name)


def consented(pair, point):
    """The source has consented, the destination died at `point`."""
    again(pair, 1, LOCKSTEP_FAULT=f"{point}=kill")
    name = pair.prepare()
    pair.grant(name, 1, 2, 3)
    pair.destination.process.wait(timeout=30)
    pair.source.expect("word=CONSENTED")
    return name


def test_a_fence_wants_a_claim_and_returns_the_vm(pair):
    name = consented(pair, "agent.ledger.before.COMMITTED")
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert refused(pair.source, resolve(pair, name, FENCED)) == invalid
    for bad in (dict(host="ha"), dict(method=0), dict(evidence=""), dict(evidence="x" * 201), dict(actor="")):
        assert refused(pair.source, resolve(pair, name, FENCED, claim(**bad))) == invalid
    assert pair.source.word(name) == "CONSENTED"
    assert not listed(pair.source, name).claim
    assert send(pair.source, resolve(pair, name, FENCED, claim())).word in ("RETURNING", "RETURNED")
    assert ended(list(pair.source.watch(name))) == RETURNED
    entry = listed(pair.source, name)
    assert [(c.host, c.method, c.evidence, c.actor) for c in entry.claim] == [("hb", 1, "pulled the plug", "ann")]
    assert entry.prepare.migration == name and not entry.prepare.token and entry.prepare.schedule.source
    assert entry.ended.how == RETURNED and len(entry.ledger_id) == 32
    again(pair, 1)  # and it turns out to have told the truth
    pair.destination.expect("word=ABORTED")


def test_a_claim_survives_the_source(pair):
    name = consented(pair, "agent.ledger.before.COMMITTED")
    send(pair.source, resolve(pair, name, FENCED, claim()))
    again(pair, 0)
    assert ended(list(pair.source.watch(name))) == RETURNED
    assert len(listed(pair.source, name).claim) == 1


def test_a_destination_that_lost_its_devices_says_so_and_only_an_operator_returns_the_vm(pair):
    name = consented(pair, "agent.ledger.commit.COMMITTED")
    assert refused(pair.source, resolve(pair, name, LOST)) != grpc.StatusCode.OK
    again(pair, 1)
    pair.destination.expect("word=LOST_AFTER_COMMIT")
    source = list(pair.source.watch(name))
    assert ended(source) == OPERATOR and end(source).error.reason == "LOST_AFTER_COMMIT"
    assert words(source)[-1] == "CONSENTED"
    send(pair.source, resolve(pair, name, LOST))
    source = list(pair.source.watch(name, after=source[-1].sequence))
    assert ended(source) == RETURNED and words(source) == ["RETURNING", "RETURNED"]
    # The destination holds its VM until it is closed; closing it twice does no harm.
    assert listed(pair.destination, name).open
    send(pair.destination, resolve(pair, name, CLOSE))
    entry = listed(pair.destination, name)
    assert not entry.open and entry.word == "LOST_AFTER_COMMIT"
    assert refused(pair.destination, resolve(pair, name, CLOSE)) != grpc.StatusCode.OK
    again(pair, 1)
    assert ended(pair.move()[1]) == 1


def test_closed_is_said_when_it_is_written(pair):
    name = consented(pair, "agent.ledger.commit.COMMITTED")
    again(pair, 1, LOCKSTEP_FAULT="agent.ledger.before.close=error:EIO")
    pair.destination.expect("word=LOST_AFTER_COMMIT")
    with pytest.raises(grpc.RpcError) as e:
        send(pair.destination, resolve(pair, name, CLOSE))
    assert "agent.ledger.before fails on purpose" in e.value.details()
    again(pair, 1)
    assert listed(pair.destination, name).open
    send(pair.destination, resolve(pair, name, CLOSE))
    again(pair, 1)
    assert not listed(pair.destination, name).open


def test_a_device_that_fails_on_the_way_back_is_held_until_an_operator_resets_it(pair):
    pair.hosts[0].debug("a1", "fail-error RUNNING_P2P RUNNING EIO")
    name = pair.prepare()
    pair.grant(name, 1)
    for event in pair.source.watch(name):
        if event.WhichOneof("kind") == "gate" and event.gate == 2:
            break
    pair.source.call("Unwind", agent_pb.UnwindRequest(term=pair.term, migration=name, cause="test"))
    source = list(pair.source.watch(name))
    assert ended(source) == OPERATOR and "a1" in {e.device for e in errors(source)}
    assert refused(pair.source, resolve(pair, name, RESET_DESTINATION)) == grpc.StatusCode.INVALID_ARGUMENT
    send(pair.source, resolve(pair, name, RESET_SOURCE))
    rest = list(pair.source.watch(name, after=source[-1].sequence))
    assert ended(rest) == RETURNED and words(rest) == ["RETURNED"]


def test_a_device_that_fails_in_the_start_is_held_until_an_operator_resets_it(pair):
    pair.hosts[1].debug("b0", "fail-error RUNNING_P2P RUNNING EIO")
    name = pair.prepare()
    pair.grant(name, 1, 2, 3)
    destination = list(pair.destination.watch(name))
    assert ended(destination) == OPERATOR and words(destination)[-1] == "COMMITTED"
    send(pair.destination, resolve(pair, name, RESET_DESTINATION))
    rest = list(pair.destination.watch(name, after=destination[-1].sequence))
    assert ended(rest) == 1 and words(rest) == ["STARTED"]
    assert ended(list(pair.source.watch(name))) == 1


def test_nothing_that_goes_on_by_itself_is_resolved(pair):
    name = pair.prepare()
    for action in (FENCED, LOST, RESET_SOURCE, RESET_DESTINATION, CLOSE):
        assert refused(pair.source, resolve(pair, name, action, claim())) is not None
    assert refused(pair.source, resolve(pair, "unknown", CLOSE)) == grpc.StatusCode.NOT_FOUND
    pair.grant(name, 1, 2, 3)
    assert [ended(e) for e in pair.end(name)] == [1, 1]
