# SPDX-License-Identifier: Apache-2.0
"""lockstepd: the ways back, agents that fail or restart, coordinators that are killed or replaced."""
import grpc
import pytest

import messages
from coord_support import refused
from fake_agent import Refusal
from processes import LIMIT

m, pb = messages.migration, messages.agent
BEFORE_PAUSE, STOPPED, DECIDE = m.GATE_BEFORE_PAUSE, m.GATE_STOPPED, m.GATE_DECIDE


# ---- the ways back ----
@pytest.mark.parametrize("gate", [BEFORE_PAUSE, STOPPED, DECIDE])
def test_cancel_at_any_gate_returns_the_vm(c, gate):
    c.start_move(hold=[gate])
    c.until(lambda v: v.waiting_at == gate)
    assert c.api.Cancel(m.CancelRequest(id="m1", actor="op"), timeout=LIMIT).phase >= m.PHASE_UNWINDING
    end = c.end()
    assert end.phase == m.PHASE_RETURNED and end.error.reason == "CANCELLED"
    assert c.pair.order()[-2:] == ["host-a.Unwind", "host-b.Settle"]


def test_cancel_after_consent_is_refused_and_the_move_goes_on(c):
    pair = c.pair

    def consented(request):
        # The source consented and nobody has heard of it yet.
        pair.a.current = "CONSENTED"
        raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "BAD_STATE", "consent is given")
    c.start_move(hold=[DECIDE])
    c.until(lambda v: v.waiting_at == DECIDE)
    pair.a.answers["Unwind"] = consented
    code, detail = refused(c.api.Cancel, m.CancelRequest(id="m1"))
    assert (code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BAD_STATE")
    assert "host-b.Settle" not in pair.order()
    c.api.Release(m.ReleaseRequest(id="m1", gate=DECIDE), timeout=LIMIT)
    assert c.end().phase == m.PHASE_DONE


def test_a_source_that_refuses_to_prepare_makes_the_destination_settle(c):
    c.pair.a.answers["Prepare"] = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "VM_BUSY", "another migration",
                                          device="a1")
    c.start_move()
    end = c.end()
    assert end.phase == m.PHASE_RETURNED and end.error.reason == "VM_BUSY" and end.error.host == "host-a"
    assert c.pair.order() == ["host-b.Prepare", "host-a.Prepare", "host-b.Settle"]
    assert c.pair.b.current == "ABORTED"


def test_a_destination_that_refuses_to_prepare_ends_it_before_the_source_is_asked(c):
    c.pair.b.answers["Prepare"] = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "DEVICE_BUSY", "held", device="b0")
    c.start_move()
    end = c.end()
    assert end.phase == m.PHASE_RETURNED and end.error.reason == "DEVICE_BUSY"
    assert c.pair.order() == ["host-b.Prepare"]


def test_a_lost_answer_of_prepare_is_asked_for_again_with_the_same_token(c):
    c.pair.a.once["Prepare"] = Refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "cut")
    c.start_move()
    assert c.end().phase == m.PHASE_DONE
    first, second = c.pair.asked("host-a", "Prepare")
    assert first == second


def test_a_source_that_fell_silent_within_prepare_is_asked_by_the_next_life_too(c):
    """It may have begun, and cannot say so until somebody restarts it."""
    silent = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "LEDGER", "restart the agent")
    c.pair.a.once["Prepare"] = Refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "cut")
    c.pair.a.answers.update(Prepare=silent, Unwind=silent, GetWord=silent)
    c.start_move()
    c.pair.await_call("host-a", "Unwind")
    c.pair.await_call("host-a", "GetWord", len(c.pair.asked("host-a", "GetWord")) + 1)
    c.kill()
    c.start()
    c.pair.a.current = "RETURNED"
    c.pair.a.answers.clear()
    assert c.end().phase == m.PHASE_RETURNED


def test_every_devices_error_is_kept_when_the_destination_refuses_the_image(c):
    c.pair.fail_load = True
    c.start_move()
    end = c.end()
    assert end.phase == m.PHASE_RETURNED and end.error.reason == "LOAD_FAILED" and end.error.device == "b1"
    assert end.error.host == "host-b"
    assert [d.error.reason for d in end.device] == ["", "LOAD_FAILED"]


@pytest.mark.parametrize("early, late, wins", [
    ("STREAM_BROKEN", "VMM_FAILED", "VMM_FAILED"), ("PEER_ABORTED", "ARC_FAILED", "ARC_FAILED"),
    ("STREAM_BROKEN", "PEER_ABORTED", "PEER_ABORTED"), ("PEER_ABORTED", "UNAVAILABLE", "PEER_ABORTED"), ("LOAD_FAILED", "VMM_FAILED", "LOAD_FAILED")])
def test_a_consequence_at_one_side_gives_way_to_the_other_sides_cause(c, early, late, wins):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    c.pair.b.tell(error=m.ErrorDetail(reason=early, message="first to be heard"))
    c.until(lambda v: v.error.reason == early)
    c.pair.a.tell(error=m.ErrorDetail(reason=late, message="second to be heard"))
    c.pair.a.unwind()
    end = c.end()
    assert end.error.reason == wins and end.error.host == ("host-a" if wins == late else "host-b")
    c.kill()
    c.start()
    assert c.get().error == end.error


def test_a_specific_cause_stays_when_its_own_host_reports_more(c):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    c.pair.a.tell(error=m.ErrorDetail(reason="STREAM_BROKEN", message="cut"))
    c.pair.a.tell(error=m.ErrorDetail(reason="RESET_FAILED", message="while it unwinds"))
    c.pair.a.unwind()
    assert c.end().error.reason == "STREAM_BROKEN"


def test_which_of_its_errors_was_the_cause_an_agent_says_in_the_end(c):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    c.pair.a.tell(error=m.ErrorDetail(reason="STREAM_BROKEN", message="cut"))
    with c.pair.lock:
        c.pair.over = True
        for word in ("RETURNING", "RETURNED"):
            c.pair.a.word(word)
        c.pair.a.tell(ended=pb.Ended(how=pb.Ended.RETURNED, error=m.ErrorDetail(reason="VMM_FAILED", message="it died")))
    assert c.end().error.reason == "VMM_FAILED"


def test_a_refused_plan_touches_nothing(c):
    c.pair.b.devices = []
    c.start_move()
    end = c.end()
    assert end.phase == m.PHASE_REFUSED and end.error.reason == "NOT_FEASIBLE"
    assert any(r.result == m.Check.FAIL for r in end.check) and not c.pair.order()


def test_an_agent_that_waits_for_an_operator_is_heard(c):
    c.start_move(hold=[DECIDE])
    c.until(lambda v: v.waiting_at == DECIDE)
    error = m.ErrorDetail(reason="ARC_STUCK", message="SET_STATE does not return", device="b0")
    c.pair.b.tell(ended=pb.Ended(how=pb.Ended.OPERATOR, error=error))
    c.pair.a.tell(ended=pb.Ended(how=pb.Ended.OPERATOR))
    end = c.end()
    assert end.phase == m.PHASE_OPERATOR and end.error.reason == "ARC_STUCK"
    assert [v.spec.id for v in c.api.List(m.ListRequest(open_only=True), timeout=LIMIT).migration] == ["m1"]


# ---- lost and found ----
def test_an_agent_that_restarts_is_asked_for_its_word(c):
    c.start_move(hold=[DECIDE])
    c.until(lambda v: v.waiting_at == DECIDE)
    pair = c.pair
    # Rule 6: D restarts UNDECIDED and writes ABORTED; S hears of it and returns.
    pair.b.stop()
    pair.b.current = "ABORTED"
    pair.b.forget()
    pair.a.unwind()
    pair.b.start()
    end = c.end()
    assert end.phase == m.PHASE_RETURNED and end.destination_word == "ABORTED"


def test_another_ledger_than_the_one_prepared_is_for_an_operator(c):
    c.start_move(hold=[DECIDE])
    c.until(lambda v: v.waiting_at == DECIDE)
    c.pair.b.stop()
    c.pair.b.ledger = "ledger-new"
    c.pair.b.forget()
    c.pair.b.start()
    end = c.end()
    assert end.phase == m.PHASE_OPERATOR and end.error.reason == "LEDGER_LOST"


@pytest.mark.parametrize("gate", [BEFORE_PAUSE, STOPPED, DECIDE])
def test_a_killed_coordinator_goes_on_where_it_was(c, gate):
    c.start_move(hold=[gate])
    c.until(lambda v: v.waiting_at == gate)
    before = c.get()
    term = c.pair.a.highest_term.number
    c.kill()
    c.start()
    again = c.get()
    assert (again.phase, again.waiting_at, again.source_word) == (before.phase, gate, before.source_word)
    assert [d.name for d in again.device] == ["a0", "a1"]
    # What was seen before the kill is still there; the other agent's events may have come since.
    key = lambda t: (t.host, t.index, t.device, t.begin_ns)  # noqa: E731
    assert {key(t) for t in before.step} <= {key(t) for t in again.step}
    c.api.Release(m.ReleaseRequest(id="m1", gate=gate), timeout=LIMIT)
    assert c.end().phase == m.PHASE_DONE
    assert c.pair.a.highest_term.number > term
    assert len(c.pair.asked("host-a", "Prepare")) == 1


def test_ended_migrations_outlive_the_coordinator_and_teach_it(c):
    c.start_move()
    c.end()
    c.stop()
    c.start()
    assert c.get().phase == m.PHASE_DONE and list(c.watch())[-1].phase == m.PHASE_DONE
    listed = c.api.List(m.ListRequest(vm="vm1"), timeout=LIMIT).migration
    assert [(v.spec.id, v.phase) for v in listed] == [("m1", m.PHASE_DONE)]
    assert not listed[0].step and not listed[0].check
    assert c.api.DryRun(c.spec(""), timeout=LIMIT).estimate.known


def test_a_higher_term_than_ours_is_topped_at_first_contact(c):
    c.stop()
    for agent in (c.pair.a, c.pair.b):
        agent.highest_term = pb.Term(number=1000, coordinator="other")
    c.start()
    c.start_move()
    assert c.end().phase == m.PHASE_DONE
    assert c.pair.a.highest_term == pb.Term(number=1001, coordinator="one")


def test_a_coordinator_that_was_replaced_while_it_ran_is_refused(c):
    c.api.DryRun(c.spec(""), timeout=LIMIT)
    for agent in (c.pair.a, c.pair.b):
        agent.highest_term = pb.Term(number=1000, coordinator="other")
    c.start_move()
    end = c.end()
    assert end.phase == m.PHASE_RETURNED and end.error.reason == "STALE_COORDINATOR"
