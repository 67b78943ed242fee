# SPDX-License-Identifier: Apache-2.0
"""A driver that does not return holds up its own VM's devices, and nobody else's."""
import os
import subprocess

import grpc
import pytest

from agent_support import BUILD, LIMIT, RUNNING, Agent, SimHost, agent_pb, schedule

TERM = agent_pb.Term(number=1, coordinator="c")


class Host:
    """Two VMs on one host: a0 is of vm1, x0 of vm2."""

    def __init__(self, directory, **keys):
        self.sim = SimHost(directory, [("a0", "p2p"), ("x0", "p2p")])
        text = "".join(f"[device {name}]\nvm = {vm}\nprovider = sim\npath = {self.sim.socket}#{name}\nslot = s\n"
                       f"[vm {vm}]\nadapter = none\n" for name, vm in (("a0", "vm1"), ("x0", "vm2")))
        self.agent = Agent(directory, "h", text, **keys)
        self.sim.debug("x0", "stick RUNNING RUNNING_P2P")
        self.arc = subprocess.Popen([f"{BUILD}/agent/lockstep-simhost", "debug", self.sim.socket, "x0", "go RUNNING_P2P"],
                                    stdout=subprocess.DEVNULL)
        self.sim.debug("x0", "wait-stuck")

    def release(self):
        self.sim.debug("x0", "release")
        self.arc.wait(timeout=LIMIT)

    def describe(self, vm=""):
        return {d.name: d for d in self.agent.call("Describe", agent_pb.DescribeRequest(vm=vm)).device}

    def prepare(self, vm, letter):
        return agent_pb.PrepareRequest(term=TERM, migration=f"m-{vm}", vm=vm, side=agent_pb.SIDE_DESTINATION,
                                       schedule=schedule(("p2p",), source="s", destination=letter), peer_host="other",
                                       token=os.urandom(32))

    def close(self):
        self.agent.stop()
        self.sim.kill()


@pytest.fixture
def host(tmp_path):
    h = Host(tmp_path, arc_timeout_ms=500)
    yield h
    h.close()


def test_it_is_told_as_stuck_and_looked_at_again_when_it_returns(host):
    devices = host.describe()
    assert not devices["a0"].HasField("problem") and devices["a0"].state == RUNNING
    assert devices["x0"].problem.reason == "ARC_STUCK" and "its driver has not returned" in devices["x0"].problem.message
    assert not devices["x0"].open
    host.agent.expect("device.stuck")
    again = host.describe("vm2")
    assert list(again) == ["x0"] and again["x0"].problem.reason == "ARC_STUCK", "and nobody waits for it again"
    code, reason, _ = host.agent.refusal("Prepare", host.prepare("vm2", "x"))
    assert reason == "VM_BUSY", code
    host.release()
    host.agent.expect("device.returned")
    device = host.describe("vm2")["x0"]
    assert device.open and device.state == RUNNING and not device.HasField("problem"), device


def test_another_vm_is_described_and_prepared_meanwhile(tmp_path):
    host = Host(tmp_path, arc_timeout_ms=60000)
    everything = host.agent.channel.unary_unary(
        "/lockstep.v1.Agent/Describe", agent_pb.DescribeRequest.SerializeToString,
        agent_pb.DescribeResponse.FromString).future(agent_pb.DescribeRequest(), timeout=LIMIT)
    assert not host.describe("vm1")["a0"].HasField("problem")
    assert host.agent.call("Prepare", host.prepare("vm1", "a")).word == "UNDECIDED"
    assert not everything.done(), "it was asked about the device that hangs too"
    problems = {d.name: d.problem.reason for d in everything.result().device}
    assert problems["x0"] == "ARC_STUCK", problems
    assert everything.code() == grpc.StatusCode.OK
    host.release()
    host.agent.expect("device.returned")
    host.close()


def test_an_agent_that_ends_meanwhile_leaves_nothing_behind(tmp_path):
    host = Host(tmp_path, arc_timeout_ms=500)
    assert host.describe("vm2")["x0"].problem.reason == "ARC_STUCK"
    host.agent.process.terminate()
    host.agent.expect("agent.stopping")
    host.release()
    assert host.agent.process.wait(timeout=LIMIT) == 0, host.agent.seen
    host.agent.channel.close()
    host.sim.kill()
