# SPDX-License-Identifier: Apache-2.0
"""A second opinion: the kernel's own sample driver (samples/vfio-mdev/mtty.c, emulated serial ports) moves between two hosts with
the same agents. It has P2P and PRE_COPY, read() == 0 at the end of a pre-copy round, no migration_version, and it keeps its
registers over close and reset."""
import json

import pytest

from guests import GuestHost, GuestStack
from moves import M, assert_moved, explain

PARENT = "/sys/devices/virtual/mtty/mtty"
BAR0, BAR1, DATA, SCRATCH = 0, 1, 0, 7


@pytest.fixture(autouse=True)
def with_mtty(guests):
    if not guests.has("/lib/mtty.ko"):
        pytest.skip("this kernel brings no mtty: tests/kernel/tailor.sh makes one that does")


class SerialHost(GuestHost):
    def uuid(self, device):
        return f"00000000-0000-4000-9000-{self.devices.index(device):012d}"

    def start_simhost(self):
        lines = ["[ -e /sys/module/mtty ] || insmod /lib/mtty.ko"]
        for name, ports in zip(self.devices, self.types):
            lines.append(f"echo {self.uuid(name)} >{PARENT}/mdev_supported_types/mtty-{ports}/create")
        self.shell.run("\n".join(lines))
        self.extra_agent_config = "[vm vm1]\nadapter = none\n"

    def poke(self, device, what, region, offset, value):
        return self.shell.run(f"vfio_poke {self.sysfs(device)} {what} {region} {offset} {value}").strip()


class SerialStack(GuestStack):
    def __init__(self, guests, types):
        super().__init__(guests, types)
        shell_a, agent_a, shell_b, agent_b = guests.ports
        self.a = SerialHost(self, "a", types, "10.77.0.1", shell_a, agent_a)
        self.b = SerialHost(self, "b", types, "10.77.0.2", shell_b, agent_b)


def test_two_serial_ports_move_with_what_they_have_received(guests):
    sent = {"0": b"lockstep", "1": b"on serial"}
    with SerialStack(guests, types=("1", "2")) as stack:
        for i, text in sent.items():
            stack.a.poke(f"a{i}", "write", BAR0, DATA, text.hex())
            stack.a.poke(f"a{i}", "write", BAR0, SCRATCH, f"a{i}")
            stack.b.poke(f"b{i}", "write", BAR0, SCRATCH, "00")
        stack.a.poke("a1", "write", BAR1, SCRATCH, "5e")
        dry = stack.ctl("--output", "json", "dry-run", "vm1", "--from", "host-a", "--to", "host-b")
        assert dry.returncode == 0, dry.stdout + dry.stderr
        # K8 without migration_version: what is known is compared, and the plan says so.
        rules = [row for row in json.loads(dry.stdout)["check"] if row["id"] == "pair.version"]
        assert [row["result"] for row in rules] == ["WARN", "WARN"], rules
        assert all("no migration_version on either host; fallback: driver" in row["seen"] for row in rules), rules
        migration = stack.move()
        assert_moved(migration)
        for device in migration.device:
            assert device.bytes_sent == device.bytes_loaded > 0, explain(migration)
        assert any(step.step.kind == M.STEP_PRECOPY for step in migration.step)
        for i, text in sent.items():
            assert stack.b.poke(f"b{i}", "read", BAR0, SCRATCH, 1) == f"a{i}"
            assert stack.b.poke(f"b{i}", "read", BAR0, DATA, len(text)) == text.hex()
        assert stack.b.poke("b1", "read", BAR1, SCRATCH, 1) == "5e"


def test_serial_ports_of_different_kinds_are_not_taken_for_each_other(guests):
    with SerialStack(guests, types=("1",)) as stack:
        other = SerialHost(stack, "b", ("2",), "10.77.0.2", guests.ports[2], guests.ports[3])
        stack.b.agent.stop()
        stack.b.shell.run("for d in /sys/bus/mdev/devices/*; do echo 1 >$d/remove; done; rm -f /run/ledger.db*")
        stack.b = other
        other.start_simhost()
        other.start_agent()
        dry = stack.ctl("dry-run", "vm1", "--from", "host-a", "--to", "host-b")
        assert dry.returncode == 3, dry.stdout + dry.stderr
        assert "mtty-1" in dry.stdout and "mtty-2" in dry.stdout, dry.stdout
