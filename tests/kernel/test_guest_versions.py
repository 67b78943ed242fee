# SPDX-License-Identifier: Apache-2.0
"""Hosts that are not alike: a is Debian 12's own Linux 6.1 (no PRE_COPY, no MIG_DATA_SIZE), b is 6.12; and hosts one of which has
the driver's next release already. LOCKSTEP_KERNEL=6.1,6.12."""
import json
import os

import pytest

from guests import GuestHost, GuestStack, Shell
from moves import M, assert_moved, assert_whole, explain
from test_guest_roundtrip import OWN, Files, Kernel, Model, program, run

# What Linux 6.1 has; only one may lack P2P.
OLD_TYPES = ("stopcopy", "p2p", "p2p")
FULL = "/sys/class/mdev_bus/lockstep-pf0/mdev_supported_types/lockstep-full"


@pytest.fixture(autouse=True)
def on_two_kernels(guests):
    if os.environ.get("LOCKSTEP_KERNEL") != "6.1,6.12":
        pytest.skip("wants a pair of two kernels: LOCKSTEP_KERNEL=6.1,6.12")
    assert [Shell(port).run("uname -r").split(".")[:2] for port in guests.ports[::2]] == [["6", "1"], ["6", "12"]]


def rows(stack, source, destination, refused):
    dry = stack.ctl("--output", "json", "dry-run", "vm1", "--from", source.name, "--to", destination.name)
    assert dry.returncode == (3 if refused else 0), dry.stdout + dry.stderr
    found = json.loads(dry.stdout)["check"]
    failed = [row for row in found if row["result"] == "FAIL"]
    assert bool(failed) == refused and all(row["remedy"] and row["seen"] for row in failed), failed
    return {(row["id"], row.get("device", "")): row for row in (failed if refused else found)}


def assert_refused_untouched(stack, source, destination):
    done = stack.ctl("migrate", "vm1", "--from", source.name, "--to", destination.name)
    assert done.returncode == 3, done.stdout + done.stderr
    assert not any("vmm.paused" in line for line in source.vmm.out)
    assert_whole(source.verify())


def test_from_the_older_kernel_to_the_newer_and_back_without_pre_copy(guests):
    with GuestStack(guests, types=OLD_TYPES) as stack:
        stack.boot()
        sizes = rows(stack, stack.a, stack.b, refused=False)
        assert all(sizes["size", name]["result"] == "WARN" for name in stack.a.devices), sizes
        there = stack.move()
        assert_moved(there)
        assert not any(step.step.kind == M.STEP_PRECOPY for step in there.step), explain(there)
        assert_whole(stack.b.verify())
        stack.turn(stack.b, stack.a)
        # Linux 6.12 does tell sizes.
        sizes = rows(stack, stack.b, stack.a, refused=False)
        assert all(sizes["size", name]["result"] == "PASS" for name in stack.b.devices), sizes
        assert_moved(stack.move(stack.b, stack.a))
        assert_whole(stack.a.verify())


class Without(GuestHost):
    """A host on which nobody could make the devices that its agent's configuration names."""

    def start_simhost(self):
        said = self.shell.run(f"[ -e {FULL} ] || echo no such type")
        assert said.strip() == "no such type", said


def test_what_pre_copies_is_refused_by_a_host_whose_kernel_cannot(guests):
    stack = GuestStack(guests, types=("full", "p2p"))
    shell_a, agent_a, _, _ = guests.ports
    stack.a = Without(stack, "a", ("full", "p2p"), "10.77.0.1", shell_a, agent_a)
    with stack:
        stack.b.start_vmm()
        found = rows(stack, stack.b, stack.a, refused=True)
        assert "not there" in found["device.present", "a0"]["seen"], found
        row = found["pair.type", "b0"]
        assert "lockstep-full here" in row["seen"] and "kernel that has no such type cannot take it" in row["remedy"], row
        assert not any(check == "pair.version" for check, _ in found), found
        assert_refused_untouched(stack, stack.b, stack.a)


def test_nor_does_a_device_of_another_type_take_its_place(guests):
    with GuestStack(guests, types=("p2p", "p2p"), destination_types=("full", "p2p")) as stack:
        stack.boot(stack.b, stack.a)
        found = rows(stack, stack.b, stack.a, refused=True)
        row = found["pair.type", "b0"]
        assert "lockstep-full" in row["seen"] and "lockstep-p2p" in row["seen"], row
        assert "of the source's type" in row["remedy"], row
        assert ("pair.version", "b0") in found and not any(device == "b1" for _, device in found), found
        assert_refused_untouched(stack, stack.b, stack.a)


# ---- the driver's next release ----

def empty_host(host):
    host.shell.run("for d in /sys/bus/mdev/devices/*; do [ -e $d ] && echo 1 >$d/remove; done; true")


def load_release(shell, module):
    shell.run(f"rmmod lockstep_vdev && insmod {module}")


@pytest.fixture(name="releases")
def restored_releases(guests):
    """A function that gives a host the next release; both have their own again at the end."""
    changed = []

    def upgrade(host):
        empty_host(host)
        load_release(host.shell, "/lib/lockstep_vdev-next.ko")
        changed.append(host.shell)

    yield upgrade
    for shell in changed:
        load_release(shell, "/modules/lockstep_vdev.ko")


def test_hosts_are_upgraded_one_by_one_while_the_vm_lives(guests, releases):
    types = ("p2p", "stopcopy")
    with GuestStack(guests, types=types) as stack:
        a, b = stack.a, stack.b
        # An empty host goes first.
        releases(b)
        b.start_simhost()
        stack.boot()
        said = a.shell.run("rmmod lockstep_vdev", check=False)
        assert "busy" in said or "temporarily unavailable" in said, said
        there = rows(stack, a, b, refused=False)
        assert f"-{OWN}." in there["pair.version", "a0"]["seen"], there
        assert_moved(stack.move(a, b))
        assert_whole(b.verify())
        # There is no way back to the release before.
        stack.turn(b, a)
        row = rows(stack, b, a, refused=True)["pair.version", "b0"]
        assert f"-{OWN + 1}." in row["seen"] and "EOPNOTSUPP" in row["seen"] and "update the older driver" in row["remedy"], row
        assert_refused_untouched(stack, b, a)
        # Until that host has been emptied and upgraded too.
        a.vmm.stop()
        releases(a)
        a.start_simhost()
        a.start_vmm(incoming=True)
        assert b.ask(f"ram-peer {a.ram}") == "ok\n"
        assert_moved(stack.move(b, a))
        assert_whole(a.verify())


def test_the_next_release_reads_this_ones_images_and_this_one_refuses_its(guests, releases):
    folder = Files()
    model, kernel_a, kernel_b = Model(folder), Kernel(guests.ports[0]), Kernel(guests.ports[2])
    stack = GuestStack(guests)
    releases(stack.b)
    assert run(program("image_tool"), "make", "p2p", "8", "1", "5", folder("image")) == (0, "")
    own = folder.read_bytes(folder("image"))
    theirs, why = kernel_b.copy("p2p", own)
    assert theirs, why
    assert int.from_bytes(theirs[8:12], "little") == OWN + 1
    assert kernel_a.copy("p2p", theirs) == (None, "write: EOPNOTSUPP")
    # But for the version, and digests that follow from it, it is the same image.
    assert model.change(theirs, "as-version", OWN) == own
    assert kernel_b.copy("p2p", model.change(own, "as-version", OWN - 1)) == (None, "write: EOPNOTSUPP")
    folder.remove()
