# SPDX-License-Identifier: Apache-2.0
"""K8 with a real kernel: what the source's device reads is offered to the destination's parent while there is no device yet, and to
the device once there is one. The same answers, and the plan says which rule gave them."""
import json

import pytest

from guests import GuestStack
from moves import assert_moved

FAKE = "/run/version"
# The four reasons of i915 GVT, and one of our driver's own that only a device has: how much memory.
REFUSED = [
    ("no version at all", "EINVAL", True),
    ("8086-1003-full-2.16", "ENODEV", True),
    ("1d55-1002-p2p-2.16", "EMEDIUMTYPE", True),
    ("1d55-1003-full-9.16", "EOPNOTSUPP", True),
    ("1d55-1003-full-2.64", "EFBIG", False),
]


@pytest.fixture(name="stack")
def without_vmms(guests):
    with GuestStack(guests, types=("full",)) as stack:
        for host in (stack.a, stack.b):
            host.agent.stop()
            host.extra_agent_config = "[vm vm1]\nadapter = none\n"
            host.start_agent()
        yield stack
        stack.a.shell.run(f"umount {stack.a.sysfs('a0')}/migration_version", check=False)


def source_reads(stack, version):
    attribute = f"{stack.a.sysfs('a0')}/migration_version"
    stack.a.shell.run(f"umount {attribute} 2>/dev/null; printf '{version}' >{FAKE} && mount --bind {FAKE} {attribute}")


def verdict(stack, refused):
    dry = stack.ctl("--output", "json", "dry-run", "vm1", "--from", "host-a", "--to", "host-b")
    assert dry.returncode == (3 if refused else 0), dry.stdout + dry.stderr
    row, = [row for row in json.loads(dry.stdout)["check"] if row["id"] == "pair.version"]
    return row


def without_device(stack):
    stack.b.shell.run(f"echo 1 >{stack.b.sysfs('b0')}/remove")


OF_PARENT = "/sys/class/mdev_bus/lockstep-pf0/migration_version/lockstep-full"


def test_the_true_version_is_taken_before_and_after_the_device_exists(stack):
    own = f"{stack.b.sysfs('b0')}/migration_version"
    row = verdict(stack, refused=False)
    assert row["result"] == "PASS" and row["seen"].endswith(f"accepted by {own}"), row
    without_device(stack)
    # There is nothing to move to, but the answer is known.
    row = verdict(stack, refused=True)
    assert row["result"] == "PASS" and row["seen"].endswith(f"accepted by {OF_PARENT}"), row
    stack.b.start_simhost()
    assert verdict(stack, refused=False)["seen"].endswith(f"accepted by {own}")
    assert_moved(stack.move())


def test_each_reason_to_refuse_is_the_same_before_and_after_the_device_exists(stack):
    own = f"{stack.b.sysfs('b0')}/migration_version"
    after, before = {}, {}
    for version, _, _ in REFUSED:
        source_reads(stack, version)
        after[version] = verdict(stack, refused=True)
    without_device(stack)
    for version, _, _ in REFUSED:
        source_reads(stack, version)
        before[version] = verdict(stack, refused=True)
    for version, reason, of_type in REFUSED:
        assert after[version]["result"] == "FAIL" and after[version]["remedy"], after[version]
        assert after[version]["seen"] == f"{version} refused by {own} ({reason})"
        if of_type:
            assert before[version]["result"] == "FAIL", before[version]
            assert before[version]["seen"] == f"{version} refused by {OF_PARENT} ({reason})"
        else:
            assert before[version]["result"] == "PASS", before[version]


def test_a_version_on_one_side_only_is_no_agreement(stack):
    source_reads(stack, "")
    row = verdict(stack, refused=True)
    assert row["result"] == "FAIL" and "absent at the source, present at the destination" in row["seen"], row
