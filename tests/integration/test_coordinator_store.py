# SPDX-License-Identifier: Apache-2.0
"""lockstepd with a store that cannot be written, or cannot be trusted."""
import os
import resource

import grpc
import pytest

import messages
from coord_support import Coordinator, refused
from processes import LIMIT, Process, binary

m, pb = messages.migration, messages.agent
BEFORE_PAUSE, STOPPED, DECIDE = m.GATE_BEFORE_PAUSE, m.GATE_STOPPED, m.GATE_DECIDE


@pytest.fixture
def c(tmp_path):
    coordinator = Coordinator(str(tmp_path))
    yield coordinator
    coordinator.close()


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
