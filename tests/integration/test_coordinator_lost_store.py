# SPDX-License-Identifier: Apache-2.0
"""lockstepd without its store, and with an older copy of it."""
import os
import shutil
import sqlite3
import subprocess

import grpc
import pytest

import messages
from coord_support import lose_store, refused
from fake_agent import NEVER, Refusal
from processes import LIMIT, binary

m, pb = messages.migration, messages.agent
BEFORE_PAUSE, STOPPED, DECIDE = m.GATE_BEFORE_PAUSE, m.GATE_STOPPED, m.GATE_DECIDE
GATES = [BEFORE_PAUSE, STOPPED, DECIDE]


def eventually(c, condition, ident="m1"):
    """The view as soon as the migration is known and `condition` holds."""
    while True:
        try:
            return c.until(condition, ident)
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.UNAVAILABLE and c.process.alive(), (e, c.process.tail())
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
    again = eventually(c, lambda v: v.waiting_at == gate and v.source_word and v.destination_word)
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


# ---- the same Start again, at a coordinator that knows nothing of it ----

def start(c, ident="m1", timeout=LIMIT, **spec):
    return c.api.Start.future(m.StartRequest(spec=c.spec(ident, **spec), actor="tester"), timeout=timeout)


def restarted_without_store(c, **answers):
    """The agents' answers are set before the new coordinator asks."""
    c.kill()
    lose_store(c)
    for agent in (c.pair.a, c.pair.b):
        agent.answers.update(answers)
    c.start()


@pytest.mark.parametrize("gate", GATES)
def test_the_same_start_at_an_empty_store_joins_what_runs(c, gate):
    c.start_move(hold=[gate])
    c.until(lambda v: v.waiting_at == gate)
    restarted_without_store(c)
    joined = start(c, hold=[gate]).result()
    assert joined.spec == c.spec(hold=[gate]) and joined.actor.startswith("not known"), joined
    assert refused(c.api.Start, m.StartRequest(spec=c.spec(deadline_ms=77, hold=[gate]), actor="tester"))[1].reason == \
        "ALREADY_EXISTS"
    c.until(lambda v: v.waiting_at == gate)
    c.api.Release(m.ReleaseRequest(id="m1", gate=gate), timeout=LIMIT)
    assert c.end().phase == m.PHASE_DONE
    assert len(c.pair.asked("host-a", "Prepare")) == len(c.pair.asked("host-b", "Prepare")) == 1


def test_a_start_waits_until_the_agents_have_told_what_they_hold(c):
    """The list is slow: whatever came first would find nothing here."""
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    restarted_without_store(c, ListMigrations=NEVER)
    call = start(c, hold=[STOPPED])
    c.pair.await_call("host-a", "ListMigrations", 2)  # of the first life, and of this one
    c.pair.await_call("host-b", "ListMigrations", 2)
    assert not call.done()
    for agent in (c.pair.a, c.pair.b):
        del agent.answers["ListMigrations"]
        agent.released.set()  # that one fails, and is asked for again
        agent.released.clear()
    try:
        assert call.result().spec == c.spec(hold=[STOPPED])
    except grpc.RpcError as e:
        assert e.code() == grpc.StatusCode.UNAVAILABLE and "has not told yet" in e.details(), e
    eventually(c, lambda v: v.waiting_at == STOPPED)
    assert start(c, hold=[STOPPED]).result().spec.id == "m1"
    assert not c.process.logs("migration.started") and len(c.pair.asked("host-a", "Prepare")) == 1


@pytest.mark.parametrize("silent", ["a", "b"])
def test_nothing_begins_at_a_host_that_was_not_heard_since_the_start(c, silent):
    c.kill()
    lose_store(c)
    agent = getattr(c.pair, silent)
    agent.stop()
    c.start()
    code, detail = refused(c.api.Start, m.StartRequest(spec=c.spec(), actor="tester"))
    assert (code, detail.reason, detail.host) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", f"host-{silent}"), detail
    assert "what it holds open" in detail.message
    asks = [(c.api.Get, m.GetRequest(id="m1")), (c.api.Cancel, m.CancelRequest(id="m1", actor="tester")),
            (c.api.Release, m.ReleaseRequest(id="m1", gate=STOPPED, actor="tester")),
            (c.api.Resolve, m.ResolveRequest(id="m1"))]
    for call, request in asks:  # nor is said that there is no such migration
        code, detail = refused(call, request)
        assert (code, detail.host) == (grpc.StatusCode.UNAVAILABLE, f"host-{silent}"), detail
        assert "no migration m1 here" in detail.message and "what it holds open" in detail.message
    agent.start()
    for call, request in asks:
        while (code := refused(call, request)[0]) == grpc.StatusCode.UNAVAILABLE:
            assert c.process.alive()
        assert code == grpc.StatusCode.NOT_FOUND  # the id is still free
    c.start_move()
    assert c.end().phase == m.PHASE_DONE


def test_who_asks_for_what_an_agent_holds_waits_until_it_has_told(c):
    """Get, Watch and Cancel come before the lists of this life are read: none says that there is no such migration."""
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    restarted_without_store(c, ListMigrations=NEVER)
    get = c.api.Get.future(m.GetRequest(id="m1"), timeout=LIMIT)
    cancel = c.api.Cancel.future(m.CancelRequest(id="m1", actor="tester"), timeout=LIMIT)
    watch = c.api.Watch(m.GetRequest(id="m1"), timeout=LIMIT)
    for host in ("host-a", "host-b"):
        c.pair.await_call(host, "ListMigrations", 2)
    assert not get.done() and not cancel.done()
    for agent in (c.pair.a, c.pair.b):
        del agent.answers["ListMigrations"]
        agent.released.set()  # that one fails, and is asked for again
        agent.released.clear()
    for call in (get.result, cancel.result, lambda: next(watch)):
        try:
            assert (answer := call()).spec.id == "m1", answer
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.UNAVAILABLE and "no migration m1 here" in e.details(), e
    eventually(c, lambda v: True)
    c.api.Cancel(m.CancelRequest(id="m1", actor="tester"), timeout=LIMIT)
    assert c.end().error.reason == "CANCELLED"


def test_another_id_for_the_vm_is_refused_by_name_as_soon_as_the_agents_were_heard(c):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    restarted_without_store(c)
    c.start_move("m2")
    end = c.end("m2")
    assert end.phase == m.PHASE_REFUSED and end.error.reason == "VM_BUSY" and "m1" in end.error.message, end


def test_the_same_start_at_an_empty_store_finds_what_has_ended(c):
    c.start_move()
    c.end()
    restarted_without_store(c)
    assert start(c).result().spec == c.spec()
    assert c.end().phase == m.PHASE_DONE
    assert refused(c.api.Start, m.StartRequest(spec=c.spec(deadline_ms=77), actor="t"))[1].reason == "ALREADY_EXISTS"
    assert len(c.pair.asked("host-a", "Prepare")) == 1


def test_an_id_of_another_coordinator_is_not_started(c):
    c.start_move(hold=[STOPPED])
    c.until(lambda v: v.waiting_at == STOPPED)
    c.kill()
    lose_store(c)
    for agent in (c.pair.a, c.pair.b):
        agent.highest_term = pb.Term(number=agent.highest_term.number, coordinator="other")
    c.start()
    code, detail = refused(c.api.Start, m.StartRequest(spec=c.spec(hold=[STOPPED]), actor="tester"))
    assert code == grpc.StatusCode.ALREADY_EXISTS and "coordinator other" in detail.message, detail
    assert len(c.pair.asked("host-a", "Prepare")) == 1


def test_no_call_carries_a_term_before_the_highest_is_known(c):
    """Rule 7: a store that was lost counts from 1; the agents have seen more."""
    for agent, number in ((c.pair.a, 40), (c.pair.b, 70)):
        agent.highest_term = pb.Term(number=number, coordinator="one")
    restarted_without_store(c)
    c.start_move()
    assert c.end().phase == m.PHASE_DONE
    terms = [request.term.number for _, name, request in c.pair.calls if name in ("Prepare", "Grant")]
    assert min(terms) > 70, terms


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
        try:
            c.api.Release(m.ReleaseRequest(id="m1", gate=g), timeout=LIMIT)
        except grpc.RpcError as e:  # it waits there as the older store has it: the agents may be past it, and at the end
            assert e.code() == grpc.StatusCode.FAILED_PRECONDITION, e
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


def test_what_a_late_order_began_after_the_end_is_taken_back(c):
    """Over in the store, open at the agents: nothing is decided there yet, so it is unwound and settled."""
    c.start_move(hold=[BEFORE_PAUSE])
    c.until(lambda v: v.waiting_at == BEFORE_PAUSE)
    c.api.Cancel(m.CancelRequest(id="m1", actor="op"), timeout=LIMIT)
    assert c.end().phase == m.PHASE_RETURNED
    unwinds, settles = len(c.pair.asked("host-a", "Unwind")), len(c.pair.asked("host-b", "Settle"))
    c.kill()
    c.pair.a.current, c.pair.b.current = "ACTIVE", "UNDECIDED"
    c.start()
    c.pair.await_call("host-a", "Unwind", unwinds + 1)
    c.pair.await_call("host-b", "Settle", settles + 1)
    assert c.api.Get(m.GetRequest(id="m1"), timeout=LIMIT).phase == m.PHASE_RETURNED
