# SPDX-License-Identifier: Apache-2.0
"""What cannot work is said before anything is touched, by the dry run and by migrate, in words that name the remedy."""
import json
import socket
import subprocess

import pytest

from moves import assert_moved, assert_whole
from processes import LIMIT, Folder, Process, binary
from stack import Stack

MIGRATE = ("vm1", "--from", "host-a", "--to", "host-b")


def failing_rows(stack):
    """The dry run's failing rows, which name a remedy each; migrate says the same and touches nothing."""
    dry = stack.ctl("--output", "json", "dry-run", *MIGRATE)
    assert dry.returncode == 3, (dry.returncode, dry.stdout, dry.stderr)
    answer = json.loads(dry.stdout)
    assert not answer.get("feasible")
    rows = [row for row in answer["check"] if row["result"] == "FAIL"]
    assert rows and all(row["remedy"] and row["seen"] for row in rows), rows
    done = stack.ctl("migrate", *MIGRATE)
    assert done.returncode == 3, (done.returncode, done.stdout, done.stderr)
    assert not any(line.startswith("vmm.paused") for line in stack.a.vmm.out)
    assert_whole(stack.a.verify())
    return rows


def test_two_devices_without_p2p_are_refused_and_both_named():
    with Stack(types=("stopcopy", "stopcopy", "full")) as stack:
        stack.boot()
        rows = failing_rows(stack)
        assert {row["device"] for row in rows} == {"a0", "a1"}, rows


def test_one_device_without_p2p_is_not_refused():
    with Stack(types=("stopcopy", "full")) as stack:
        stack.boot()
        assert stack.ctl("dry-run", *MIGRATE).returncode == 0
        assert_moved(stack.move())
        assert_whole(stack.b.verify())


def wrong_type(stack):
    stack.b.types[1] = "full"


def wrong_size(stack):
    stack.b.memory[2] = "4M"


def wrong_version(stack):
    stack.a.software_version, stack.b.software_version = 7, 3


def too_few(stack):
    stack.b.types.pop()


def too_many(stack):
    stack.a.types.pop()


@pytest.mark.parametrize("spoil,device", [(wrong_type, "a1"), (wrong_size, "a2"), (wrong_version, "a0"),
                                          (too_few, ""), (too_many, "")])
def test_devices_that_do_not_match(spoil, device):
    stack = Stack()
    spoil(stack)
    with stack:
        stack.boot()
        rows = failing_rows(stack)
        assert any(row.get("device", "") == device for row in rows), rows


def test_the_vm_must_run_at_the_source_and_be_awaited_at_the_destination():
    with Stack() as stack:
        stack.a.start_vmm()
        assert "host-b" in failing_rows(stack)[0]["seen"]
        stack.b.start_vmm(incoming=True)
        back = stack.ctl("dry-run", "vm1", "--from", "host-b", "--to", "host-a")
        assert back.returncode == 3 and back.stdout


def test_unknown_hosts_and_wrong_usage():
    with Stack() as stack:
        stack.boot()
        assert stack.ctl("dry-run", "vm1", "--from", "host-a", "--to", "nowhere").returncode != 0
        assert stack.ctl("dry-run", "vm1").returncode == 2
        assert stack.ctl("migrate", *MIGRATE, "--deadline", "soon").returncode == 2
        assert stack.ctl("frobnicate").returncode == 2
        assert_whole(stack.a.verify())


# ---- the agent's configuration and devices ----

def agent_refuses(text):
    """The one line that it says."""
    folder = Folder()
    try:
        config = folder.write("agent.conf", text.replace("DIR", folder.path))
        done = subprocess.run([binary("lockstep-agent"), "--config", config], capture_output=True, text=True,
                              timeout=LIMIT)
        assert done.returncode not in (0, None) and done.returncode > 0, done
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        assert len(lines) == 1, done.stderr
        return lines[0].replace(config, "agent.conf")
    finally:
        folder.remove()


GOOD = "[agent]\nhost = h\nlisten = 127.0.0.1:0\nstream = 127.0.0.1:0\nvmm = DIR/vmm\nledger = DIR/ledger.db\n"
NIC = "[device nic0]\nvm = v\nprovider = sim\npath = DIR/hw#nic0\nslot = 0\n"


@pytest.mark.parametrize("text,said", [
    (GOOD + "colour = red\n", ("agent.conf:7", "colour")),
    (GOOD + NIC + "speed = 9\n", ("agent.conf:12", "speed")),
    (GOOD + NIC.replace("slot = 0\n", ""), ("agent.conf", "slot")),
    (GOOD + NIC + NIC, ("agent.conf:12", "nic0")),
    (GOOD + NIC.replace("= sim", "= teapot"), ("agent.conf:", "teapot")),
    (GOOD.replace("127.0.0.1:0", "0.0.0.0:0"), ("agent.conf", "plaintext")),
    (GOOD.replace("host = h\n", ""), ("agent.conf", "host")),
    ("what is this\n", ("agent.conf:1",)),
])
def test_a_bad_agent_configuration_is_refused_in_one_line(text, said):
    line = agent_refuses(text)
    assert all(word in line for word in said), line


def test_devices_that_are_absent_or_busy_or_not_migratable_are_named_and_the_rest_can_move():
    with Stack() as stack:
        stack.a.extra_agent_config = (
            f"[device ghost]\nvm = other\nprovider = sim\npath = {stack.a.path('hw')}#ghost\nslot = 0\n"
            "[device missing]\nvm = other\nprovider = vfio\npath = /sys/bus/mdev/devices/none\nslot = 1\n")
        stack.a.agent.stop()
        stack.a.start_agent()
        stack.boot()
        listed = stack.ctl("--output", "json", "devices", "host-a")
        assert listed.returncode == 0, listed.stderr
        problems = {d["name"]: d.get("problem", {}) for d in json.loads(listed.stdout)["device"]}
        assert problems["ghost"]["reason"] == "DEVICE_ABSENT", problems
        assert problems["missing"]["reason"] == "DEVICE_ABSENT", problems
        assert not problems["a0"], problems
        assert_moved(stack.move())
        assert_whole(stack.b.verify())


# ---- garbage ----

JUNK = [b"\x00", b"\xff" * 4096, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x80" * 20, b"\x05hello" * 1000,
        b"\xff\xff\xff\xff\x7f" + b"x" * 100]


def closed_after(connect, junk):
    with connect() as s:
        s.settimeout(LIMIT)
        try:
            s.sendall(junk)
            if s.type == socket.SOCK_STREAM:
                s.shutdown(socket.SHUT_WR)
            while s.recv(4096):
                pass
        except TimeoutError:
            raise
        except OSError:
            pass  # closed before all of it was sent


def tcp(address):
    host, port = address.rsplit(":", 1)
    return lambda: socket.create_connection((host, int(port)))


def packets(path):
    def connect():
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.connect(path)
        return s
    return connect


def test_garbage_on_every_port_and_socket_ends_that_connection_alone():
    with Stack() as stack:
        stack.boot()
        doors = {stack.coordinator: [tcp(stack.address)]}
        for host in (stack.a, stack.b):
            doors[host.agent] = [tcp(host.listen), tcp(host.stream), packets(host.path("vmm"))]
        for process, connects in doors.items():
            for connect in connects:
                for junk in JUNK:
                    before = len(process.err)
                    closed_after(connect, junk)
                    process.expect_log("refused", after=before)
                    assert len(process.err) == before + 1, process.tail()
            assert process.alive()
        assert_moved(stack.move())
        assert_whole(stack.b.verify())


def test_a_coordinator_that_cannot_start_says_why_in_one_line():
    folder = Folder()
    try:
        config = folder.write("d.conf", "[coordinator]\nid = one\nlisten = 127.0.0.1:0\nstore = /nonexistent/x.db\n")
        process = Process("lockstepd", [binary("lockstepd"), "--config", config])
        assert process.wait() == 1 and len(process.err) == 1 and "/nonexistent/x.db" in process.err[0], process.tail()
        config = folder.write("d.conf", "[coordinator]\nid = one\nlisten = 127.0.0.1:0\nstore = x\nspeed = 9\n")
        process = Process("lockstepd", [binary("lockstepd"), "--config", config])
        assert process.wait() > 0 and len(process.err) == 1 and "d.conf:5" in process.err[0], process.tail()
    finally:
        folder.remove()
