# SPDX-License-Identifier: Apache-2.0
"""Years of migrations in the store: what has ended is read when it is asked for, and does not fill the memory."""
import sqlite3

import messages
from coord_support import refused
from processes import LIMIT, sanitizer

m, pb = messages.migration, messages.agent
MANY = 3000


def resident_kib(c):
    with open(f"/proc/{c.process.pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


def copy_ended(c, first, last):
    """m1's records under other ids, as if each had happened."""
    db = sqlite3.connect(c.store)
    rows = db.execute("SELECT seq, body FROM record WHERE migration = 'm1'").fetchall()
    vm, created, summary = db.execute("SELECT vm, created_ms, summary FROM migration WHERE id = 'm1'").fetchone()
    for i in range(first, last + 1):
        view = m.Migration.FromString(summary)
        view.spec.id = f"m{i}"
        db.execute("INSERT INTO migration(id, vm, created_ms, open, summary) VALUES(?, ?, ?, 0, ?)",
                   (f"m{i}", vm, created, view.SerializeToString()))
        db.executemany("INSERT INTO record(migration, seq, body) VALUES(?, ?, ?)",
                       [(f"m{i}", seq, renamed(body, f"m{i}") if seq == rows[0][0] else body) for seq, body in rows])
    db.commit()
    db.close()
    return sum(len(body) for _, body in rows)


def renamed(created, ident):
    """The first record with another id: both ids are spelt by the same field of the spec."""
    old, new = b"\x0a\x02m1", b"\x0a" + bytes([len(ident)]) + ident.encode()
    grow = len(new) - len(old)
    at = created.index(old)
    lengths = bytearray(created[:at])
    # time_ms, then the lengths of Created and of its spec, one byte each while they are small.
    assert lengths[-1] + grow < 128 and lengths[-3] + grow < 128, created
    lengths[-1] += grow
    lengths[-3] += grow
    return bytes(lengths) + new + created[at + len(old):]


def test_thousands_that_have_ended_cost_no_memory_and_are_all_there(c):
    c.start_move()
    c.end()
    c.stop()
    copy_ended(c, 2, 300)
    c.start()
    few = resident_kib(c)
    c.stop()
    each = copy_ended(c, 301, MANY)
    c.start()
    listed = c.api.List(m.ListRequest(limit=1000), timeout=LIMIT).migration
    assert len({v.spec.id for v in listed}) == 1000 and all(v.phase == m.PHASE_DONE for v in listed)
    for ident in ("m1", "m2", "m1500", f"m{MANY}"):
        view = c.get(ident)
        assert view.spec.id == ident and view.phase == m.PHASE_DONE and view.step, ident
    # An id that has left the memory is as taken as any: the same Start is answered with what became of it.
    assert c.start_move("m7").phase == m.PHASE_DONE
    assert refused(c.api.Start, m.StartRequest(spec=c.spec("m7", vm="vm2"), actor="t"))[1].reason == "ALREADY_EXISTS"
    more = resident_kib(c) - few
    # A sanitizer keeps what was freed.
    assert sanitizer() or more < 8192, f"{more} KiB more for {MANY - 300} more migrations of {each} bytes"


def test_what_waits_for_an_operator_counts_as_open(c):
    """So that the bound on open ones holds for those too, which are never dropped."""
    c.pair.stop_at = "COMMITTED"
    c.start_move()
    c.until(lambda v: v.destination_word == "COMMITTED")
    c.pair.b.tell(ended=pb.Ended(how=pb.Ended.OPERATOR, error=m.ErrorDetail(reason="ARC_STUCK", message="no")))
    assert c.end().phase == m.PHASE_OPERATOR
    for life in range(2):
        assert [v.spec.id for v in c.api.List(m.ListRequest(open_only=True), timeout=LIMIT).migration] == ["m1"]
        c.process.popen.terminate()
        assert "open=1" in c.process.expect_log("coordinator.stopping")
        c.process.wait()
        c.start()
