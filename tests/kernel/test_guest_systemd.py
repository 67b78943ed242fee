# SPDX-License-Identifier: Apache-2.0
"""The units of deploy/systemd under the real systemd: a minimal Debian 12 on one emulated host, our driver in its
kernel. What tests/integration/service_manager.py plays is here as it is; and that the hardening takes nothing that a
migration needs."""
import json
import os
import subprocess
import tempfile

import pytest

import guest_judge
from guests import GUEST_LIMIT, GuestHost, Guests, GuestStack, Shell
from moves import M, assert_moved, assert_returned, assert_whole, explain
from processes import build_dir

pytestmark = pytest.mark.skipif(os.environ.get("LOCKSTEP_TEST_MODE") != "full" or os.geteuid() != 0,
                                reason="LOCKSTEP_TEST_MODE=full, and root for debootstrap")
HERE = os.path.dirname(os.path.abspath(__file__))
AGENT = "lockstep-agent"
DROP_IN = f"/run/systemd/system/{AGENT}.service.d"
TYPES = ("p2p", "full")


@pytest.fixture(scope="module", name="guests")
def one_with_systemd():
    with tempfile.TemporaryDirectory() as folder:
        image = os.path.join(folder, "root.img")
        subprocess.run([os.path.join(HERE, "systemd_guest_root.sh"), image, build_dir()], check=True)
        guests = Guests("6.12", image)
        yield guests
        guests.end()


class Unit:
    """The agent's unit, as far as the stack wants a process."""

    def __init__(self, shell):
        self.shell, self.name, self.out, self.err = shell, AGENT, [], []

    def show(self, name):
        return self.shell.run(f"systemctl show -P {name} {AGENT}").strip()

    def journal(self):
        return self.shell.run(f"journalctl -o cat -u {AGENT}")

    def wait(self, condition):
        """systemd tells its clients by D-Bus, which this host does not have: it is looked at again and again."""
        return self.shell.run(f"until {condition}; do :; done", limit=GUEST_LIMIT)

    def wait_journal(self, text, count=1):
        self.wait(f'[ "$(journalctl -o cat -u {AGENT} | grep -c -- "{text}")" -ge {count} ]')

    def stop(self):
        self.shell.run(f"systemctl stop {AGENT}")

    def kill(self):
        self.shell.run(f"systemctl kill -s KILL {AGENT}; systemctl stop {AGENT}")

    def tail(self):
        return f"--- {AGENT}\n{self.journal()}"


class SystemdHost(GuestHost):
    def path(self, name):
        return f"/run/lockstep/{name}" if name == "vmm" else super().path(name)

    def start_agent(self, **env):
        self.ledger = "/var/lib/lockstep/ledger.db"
        self.shell.run(f"mkdir -p /etc/lockstep; cat >/etc/lockstep/agent.conf <<'END'\n{self.agent_config()}END")
        self.agent = self.stack.add(Unit(self.shell))
        said = self.shell.run(f"systemctl start {AGENT} || journalctl -b -o cat | tail -n 30")  # comes back at READY=1
        assert self.agent.show("ActiveState") == "active", said


class SystemdStack(GuestStack):
    def __init__(self, guests):
        super().__init__(guests, types=TYPES, rate=500)
        shell_a, agent_a, _, _ = guests.ports
        self.a = SystemdHost(self, "a", TYPES, "10.77.0.1", shell_a, agent_a)

    def stop(self, **more):
        try:
            return super().stop(**more)
        finally:
            self.a.shell.run("rm -f /var/lib/lockstep/*; journalctl --rotate --vacuum-time=1s; true")


@pytest.fixture(name="stack")
def running(guests):
    with SystemdStack(guests) as stack:
        stack.boot()
        yield stack


def held_in_the_blackout(stack):
    spec = stack.spec(hold=[M.GATE_STOPPED])
    stack.begin(spec)
    held = stack.until(spec, lambda m: m.waiting_at == M.GATE_STOPPED)
    assert held.waiting_at == M.GATE_STOPPED, explain(held)
    return spec


def runs_at(stack, name):
    bad = guest_judge.wrong(guest_judge.look(stack), name)
    assert not bad, "\n".join(bad)


def test_it_is_ready_when_it_says_so_and_moves_a_vm_under_all_its_hardening(stack):
    unit = stack.a.agent
    assert (unit.show("ActiveState"), unit.show("Type"), unit.show("StatusErrno")) == ("active", "notify", "0")
    assert "agent.ready" in unit.journal()
    assert stack.a.shell.run("systemctl is-system-running", check=False).strip() in ("running", "degraded")
    assert_moved(stack.move())
    assert_whole(stack.b.verify())
    stack.turn(stack.b, stack.a)
    assert_moved(stack.move(stack.b, stack.a))
    assert_whole(stack.a.verify())
    assert unit.show("NFileDescriptorStore") == "0" and unit.show("NRestarts") == "0"


def test_device_fds_outlive_a_killed_agent_in_the_fd_store_and_the_vm_comes_back(stack):
    unit = stack.a.agent
    spec = held_in_the_blackout(stack)
    assert int(unit.show("NFileDescriptorStore")) == len(TYPES)
    # The VMM must not be asked to lend anew: what comes back is systemd's.
    stack.a.shell.run(f"systemctl kill -s KILL {AGENT}")
    unit.wait_journal("migration.restarted")
    assert f"held={len(TYPES)}" in unit.journal(), unit.journal()
    migration = stack.finish(spec)
    assert_returned(migration)
    runs_at(stack, "host-a")
    assert unit.show("NRestarts") == "1"
    unit.wait(f'[ "$(systemctl show -P NFileDescriptorStore {AGENT})" = 0 ]')
    assert_moved(stack.move())


def test_a_frozen_agent_is_killed_by_the_watchdog_and_started_again(stack):
    unit = stack.a.agent
    assert unit.show("WatchdogUSec") == "30s" and unit.show("TimeoutAbortUSec") == "10s"
    stack.a.shell.run(f"mkdir -p {DROP_IN}; printf '[Service]\\nWatchdogSec=6s\\nTimeoutAbortSec=2s\\n' "
                      f">{DROP_IN}/short.conf; systemctl daemon-reload; systemctl restart {AGENT}")
    try:
        spec = held_in_the_blackout(stack)
        before = unit.show("MainPID")
        stack.a.shell.run(f"kill -STOP {before}")
        unit.wait_journal("migration.restarted")
        assert unit.show("MainPID") not in (before, "0") and unit.show("NRestarts") == "1"
        assert_returned(stack.finish(spec))
        runs_at(stack, "host-a")
    finally:
        stack.a.shell.run(f"rm -r {DROP_IN}; systemctl daemon-reload")


def test_stopped_in_a_blackout_it_brings_the_vm_back_before_it_ends(stack):
    unit = stack.a.agent
    spec = held_in_the_blackout(stack)
    stack.a.shell.run(f"systemctl stop {AGENT}")  # comes back when it has ended
    assert unit.show("ActiveState") == "inactive" and unit.show("Result") == "success"
    assert json.loads(stack.a.ask("status"))["state"] == "running"
    stack.a.shell.run(f"systemctl start {AGENT}")
    assert_returned(stack.finish(spec))
    runs_at(stack, "host-a")


def test_it_comes_back_however_it_ends(stack):
    unit = stack.a.agent
    for number, how in enumerate(("KILL", "ABRT", "SEGV"), 1):
        stack.a.shell.run(f"systemctl kill -s {how} {AGENT}")
        unit.wait(f'[ "$(systemctl show -P NRestarts {AGENT})" = {number} ] && systemctl is-active -q {AGENT}')
    assert_moved(stack.move())


def test_who_holds_a_device_is_seen_under_the_hardening_too(guests):
    with SystemdStack(guests) as stack:
        for host in (stack.a, stack.b):
            host.agent.stop()
            host.extra_agent_config = "[vm vm1]\nadapter = none\n"
            host.start_agent()
        shell, name = stack.a.shell, stack.a.devices[0]
        group = shell.run(f"basename $(readlink {stack.a.sysfs(name)}/iommu_group)").strip()
        holder = shell.run(f"sleep 1000 </dev/vfio/{group} >/dev/null 2>&1 & echo $!").strip()
        try:
            said = stack.ctl("dry-run", "vm1", "--from", "host-a", "--to", "host-b", "--output", "json")
        finally:
            shell.run(f"kill {holder}; while [ -e /proc/{holder}/fd/0 ]; do :; done")
        assert said.returncode == 3 and f"sleep ({holder})" in said.stdout, said.stdout
        # Free, they are opened by the agent itself, through the device policy.
        assert_moved(stack.move())


def test_sysusers_and_tmpfiles_are_applied_and_the_coordinator_runs_as_its_user(stack):
    shell = stack.a.shell
    assert shell.run("stat -c '%U:%G %a' /run/lockstep /var/lib/lockstep").split("\n")[:2] == [
        "root:lockstep-vmm 2750", "root:root 700"]
    assert shell.run("stat -c '%U:%G %a' /run/lockstep/vmm").strip() == "root:lockstep-vmm 660"
    may = "setpriv --reuid nobody --regid {} --clear-groups test -w /run/lockstep/vmm && echo yes || echo no"
    assert [shell.run(may.format(group)).strip() for group in ("lockstep-vmm", "nogroup")] == ["yes", "no"]
    shell.run("cat >/etc/lockstep/lockstepd.conf <<'END'\n[coordinator]\nid = two\nlisten = 127.0.0.1:7700\n"
              "store = /var/lib/lockstep-coordinator/store.db\n"
              "[host host-a]\nagent = 127.0.0.1:7001\nstream = 127.0.0.1:7002\nEND\n"
              "systemctl start lockstepd")
    try:
        pid = shell.run("systemctl show -P MainPID lockstepd").strip()
        assert shell.run(f"stat -c %U /proc/{pid}").strip() == "lockstep"
        assert "host-a" in shell.run("lockstepctl --server 127.0.0.1:7700 hosts")
    finally:
        shell.run("systemctl stop lockstepd")
    assert shell.run("systemctl show -P Result lockstepd").strip() == "success"


@pytest.mark.parametrize("unit,most", [("lockstep-agent", 3.0), ("lockstepd", 1.2)])
def test_systemd_finds_little_exposed(guests, unit, most):
    told = Shell(guests.ports[0]).run(f"systemd-analyze security --no-pager {unit}.service | tail -n 1", check=False)
    figure = float(told.split(":")[1].split()[0])
    print(told)
    assert figure <= most, told
