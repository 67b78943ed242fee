# SPDX-License-Identifier: Apache-2.0
"""The test VMM by itself: its verdict can be trusted only if it finds what is wrong, and nothing else."""
import json
import os
import socket
import subprocess

import messages
from moves import assert_whole
from processes import binary
from stack import VM, Stack


class Agent:
    """The agent's end of vmm.proto, for one VMM."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen()
        self.listener.settimeout(60)
        self.last = 0

    def accept(self):
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(60)
        hello = messages.vmm.VmmMessage.FromString(self.connection.recv(1 << 17))
        assert hello.WhichOneof("kind") == "hello"
        return hello.hello

    def request(self, kind, **fields):
        """The answers, the last of which is ok, devices or error; and the fds."""
        self.last += 1
        message = messages.vmm.VmmMessage(id=self.last)
        getattr(message, kind).SetInParent()
        for name, value in fields.items():
            setattr(getattr(message, kind), name, value)
        self.connection.send(message.SerializeToString())
        answers, fds = [], []
        while True:
            data, received, _, _ = socket.recv_fds(self.connection, 1 << 17, 32)
            fds += received
            answers.append(messages.vmm.VmmMessage.FromString(data))
            assert answers[-1].id == self.last
            if answers[-1].WhichOneof("kind") != "blob":
                return answers, fds


class Alone:
    """A simulated host and VMMs, but no agents."""

    def __enter__(self):
        self.stack = Stack()
        self.host = self.stack.a
        self.host.start_simhost()
        self.agent = Agent(self.host.path("vmm"))
        return self

    def boot(self, **env):
        self.host.start_vmm(**env)
        return self.agent.accept()

    def __exit__(self, kind, value, trace):
        self.stack.__exit__(kind, value, trace)


def test_a_vm_at_rest_verifies_and_goes_on():
    with Alone() as world:
        hello = world.boot()
        assert (hello.vm, hello.incoming, hello.protocol) == (VM, False, 1)
        last = 0
        for _ in range(5):
            report = world.host.verify()
            assert_whole(report)
            assert report["pairs"][0]["sent"] > last
            last = report["pairs"][0]["sent"]
        table = world.host.ask("table").splitlines()
        assert len(table) == 1 + 12 + 1 and all(len(line) <= 80 for line in table)


def test_it_lends_its_devices_in_order():
    with Alone() as world:
        world.boot()
        answers, fds = world.agent.request("lend", migration="m", probe=True)
        assert list(answers[0].devices.name) == world.host.devices and len(fds) == 4
        for fd in fds:
            os.close(fd)
        assert_whole(world.host.verify())


def test_requests_out_of_place_are_refused_and_change_nothing():
    with Alone() as world:
        world.boot()
        for kind in ("final", "ready", "gone", "discard"):
            answers, _ = world.agent.request(kind)
            assert answers[0].WhichOneof("kind") == "error" and "running" in answers[0].error.message, answers
        # An agent that was restarted does not know whether its last resume was carried out.
        assert world.agent.request("resume")[0][0].WhichOneof("kind") == "ok"
        assert_whole(world.host.verify())
        answers, _ = world.agent.request("lend", migration="m")
        assert "address to send RAM" in answers[0].error.message


def test_a_pause_that_comes_to_nothing_loses_no_interrupt():
    with Alone() as world:
        world.boot()
        for _ in range(10):
            assert world.agent.request("pause")[0][0].WhichOneof("kind") == "ok"
            assert json.loads(world.host.ask("status"))["state"] == "paused"
            assert not world.host.verify()["ok"], "a paused VM cannot be verified"
            assert world.agent.request("resume")[0][0].WhichOneof("kind") == "ok"
            assert_whole(world.host.verify())


def test_garbage_from_its_agent_ends_the_connection_and_not_the_vm():
    with Alone() as world:
        world.boot()
        world.agent.connection.send(b"\xff" * 100)
        world.host.vmm.expect_log("vmm.agent-lost")
        assert world.agent.accept().vm == VM, "it comes back"
        assert_whole(world.host.verify())


def test_garbage_on_its_ram_port_and_control_socket():
    with Alone() as world:
        world.host.start_vmm(incoming=True)
        world.agent.accept()
        address, port = world.host.ram.rsplit(":", 1)
        for junk in (b"", b"x", b"GET / HTTP/1.1\r\n\r\n" * 100, b"TVRAM001" + b"\xff" * 8):
            with socket.create_connection((address, int(port))) as s:
                s.sendall(junk)
                s.shutdown(socket.SHUT_WR)
                assert s.recv(1) == b""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(world.host.path("control"))
            s.sendall(b"y" * 1000)
            try:
                assert s.recv(1) == b""
            except ConnectionResetError:
                pass
        assert world.host.ask("nonsense").startswith("error")
        assert json.loads(world.host.ask("status"))["state"] == "incoming"
        assert world.agent.request("lend", migration="m", probe=True)[0][0].WhichOneof("kind") == "devices"
        answers, _ = world.agent.request("ready")
        assert "not every blob" in answers[0].error.message


def test_options_are_checked():
    for argv, said in (([], "--vm and --device"), (["--vm", "x", "--device", "y"], "NAME=PATH"),
                       (["--vm", "x", "--device", "a=b", "--ring", "7"], "--ring"),
                       (["--vm", "x", "--device", "a=b", "--device", "a=c"], "twice"),
                       (["--vm", "x", "--device", "a=/nonexistent"], "a:")):
        done = subprocess.run([binary("lockstep-testvmm"), *argv], capture_output=True, text=True, timeout=60)
        assert done.returncode in (1, 2) and said in done.stderr.splitlines()[0], done.stderr
