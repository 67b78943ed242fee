# SPDX-License-Identifier: Apache-2.0
"""One migration with a process killed, frozen or cut off, or a VMM dead, at one named fault point; what was seen."""
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import time

import grpc

import messages
from frames import Proxy
from processes import binary, sanitizer
from reliability import OPERATOR
from stack import Stack

M = messages.migration
SLOW = 4 if sanitizer() else 1
END_S = 45 * SLOW              # the coordinator itself waits 30 s for a silent destination
REACTION_S = 1.0               # how long a freeze lasts if nobody is seen to react to it
HERE = os.path.dirname(os.path.abspath(__file__))
PLACES = ("source", "destination", "coordinator")
KINDS = {"source": ("kill", "freeze", "cut", "source-vmm", "destination-vmm"),
         "destination": ("kill", "freeze", "cut", "destination-vmm", "source-vmm"),
         "coordinator": ("kill", "freeze")}


@dataclasses.dataclass(frozen=True)
class Scenario:
    flow: str      # "move": nothing else goes wrong; "unwind": the destination refuses an image
    place: str     # whose fault point it is
    point: str
    number: int    # at which pass
    kind: str      # what happens there

    def __str__(self):
        return f"{self.flow}/{self.place}/{self.point}#{self.number}/{self.kind}"


class Run:
    """A stack under the service manager, with its evidence."""

    def __init__(self, scenario=None, flow="move", then=None):
        self.scenario, self.flow, self.then = scenario, scenario.flow if scenario else flow, then
        self.stack = Stack(types=("p2p", "full"), rate=2000, latency_ms=1, managed=True)
        self.events = self.stack.folder("vmm.events")
        self.logs = {place: self.stack.folder(f"{place}.faults") for place in PLACES}
        self.owner = {"source": self.stack.a, "destination": self.stack.b, "coordinator": self.stack}
        self.proxy = self.channel = None
        for host in (self.stack.a, self.stack.b):
            host.vmm_env = {"LOCKSTEP_VMM_EVENTS": self.events}
        for place, owner in self.owner.items():
            owner.first_env = [{"LOCKSTEP_FAULT_LOG": self.logs[place]}]
        if scenario:
            action = "kill" if scenario.kind == "kill" else "stop"
            self.owner[scenario.place].first_env[0]["LOCKSTEP_FAULT"] = f"{scenario.point}#{scenario.number}={action}"
            if then:    # where the second life dies
                self.owner[scenario.place].first_env.append({"LOCKSTEP_FAULT": f"{then}=kill"})
            if scenario.kind == "cut":
                self.proxy = Proxy(self.stack.b.stream)
                self.stack.b.stream_as_told = self.proxy.address

    def __enter__(self):
        try:
            self.stack.start()
            self.stack.boot()
        except BaseException:
            self.stop()
            raise
        if self.flow == "unwind":
            self.stack.b.debug("b1", "fail RESUMING STOP EBADMSG")
        self.passed = {place: len(self.log(place)) for place in PLACES}
        self.spec = self.stack.spec(deadline_ms=5000 * SLOW)
        self.started = False
        self.dial()
        return self

    def __exit__(self, kind, value, trace):
        self.stop()

    def stop(self):
        if self.channel:
            self.channel.close()
        if self.proxy:
            self.proxy.close()
        for service in self.stack.services:
            service.stop(signal.SIGKILL)   # one that waits for an operator would not end
        self.stack.stop()

    # ---- the fault ----

    def log(self, place):
        try:
            with open(self.logs[place], encoding="ascii") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def announced(self):
        s = self.scenario
        start = f"{s.point} #{s.number} "
        return any(line.startswith(start) and not line.endswith(" pass") for line in self.log(s.place))

    @property
    def service(self):
        owner = self.owner[self.scenario.place]
        return owner.coordinator_service if self.scenario.place == "coordinator" else owner.agent_service

    def frozen(self):
        with open(f"/proc/{self.service.process.pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"

    def others_say(self):
        """Lines of the other processes' logs."""
        return sum(len(process.err) for process in self.stack.processes if process is not self.service.process)

    def wait_frozen(self):
        while not self.frozen():
            pause()

    def strike(self):
        """The fault point has been reached: what happens there."""
        s, stack = self.scenario, self.stack
        if s.kind == "kill":
            self.service.wait_starts(3 if self.then else 2)
            return
        self.wait_frozen()
        if s.kind == "freeze":
            quiet, end = self.others_say(), time.monotonic() + REACTION_S
            while self.others_say() == quiet and time.monotonic() < end:
                pause()
        elif s.kind == "cut":
            for connection in list(self.proxy.connections):
                connection.close()
        else:
            self.bury(stack.a if s.kind == "source-vmm" else stack.b)
        self.service.process.popen.send_signal(signal.SIGCONT)

    def bury(self, host):
        host.vmm.kill()
        with open(self.events, "a", encoding="ascii") as file:
            json.dump({"ns": time.monotonic_ns(), "pid": host.vmm.pid, "event": "dead"}, file)
            file.write("\n")

    def crashed(self):
        """Processes that ended otherwise than asked to, and that nobody killed."""
        victims = [host.vmm for host in (self.stack.a, self.stack.b)]
        if self.scenario.kind == "kill":
            victims += [p for p in self.stack.processes if p.name == self.service.name][:2 if self.then else 1]
        return [f"{p.name}: {p.popen.poll()}" for p in self.stack.processes
                if p.popen.poll() not in (None, 0) and p not in victims]

    # ---- the migration ----

    def dial(self):
        if self.channel:
            self.channel.close()
        self.channel = grpc.insecure_channel(self.stack.address, [("grpc.use_local_subchannel_pool", 1)])
        self.api = messages.lockstep(self.channel)

    def ask(self, method, request):
        """An answer of the coordinator, or None while it cannot give one."""
        try:
            return getattr(self.api, method)(request, timeout=0.3 * SLOW)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN,
                                grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED):
                self.dial()   # a channel that has failed once waits for seconds
                return None
            raise

    def migration(self):
        """Starts it, as often as it takes (Start is idempotent), and tells how it stands."""
        if not self.started:
            self.started = self.ask("Start", M.StartRequest(spec=self.spec, actor="test")) is not None
        return self.ask("Get", M.GetRequest(id=self.spec.id)) if self.started else None

    def to_the_end(self):
        """The migration as it ended, or as it was when patience did; was the fault point reached?"""
        struck, last, end = self.scenario is None, None, time.monotonic() + END_S
        while time.monotonic() < end:
            last = self.migration() or last
            if not struck and self.announced():
                struck = True
                self.strike()
            elif last and last.phase >= M.PHASE_DONE:
                break
            pause()
        return last, struck

    def judge(self):
        stack = self.stack
        done = subprocess.run([sys.executable, os.path.join(HERE, "judge.py"), "--ask", binary("lockstep-testvmm"),
                               "--events", self.events, f"source={stack.a.path('control')}",
                               f"destination={stack.b.path('control')}"], capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def pause():
    time.sleep(0.005)  # between two looks at what tells no one when it changes


def outcome(scenario, migration, struck, verdict, crashed=()):
    """(what happened, why that is a violation or None)"""
    running, vmm_died = verdict["running"], scenario.kind.endswith("-vmm")
    if verdict["overlaps"] or len(running) > 1:
        return "two run", f"two ran at once: {verdict['overlaps']}"
    if crashed:
        return "crashed", f"ended by themselves: {crashed}"
    if not struck:
        return "not reached", None
    if migration is None or migration.phase < M.PHASE_DONE:
        phase = M.Phase.Name(migration.phase) if migration else "no answer"
        return "no end", f"no end within {END_S} s: {phase}, {words(migration)}; running: {running}"
    if running and not verdict["whole"]:
        return "damaged", "; ".join(verdict["errors"])[:300]
    phase, reason = M.Phase.Name(migration.phase)[6:], migration.error.reason
    if phase == "OPERATOR":
        known = reason in OPERATOR or vmm_died
        return f"operator: {reason}", None if known else f"no reason for an operator: {migration.error.message}"
    wanted = {"DONE": "destination", "RETURNED": "source", "REFUSED": "source"}[phase]
    what = {"DONE": "moved", "RETURNED": "returned", "REFUSED": "refused"}[phase]
    if running == [wanted]:
        return what, None
    if vmm_died and not running and (scenario.kind == f"{wanted}-vmm"):
        return "died with its VMM", None
    return what, f"{phase}, but the VM runs at {running or 'neither host'} ({verdict['states']}), {words(migration)}"


def words(migration):
    return f"words {migration.source_word or '-'}/{migration.destination_word or '-'}" if migration else "no words"


def run(scenario, then=None):
    """The record of one run; `violation` is None where the rules were kept."""
    begin = time.monotonic()
    with Run(scenario, then=then) as r:
        migration, struck = r.to_the_end()
        verdict = r.judge()
        what, violation = outcome(scenario, migration, struck, verdict, r.crashed())
        tails = r.stack.tails() if violation else ""
    return {**dataclasses.asdict(scenario), "outcome": what, "violation": violation,
            "dark_ms": round(verdict["dark_ms"], 1),
            "source_word": migration.source_word if migration else "",
            "destination_word": migration.destination_word if migration else "",
            "reason": migration.error.reason if migration else "", "seconds": round(time.monotonic() - begin, 2)}, tails


def record(flow):
    """{place: {point: [pass numbers after the migration began]}}: what a migration without a fault passes by."""
    with Run(flow=flow) as r:
        migration, _ = r.to_the_end()
        assert migration.phase == (M.PHASE_DONE if flow == "move" else M.PHASE_RETURNED), migration
        passed = {}
        for place in PLACES:
            for line in r.log(place)[r.passed[place]:]:
                point, number, _ = line.split()
                passed.setdefault(place, {}).setdefault(point, []).append(int(number[1:]))
        return passed


@functools.lru_cache(maxsize=None)
def points():
    """(flow, place, point, pass): each point of both flows once, at its first pass."""
    found, seen = [], set()
    for flow in ("move", "unwind"):
        for place, passed in record(flow).items():
            for point, numbers in passed.items():
                if (place, point) not in seen and not point.startswith("coordinator.event.progress"):
                    seen.add((place, point))
                    found.append((flow, place, point, numbers[0]))
    return found


def all_scenarios():
    return [Scenario(*point, kind) for point in points() for kind in KINDS[point[1]]]


def sample(every=1):
    """Each point with one kind, rotating; every `every`-th of them."""
    chosen = [Scenario(*point, KINDS[point[1]][i % len(KINDS[point[1]])]) for i, point in enumerate(points())]
    return chosen[::every]
