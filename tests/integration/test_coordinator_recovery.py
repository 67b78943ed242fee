# SPDX-License-Identifier: Apache-2.0
"""lockstepd without its store, with an older one, with one that fails, and with operators."""
import os
import resource
import shutil
import socket
import sqlite3
import subprocess

import grpc
import pytest

import messages
from coord_support import Coordinator
from fake_agent import Refusal
from processes import LIMIT, Process, binary

m, pb = messages.migration, messages.agent
BEFORE_PAUSE, STOPPED, DECIDE = m.GATE_BEFORE_PAUSE, m.GATE_STOPPED, m.GATE_DECIDE
GATES = [BEFORE_PAUSE, STOPPED, DECIDE]


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


def lose_store(c):
    for name in os.listdir(c.folder):
        if name.startswith("store.db"):
            os.remove(os.path.join(c.folder, name))


def eventually(c, condition, ident="m1"):
    """The view as soon as the migration is known and `condition` holds."""
    while True:
        try:
            return c.until(condition, ident)
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.NOT_FOUND and c.process.alive(), c.process.tail()
            c.process.expect_log("migration.rebuilt")


# ---- a lost store ----

@pytest.mark.parametrize("gate", GATES)
def test_an_empty_store_learns_what_the_agents_hold_and_goes_on(c, gate):
    c.start_move(hold=[gate])
    c.until(lambda v: v.waiting_at == gate)
    term = c.pair.a.highest_term.number
    c.kill()
    lose_store(c)
    c.start()
    again = eventually(c, lambda v: v.waiting_at == gate)
    assert again.spec == c.spec(hold=[gate])
    assert (again.source_word, again.destination_word) == ("ACTIVE", "UNDECIDED")
    c.api.Release(m.ReleaseRequest(id="m1", gate=gate), timeout=LIMIT)
    assert c.end().phase == m.PHASE_DONE
    assert len(c.pair.asked("host-a", "Prepare")) == len(c.pair.asked("host-b", "Prepare")) == 1
    assert max(agent.highest_term.number for agent in (c.pair.a, c.pair.b)) > term


@pytest.mark.parametrize("gate", GATES)
def test_what_an_empty_store_has_learnt_can_be_cancelled(c, gate):
    c.start_move(hold=[gate])
    c.until(lambda v: v.waiting_at == gate)
    c.kill()
    lose_store(c)
    c.start()
    eventually(c, lambda v: v.waiting_at == gate)
    c.api.Cancel(m.CancelRequest(id="m1", actor="op"), timeout=LIMIT)
    end = c.end()
    assert end.phase == m.PHASE_RETURNED and end.error.reason == "CANCELLED"


def test_an_empty_store_with_only_the_destination_prepared_gives_it_up(c):
    c.pair.a.answers["Prepare"] = Refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "cut")
    c.start_move()
    c.pair.await_call("host-a", "Prepare")
    c.kill()
    lose_store(c)
    del c.pair.a.answers["Prepare"]
    c.start()
    c.process.expect_log("migration.rebuilt")
    end = c.end()
    assert end.phase == m.PHASE_RETURNED and end.error.reason == "LEDGER", end
    assert c.pair.b.current == "ABORTED" and not c.pair.a.current


def test_an_empty_store_finds_a_source_whose_destination_is_silent_at_first(c):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    c.kill()
    lose_store(c)
    c.pair.b.stop()
    c.start()
    eventually(c, lambda v: v.waiting_at == STOPPED)
    c.pair.b.start()
    c.api.Release(m.ReleaseRequest(id="m1", gate=STOPPED), timeout=LIMIT)
    assert c.end().phase == m.PHASE_DONE


def test_another_coordinators_migration_is_left_alone(c):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    c.kill()
    lose_store(c)
    for agent in (c.pair.a, c.pair.b):
        agent.highest_term = pb.Term(number=agent.highest_term.number, coordinator="other")
    c.start()
    c.process.expect_log("migration.foreign")
    assert refused(c.api.Get, m.GetRequest(id="m1"))[0] == grpc.StatusCode.NOT_FOUND


# ---- an older store ----

def backup(c, name="copy.db"):
    path = os.path.join(c.folder, name)
    done = subprocess.run([binary("lockstepd"), "backup", path, "--config", c.config], capture_output=True, text=True,
                          timeout=LIMIT, check=False)
    return path, done


def restore(c, path):
    lose_store(c)
    shutil.copy(path, os.path.join(c.folder, "store.db"))


def test_a_backup_of_a_running_coordinator_is_restored(c):
    c.start_move("m1")
    c.end("m1")
    path, done = backup(c)
    assert done.returncode == 0 and "good copy" in done.stdout, done
    assert sorted(n for n in os.listdir(c.folder) if n.startswith("copy")) == ["copy.db"]
    again = backup(c)[1]
    assert again.returncode == 1 and again.stderr.count("\n") == 1 and "is there already" in again.stderr
    c.stop()
    restore(c, path)
    c.start()
    assert c.get("m1").phase == m.PHASE_DONE


def test_a_backup_of_what_is_no_store_fails_and_leaves_nothing(c):
    c.stop()
    for text in (None, b"not a store" * 500):
        lose_store(c)
        if text:
            with open(os.path.join(c.folder, "store.db"), "wb") as f:
                f.write(text)
        path, done = backup(c)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done
        assert not os.path.exists(path) and not os.path.exists(path + ".part")


@pytest.mark.parametrize("gate", GATES)
def test_a_migration_in_an_older_store_catches_up(c, gate):
    c.start_move(hold=[BEFORE_PAUSE, STOPPED, DECIDE])
    c.until(lambda v: v.waiting_at == BEFORE_PAUSE)
    path, done = backup(c)
    assert done.returncode == 0, done
    for g in GATES[:GATES.index(gate) + 1]:
        c.until(lambda v, g=g: v.waiting_at == g)
        c.api.Release(m.ReleaseRequest(id="m1", gate=g), timeout=LIMIT)
    if gate == DECIDE:
        c.end()
    c.kill()
    restore(c, path)
    c.start()
    for g in GATES:
        view = c.until(lambda v, g=g: v.waiting_at == g or v.phase >= m.PHASE_RELEASING)
        if view.phase >= m.PHASE_RELEASING:
            break
        c.api.Release(m.ReleaseRequest(id="m1", gate=g), timeout=LIMIT)
    assert c.end().phase == m.PHASE_DONE
    assert len(c.pair.asked("host-a", "Prepare")) == 1


def first_records(c, n):
    """The store as it was after its first n records."""
    db = sqlite3.connect(os.path.join(c.folder, "store.db"))
    db.execute("DELETE FROM record WHERE seq > ?", (n,))
    db.execute("UPDATE migration SET open = 1, summary = NULL")
    db.commit()
    db.close()


@pytest.mark.parametrize("records", [1, 2, 3, 4])
@pytest.mark.parametrize("ended", [False, True])
def test_no_older_store_prepares_anew_what_the_agents_have_prepared(c, records, ended):
    c.start_move(hold=[] if ended else [STOPPED])
    if ended:
        c.end()
    else:
        c.until(lambda v: v.waiting_at == STOPPED)
    c.kill()
    first_records(c, records)
    c.start()
    if not ended:
        c.until(lambda v: v.waiting_at == STOPPED)
        c.api.Release(m.ReleaseRequest(id="m1", gate=STOPPED), timeout=LIMIT)
    end = c.end()
    assert end.phase == m.PHASE_DONE, end
    assert len(c.pair.asked("host-a", "Prepare")) == len(c.pair.asked("host-b", "Prepare")) == 1


# ---- a store that cannot be written ----

def limit_files(c, size):
    """No file of the coordinator may grow beyond this: writes fail as on a full disk."""
    resource.prlimit(c.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_full_disk_refuses_to_begin_and_asks_back_what_is_open(c):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    limit_files(c, 1)
    code, detail = refused(c.api.Start, m.StartRequest(spec=c.spec("m2", vm="vm2"), actor="tester"))
    assert (code, detail.reason) == (grpc.StatusCode.UNAVAILABLE, "LEDGER")
    c.process.expect_log("store.failing")
    c.pair.await_call("host-a", "Unwind")
    assert "store" in c.pair.asked("host-a", "Unwind")[0].cause
    # It stays up and answers, and does not say what it could not write down.
    assert c.get().phase == m.PHASE_BLACKOUT and c.api.ListHosts(m.ListHostsRequest(), timeout=LIMIT).host
    limit_files(c, resource.RLIM_INFINITY)
    end = c.end()
    assert end.phase == m.PHASE_RETURNED, end
    c.process.expect_log("store.recovered")
    c.start_move("m3")


def test_a_full_disk_after_the_consent_changes_nothing(c):
    c.pair.stop_at = "CONSENTED"
    c.start_move()
    c.until(lambda v: v.source_word == "CONSENTED")
    limit_files(c, 1)
    refused(c.api.Start, m.StartRequest(spec=c.spec("m2", vm="vm2"), actor="tester"))
    c.process.expect_log("store.failing")
    with c.pair.lock:
        c.pair.b.word("COMMITTED")
        c.pair.start()
    assert c.get().phase == m.PHASE_BLACKOUT
    limit_files(c, resource.RLIM_INFINITY)
    assert c.end().phase == m.PHASE_DONE and not c.pair.asked("host-a", "Unwind")


def test_a_damaged_store_is_one_clear_line(c):
    for i in range(30):
        c.start_move(f"m{i}")
        c.end(f"m{i}")
        for agent in (c.pair.a, c.pair.b):
            agent.forget()
            agent.current, agent.prepared = "", None
        c.pair.over, c.pair.at = False, None
        c.pair.granted.clear()
        if os.path.getsize(os.path.join(c.folder, "store.db")) > 100_000:
            break
    c.stop()
    path = os.path.join(c.folder, "store.db")
    with open(path, "r+b") as f:
        f.seek(4096 * 3)
        f.write(b"\x55" * 4096 * 8)
    process = Process("lockstepd", [binary("lockstepd"), "--config", c.config])
    assert process.wait() == 1
    assert len(process.err) == 1 and "LEDGER" in process.err[0] and "damaged" in process.err[0], process.err


# ---- an operator ----

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
    assert [a for a, o in options(c)[0].items() if o.open] == [m.RESOLVE_RETURN_LOST]
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
