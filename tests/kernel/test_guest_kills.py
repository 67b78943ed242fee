# SPDX-License-Identifier: Apache-2.0
"""An agent is killed, or its whole host loses power, in each stage of a migration, on either side: real kernels, our
driver, a real disk under the ledger. Whatever the stage, the VM ends where docs/decision.md says, judged by its VMMs
and the driver.

A fault point of the agent hits the stage: there it kills itself, or stops and the power is cut. What comes back is a
booted kernel with new devices, no VMM, and of the ledger what had been synced. It is always host b that is hit: the
other end of the cable stays. CI takes a sample, LOCKSTEP_TEST_MODE=full each stage with both faults."""
import dataclasses
import os
import time

import grpc
import pytest

import guest_judge
from guests import GUEST_LIMIT, GuestProcess, GuestStack
from moves import M, explain

FULL = os.environ.get("LOCKSTEP_TEST_MODE") == "full"

RATE = 500  # its ring is not to be lapped while vCPUs wait for an agent

# How a migration may end; the words are those of the side that is hit, as far as its disk had them.
RETURNED = "returned"  # the VM runs at the source
MOVED = "moved"        # the VM runs at the destination
LOST = "lost"          # committed, and what was loaded is gone: an operator returns the VM
ABSENT = "absent"      # it was the source's, whose host died with it: an operator closes the record
GONE = "gone"          # it was the destination's, whose host died with it


@dataclasses.dataclass(frozen=True)
class Stage:
    side: str
    name: str
    point: str
    kill: tuple    # how it may end when the agent is killed there
    power: tuple   # and when the host loses power

    def __str__(self):
        return f"{self.side}-{self.name}"


def stages(side, kill, power, **points):
    return [Stage(side, name.replace("_", "-"), f"agent.{point}", kill, power) for name, point in points.items()]


STAGES = (
    stages("source", (RETURNED,), (ABSENT,), prepared="prepare.done", pre_copy="job.before.precopy",
           before_pause="vmm.ask.pause", paused="vmm.answer.pause", quiesced="job.after.PRE_COPY_P2P",
           stopped="job.after.STOP_COPY", last_ram="vmm.answer.final", transferred="stream.end.sent",
           asked="peer.receive.consent-request", consenting="ledger.before.CONSENTED") +
    stages("source", (RETURNED, MOVED), (ABSENT, MOVED), consented="ledger.commit.CONSENTED",
           consent_sent="peer.sent.consent") +
    stages("source", (MOVED,), (MOVED,), started_heard="peer.receive.started", releasing="ledger.before.RELEASED",
           released="ledger.commit.RELEASED", letting_go="vmm.ask.gone") +
    stages("destination", (RETURNED,), (RETURNED,), prepared="prepare.done", resuming="job.after.RESUMING",
           transferring="stream.data.received", received="stream.end.received", loaded="job.after.load",
           ready="vmm.answer.ready", asking="peer.sent.consent-request", consent_here="peer.receive.consent",
           committing="ledger.before.COMMITTED") +
    stages("destination", (MOVED,), (LOST,), committed="ledger.commit.COMMITTED", starting="job.after.RUNNING_P2P",
           resumed="vmm.answer.resume", starting_word="ledger.before.STARTED") +
    # No fd store here: devices that all run, and a VM that does not, may be those of a VMM that was started anew.
    stages("destination", (MOVED, LOST), (LOST,), running="job.after.RUNNING") +
    stages("destination", (LOST,), (LOST,), resuming_vcpus="vmm.ask.resume") +
    stages("destination", (MOVED,), (GONE,), started="ledger.commit.STARTED", started_told="peer.sent.started"))
only_in_full = pytest.mark.skipif(not FULL, reason="LOCKSTEP_TEST_MODE=full")
SAMPLE = {"kill": ("source-stopped", "source-consented", "destination-committed"),
          "power": ("source-quiesced", "destination-consent-here", "destination-committed")}


def chosen(fault):
    return [stage for stage in STAGES if FULL or str(stage) in SAMPLE[fault]]


class Run:
    """A VM on its way, and the agent of host b that stops, or dies, at the stage's point."""

    def __init__(self, guests, stage, action):
        self.stage, self.stack = stage, GuestStack(guests, types=("p2p", "full"), rate=RATE, latency_ms=1)
        self.hit, self.other = self.stack.b, self.stack.a
        self.source, self.destination = (self.hit, self.other) if stage.side == "source" else (self.other, self.hit)
        self.hit.ledger = "/disk/ledger.db"
        self.hit.agent_env = {"LOCKSTEP_FAULT": f"{stage.point}={action}", "LOCKSTEP_FAULT_LOG": "/run/faults"}
        self.off = False
        # A pipe tells at once, and somebody has to be at its end first.
        self.hit.shell.run("rm -f /run/faults; mkfifo /run/faults")
        reader = ["/bin/sh", "-c", "exec cat <>/run/faults"]
        self.passed = self.stack.add(GuestProcess(self.hit.shell, "passed", reader))

    def __enter__(self):
        try:
            self.stack.start()
            self.stack.boot(self.source, self.destination)
        except BaseException:
            self.stop()
            raise
        self.spec = self.stack.spec(self.source, self.destination)
        return self

    def __exit__(self, kind, value, trace):
        self.stop()

    def stop(self):
        if self.off:
            self.hit.power_on()
        for host in (self.hit, self.other):
            if host.agent:
                host.agent.kill()  # one that waits for an operator would not end
        self.passed.kill()
        self.stack.stop()

    def begin(self):
        try:
            self.stack.begin(self.spec)
        except grpc.RpcError as error:  # an agent that dies while it is asked to prepare
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error

    def reached(self):
        self.passed.expect(f"{self.stage.point} #1 ")

    def agent_again(self, vmm_ms=None):
        self.hit.agent_env = {}
        if vmm_ms:
            self.hit.extra_agent_config = f"[vm vm1]\nadapter = native\ntimeout_ms = {vmm_ms}\n"
        self.hit.start_agent()

    def power_cut(self):
        self.off = True
        self.hit.power_cut()

    def power_on(self):
        self.hit.power_on()
        self.off = False

    def get(self):
        return self.stack.api.Get(M.GetRequest(id=self.spec.id), timeout=GUEST_LIMIT)

    def until(self, ends):
        """The migration as soon as it has ended in one of these ways; or as it was when patience ended."""
        limit = time.monotonic() + GUEST_LIMIT
        while time.monotonic() < limit:
            migration = self.get()
            if how(migration) in ends:
                break
            time.sleep(0.05)  # between two looks
        return migration

    def expect(self, migration, ends):
        """The end is one of `ends`, and the VM is where that says; the end that it was."""
        end = how(migration)
        if end == MOVED and GONE in ends:
            end = GONE
        told = f"{self.stage}: {end} is none of {ends}\n{explain(migration)}\n{self.stack.tails()}"
        assert end in ends, told
        runs_at = {RETURNED: self.source.name, MOVED: self.destination.name}.get(end)
        bad = guest_judge.wrong(guest_judge.look(self.stack), runs_at)
        assert not bad, "\n".join(bad + [told])
        return end

    def resolve(self, action, *more):
        limit = time.monotonic() + GUEST_LIMIT
        while True:
            said = self.stack.ctl("resolve", self.spec.id, action, "--yes", *more)
            if "not now" not in said.stderr or time.monotonic() > limit:
                break
            time.sleep(0.05)  # the agents are about to talk
        assert said.returncode == 0, said.stdout + said.stderr

    def return_lost(self, end):
        if end == LOST:
            self.resolve("return-lost")
            self.expect(self.until((RETURNED,)), (RETURNED,))


def how(migration):
    """The end as the coordinator tells it."""
    if migration.phase == M.PHASE_OPERATOR:
        return {"LOST_AFTER_COMMIT": LOST, "VMM_ABSENT": ABSENT, "VMM_FAILED": ABSENT}.get(migration.error.reason,
                                                                                           "operator")
    return {M.PHASE_DONE: MOVED, M.PHASE_RETURNED: RETURNED}.get(migration.phase, "open")


@pytest.fixture(autouse=True)
def with_a_disk(guests):
    if not guests.has("/disk/lost+found"):
        pytest.skip("this kernel has no ext4: nothing would outlive a power cut")


@pytest.mark.parametrize("stage", chosen("kill"), ids=str)
def test_the_agent_is_killed(guests, stage):
    with Run(guests, stage, "kill") as r:
        r.begin()
        r.reached()
        r.hit.agent.wait()
        r.agent_again()
        r.return_lost(r.expect(r.until(stage.kill), stage.kill))


@pytest.mark.parametrize("stage", chosen("power"), ids=str)
def test_the_host_loses_power(guests, stage):
    with Run(guests, stage, "stop") as r:
        r.begin()
        r.reached()
        r.power_cut()
        before = guest_judge.look(r.stack)
        r.power_on()
        r.agent_again(vmm_ms=2000)
        ends = tuple(MOVED if end == GONE else end for end in stage.power)
        end = r.expect(r.until(ends), stage.power)
        assert not before.overlaps and (not before.running or end in (RETURNED, MOVED)), (before, end)
        r.return_lost(end)
        if end == ABSENT:
            r.resolve("close")
            assert r.get().closed_by, explain(r.get())


@only_in_full
def test_a_source_is_whole_again_before_the_destination_has_power(guests):
    """What has no consent returns by itself, without a word of the other side."""
    stage = next(s for s in STAGES if str(s) == "destination-received")
    with Run(guests, stage, "stop") as r:
        r.begin()
        r.reached()
        r.power_cut()
        limit = time.monotonic() + GUEST_LIMIT
        while r.get().source_word != "RETURNED" and time.monotonic() < limit:
            time.sleep(0.05)  # between two looks
        bad = guest_judge.wrong(guest_judge.look(r.stack), r.source.name)
        assert not bad, bad


@only_in_full
def test_without_its_ledger_the_destination_is_not_believed(guests):
    """The disk is replaced while it may have committed (rule 9). Also: it is the disk that the others came back by."""
    stage = next(s for s in STAGES if str(s) == "destination-committing")
    with Run(guests, stage, "stop") as r:
        r.begin()
        r.reached()
        r.power_cut()
        r.power_on()
        r.hit.shell.run("rm /disk/ledger.db*")
        r.agent_again()
        limit = time.monotonic() + GUEST_LIMIT
        while r.get().error.reason != "LEDGER_LOST" and time.monotonic() < limit:
            time.sleep(0.05)  # between two looks
        migration = r.get()
        assert (migration.phase, migration.error.reason) == (M.PHASE_OPERATOR, "LEDGER_LOST"), explain(migration)
        assert migration.source_word == "CONSENTED"
        assert not guest_judge.wrong(guest_judge.look(r.stack), None)
        r.resolve("return-fenced", "--method", "powered-off", "--evidence", "it was cut")
        r.expect(r.until((RETURNED,)), (RETURNED,))
