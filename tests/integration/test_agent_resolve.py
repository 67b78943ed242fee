# SPDX-License-Identifier: Apache-2.0
"""What an operator decides, at the agents: devices that failed, and what is refused."""
import grpc
import pytest

from agent_support import Pair, agent_pb, ended, errors, migration_pb, words

RETURNED, OPERATOR = 2, 4
FENCED, LOST, RESET_SOURCE, RESET_DESTINATION, CLOSE = 1, 2, 3, 4, 5


@pytest.fixture
def pair(tmp_path):
    p = Pair(tmp_path)
    yield p
    p.close()


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
