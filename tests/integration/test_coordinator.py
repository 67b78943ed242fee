# SPDX-License-Identifier: Apache-2.0
"""lockstepd between stock gRPC clients and agents made of stock grpcio."""
import os
import re
import socket

import grpc
import pytest

import messages
from coord_support import refused
from fake_agent import NEVER, device
from processes import LIMIT, Process, binary

m, pb = messages.migration, messages.agent
BEFORE_PAUSE, STOPPED, DECIDE = m.GATE_BEFORE_PAUSE, m.GATE_STOPPED, m.GATE_DECIDE


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


# ---- watching ----
def test_a_watch_shows_every_state_in_order(c):
    c.start_move()
    phases = []
    for view in c.watch():
        if not phases or phases[-1] != view.phase:
            phases.append(view.phase)
    assert phases[-1] == m.PHASE_DONE and phases == sorted(phases)


def test_a_watch_started_early_misses_no_phase(c):
    # Held when stopped too: the destination could otherwise be heard to run before the source is heard to have paused.
    c.start_move(hold=[BEFORE_PAUSE, STOPPED])
    stream = c.watch()
    for gate in (BEFORE_PAUSE, STOPPED):
        c.until(lambda v, at=gate: v.waiting_at == at)
        c.api.Release(m.ReleaseRequest(id="m1", gate=gate), timeout=LIMIT)
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


def test_a_state_that_was_told_already_is_not_taken_back_by_the_record_of_an_earlier_step(c):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    source = c.pair.a
    earlier = source.clock
    source.tell(sequence=0, progress=m.DeviceProgress(name="a0", source_state=3, bytes_sent=7))
    arc = m.Step(kind=m.STEP_ARC, target=2, devices=1)
    source.tell(step=m.StepTime(host="host-a", index=90, step=arc, begin_ns=earlier, end_ns=earlier, device="a0"))
    source.tell(step=m.StepTime(host="host-a", index=90, step=arc, begin_ns=earlier, end_ns=source.clock, device="a1"))
    view = c.until(lambda v: v.device[1].source_state == 2)
    assert any(s.index == 90 and s.device == "a0" for s in view.step)
    assert view.device[0].source_state == 3 and view.device[0].bytes_sent == 7


# ---- configuration ----
@pytest.mark.parametrize("text, says", [
    ("[coordinator]\nid=one\nlisten=0.0.0.0:1\nstore=/x\n", "plaintext=any"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\nplaintext=maybe\n", "`maybe`"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\n[host a]\nagent=127.example.com:1\nstream=127.0.0.1:2\n",
     "agent=127.example.com:1 is not loopback"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\n[host a]\nagent=nowhere\nstream=127.0.0.1:2\n",
     'address "nowhere": no port'),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\ncolour=red\n", "colour"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\n[host a]\nagent=127.0.0.1:1\nstream=unix:/x\n",
     "another host cannot"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\n[host a]\nagent=127.0.0.1:1\nstream=2\n",
     "ini:5: [host a] stream"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\n[host a]\nagent=127.0.0.1:1\nstream=127.0.0.1:2\n"
     "[host b]\nagent=127.0.0.1:1\nstream=127.0.0.1:3\n", "ini:8: [host b] agent=127.0.0.1:1: host a has the same"),
    ("[coordinator one]\nid=one\nlisten=127.0.0.1:1\nstore=/x\n", "without a name"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\n[host a]\nagent=10.0.0.1:1\nstream=10.0.0.1:2\n",
     "ini:5: [host a] agent=10.0.0.1:1 is not loopback"),
    ("[coordinator]\nid=one\nlisten=127.0.0.1:1\nstore=/x\n[host a]\nagent=127.0.0.1:1\n", "stream"),
    ("[coordinator]\nlisten=127.0.0.1:1\nstore=/x\n", "id")])
def test_a_bad_configuration_is_one_clear_line(tmp_path, text, says):
    path = tmp_path / "bad.ini"
    path.write_text(text)
    process = Process("lockstepd", [binary("lockstepd"), "--config", str(path), "--check"])
    assert process.wait() == 1
    assert len(process.err) == 1 and says in process.err[0] and str(path) in process.err[0]


@pytest.mark.parametrize("readme, program", [("coordinator", "lockstepd"), ("agent", "lockstep-agent")])
def test_the_configuration_that_a_readme_shows_is_good(tmp_path, readme, program):
    with open(os.path.join(os.path.dirname(__file__), "..", "..", readme, "README.md"), encoding="utf-8") as f:
        [shown] = re.findall(r"```ini\n(.*?)```", f.read(), re.S)
    path = tmp_path / "shown.conf"
    path.write_text(shown)
    process = Process(program, [binary(program), "--config", str(path), "--check"])
    assert process.wait() == 0, process.tail()


def test_a_store_that_is_something_else_is_refused(tmp_path):
    (tmp_path / "store.db").write_bytes(b"not a database, and long enough to be looked at" * 40)
    path = tmp_path / "c.ini"
    path.write_text(f"[coordinator]\nid=one\nlisten=127.0.0.1:0\nstore={tmp_path}/store.db\n")
    process = Process("lockstepd", [binary("lockstepd"), "--config", str(path)])
    assert process.wait() == 1
    assert "LEDGER" in process.err[0]


# ---- the service manager ----
def test_the_service_manager_is_told(tmp_path, c):
    c.stop()
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(LIMIT)
        process = Process("lockstepd", [binary("lockstepd"), "--config", c.config],
                          {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
        said = [s.recv(512).decode() for _ in range(3)]
        assert any(t.startswith("READY=1\n") for t in said) and "WATCHDOG=1" in said, said
        process.popen.terminate()
        while not s.recv(512).decode().startswith("STOPPING=1"):
            pass
        assert process.wait() == 0, process.tail()
