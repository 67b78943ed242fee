# SPDX-License-Identifier: Apache-2.0
"""What an operator reads, at 80 columns, and what a program reads."""
import json
import re

import pytest

import messages
from fake_agent import device
from processes import Process, binary

m, pb = messages.migration, messages.agent
MOVE = ("vm1", "--from", "host-a", "--to", "host-b")


def ok(c, *args, code=0):
    r = c.ctl(*args)
    assert r.returncode == code, (r.returncode, r.stdout, r.stderr)
    for line in r.stdout.splitlines():
        assert len(line) <= 80, line
    return re.sub(r"127\.0\.0\.1:\d{5}", "127.0.0.1:PPPPP", r.stdout)


def test_hosts(c):
    assert ok(c, "hosts") == """\
HOST    ADDRESS          STATE  DEVICES  MOVES  KERNEL
host-a  127.0.0.1:PPPPP  up           2      0  6.12.1
host-b  127.0.0.1:PPPPP  up           2      0  6.12.1
"""


def test_devices_tell_why_one_cannot_migrate(c):
    c.pair.a.devices = [device("a0", "s0"), device("a1", "s1", open=False, flags=0, size_known=False, numa_node=-1,
                                                   problem=m.ErrorDetail(reason="V1_ONLY", message="protocol v1"))]
    assert ok(c, "devices", "host-a") == """\
DEVICE  VM   SLOT  STATE    CAN              SIZE  NODE  DRIVER TYPE
a0      vm1  s0    RUNNING  stop,p2p,pre  1.0 MiB  0     toy toy-full
a1      vm1  s1    -        -                   ?  -     toy toy-full
a1 cannot migrate
  V1_ONLY: protocol v1
"""


def test_a_dry_run_prints_checks_schedules_and_estimate(c):
    text = ok(c, "dry-run", *MOVE)
    assert text.startswith("Dry run: vm1, host-a -> host-b. Nothing is touched.\n\nChecks\n")
    assert "  PASS  pair.version     2 devices: toy-1 accepted by toy/version\n" in text
    assert "  PASS  host.reachable   2 hosts\n" in text
    assert text.count("PASS") == len(set(re.findall(r"PASS  (\S+)", text)))
    assert """\
     5  pause the VM
     6  all -> RUNNING_P2P
     7  all -> STOP_COPY
     8  gate stopped
""" in text
    assert text.endswith("""\
Blackout  not known: no move has been finished yet to learn from
FEASIBLE: no blocker, 0 warnings
""")


def test_an_infeasible_dry_run_names_each_blocker_and_its_remedy(c):
    c.pair.b.devices = [device("b0", "s0", type="other"),
                        device("b1", "s1", problem=m.ErrorDetail(reason="DEVICE_BUSY", message="held by pid 7",
                                                                 errno_value=16))]
    text = ok(c, "dry-run", *MOVE, code=3)
    assert """\
  FAIL  pair.type        a0  toy-full here, other (b0) there
        remedy: give the destination a device of the source's type in this slot
""" in text
    assert """\
  FAIL  device.free      b1  host-b: held by pid 7 (EBUSY)
        remedy: close whatever holds it (see `fuser`), or let its VMM lend it
""" in text
    assert text.endswith("NOT FEASIBLE: 2 blockers, 0 warnings; nothing was touched\n")
    assert ok(c, "migrate", *MOVE, "--id", "m1", code=3).endswith(
        "REFUSED: not feasible, nothing was touched; vm1 runs at host-a\n")


def test_a_verbose_dry_run_lists_what_is_well_device_by_device(c):
    text = ok(c, "dry-run", *MOVE, "--verbose")
    for name in ("a0", "a1"):
        assert f"  PASS  pair.version     {name}  toy-1 accepted by toy/version\n" in text


def test_four_devices_without_a_finding_fit_one_page_of_checks(c):
    for agent, letter in ((c.pair.a, "a"), (c.pair.b, "b")):
        agent.devices = [device(f"{letter}{i}", f"s{i}", numa_node=-1) for i in range(4)]
    text = ok(c, "dry-run", *MOVE)
    assert text[:text.index("Schedule at the source")].count("\n") < 30 and "0 warnings" in text
    assert "4 devices: node unknown at both hosts" in text


def test_a_long_path_is_cut_behind_a_slash(c):
    path = "/sys/bus/pci/devices/0000:3b:00.1/mdev_supported_types/toy-full/devices/11111111-2222-3333-4444-555555555555"
    c.pair.b.devices[1].problem.CopyFrom(m.ErrorDetail(reason="DEVICE_BUSY", message=f"held: {path}", errno_value=16))
    text = ok(c, "dry-run", *MOVE, code=3)
    row = text[text.index("held:"):text.index("(EBUSY)")]
    assert re.sub(r"\s+", "", row) == f"held:{path}"
    assert all(line.endswith(("/", ":", "-")) for line in row.splitlines()[:-1]), row


def test_a_move_ends_with_times_blackout_and_verdict(c):
    text = ok(c, "migrate", *MOVE, "--id", "m1")
    assert text.startswith("Migration m1: vm1, host-a -> host-b\n")
    assert [line for line in text.splitlines() if line.startswith("m1: ")][-1] == "m1: done"
    assert text.endswith("""\
Devices
  DEVICE  SOURCE     DESTINATION     SENT  LOADED  ROUNDS
  a0      STOP_COPY  RUNNING       1000 B     0 B  1
  a1      STOP_COPY  RUNNING      2.0 KiB     0 B  1
Blackout 42.50 ms: pause 1.00 ms, quiesce 2.00 ms, stop 3.00 ms,
  transfer and load 30.00 ms, decide 0.50 ms, start 6.00 ms
DONE: vm1 runs at host-b; it stood still for 42.50 ms
""")
    status = ok(c, "status", "m1")
    assert "Words: source RELEASED, destination STARTED\n" in status and "by tester" in status
    assert re.fullmatch(r"ID  VM   FROM -> TO        PHASE  BLACKOUT  STARTED\n"
                        r"m1  vm1  host-a -> host-b  done   42.50 ms  [\d-]+ [\d:]+\n", ok(c, "list"))
    assert ok(c, "list", "--open") == "no migrations\n"
    assert ok(c, "watch", "m1").endswith("DONE: vm1 runs at host-b; it stood still for 42.50 ms\n")


def test_hold_release_cancel(c):
    ok(c, "migrate", *MOVE, "--id", "m1", "--hold", "stopped", "--hold", "decide", "--detach")
    c.until(lambda v: v.waiting_at == m.GATE_STOPPED)
    status = ok(c, "status", "m1")
    assert "Waits at the gate stopped: lockstepctl release m1 stopped\n" in status
    assert status.endswith("IN PROGRESS (blackout): vm1, host-a -> host-b\n")
    assert ok(c, "release", "m1", "stopped") == "Migration m1: may pass the gate stopped\n"
    c.until(lambda v: v.waiting_at == m.GATE_DECIDE)
    assert ok(c, "cancel", "m1") == "Migration m1: cancelled, vm1 returns to host-a; see: lockstepctl watch m1\n"
    assert ok(c, "watch", "m1", code=1).endswith("""\
Cause
  CANCELLED: cancelled by the client
RETURNED: not moved; vm1 runs at host-a as before, nothing is left at host-b
""")
    again = c.ctl("cancel", "m1")
    assert again.returncode == 1 and again.stderr == "lockstepctl: BAD_STATE: the migration has ended\n"


def test_an_operator_is_called_with_exit_code_4(c):
    ok(c, "migrate", *MOVE, "--id", "m1", "--hold", "decide", "--detach")
    c.until(lambda v: v.waiting_at == m.GATE_DECIDE)
    for agent in (c.pair.b, c.pair.a):
        agent.tell(ended=pb.Ended(how=pb.Ended.OPERATOR, error=m.ErrorDetail(
            reason="ARC_STUCK", message="SET_STATE does not return", device="b0")))
    text = ok(c, "watch", "m1", code=4)
    assert "ARC_STUCK: " in text
    assert text.endswith("OPERATOR: vm1 needs you. Source's word: ACTIVE. Destination's word: UNDECIDED.\n"
                         "What you may decide: lockstepctl resolve m1\n")


def test_every_verb_speaks_json(c):
    def doc(*args, code=0):
        return json.loads(ok_json(*args, code=code))

    def ok_json(*args, code=0):
        r = c.ctl("--output", "json", *args)
        assert r.returncode == code, r
        return r.stdout
    assert [h["name"] for h in doc("hosts")["host"]] == ["host-a", "host-b"]
    assert doc("devices", "host-a")["device"][0]["flags"] == 7
    assert doc("dry-run", *MOVE)["feasible"] is True
    lines = [json.loads(line) for line in ok_json("migrate", *MOVE, "--id", "m1").splitlines()]
    assert lines[-1]["phase"] == "PHASE_DONE" and lines[-1]["blackout"]["total_ms"] == 42.5
    assert doc("status", "m1")["spec"]["id"] == "m1"
    assert doc("list")["migration"][0]["phase"] == "PHASE_DONE"
    assert json.loads(ok_json("watch", "m1").splitlines()[-1])["phase"] == "PHASE_DONE"
    assert doc("status", "m9", code=2)["reason"] == "NOT_FOUND"


@pytest.mark.parametrize("args, says", [
    (("nope",), "unknown verb `nope`"), (("--nope",), "unknown option `--nope`"), ((), "a verb is missing"),
    (("hosts", "--bad"), "hosts: unknown option `--bad`"), (("hosts", "x"), "`x` is one argument too many"),
    (("devices",), "an argument is missing"), (("migrate", "vm1", "--from", "a"), "--to is missing"),
    (("migrate", *MOVE, "--deadline", "1s"), "--deadline: a number, not `1s`"),
    (("migrate", *MOVE, "--hold", "later"), "--hold: before-pause, stopped or decide, not `later`"),
    (("release", "m1", "later"), "GATE: before-pause"), (("--output", "xml", "hosts"), "text or json, not `xml`"),
    (("--timeout", "0", "hosts"), "--timeout: 0.001 to 86400 seconds"), (("hosts", "--server"), "--server needs a value"),
    (("migrate", *MOVE, "--detach=yes"), "--detach takes no value"), (("list", "--vm"), "--vm needs a value")])
def test_usage_errors_are_one_line_and_a_hint(c, args, says):
    r = c.ctl(*args)
    assert r.returncode == 2 and not r.stdout
    first, rest = r.stderr.split("\n", 1)
    assert says in first and (rest.startswith("usage: ") or rest == "Try `lockstepctl --help`.\n")


def test_help_for_all_and_per_verb_fits_the_terminal(c):
    verbs = re.findall(r"^  ([a-z][a-z-]*) +\w", ok(c, "--help"), re.M)
    assert verbs == ["hosts", "devices", "dry-run", "migrate", "status", "list", "watch", "cancel", "release", "resolve"]
    for verb in verbs:
        assert ok(c, verb, "--help").startswith(f"usage: lockstepctl {verb}")


def test_a_coordinator_that_is_not_there_is_said_in_one_line(c):
    r = c.ctl("hosts", server="127.0.0.1:1")
    assert r.returncode == 1 and r.stderr.count("\n") == 1 and "127.0.0.1:1" in r.stderr


def test_migrate_follows_a_coordinator_that_is_killed_and_started_again(c):
    watching = Process("lockstepctl", [binary("lockstepctl"), "--server", f"127.0.0.1:{c.port}", "migrate", *MOVE, "--id",
                                       "m1", "--hold", "decide"])
    watching.expect("m1: waits at gate decide")
    c.kill()
    c.start()
    c.api.Release(m.ReleaseRequest(id="m1", gate=m.GATE_DECIDE), timeout=30)
    assert watching.wait() == 0 and watching.out[-1].startswith("DONE: ")


def test_who_cannot_learn_the_fate_of_a_migration_does_not_promise_a_vm_at_the_source(c):
    c.process.freeze()
    lost = c.ctl("--timeout", "1", "migrate", *MOVE, "--id", "m1")
    assert lost.returncode == 4, lost
    assert lost.stderr.endswith("lockstepctl: whether it began is not known; see: lockstepctl status m1\n"), lost
    c.process.thaw()
    assert ok(c, "migrate", *MOVE, "--id", "m1").endswith("DONE: vm1 runs at host-b; it stood still for 42.50 ms\n")
    for verb in ("status", "watch"):
        assert c.ctl(verb, "m1").returncode == 0
        assert c.ctl(verb, "m1", server="127.0.0.1:1").returncode == 4
    never = c.ctl("migrate", *MOVE, "--id", "m2", server="127.0.0.1:1")
    assert never.returncode == 1 and never.stderr.count("\n") == 1, never    # nobody can have heard of it
