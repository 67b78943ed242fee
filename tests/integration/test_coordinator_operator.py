# SPDX-License-Identifier: Apache-2.0
"""lockstepd and lockstepctl when an operator is needed."""
import calendar
import re
import time

import grpc
import pytest

import messages
from coord_support import refused
from fake_agent import Refusal
from processes import LIMIT

m, pb = messages.migration, messages.agent
BEFORE_PAUSE, STOPPED, DECIDE = m.GATE_BEFORE_PAUSE, m.GATE_STOPPED, m.GATE_DECIDE


FENCE = ("return-fenced", "--method", "powered-off", "--evidence", "PDU outlet 7 is off, seen by two")


def stuck(c, word, **ended):
    """Both agents have stopped at the word; the destination's agent is gone, or has ended as told."""
    c.pair.stop_at = word
    c.start_move()
    c.until(lambda v: word in (v.source_word, v.destination_word))
    if ended:
        c.pair.b.tell(ended=pb.Ended(how=pb.Ended.OPERATOR, error=m.ErrorDetail(**ended)))
        c.pair.a.tell(ended=pb.Ended(how=pb.Ended.OPERATOR))
        assert c.end().phase == m.PHASE_OPERATOR
    else:
        c.pair.b.stop()


@pytest.mark.parametrize("side, reason", [("b", "ARC_FAILED"), ("b", "VMM_FAILED"), ("a", "ARC_FAILED")])
def test_an_operator_is_called_as_soon_as_one_agent_says_so(c, side, reason):
    """The other side has nothing to say before the operator has decided: nobody waits for it."""
    c.pair.stop_at = "COMMITTED"
    c.start_move()
    c.until(lambda v: v.destination_word == "COMMITTED")
    began = time.monotonic()
    getattr(c.pair, side).tell(ended=pb.Ended(how=pb.Ended.OPERATOR, error=m.ErrorDetail(reason=reason, message="no")))
    end = c.end()
    assert (end.phase, end.error.reason, end.error.host) == (m.PHASE_OPERATOR, reason, f"host-{side}"), end
    assert time.monotonic() - began < 20  # half a minute is what a silent agent is given


def test_the_cause_is_named_even_if_the_other_sides_news_of_it_came_first(c):
    c.pair.stop_at = "COMMITTED"
    c.start_move()
    c.until(lambda v: v.destination_word == "COMMITTED")
    for agent, reason in ((c.pair.a, "STREAM_BROKEN"), (c.pair.b, "VMM_FAILED"), (c.pair.a, "PEER_ABORTED")):
        agent.tell(ended=pb.Ended(how=pb.Ended.OPERATOR, error=m.ErrorDetail(reason=reason, message="no")))
    c.process.expect_log("reason=VMM_FAILED")
    assert c.get().error.reason == "VMM_FAILED"


def options(c):
    reply = c.api.Resolve(m.ResolveRequest(id="m1"), timeout=LIMIT)
    return {o.action: o for o in reply.option}, reply


def until_open(c, action):
    """Asks until the action is open: how soon a dead host is noticed is the network's."""
    for view in c.watch():
        reply = options(c)[0]
        if reply[action].open:
            return reply
        assert view.phase < m.PHASE_DONE
    return options(c)[0]


def open_at_last(c, action):
    """All that are open, as soon as this one is: after the end each side's last news comes when it comes."""
    end = time.monotonic() + LIMIT
    while True:
        are = [a for a, o in options(c)[0].items() if o.open]
        if action in are or time.monotonic() > end:
            return are


def resolve(c, action, claim=None, actor="op"):
    return c.api.Resolve(m.ResolveRequest(id="m1", action=action, claim=claim, actor=actor), timeout=LIMIT)


def claim(**fields):
    return m.FenceClaim(**{"host": "host-b", "method": m.FenceClaim.POWERED_OFF, "evidence": "off", **fields})


def fence(c):
    """As soon as the coordinator has noticed that the destination is silent."""
    while True:
        try:
            return resolve(c, m.RESOLVE_RETURN_FENCED, claim())
        except grpc.RpcError as e:
            assert "answers" in e.details(), e
            c.process.expect_log("agent.call")


def test_a_fence_returns_the_vm_and_is_recorded_before_the_source_hears_of_it(c):
    stuck(c, "CONSENTED")
    assert fence(c).migration.source_word in ("CONSENTED", "RETURNING", "RETURNED")
    [asked] = c.pair.asked("host-a", "Resolve")
    assert asked.action == m.RESOLVE_RETURN_FENCED
    assert (asked.claim.actor, asked.claim.evidence, asked.claim.method) == ("op", "off", m.FenceClaim.POWERED_OFF)
    assert asked.claim.time_ms
    view = c.until(lambda v: v.source_word == "RETURNED")
    assert [x.actor for x in view.claim] == ["op"]
    c.kill()
    c.start()
    assert [x.actor for x in c.get().claim] == ["op"]


def test_a_false_fence_is_a_conflict_when_the_destination_is_heard_of_again(c):
    stuck(c, "CONSENTED")
    fence(c)
    c.until(lambda v: v.source_word == "RETURNED")
    c.pair.b.current = "COMMITTED"
    c.pair.b.start()
    end = c.end()
    assert end.phase == m.PHASE_OPERATOR and end.error.reason == "CONFLICT" and "fence" in end.error.message, end
    reply, known = options(c)
    assert [a for a, o in reply.items() if o.open] == [m.RESOLVE_CLOSE]
    assert any("op claimed that host-b was fenced" in text for text in known.known)
    assert not c.pair.asked("host-b", "Grant")[1:]


def test_a_true_fence_ends_in_returned_when_the_destination_comes_back_empty(c):
    stuck(c, "CONSENTED")
    fence(c)
    c.until(lambda v: v.source_word == "RETURNED")
    c.pair.b.start()
    assert c.end().phase == m.PHASE_RETURNED and c.pair.b.current == "ABORTED"


@pytest.mark.parametrize("bad, says", [
    (None, "claim: is missing"), ({"host": "host-a"}, "claim.host"), ({"method": 0}, "claim.method"),
    ({"evidence": ""}, "claim.evidence"), ({"evidence": "x" * 201}, "claim.evidence"),
    ({"evidence": "a\nb"}, "claim.evidence")])
def test_a_claim_is_checked_field_by_field(c, bad, says):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    request = m.ResolveRequest(id="m1", action=m.RESOLVE_RETURN_FENCED, actor="op",
                               claim=None if bad is None else claim(**bad))
    code, detail = refused(c.api.Resolve, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and detail.message.startswith(says), detail


def test_nothing_may_be_resolved_while_all_goes_well(c):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    reply, known = options(c)
    assert not any(o.open for o in reply.values()) and all(o.why_not for o in reply.values())
    assert known.known[0] == "source host-a: ACTIVE, the VM is there, and it may take it back alone"
    for action, o in reply.items():
        code, detail = refused(c.api.Resolve, m.ResolveRequest(id="m1", action=action, actor="op", claim=claim()
                                                               if action == m.RESOLVE_RETURN_FENCED else None))
        assert code == grpc.StatusCode.FAILED_PRECONDITION and o.why_not in detail.message
    assert refused(c.api.Resolve, m.ResolveRequest(id="m1", action=m.RESOLVE_CLOSE))[1].message.startswith("actor:")
    assert refused(c.api.Resolve, m.ResolveRequest(id="m9"))[0] == grpc.StatusCode.NOT_FOUND


def test_devices_that_failed_to_start_are_reset_and_the_migration_is_done(c):
    stuck(c, "COMMITTED", reason="ARC_FAILED", message="STOP -> RUNNING_P2P", device="b1")
    reply = options(c)[0]
    assert [a for a, o in reply.items() if o.open] == [m.RESOLVE_RESET_DESTINATION, m.RESOLVE_CLOSE]
    c.pair.a.current = "CONSENTED"
    resolve(c, m.RESOLVE_RESET_DESTINATION)
    c.process.expect_log("phase=PHASE_DONE")  # OPERATOR is left by itself
    assert c.end().phase == m.PHASE_DONE


def test_what_was_lost_after_the_commit_returns_on_an_operators_word(c):
    c.pair.stop_at = "COMMITTED"
    c.start_move()
    c.until(lambda v: v.destination_word == "COMMITTED")
    c.pair.b.word("LOST_AFTER_COMMIT")
    c.pair.b.tell(ended=pb.Ended(how=pb.Ended.OPERATOR, error=m.ErrorDetail(reason="LOST_AFTER_COMMIT", message="gone")))
    c.pair.a.tell(ended=pb.Ended(how=pb.Ended.OPERATOR))
    assert c.end().error.reason == "LOST_AFTER_COMMIT"
    assert open_at_last(c, m.RESOLVE_RETURN_LOST) == [m.RESOLVE_RETURN_LOST]
    resolve(c, m.RESOLVE_RETURN_LOST)
    c.pair.await_call("host-b", "Resolve")
    assert c.pair.asked("host-b", "Resolve")[0].action == m.RESOLVE_CLOSE
    c.process.expect_log("phase=PHASE_RETURNED")
    assert c.get().phase == m.PHASE_RETURNED


def test_closing_ends_the_record_and_frees_the_vm(c):
    stuck(c, "COMMITTED", reason="ARC_STUCK", message="SET_STATE does not return", device="b0")
    assert resolve(c, m.RESOLVE_CLOSE).migration.closed_by == "op"
    assert c.get().phase == m.PHASE_OPERATOR
    assert {request.action for _, name, request in c.pair.calls if name == "Resolve"} == {m.RESOLVE_CLOSE}
    assert not c.api.List(m.ListRequest(open_only=True), timeout=LIMIT).migration
    c.stop()
    c.start()
    view = c.get()
    assert view.closed_by == "op" and view.error.reason == "ARC_STUCK"
    assert refused(c.api.Resolve, m.ResolveRequest(id="m1", action=m.RESOLVE_CLOSE, actor="op"))[1].reason == "BAD_STATE"


def test_a_refusal_by_the_agent_reaches_the_operator(c):
    stuck(c, "COMMITTED", reason="ARC_FAILED", message="STOP -> RUNNING_P2P", device="b1")
    c.pair.b.answers["Resolve"] = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "ARC_STUCK", "b1 has not come back",
                                          device="b1")
    code, detail = refused(c.api.Resolve, m.ResolveRequest(id="m1", action=m.RESOLVE_RESET_DESTINATION, actor="op"))
    assert (code, detail.reason, detail.device) == (grpc.StatusCode.FAILED_PRECONDITION, "ARC_STUCK", "b1")
    assert c.get().phase == m.PHASE_OPERATOR


def test_operator_outlives_a_restart_and_is_left_when_the_agents_say_otherwise(c):
    stuck(c, "COMMITTED", reason="ARC_FAILED", message="STOP -> RUNNING_P2P", device="b1")
    c.kill()
    c.start()
    assert c.get().phase == m.PHASE_OPERATOR
    with c.pair.lock:
        c.pair.start()
    c.process.expect_log("phase=PHASE_DONE")
    assert c.get().phase == m.PHASE_DONE


def test_an_answer_lost_by_a_killed_coordinator_is_asked_for_again(c):
    stuck(c, "COMMITTED", reason="ARC_FAILED", message="STOP -> RUNNING_P2P", device="b1")
    c.pair.b.once["Resolve"] = Refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "cut")
    call = c.api.Resolve.future(m.ResolveRequest(id="m1", action=m.RESOLVE_RESET_DESTINATION, actor="op"), timeout=LIMIT)
    c.pair.await_call("host-b", "Resolve")
    c.kill()
    assert call.code() != grpc.StatusCode.OK
    c.start()
    c.pair.await_call("host-b", "Resolve", 2)
    c.process.expect_log("phase=PHASE_DONE")


def test_the_cli_explains_before_it_decides(c):
    stuck(c, "COMMITTED", reason="ARC_FAILED", message="the device refuses", device="b1")
    text = c.ctl("resolve", "m1")
    assert text.returncode == 0 and all(len(line) <= 80 for line in text.stdout.splitlines()), text
    assert "You may\n  reset-destination  the devices that failed at host-b are reset" in text.stdout
    assert "  return-fenced      the destination has said that it runs the VM" in text.stdout
    for args, code, says in (((), 1, "--yes"), (FENCE[1:], 2, "belong to return-fenced")):
        done = c.ctl("resolve", "m1", "reset-destination", *args)
        assert done.returncode == code and says in done.stderr, done
    assert c.ctl("resolve", "m1", "return-fenced").returncode == 2
    done = c.ctl("resolve", "m1", *FENCE, "--yes")
    assert done.returncode == 1 and "not now: the destination has said that it runs the VM" in done.stderr, done
    assert not c.pair.asked("host-a", "Resolve") and not c.pair.asked("host-b", "Resolve")
    done = c.ctl("resolve", "m1", "reset-destination", "--yes")
    assert done.returncode == 0 and "About to do: reset-destination\n" in done.stdout, done
    assert c.pair.asked("host-b", "Resolve")
    c.process.expect_log("phase=PHASE_DONE")


# ---- the question at a terminal ----

def asked_to_reset(c):
    stuck(c, "COMMITTED", reason="ARC_FAILED", message="the device refuses", device="b1")
    return ("resolve", "m1", "reset-destination")


@pytest.mark.parametrize("typed", [b"yes\n", b"reset\n", b"reset-destination now\n", b"RESET-DESTINATION\n", b"\n", b"\x04",
                                   b"x" * 3000 + b"\n"])
def test_a_wrong_word_does_nothing(c, typed):
    command = asked_to_reset(c)
    code, text = c.terminal(*command, typed=typed)
    assert code == 1 and text.endswith("\nNothing was done.\n"), text
    assert not c.pair.asked("host-b", "Resolve")


def test_the_right_word_does_it_after_all_that_is_known_was_said(c):
    command = asked_to_reset(c)
    code, text = c.terminal(*command, typed=b"reset-destination\n")
    order = [text.index(part) for part in (
        "Migration m1: vm1, host-a -> host-b", "  source host-a: CONSENTED", "  destination host-b: COMMITTED",
        "About to do: reset-destination\n", "Type reset-destination to do it: reset-destination\n", "Done: ")]
    assert code == 0 and order == sorted(order), text
    assert all(len(line) <= 80 for line in text.splitlines()), text
    assert c.pair.asked("host-b", "Resolve")


def test_with_yes_nobody_is_asked(c):
    command = asked_to_reset(c)
    code, text = c.terminal(*command, "--yes")
    assert code == 0 and "Type " not in text and "About to do: reset-destination\n" in text, text


def test_what_is_not_open_is_not_asked_about(c):
    asked_to_reset(c)
    code, text = c.terminal("resolve", "m1", *FENCE, typed=b"return-fenced\n")
    assert code == 1 and "Type " not in text and "not now: " in text, text
    assert all(len(line) <= 80 for line in text.splitlines()), text
    assert not c.pair.asked("host-a", "Resolve")


def test_a_silent_agent_is_told_with_the_time_since_when(c):
    stuck(c, "CONSENTED")
    c.process.expect_log("agent.call migration=m1 side=destination")
    text = " ".join(c.ctl("resolve", "m1").stdout.split())
    said = re.search(r"its agent has not answered since (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", text)
    since = calendar.timegm(time.strptime(said[1], "%Y-%m-%d %H:%M:%S"))
    assert 0 <= time.time() - since < LIMIT, text
