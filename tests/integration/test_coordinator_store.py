# SPDX-License-Identifier: Apache-2.0
"""lockstepd with a store that cannot be written, or cannot be trusted."""
import contextlib
import errno
import os
import resource
import subprocess
import time

import grpc
import pytest

import messages
from coord_support import Coordinator, lose_store, refused
from processes import LIMIT, Process, binary

m, pb = messages.migration, messages.agent
BEFORE_PAUSE, STOPPED, DECIDE = m.GATE_BEFORE_PAUSE, m.GATE_STOPPED, m.GATE_DECIDE


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


# ---- a small disk of its own ----

# lockstepd in a mount namespace, where its store's folder is a file system of this size.
ON_DISK = """mount -t tmpfs -o size={size} none {folder} && {then} exec "$@\""""


def on_disk(folder, size="2m", then=""):
    return ["unshare", "-m", "sh", "-ec", ON_DISK.format(size=size, folder=folder, then=then), "sh"]


class Disk:
    """The same file system, from outside."""

    def __init__(self, c, folder):
        self.ballast = f"/proc/{c.process.pid}/root{folder}/ballast"

    def fill(self):
        with open(self.ballast, "wb", buffering=0) as f, contextlib.suppress(OSError):
            while True:
                f.write(b"x" * 512)

    def empty(self):
        os.truncate(self.ballast, 0)


@pytest.fixture
def full(tmp_path):
    """A coordinator whose disk can be filled, and the disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    coordinator = Coordinator(str(tmp_path), store=str(folder / "store.db"), wrap=on_disk(folder))
    yield coordinator, Disk(coordinator, folder)
    coordinator.close()


def test_a_disk_without_room_refuses_to_begin(full):
    c, disk = full
    disk.fill()
    code, detail = refused(c.api.Start, m.StartRequest(spec=c.spec(), actor="tester"))
    assert (code, detail.reason) == (grpc.StatusCode.UNAVAILABLE, "LEDGER"), detail
    assert detail.errno_value == errno.ENOSPC and "full" in detail.message, detail
    assert not c.pair.asked("host-a", "Prepare") and not c.pair.asked("host-b", "Prepare")
    assert refused(c.api.Get, m.GetRequest(id="m1"))[0] == grpc.StatusCode.NOT_FOUND
    disk.empty()
    c.start_move()
    assert c.end().phase == m.PHASE_DONE


@pytest.mark.parametrize("gate", [BEFORE_PAUSE, STOPPED, DECIDE])
def test_a_disk_that_fills_up_in_the_middle_brings_the_vm_back(full, gate):
    c, disk = full
    c.start_move(hold=[gate])
    c.until(lambda v: v.waiting_at == gate)
    disk.fill()
    refused(c.api.Start, m.StartRequest(spec=c.spec("m2", vm="vm2"), actor="tester"))
    c.process.expect_log("store.failing")
    c.pair.await_call("host-a", "Unwind")
    assert c.get().phase != m.PHASE_RETURNED  # it happened, and is not said before it is written
    disk.empty()
    end = c.end()
    assert (end.phase, end.source_word, end.destination_word) == (m.PHASE_RETURNED, "RETURNED", "ABORTED"), end


def test_a_disk_that_fills_up_after_the_consent_changes_nothing(full):
    c, disk = full
    c.pair.stop_at = "CONSENTED"
    c.start_move()
    c.until(lambda v: v.source_word == "CONSENTED")
    disk.fill()
    refused(c.api.Start, m.StartRequest(spec=c.spec("m2", vm="vm2"), actor="tester"))
    c.process.expect_log("store.failing")
    with c.pair.lock:
        c.pair.b.word("COMMITTED")
        c.pair.start()
    disk.empty()
    assert c.end().phase == m.PHASE_DONE and not c.pair.asked("host-a", "Unwind")


# ---- a disk that becomes read-only ----

LOOP = """mount -o loop,errors=remount-ro {image} {folder} && exec "$@\""""


class BrokenDisk:
    """A file system that the kernel makes read-only, as it does when it finds an error in it."""

    def __init__(self, folder):
        self.image, self.folder = str(folder / "image"), folder / "disk"
        self.folder.mkdir()
        with open(self.image, "wb") as f:
            f.truncate(8 << 20)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True)
        self.wrap = ["unshare", "-m", "sh", "-ec", LOOP.format(image=self.image, folder=self.folder), "sh"]
        if subprocess.run([*self.wrap, "true"], capture_output=True, check=False).returncode or not os.path.isdir("/sys/fs/ext4"):
            pytest.skip("no loop devices, or no ext4, on this machine")
        self.await_free()

    def breaks(self, process):
        with open(f"/proc/{process.pid}/mounts", encoding="ascii") as f:
            device, = [line.split()[0] for line in f if line.split()[1] == str(self.folder)]
        with open(f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error", "w", encoding="ascii") as f:
            f.write("1")

    def await_free(self):
        """The mount goes with the last process that sees it."""
        while subprocess.run(["losetup", "-j", self.image], capture_output=True, check=True).stdout:
            time.sleep(0.01)


@pytest.mark.parametrize("consented", [False, True])
def test_a_disk_that_becomes_read_only_in_the_middle(tmp_path, consented):
    """Before the consent the VM is asked back; after it nothing changes. What became of it is said once it is written."""
    disk = BrokenDisk(tmp_path)
    c = Coordinator(str(tmp_path), store=str(disk.folder / "store.db"), wrap=disk.wrap)
    try:
        if consented:
            c.pair.stop_at = "CONSENTED"
            c.start_move()
            c.until(lambda v: v.source_word == "CONSENTED")
        else:
            c.start_move(hold=[STOPPED])
            c.until(lambda v: v.waiting_at == STOPPED)
        disk.breaks(c.process)
        code, detail = refused(c.api.Start, m.StartRequest(spec=c.spec("m2", vm="vm2"), actor="tester"))
        assert (code, detail.reason) == (grpc.StatusCode.UNAVAILABLE, "LEDGER"), detail
        c.process.expect_log("store.failing")
        if consented:
            with c.pair.lock:
                c.pair.b.word("COMMITTED")
                c.pair.start()
        else:
            c.pair.await_call("host-a", "Unwind")
        assert c.get().phase not in (m.PHASE_RETURNED, m.PHASE_DONE)
        c.kill()
        disk.await_free()
        c.start()  # the disk was mended
        end = c.end()
        assert end.phase == (m.PHASE_DONE if consented else m.PHASE_RETURNED), end
        assert bool(c.pair.asked("host-a", "Unwind")) != consented
        assert refused(c.api.Get, m.GetRequest(id="m2"))[0] == grpc.StatusCode.NOT_FOUND
    finally:
        c.close()


# ---- a sync that fails ----

@pytest.mark.parametrize("commit", [2, 4, 7, 11])
def test_a_commit_that_fails_refuses_to_begin_or_returns_or_changes_nothing(tmp_path, commit):
    """Wherever it falls, what the coordinator says in the end is what the agents did, also after a restart."""
    faults = ",".join(f"coordinator.store.before#{n}=error:EIO" for n in (commit, commit + 1))
    c = Coordinator(str(tmp_path), LOCKSTEP_FAULT=faults)
    try:
        try:
            c.start_move()
        except grpc.RpcError as e:
            assert m.ErrorDetail.FromString(dict(e.trailing_metadata())["lockstep-error-bin"]).reason == "LEDGER", e
            assert not c.pair.asked("host-b", "Prepare")
            c.process.expect_log("call.failed")
            while c.process.alive():   # each try uses up a failure
                with contextlib.suppress(grpc.RpcError):
                    c.start_move()
                    break
        end = c.end()
        words = {m.PHASE_DONE: ("RELEASED", "STARTED"), m.PHASE_RETURNED: ("RETURNED", "ABORTED")}
        assert (c.pair.a.current or "RETURNED", c.pair.b.current or "ABORTED") == words[end.phase], end
        c.kill()
        c.start()
        assert (c.get().phase, c.get().source_word) == (end.phase, end.source_word)
    finally:
        c.close()


# ---- a store that cannot be used from the start ----

def fails_to_start(c, wrap=()):
    """Its one line."""
    process = Process("lockstepd", [*wrap, binary("lockstepd"), "--config", c.config])
    assert process.wait() == 1, process.tail()
    assert len(process.err) == 1 and " coordinator.failed " in process.err[0] and "LEDGER" in process.err[0], process.err
    return process.err[0]


@pytest.mark.parametrize("disk, then, says", [
    ("2m", "mount -o remount,ro {0}", "EROFS"),
    ("2m", "cp {1} {0}/store.db; mount -o remount,ro {0}", "EROFS"),
    ("64k", "cat /dev/zero > {0}/ballast 2>&- || true", "ENOSPC"),
    ("64k", "touch {0}/store.db.lock; cat /dev/zero > {0}/ballast 2>&- || true", "ENOSPC"),
])
def test_a_disk_that_takes_nothing_is_one_clear_line(tmp_path, disk, then, says):
    folder = tmp_path / "disk"
    folder.mkdir()
    c = Coordinator(str(tmp_path))
    c.stop()
    with open(c.config, encoding="ascii") as f:
        text = f.read()
    with open(c.config, "w", encoding="ascii") as f:
        f.write(text.replace(c.store, str(folder / "store.db")))
    try:
        line = fails_to_start(c, on_disk(folder, disk, then.format(folder, c.store) + ";"))
        assert says in line and "store" in line, line
    finally:
        c.close()


GARBAGE = {"no database": (b"not a store" * 500, "not a database"), "cut off": (None, "damaged"),
           "a folder": ("folder", "unable to open")}


@pytest.mark.parametrize("what", GARBAGE)
def test_what_is_no_store_is_one_clear_line(c, what):
    text, says = GARBAGE[what]
    c.stop()
    if text is None:
        os.truncate(c.store, os.path.getsize(c.store) // 2 // 4096 * 4096 - 100)
    else:
        lose_store(c)
        if text == "folder":
            os.mkdir(c.store)
        else:
            with open(c.store, "wb") as f:
                f.write(text)
    assert says in fails_to_start(c)


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
    assert "damaged" in fails_to_start(c)
