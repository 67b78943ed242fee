# SPDX-License-Identifier: Apache-2.0
"""An agent that has no file descriptor left sends away who comes, on each of its sockets, and lives on."""
import os
import resource
import socket
import time

import pytest

from agent_support import LIMIT, Pair, agent_pb


@pytest.fixture
def agent(tmp_path):
    p = Pair(tmp_path, kinds=("p2p",))
    yield p.source
    p.close()


def connect(address):
    if address.startswith("/"):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    else:
        s = socket.socket()
        host, port = address.rsplit(":", 1)
        address = (host, int(port))
    s.settimeout(LIMIT)
    s.connect(address)
    return s


def use_up(agent):
    """Nothing is free below the highest that is open; connections that do not speak take what is."""
    pid, idle = agent.process.pid, []
    top = max(int(n) for n in os.listdir(f"/proc/{pid}/fd"))
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (top + 1, hard))
    end = time.monotonic() + LIMIT
    while len(os.listdir(f"/proc/{pid}/fd")) <= top:
        had = len(os.listdir(f"/proc/{pid}/fd"))
        idle.append(connect(agent.stream))
        while len(os.listdir(f"/proc/{pid}/fd")) == had and time.monotonic() < end:
            pass
    return idle, hard


def ticks(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("port", ["stream", "listen", "vmm"])
def test_who_comes_then_is_sent_away(agent, port):
    assert agent.call("Hello", agent_pb.HelloRequest()).host == "ha"  # this connection stays
    idle, hard = use_up(agent)
    before = ticks(agent.process.pid)
    for _ in range(3):
        with connect(getattr(agent, port)) as s:
            try:
                assert s.recv(1) == b""
            except ConnectionResetError:
                pass
    assert agent.call("Hello", agent_pb.HelloRequest()).host == "ha"
    assert ticks(agent.process.pid) - before < 100, "a second of work for three connections"
    resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
    for s in idle:
        s.close()
    assert agent.call("Describe", agent_pb.DescribeRequest(vm="vm1")).device[0].name == "a0"
    with connect(getattr(agent, port)) as s:
        s.send(b"\xff" * 30)
        try:
            s.recv(1)
        except ConnectionResetError:
            pass
    agent.expect(".refused" if port != "listen" else "rpc.refused")
