# SPDX-License-Identifier: Apache-2.0
"""Devices by their own files and iommufd, where the kernel has them; dups, closes and who holds what (K1, K10)."""
import pytest

from guests import GuestStack
from moves import assert_moved, assert_whole
from processes import has_controls


@pytest.fixture(autouse=True)
def with_device_files(guests):
    if not guests.has("/dev/iommu"):
        pytest.skip("this kernel has no iommufd: tests/kernel/tailor.sh makes one that has")


def move_there_and_back(guests, way_a, way_b):
    with GuestStack(guests) as stack:
        stack.a.way, stack.b.way = way_a, way_b
        stack.boot()
        assert_moved(stack.move(stack.a, stack.b))
        assert_whole(stack.b.verify())
        stack.turn(stack.b, stack.a)
        assert_moved(stack.move(stack.b, stack.a))
        assert_whole(stack.a.verify())


# There and back: each pair is both of its directions.
@pytest.mark.parametrize("way_a,way_b", [("cdev", "cdev"), ("group", "cdev"), ("cdev", "group")])
def test_a_vm_moves_whichever_way_its_vmms_open_devices(guests, way_a, way_b):
    move_there_and_back(guests, way_a, way_b)


@pytest.mark.parametrize("way_a,way_b", [("given-cdev", "given-group"), ("given-group", "given"), ("cdev", "given-cdev")])
def test_a_vm_moves_with_devices_that_the_agent_opened_for_its_vmm(guests, way_a, way_b):
    move_there_and_back(guests, way_a, way_b)


def test_a_free_device_is_probed_by_its_own_file_and_left_closed(guests):
    with GuestStack(guests, types=("full", "p2p")) as stack:
        for host in (stack.a, stack.b):
            host.agent.stop()
            host.extra_agent_config = "[vm vm1]\nadapter = none\n"
            host.start_agent()
        dry = stack.ctl("dry-run", "vm1", "--from", "host-a", "--to", "host-b")
        assert dry.returncode == 0, dry.stdout + dry.stderr
        for host in (stack.a, stack.b):
            for name in host.devices:
                assert host.shell.run(f"vfio_poke {host.sysfs(name)} open").strip() == "open by its own file"
        # Nobody but a VMM maps memory: nothing is attached, and the move works.
        assert_moved(stack.move())


@pytest.mark.parametrize("way", ["cdev", "group"])
def test_a_forgotten_dup_keeps_the_device_busy_and_is_named(guests, way):
    with GuestStack(guests, types=("full", "p2p")) as stack:
        host = stack.a
        for side in (stack.a, stack.b):
            side.agent.stop()
            side.extra_agent_config = "[vm vm1]\nadapter = none\n"
            side.start_agent()
        if way == "group":
            group = host.shell.run(f"basename $(readlink {host.sysfs('a0')}/iommu_group)").strip()
            holder = host.shell.run(f"sleep 1000 </dev/vfio/{group} >/dev/null 2>&1 & echo $!").strip()
        else:
            # Whoever opened it is gone; its dup is not.
            holder = host.shell.run(f"vfio_poke {host.sysfs('a0')} dup").strip()
        try:
            said = stack.ctl("dry-run", "vm1", "--from", "host-a", "--to", "host-b", "--output", "json")
        finally:
            host.shell.run(f"kill {holder}; while [ -e /proc/{holder}/fd/0 ]; do usleep 10000; done")
        assert said.returncode == 3, said.stdout
        assert f"sleep ({holder})" in said.stdout, said.stdout
        assert_moved(stack.move())


def test_after_the_move_nobody_at_the_source_has_a_device_open(guests):
    with GuestStack(guests, types=("full", "full")) as stack:
        stack.a.way = stack.b.way = "cdev"
        stack.boot()
        assert "held by lockstep-testvm" in stack.a.shell.run(f"vfio_poke {stack.a.sysfs('a0')} open", check=False)
        assert_moved(stack.move())
        assert stack.a.vmm.wait() == 0
        for name in stack.a.devices:
            assert stack.a.shell.run(f"vfio_poke {stack.a.sysfs(name)} open").strip() == "open by its own file"
        assert "held by lockstep-testvm" in stack.b.shell.run(f"vfio_poke {stack.b.sysfs('b0')} open", check=False)
        assert_whole(stack.b.verify())


# ---- devices that the agent opened (K10): who holds what, in which order it is let go ----

GIVEN = pytest.mark.parametrize("way", ["given-cdev", "given-group"])


def held_by(process):
    """What of VFIO and iommufd the process has open, by kind; `[vfio-device]` is a group's, the device's own file has a name."""
    said = process.shell.run(f"for f in /proc/{process.pid_there}/fd/*; do readlink $f; done", check=False)
    return sorted(line for line in said.split() if "vfio" in line or "iommu" in line)


@GIVEN
def test_the_agent_keeps_nothing_of_what_it_gave(guests, way):
    with GuestStack(guests, types=("full", "p2p")) as stack:
        a, b = stack.a, stack.b
        a.way = b.way = way
        stack.boot()
        shared = "/dev/iommu" if way == "given-cdev" else "/dev/vfio/vfio"
        for host in (a, b):
            mine = held_by(host.vmm)
            assert mine.count(shared) == 1 and len(mine) == (3 if way == "given-cdev" else 5), mine
            assert held_by(host.agent) == [], host.agent.tail()
        assert_moved(stack.move())
        # A migration ended: what was lent for it is let go as well; the source's VMM is gone and with it its devices.
        assert a.vmm.wait() == 0
        for host in (a, b):
            assert held_by(host.agent) == [], host.agent.tail()
        for name in a.devices:
            assert "open by its own file" in a.shell.run(f"vfio_poke {a.sysfs(name)} open")
        assert "held by lockstep-testvm" in b.shell.run(f"vfio_poke {b.sysfs('b0')} open", check=False)
        assert_whole(b.verify())


@pytest.mark.skipif(not has_controls(), reason="this build has no switches (-DLOCKSTEP_CONTROLS=ON)")
@GIVEN
def test_an_agent_that_kept_them_would_be_seen(guests, way):
    with GuestStack(guests, types=("full", "p2p")) as stack:
        a = stack.a
        a.way = way
        a.agent.stop()
        a.start_agent(LOCKSTEP_CONTROL="keep-given-fds")
        a.start_vmm()
        assert held_by(a.agent) != []
        a.vmm.kill()
        assert "held by lockstep-agent" in a.shell.run(f"vfio_poke {a.sysfs('a0')} open", check=False)


@GIVEN
def test_given_devices_end_with_their_vmm_and_outlive_the_agent(guests, way):
    with GuestStack(guests, types=("full", "p2p")) as stack:
        a, b = stack.a, stack.b
        a.way = b.way = way
        stack.boot()
        # The agent goes and comes: the VMM has its devices, and asks for none.
        a.agent.kill()
        a.start_agent()
        a.agent.expect_log("vmm.hello")
        assert_moved(stack.move())
        assert_whole(b.verify())
        # The VMM is killed: nobody else holds them, so they are free, and given anew to the next.
        b.vmm.kill()
        for name in b.devices:
            assert "open by its own file" in b.shell.run(f"vfio_poke {b.sysfs(name)} open")
        b.agent.expect_log("vmm.gone")
        b.start_vmm()
        assert_whole(b.verify())


@GIVEN
def test_a_device_that_somebody_holds_is_not_given_and_nothing_is_left_open(guests, way):
    with GuestStack(guests, types=("full", "p2p")) as stack:
        a = stack.a
        holder = a.shell.run(f"vfio_poke {a.sysfs('a1')} dup").strip()
        argv = ["/bin/lockstep-testvmm", "--vm", "vm1", "--agent", a.path("vmm"), "--no-stdin", "--vfio", way]
        for name in a.devices:
            argv += ["--device", f"{name}={a.sysfs(name)}"]
        try:
            said = a.shell.run(" ".join(argv), check=False)
        finally:
            a.shell.run(f"kill {holder}; while [ -e /proc/{holder}/fd/0 ]; do usleep 10000; done")
        assert "the agent: DEVICE_BUSY" in said and f"sleep ({holder})" in said, said
        a.agent.expect_log("vmm.not-given")
        assert held_by(a.agent) == []
        a.way = way
        a.start_vmm()
        assert_whole(a.verify())
