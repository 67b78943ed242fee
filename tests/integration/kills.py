# SPDX-License-Identifier: Apache-2.0
"""One migration with a process killed, frozen or cut off, or a VMM dead or frozen, at one pass of a fault point."""
import contextlib
import dataclasses
import datetime
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time

import messages
from client import Client
from faultlog import FaultLog
from flows import FLOWS
from frames import Proxy
from processes import LIMIT, binary, build_dir, sanitizer
from stack import VM, Stack
from verdict import outcome

M = messages.migration
SLOW = 4 if sanitizer() else 1
END_S = 45 * SLOW              # the coordinator itself waits 30 s for a silent destination
REACTION_S = 1.0               # how long a freeze lasts if nobody is seen to react to it
VMM_MS = 8000 * SLOW           # how long an agent waits for a VMM
LATE_S = 10 * SLOW             # a point that is passed after the end is passed by then
HERE = os.path.dirname(os.path.abspath(__file__))
PLACES = ("source", "destination", "coordinator")


@dataclasses.dataclass(frozen=True)
class Scenario:
    flow: str      # flows.py
    place: str     # whose fault point it is
    point: str
    number: int    # at which pass
    kind: str      # what happens there

    def __str__(self):
        return f"{self.flow}/{self.place}/{self.point}#{self.number}/{self.kind}"


class Run:
    """A stack under the service manager, with its evidence."""

    def __init__(self, scenario=None, flow="move"):
        self.scenario = scenario
        self.flow = FLOWS[scenario.flow if scenario else flow]
        self.changed = threading.Condition(threading.RLock())
        self.said = {}           # process name -> lines so far
        self.stack = Stack(types=self.flow.types, rate=2000, latency_ms=1, managed=True)
        self.stack.on_line = self.hear
        self.hosts = {"source": self.stack.a, "destination": self.stack.b}
        self.owner = {**self.hosts, "coordinator": self.stack}
        self.events = self.stack.folder("vmm.events")
        self.proxies = {}
        self.client = None
        self.logs = {place: self.lives(place) for place in PLACES}
        for place, host in self.hosts.items():
            host.vmm_env = {"LOCKSTEP_VMM_EVENTS": self.events}
            host.simhost_env = {"LOCKSTEP_SIM_EVENTS": self.stack.folder(f"{place}.live")}
            host.extra_agent_config = f"[vm {VM}]\nadapter = native\ntimeout_ms = {VMM_MS}\n"
        if scenario and scenario.kind.startswith("cut"):
            self.put_proxies()
        self.flow.options(self)

    def lives(self, place):
        """A log for each life of the place's process up to the one that is struck, and its orders."""
        deaths = self.flow.again.get(place, ())
        orders = [f"{point}=kill" for point in deaths] + [self.flow.orders.get(place, "")]
        if self.scenario and self.scenario.place == place:
            action = "kill" if self.scenario.kind == "kill" else "stop"
            mine = f"{self.scenario.point}#{self.scenario.number}={action}"
            orders[-1] = ",".join(filter(None, (orders[-1], mine)))
        logs = [FaultLog(self.stack.folder(f"{place}.faults.{i}"), self.changed) for i in range(len(orders))]
        self.owner[place].first_env = [{"LOCKSTEP_FAULT_LOG": log.path, **({"LOCKSTEP_FAULT": order} if order else {})}
                                       for log, order in zip(logs, orders)]
        return logs

    def put_proxies(self):
        for place, host in self.hosts.items():
            self.proxies[place] = Proxy(host.listen)
            self.proxies[f"{place}.stream"] = Proxy(host.stream)
            host.reached_at = self.proxies[place].address
            host.stream_as_told = self.proxies[f"{place}.stream"].address

    def __enter__(self):
        try:
            self.stack.start()
            self.stack.boot()
            self.wait_surveyed()
            self.flow.begin(self.stack)
            self.before = {place: len(logs[-1].passes()[:logs[-1].mark()]) for place, logs in self.logs.items()}
            spec = self.stack.spec(deadline_ms=5000 * SLOW, hold=self.flow.hold)
            self.client = Client(self, spec)
        except BaseException:
            self.stop()
            raise
        return self

    def wait_surveyed(self):
        """Each agent looks at the devices of a VMM that has come: that is not to be counted with the migration."""
        last = ("agent.vmm.answer.return", 1)
        for place in self.hosts:
            with self.changed:
                log = self.logs[place][0]
                assert self.changed.wait_for(lambda log=log: last in log.passes(), LIMIT), log.lines

    def __exit__(self, kind, value, trace):
        self.stop()

    def stop(self):
        with contextlib.ExitStack() as last:
            for logs in self.logs.values():
                for log in logs:
                    last.callback(log.close)
            last.callback(self.stack.stop, signal.SIGKILL)   # one that waits for an operator would not end
            for proxy in self.proxies.values():
                last.callback(proxy.close)
            if self.client:
                last.callback(self.client.close)

    def hear(self, process):
        with self.changed:
            self.said[process.name] = self.said.get(process.name, 0) + 1
            self.changed.notify_all()

    # ---- the fault ----

    @property
    def struck_log(self):
        return self.logs[self.scenario.place][-1]

    def announced(self):
        return self.struck_log.acted(self.scenario.point, self.scenario.number)

    @property
    def service(self):
        owner = self.owner[self.scenario.place]
        return owner.coordinator_service if self.scenario.place == "coordinator" else owner.agent_service

    def wait_reaction(self, *frozen):
        """Until another process than these says something, at most REACTION_S."""
        def heard():
            return sum(n for name, n in self.said.items() if name not in [process.name for process in frozen])
        with self.changed:
            quiet = heard()
            self.changed.wait_for(lambda: heard() != quiet, REACTION_S)

    def strike(self):
        """The fault point has been reached: what happens there."""
        kind, place = self.scenario.kind, self.scenario.place
        self.service.wait_starts(len(self.logs[place]))   # it may have got there before its start was told
        if kind == "kill":
            if self.service.restart != "no":
                self.service.wait_starts(len(self.logs[place]) + 1)
            return
        process = self.service.process
        process.wait_frozen()
        if kind == "freeze":
            self.wait_reaction(process)
        elif kind == "vmm-freeze":
            vmm = self.hosts[place].vmm
            if vmm.alive():
                vmm.freeze()
            process.thaw()
            self.wait_reaction(process, vmm)
            vmm.thaw()
        elif kind.endswith("-vmm"):
            self.bury(self.hosts[kind[:-4]])
        else:
            self.cut(kind, place)
        process.thaw()

    def cut(self, kind, place):
        if kind == "cut":
            names = [f"{host}.stream" for host in self.hosts]
        else:
            names = [place if kind == "cut-coordinator" else kind[4:]]
        for name in names:
            for connection in list(self.proxies[name].connections):
                connection.close()

    def bury(self, host):
        host.vmm.kill()
        with open(self.events, "a", encoding="ascii") as file:
            json.dump({"ns": time.monotonic_ns(), "pid": host.vmm.pid, "event": "dead"}, file)
            file.write("\n")

    def crashed(self):
        """Processes that ended otherwise than asked to, and that nobody killed."""
        killed = sum(len(deaths) for deaths in self.flow.again.values()) + (self.scenario.kind == "kill")
        ended = [p for p in self.stack.processes if p.popen.poll() not in (None, 0)]
        daemons = [p for p in ended if not p.name.startswith("vmm-") and p.popen.poll() != -signal.SIGKILL]
        kills = [p for p in ended if not p.name.startswith("vmm-") and p.popen.poll() == -signal.SIGKILL]
        vmms = [p for p in ended if p.name.startswith("vmm-") and p.popen.poll() != -signal.SIGKILL]
        return [f"{p.name}: {p.popen.poll()}" for p in daemons + vmms + kills[killed:]]

    # ---- the end ----

    def to_the_end(self):
        """The migration as it ended, or as it was when patience did; was the fault point reached?"""
        end, struck = time.monotonic() + END_S, self.scenario is None
        with self.changed:
            if not struck:
                self.changed.wait_for(lambda: self.announced() or self.client.ended, END_S)
                struck = self.announced() or self.changed.wait_for(self.announced, LATE_S)
        if struck and self.scenario:
            self.strike()
        with self.changed:
            self.changed.wait_for(lambda: self.client.ended, max(0, end - time.monotonic()))
        if self.client.error:
            raise self.client.error
        return self.client.view, struck

    def judge(self):
        argv = [sys.executable, os.path.join(HERE, "judge.py"), "--ask", binary("lockstep-testvmm"), "--simhost",
                binary("lockstep-simhost"), "--events", self.events]
        for place, host in self.hosts.items():
            live = self.stack.folder(f"{place}.live")
            argv.append(",".join([f"{place}={host.path('control')}", host.path("hw"), live, *host.devices]))
        done = subprocess.run(argv, capture_output=True, text=True, timeout=90 * SLOW)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def passed(self, place):
        """[(point, number)] since the migration began, in the life that is struck."""
        return self.logs[place][-1].passes()[self.before[place]:]


@functools.lru_cache(maxsize=None)
def source():
    """What was built: its commit, with + where the daemons' code differs from it."""
    with open(os.path.join(build_dir(), "CMakeCache.txt"), encoding="utf-8") as cache:
        home = next(line.split("=", 1)[1].strip() for line in cache if line.startswith("CMAKE_HOME_DIRECTORY:"))

    def git(*args):
        return subprocess.run(["git", "-C", home, *args], capture_output=True, text=True, check=False).stdout.strip()
    changed = git("status", "--porcelain", "--untracked-files=no", "agent", "coordinator", "common", "proto")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("+" if changed else "")


def run(scenario):
    """The record of one run, `violation` None where the rules were kept; and the processes' last lines if not."""
    begin = time.monotonic()
    with Run(scenario) as r:
        migration, struck = r.to_the_end()
        verdict = r.judge()
        what, violation = outcome(scenario, migration, struck, verdict, r.crashed())
        tails = r.stack.tails() + f"\n{verdict}" if violation else ""
        reached = sorted({point for place in PLACES for log in r.logs[place] for point, _ in log.passes()})
    return {**dataclasses.asdict(scenario), "outcome": what, "violation": violation,
            "dark_ms": round(verdict["dark_ms"], 1),
            "source_word": migration.source_word if migration else "",
            "destination_word": migration.destination_word if migration else "",
            "reason": migration.error.reason if migration else "", "seconds": round(time.monotonic() - begin, 2),
            "commit": source(), "date": datetime.date.today().isoformat()}, tails, reached


def record(flow):
    """{place: {point: [pass numbers after the migration began]}}: what a migration passes by when nothing strikes."""
    with Run(flow=flow) as r:
        migration, _ = r.to_the_end()
        what, violation = outcome(Scenario(flow, "none", "none", 0, "none"), migration, True, r.judge())
        assert what == FLOWS[flow].ends and not violation, f"{flow}: {what}: {violation}\n{r.stack.tails()}"
        with r.changed:
            for place, point in FLOWS[flow].late.items():
                assert r.changed.wait_for(lambda p=place, q=point: q in dict(r.passed(p)), LATE_S), point
        passed = {}
        for place in PLACES:
            for point, number in r.passed(place):
                passed.setdefault(place, {}).setdefault(point, []).append(number)
        return passed


@functools.lru_cache(maxsize=None)
def points():
    """[(flow, place, point, passes)]: each point in the first flow that passes it: its first pass, and its second."""
    found, seen = [], set()
    for flow in FLOWS:
        for place, passed in record(flow).items():
            for point, numbers in passed.items():
                if (place, point) not in seen and point not in FLOWS[flow].unsure:
                    seen.add((place, point))
                    sure = 1 if f"{point} again" in FLOWS[flow].unsure else 2
                    found.append((flow, place, point, numbers[:sure]))
    return found


def all_scenarios():
    """The first pass of each point with every kind; the second with those that strike the process itself or a peer."""
    return [Scenario(flow, place, point, number, kind) for flow, place, point, numbers in points()
            for number in numbers for kind in FLOWS[flow].kinds(place)
            if number == numbers[0] or kind in ("kill", "freeze", "cut", "cut-source", "cut-destination")]


def sample():
    """Each point killed, frozen or cut off in turn; every fourth with another kind as well; second passes in turn."""
    chosen = []
    for i, (flow, place, point, numbers) in enumerate(points()):
        kinds = FLOWS[flow].kinds(place)
        plain = [kind for kind in kinds if kind in ("kill", "freeze") or kind.startswith("cut")]
        other = [kind for kind in kinds if kind not in plain]
        chosen.append(Scenario(flow, place, point, numbers[i // len(plain) % len(numbers)], plain[i % len(plain)]))
        if i % 4 == 0 and other:
            chosen.append(Scenario(flow, place, point, numbers[0], other[i // 4 % len(other)]))
    return chosen
