# SPDX-License-Identifier: Apache-2.0
"""The adapters qmp and exec, against a real QEMU and real commands."""
import json
import socket
import subprocess

import pytest

from agent_support import LIMIT, Pair, ended, errors

DONE, RETURNED, ABORTED = 1, 2, 3


class Qemu:
    def __init__(self, path, *args):
        # Two monitors: one for the agent, one for the test.
        self.agent, self.own = f"{path}.agent", f"{path}.own"
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-machine", "none", "-display", "none", "-nodefaults", *args,
             "-qmp", f"unix:{self.agent},server=on,wait=off", "-qmp", f"unix:{self.own},server=on,wait=off",
             "-chardev", "stdio,id=up", "-mon", "chardev=up,mode=control"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert "QMP" in self.process.stdout.readline()  # its monitors are there

    def status(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(LIMIT)
            s.connect(self.own)
            f = s.makefile("rw")
            f.readline()
            for command in ("qmp_capabilities", "query-status"):
                f.write(json.dumps({"execute": command}) + "\n")
                f.flush()
                while "return" not in (answer := json.loads(f.readline())):
                    pass
            return answer["return"]["status"]

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def qemus(tmp_path):
    both = [Qemu(tmp_path / "qa"), Qemu(tmp_path / "qb", "-S")]
    yield both
    for q in both:
        q.kill()


def qmp_pair(tmp_path, qemus):
    pair = Pair(tmp_path, adapter="qmp", vm_keys="qmp = /nowhere\ntimeout_ms = 20000\n")
    for i, q in enumerate(qemus):  # each host has its own monitor
        agent = pair.agents[i]
        text = open(agent.config).read().replace("/nowhere", q.agent)
        agent.stop()
        pair.agents[i] = type(agent)(agent.config.rsplit("/", 1)[0], agent.host, "[device" + text.split("[device", 1)[1])
    pair.source, pair.destination = pair.agents
    return pair


def test_qemu_is_paused_then_gone_and_runs_there(tmp_path, qemus):
    pair = qmp_pair(tmp_path, qemus)
    try:
        assert qemus[0].status() == "running" and qemus[1].status() == "prelaunch"
        name = pair.prepare()
        pair.grant(name, 1)
        for event in pair.source.watch(name):
            if event.WhichOneof("kind") == "gate" and event.gate == 2:
                break
        assert qemus[0].status() == "paused"
        pair.grant(name, 2, 3)
        source, destination = pair.end(name)
        assert ended(source) == DONE and ended(destination) == DONE, (errors(source), errors(destination))
        assert qemus[0].process.wait(timeout=LIMIT) == 0
        assert qemus[1].status() == "running"
    finally:
        pair.close()


def test_qemu_runs_again_after_an_unwind(tmp_path, qemus):
    pair = qmp_pair(tmp_path, qemus)
    try:
        pair.hosts[0].debug("a0", "fail RUNNING_P2P STOP EIO")
        _, source, destination = pair.move()
        assert ended(source) == RETURNED and ended(destination) == ABORTED
        assert qemus[0].status() == "running"
        assert qemus[1].process.wait(timeout=LIMIT) == 0
    finally:
        pair.close()


@pytest.mark.parametrize("pause, good", [("/bin/true -q", True), ("/bin/false", False), ("/bin/nonexistent", False),
                                         ("/bin/sleep 100", False)])
def test_commands_pause_and_resume(tmp_path, pause, good):
    pair = Pair(tmp_path, adapter="exec", vm_keys=f"pause = {pause}\nresume = /bin/true\ntimeout_ms = 1000\n")
    try:
        _, source, destination = pair.move()
        assert ended(source) == (DONE if good else RETURNED)
        assert ended(destination) == (DONE if good else ABORTED)
        if not good:
            assert errors(source)[0].reason == "VMM_FAILED"
    finally:
        pair.close()
