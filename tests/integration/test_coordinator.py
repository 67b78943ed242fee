# SPDX-License-Identifier: Apache-2.0
"""lockstepd between stock gRPC clients and agents made of stock grpcio."""
import socket

import grpc
import pytest

import messages
from coord_support import Coordinator
from fake_agent import NEVER, Refusal, device
from processes import LIMIT, Process, binary

m, pb = messages.migration, messages.agent
BEFORE_PAUSE, STOPPED, DECIDE = m.GATE_BEFORE_PAUSE, m.GATE_STOPPED, m.GATE_DECIDE


@pytest.fixture
def c(tmp_path):
    coordinator = Coordinator(str(tmp_path))
    yield coordinator
    coordinator.close()


def refused(call, *args):
    with pytest.raises(grpc.RpcError) as e:
        call(*args, timeout=LIMIT)
    trailer = dict(e.value.trailing_metadata())["lockstep-error-bin"]
    return e.value.code(), m.ErrorDetail.FromString(trailer)


def rows(plan, result=m.Check.FAIL):
    return {(r.id, r.device): r for r in plan.check if r.result == result}


# ---- reading ----

def test_hosts_are_listed_with_what_their_agents_say(c):
    hosts = {h.name: h for h in c.api.ListHosts(m.ListHostsRequest(), timeout=LIMIT).host}
    assert hosts["host-a"].reachable and hosts["host-a"].kernel == "6.12.1" and hosts["host-a"].devices == 2


def test_a_dead_host_is_listed_as_such(c):
    c.pair.b.stop()
    hosts = {h.name: h for h in c.api.ListHosts(m.ListHostsRequest(), timeout=LIMIT).host}
    assert hosts["host-a"].reachable and not hosts["host-b"].reachable
    assert hosts["host-b"].problem.reason == "UNAVAILABLE"


def test_a_silent_agent_does_not_make_the_caller_wait_past_its_deadline(c):
    c.pair.b.answers["Hello"] = NEVER
    hosts = {h.name: h for h in c.api.ListHosts(m.ListHostsRequest(), timeout=2).host}
    assert hosts["host-a"].reachable and not hosts["host-b"].reachable


def test_devices_of_a_host(c):
    devices = c.api.ListDevices(m.ListDevicesRequest(host="host-a", vm="vm1"), timeout=LIMIT).device
    assert [d.name for d in devices] == ["a0", "a1"]


def test_unknown_hosts_and_migrations_are_not_found(c):
    code, detail = refused(c.api.ListDevices, m.ListDevicesRequest(host="host-z"))
    assert (code, detail.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND") and "host-z" in detail.message
    for call, request in ((c.api.Get, m.GetRequest(id="m9")), (c.api.Cancel, m.CancelRequest(id="m9")),
                          (c.api.Release, m.ReleaseRequest(id="m9", gate=STOPPED))):
        assert refused(call, request)[0] == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as e:
        list(c.watch("m9"))
    assert e.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("field, spec", [
    ("spec.id", {"id": ""}), ("spec.id", {"id": "a b"}), ("spec.id", {"id": "x" * 64}), ("spec.vm", {"vm": ""}),
    ("spec.source", {"source": "../x"}), ("spec.destination", {"destination": ""}),
    ("spec.deadline_ms", {"deadline_ms": 9}), ("spec.deadline_ms", {"deadline_ms": 3600001}),
    ("spec.precopy.max_rounds", {"precopy": m.PrecopyPolicy(max_rounds=1001)}), ("spec.hold", {"hold": [7]}),
    ("spec.hold", {"hold": [1, 1]}), ("spec.hold", {"hold": [0]})])
def test_a_bad_field_is_named(c, field, spec):
    code, detail = refused(c.api.Start, m.StartRequest(spec=c.spec(**{"ident": "m1", **spec} if "id" not in spec else
                                                                   {"ident": spec["id"]})))
    assert (code, detail.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID")
    assert detail.message.startswith(field + ":"), detail.message
    assert not c.pair.order()


def test_a_request_without_a_spec_or_of_garbage_is_refused(c):
    assert refused(c.api.Start, m.StartRequest())[1].message == "spec: is missing"
    call = c.channel.unary_unary("/lockstep.v1.Lockstep/Start")
    with pytest.raises(grpc.RpcError) as e:
        call(b"\xff" * 40, timeout=LIMIT)
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused(c.api.List, m.ListRequest(limit=1001))[1].message.startswith("limit:")


def test_garbage_on_the_port_closes_the_connection_and_leaves_one_log_line(c):
    with socket.create_connection(("127.0.0.1", c.port)) as s:
        s.settimeout(LIMIT)
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(range(256)) * 8)
        while True:
            try:
                if not s.recv(4096):
                    break
            except ConnectionResetError:
                break
    c.process.expect_log("peer.refused")
    assert len(c.process.logs("peer.refused")) == 1
    assert c.api.ListHosts(m.ListHostsRequest(), timeout=LIMIT).host


# ---- dry run ----

def test_a_feasible_dry_run_has_a_schedule_and_touches_nothing(c):
    plan = c.api.DryRun(c.spec(""), timeout=LIMIT)
    assert plan.feasible, rows(plan)
    assert [d.source_name for d in plan.schedule.device] == ["a0", "a1"]
    assert [s.kind for s in plan.schedule.source][-1] == m.STEP_RELEASE
    assert not plan.estimate.known and plan.estimate.basis
    assert not c.pair.order()


def test_a_dry_run_names_every_blocker_at_once(c):
    a, b = c.pair.a, c.pair.b
    a.devices = [device("a0", "s0", flags=1), device("a1", "s1", flags=5), device("a2", "s2", size=1 << 30)]
    b.devices = [device("b0", "s0", type="other"), device("b1", "s1"), device("b2", "s2"),
                 device("b3", "s3", problem=m.ErrorDetail(reason="DEVICE_BUSY", message="held by pid 7"))]
    b.vmm[0].incoming = False
    b.version_answer = pb.CheckVersionResponse(verdict=pb.CheckVersionResponse.INCOMPATIBLE, errno_value=22,
                                               where="toy/version")
    plan = c.api.DryRun(c.spec(""), timeout=LIMIT)
    bad = rows(plan)
    assert not plan.feasible and not plan.HasField("schedule")
    for row in (("vmm.destination", ""), ("device.count", ""), ("pair.slot", "b3"), ("device.free", "b3"),
                ("pair.type", "a0"), ("pair.version", "a0"), ("pair.version", "a1"), ("p2p", "a0"), ("p2p", "a1"),
                ("size", "a2")):
        assert row in bad, (row, sorted(bad))
        assert bad[row].remedy
    assert not c.pair.order()


def test_both_hosts_down_are_two_rows(c):
    c.pair.a.stop()
    c.pair.b.stop()
    plan = c.api.DryRun(c.spec(""), timeout=LIMIT)
    assert [r.id for r in plan.check if r.result == m.Check.FAIL] == ["host.reachable"] * 2


# ---- a good move ----

def test_a_move_prepares_the_destination_first_and_grants_it_first(c):
    c.start_move()
    done = c.end()
    assert done.phase == m.PHASE_DONE and done.blackout.total_ms == 42.5 and done.actor == "tester"
    assert (done.source_word, done.destination_word) == ("RELEASED", "STARTED")
    assert c.pair.order() == ["host-b.Prepare", "host-a.Prepare", "host-b.Grant", "host-a.Grant"]
    [source], [dest] = c.pair.asked("host-a", "Prepare"), c.pair.asked("host-b", "Prepare")
    assert source.peer_ledger_id == "ledger-b" and source.peer_address == "127.0.0.1:2"
    assert source.token == dest.token and len(source.token) == 32
    assert source.schedule == dest.schedule and source.term == dest.term
    assert source.term.coordinator == "one" and source.term.number >= 1
    assert list(c.pair.asked("host-a", "Grant")[0].gate) == [BEFORE_PAUSE, STOPPED]
    assert list(c.pair.asked("host-b", "Grant")[0].gate) == [DECIDE]
    assert all(t.end_ns for t in done.step)
    assert [d.bytes_sent for d in done.device] == [1000, 2000]


def test_the_second_dry_run_learns_from_the_first_move(c):
    c.start_move()
    c.end()
    estimate = c.api.DryRun(c.spec(""), timeout=LIMIT).estimate
    assert estimate.known, estimate.basis
    assert estimate.quiesce_ms == 1.5 and estimate.stop_ms == 1.5 and estimate.start_ms == 3.0
    assert estimate.transfer_ms == pytest.approx(30) and estimate.blackout_ms == pytest.approx(42.5)
    plan = c.api.DryRun(c.spec("", deadline_ms=20), timeout=LIMIT)
    assert ("deadline", "") in rows(plan)


def test_start_is_idempotent_by_id(c):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    assert c.start_move(hold=[STOPPED]).phase == m.PHASE_BLACKOUT
    code, detail = refused(c.api.Start, m.StartRequest(spec=c.spec(deadline_ms=1000)))
    assert (code, detail.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
    c.api.Release(m.ReleaseRequest(id="m1", gate=STOPPED), timeout=LIMIT)
    assert c.end().phase == m.PHASE_DONE
    assert c.start_move(hold=[STOPPED]).phase == m.PHASE_DONE
    assert len(c.pair.asked("host-a", "Prepare")) == 1


def test_a_second_migration_of_the_vm_is_refused_while_the_first_is_open(c):
    c.start_move(hold=[BEFORE_PAUSE])
    c.until(lambda v: v.waiting_at == BEFORE_PAUSE)
    c.start_move("m2")
    second = c.end("m2")
    assert second.phase == m.PHASE_REFUSED and second.error.reason == "VM_BUSY" and "m1" in second.error.message
    assert c.get().phase == m.PHASE_PRECOPY


@pytest.mark.parametrize("held", [[BEFORE_PAUSE], [STOPPED], [DECIDE], [BEFORE_PAUSE, STOPPED, DECIDE]])
def test_held_gates_wait_for_their_release(c, held):
    c.start_move(hold=held)
    for gate in held:
        c.until(lambda v, gate=gate: v.waiting_at == gate)
        assert gate not in c.pair.granted
        c.api.Release(m.ReleaseRequest(id="m1", gate=gate), timeout=LIMIT)
    assert c.end().phase == m.PHASE_DONE


def test_releasing_a_gate_that_is_not_held_is_an_error(c):
    c.start_move(hold=[STOPPED])
    code, detail = refused(c.api.Release, m.ReleaseRequest(id="m1", gate=DECIDE))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "decide" in detail.message


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


def test_every_devices_error_is_kept_when_the_destination_refuses_the_image(c):
    c.pair.fail_load = True
    c.start_move()
    end = c.end()
    assert end.phase == m.PHASE_RETURNED and end.error.reason == "LOAD_FAILED" and end.error.device == "b1"
    assert end.error.host == "host-b"
    assert [d.error.reason for d in end.device] == ["", "LOAD_FAILED"]


@pytest.mark.parametrize("early, late, wins", [
    ("STREAM_BROKEN", "VMM_FAILED", "VMM_FAILED"), ("PEER_ABORTED", "ARC_FAILED", "ARC_FAILED"),
    ("STREAM_BROKEN", "PEER_ABORTED", "STREAM_BROKEN"), ("LOAD_FAILED", "VMM_FAILED", "LOAD_FAILED")])
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
    for agent in (c.pair.a, c.pair.b):
        agent.highest_term = pb.Term(number=1000, coordinator="other")
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


# ---- watching ----

def test_a_watch_shows_every_state_in_order(c):
    c.start_move()
    phases = []
    for view in c.watch():
        if not phases or phases[-1] != view.phase:
            phases.append(view.phase)
    assert phases[-1] == m.PHASE_DONE and phases == sorted(phases)


def test_a_watch_started_early_misses_no_phase(c):
    c.start_move(hold=[BEFORE_PAUSE])
    stream = c.watch()
    c.until(lambda v: v.waiting_at == BEFORE_PAUSE)
    c.api.Release(m.ReleaseRequest(id="m1", gate=BEFORE_PAUSE), timeout=LIMIT)
    c.end()
    # Read only now: the whole way was gone while nobody took a message.
    views = list(stream)
    phases = [v.phase for v in views]
    for phase in (m.PHASE_PRECOPY, m.PHASE_BLACKOUT, m.PHASE_RELEASING, m.PHASE_DONE):
        assert phase in phases
    sequences = [v.sequence for v in views]
    assert sequences == sorted(set(sequences))


def test_giving_up_a_watch_does_not_cancel_the_migration(c):
    c.start_move(hold=[STOPPED])
    stream = c.watch()
    next(stream)
    stream.cancel()
    with pytest.raises(grpc.RpcError) as e:
        for _ in c.api.Watch(m.GetRequest(id="m1"), timeout=0.3):
            pass
    assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    c.until(lambda v: v.waiting_at == STOPPED)
    assert not c.pair.asked("host-a", "Unwind")


# ---- configuration ----

@pytest.mark.parametrize("text, says", [
    ("[coordinator]\nid=one\nlisten=0.0.0.0:1\nstore=/x\n", "plaintext=any"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\nplaintext=maybe\n", "`maybe`"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\ncolour=red\n", "colour"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\n[host a]\nagent=10.0.0.1:1\nstream=10.0.0.1:2\n", "[host a]"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\n[host a]\nagent=127.0.0.1:1\n", "stream"),
    ("[coordinator]\nlisten=127.0.0.1:1\nstore=/x\n", "id")])
def test_a_bad_configuration_is_one_clear_line(tmp_path, text, says):
    path = tmp_path / "bad.ini"
    path.write_text(text)
    process = Process("lockstepd", [binary("lockstepd"), "--config", str(path), "--check"])
    assert process.wait() == 1
    assert len(process.err) == 1 and says in process.err[0] and str(path) in process.err[0]


def test_a_store_that_is_something_else_is_refused(tmp_path):
    (tmp_path / "store.db").write_bytes(b"not a database, and long enough to be looked at" * 40)
    path = tmp_path / "c.ini"
    path.write_text(f"[coordinator]\nid=one\nlisten=127.0.0.1:0\nstore={tmp_path}/store.db\n")
    process = Process("lockstepd", [binary("lockstepd"), "--config", str(path)])
    assert process.wait() == 1
    assert "LEDGER" in process.err[0]
