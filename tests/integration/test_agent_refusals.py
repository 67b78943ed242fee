# SPDX-License-Identifier: Apache-2.0
"""What an agent refuses: bad configurations, bad requests, garbage on each of its ports and sockets."""
import os
import socket
import subprocess

import grpc
import pytest

from agent_support import BUILD, LIMIT, Agent, Pair, agent_pb, stream_pb, vmm_pb


@pytest.fixture
def pair(tmp_path):
    p = Pair(tmp_path)
    yield p
    p.close()


def check(tmp_path, text):
    path = tmp_path / "agent.ini"
    path.write_text(text)
    done = subprocess.run([f"{BUILD}/agent/lockstep-agent", "--config", path, "--check"], text=True,
                          capture_output=True, timeout=LIMIT)
    return done.returncode, done.stderr


GOOD = "[agent]\nhost = h\nlisten = 127.0.0.1:0\nstream = 127.0.0.1:0\nvmm = /x/v\nledger = /x/l\n"
NIC = "[device nic0]\nvm = vm1\nprovider = sim\npath = /x#nic0\nslot = s0\n"


@pytest.mark.parametrize("text, line, part", [
    (GOOD + "colour = red\n", 7, "colour"),
    (GOOD + "[device nic0]\nvm = vm1\nprovider = sim\nslot = s0\n", 7, "path"),
    (GOOD + NIC + NIC, 12, "[device nic0]: it is there twice"),
    (GOOD + NIC.replace(" nic0]", "]"), 7, "a name is missing"),
    (GOOD.replace("[agent]", "[agent h]"), 1, "it has no name"),
    (GOOD + NIC + "[vm vm2]\nadapter = none\n", 12, "[vm vm2]: no device belongs"),
    (GOOD + NIC.replace("sim", "magic"), 7, "magic"),
    (GOOD + NIC + NIC.replace("nic0", "nic1"), 12, "slot"),
    (GOOD + "[vm vm1]\nadapter = telepathy\n", 7, "telepathy"),
    (GOOD + "[vm vm1]\nadapter = qmp\n", 7, "qmp="),
    (GOOD.replace("listen = 127.0.0.1:0", "listen = 0.0.0.0:7"), 1, "plaintext=any"),
])
def test_a_bad_configuration_is_one_line_with_file_and_line(tmp_path, text, line, part):
    code, said = check(tmp_path, text)
    assert code == 2 and said.count("\n") == 1
    assert f"agent.ini:{line}: " in said and part in said


def test_a_test_network_must_say_so(tmp_path):
    text = GOOD.replace("127.0.0.1:0", "0.0.0.0:0") + "plaintext = any\n" + NIC
    assert check(tmp_path, text) == (0, "")


def test_hello_and_describe(pair):
    hello = pair.source.call("Hello", agent_pb.HelloRequest(protocol_min=1, protocol_max=1, coordinator="c"))
    assert hello.host == "ha" and hello.devices == 2 and len(hello.ledger_id) == 32
    answer = pair.source.call("Describe", agent_pb.DescribeRequest(vm="vm1"))
    assert [(d.name, d.flags, d.state, d.slot, d.open) for d in answer.device] == \
        [("a0", 3, 2, "s0", True), ("a1", 3, 2, "s1", True)]
    assert not any(d.HasField("problem") for d in answer.device)
    assert answer.vmm[0].adapter == "none" and answer.vmm[0].connected


def test_an_absent_device_is_named_with_file_line_and_remedy(tmp_path):
    agent = Agent(str(tmp_path), "h", "[device nic0]\nvm = vm1\nprovider = sim\npath = /nowhere#nic0\nslot = s0\n"
                  "[vm vm1]\nadapter = none\n")
    device = agent.call("Describe", agent_pb.DescribeRequest()).device[0]
    assert device.problem.reason == "DEVICE_ABSENT" and device.problem.device == "nic0"
    assert ".ini:7: device nic0" in device.problem.message and ";" in device.problem.message
    agent.stop()


@pytest.mark.parametrize("change, code, reason", [
    (lambda q: q.ClearField("token"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
    (lambda q: q.ClearField("schedule"), grpc.StatusCode.INVALID_ARGUMENT, "SCHEDULE_INVALID"),
    (lambda q: q.schedule.source.pop(5), grpc.StatusCode.INVALID_ARGUMENT, "SCHEDULE_INVALID"),
    (lambda q: setattr(q.schedule.source[0], "kind", 99), grpc.StatusCode.INVALID_ARGUMENT, "SCHEDULE_INVALID"),
    (lambda q: setattr(q, "vm", "other"), grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    (lambda q: setattr(q, "side", 0), grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
    (lambda q: setattr(q, "deadline_ms", 3), grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
    (lambda q: setattr(q.schedule.device[0], "destination_name", "zz"), grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    (lambda q: q.ClearField("term"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
])
def test_a_bad_prepare_is_refused_and_touches_nothing(pair, change, code, reason):
    name, _, q = pair.requests()
    change(q)
    assert pair.destination.refusal("Prepare", q)[:2] == (code, reason)
    assert pair.destination.word(name) == ""
    assert len(pair.destination.call("ListMigrations", agent_pb.ListAgentMigrationsRequest()).migration) == 0


def test_terms_ids_and_vms_are_guarded(pair):
    name, _, q = pair.requests()
    pair.destination.call("Prepare", q)
    pair.destination.call("Prepare", q)  # again is harmless
    q.deadline_ms = 5000
    assert pair.destination.refusal("Prepare", q)[1] == "ALREADY_EXISTS"
    _, _, other = pair.requests()
    assert pair.destination.refusal("Prepare", other)[1] == "VM_BUSY"
    other.term.coordinator = "another"
    assert pair.destination.refusal("Prepare", other)[1] == "STALE_COORDINATOR"
    grant = agent_pb.GrantRequest(term=agent_pb.Term(number=9, coordinator="z"), migration=name)
    pair.destination.call("Grant", grant)
    assert pair.destination.refusal("Prepare", q)[1] == "STALE_COORDINATOR"
    pair.term.number, pair.term.coordinator = 9, "z"
    settle = agent_pb.SettleRequest(term=pair.term, migration=name, vm="vm1")
    assert pair.destination.call("Settle", settle).word == "ABORTED"
    assert pair.destination.call("Settle", settle).word == "ABORTED"


def test_settle_of_an_unknown_migration_refuses_a_late_prepare(pair):
    name, _, q = pair.requests()
    settle = agent_pb.SettleRequest(term=pair.term, migration=name, vm="vm1")
    assert pair.destination.call("Settle", settle).word == "ABORTED"
    assert pair.destination.refusal("Prepare", q)[1] == "ALREADY_EXISTS"
    assert pair.destination.word(name) == "ABORTED"


def test_an_agent_that_was_killed_holds_to_the_rules(pair):
    name, _, q = pair.requests()
    pair.destination.call("Prepare", q)
    old = pair.destination
    old.kill()
    text = open(old.config).read().split("[device", 1)[1]
    again = Agent(os.path.dirname(old.config), "hb", "[device" + text)
    assert any("migration.open" in line for line in again.seen)
    pair.agents[1] = again
    settle = agent_pb.SettleRequest(term=pair.term, migration=name, vm="vm1")
    assert again.call("Settle", settle).word == "ABORTED"


def frame(**fields):
    message = stream_pb.Frame(**fields).SerializeToString()
    assert len(message) < 16384
    head = bytes([len(message)]) if len(message) < 128 else bytes([len(message) & 127 | 128, len(message) >> 7])
    return head + message


GARBAGE = [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, os.urandom(700), b"\x05\x01", frame(abort=stream_pb.Abort()),
           frame(open=stream_pb.Open(protocol_min=1, protocol_max=1, migration="m", token=b"x" * 32)),
           frame(data=b"1234")]


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_garbage_on_the_stream_port_is_one_log_line(pair, number):
    host, port = pair.source.stream.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=LIMIT) as s:
        s.sendall(GARBAGE[number])
        s.shutdown(socket.SHUT_WR)
        try:
            while s.recv(4096):
                pass
        except ConnectionResetError:
            pass
    pair.source.expect("peer.refused")
    assert pair.source.call("Hello", agent_pb.HelloRequest()).host == "ha"
    assert sum("peer.refused" in line for line in pair.source.seen) == 1


def test_garbage_on_the_rpc_port(pair):
    host, port = pair.source.listen.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=LIMIT) as s:
        s.sendall(b"\x16\x03\x01 this is not HTTP/2 at all, not at all\r\n\r\n")
        try:
            while s.recv(4096):
                pass
        except ConnectionResetError:
            pass
    pair.source.expect("rpc.refused")
    assert pair.source.call("Hello", agent_pb.HelloRequest()).host == "ha"


@pytest.mark.parametrize("packet", [
    b"\xff\xff\xff", os.urandom(3000), vmm_pb.VmmMessage(id=1, ok=vmm_pb.VmmOk()).SerializeToString(),
    vmm_pb.VmmMessage(hello=vmm_pb.VmmHello(vm="nobody")).SerializeToString(),
    vmm_pb.VmmMessage(hello=vmm_pb.VmmHello(vm="vm1")).SerializeToString(),
])
def test_garbage_on_the_vmm_socket_is_one_log_line(pair, packet):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(LIMIT)
        s.connect(pair.source.vmm)
        s.send(packet)
        try:
            assert s.recv(4096) == b""
        except ConnectionResetError:
            pass
    pair.source.expect("vmm.refused")
    assert pair.source.call("Hello", agent_pb.HelloRequest()).host == "ha"
