# SPDX-License-Identifier: Apache-2.0
"""Who runs the VM on two emulated hosts, and is it whole? Asks the test VMMs and the driver alone, and shares no code
with the daemons. When guest code ran is told by the VMMs' own lines, by this machine's clock when each came: a
running VMM is believed from its line on, a stopped one until its line, so two that ran at once for less than a line
takes to come (a few ms) would not be seen; two that stay are."""
import dataclasses
import json

import judge
from guests import LostHost


@dataclasses.dataclass
class Verdict:
    running: list      # hosts
    states: dict       # host -> what its VMM says it is; None: nobody answers
    devices: dict      # host -> {device: state}; None: the host is off
    errors: list       # what verification found
    overlaps: list
    dark_ms: float     # the longest time between two runs

    @property
    def whole(self):
        return bool(self.running) and not self.errors


def testimony(stack):
    """What VMMs said, and when; an ended one is dead."""
    events = []
    for number, process in enumerate(p for p in stack.processes if p.name.startswith("vmm-")):
        for ns, line in zip(process.times, process.out):
            event = line.split()[0].removeprefix("vmm.") if line else ""
            if event in ("running", "paused"):
                events.append({"ns": ns, "pid": number, "event": event})
        if process.ended_ns:
            events.append({"ns": process.ended_ns, "pid": number, "event": "dead"})
    return events


def asked(host, command):
    try:
        return json.loads(host.ask(command))
    except (ValueError, AssertionError, OSError, LostHost):
        return None


def damage(report):
    """What a VMM's verification found; [] if nothing was lost."""
    if not report:
        return ["no report"]
    errors = [] if report["ok"] else list(report["errors"] or ["not ok"])
    for pair in report["pairs"]:
        if pair["sent"] != pair["received"] or pair["first_missing"]:
            errors.append(f"{pair['from']} to {pair['to']}: {pair}")
    return errors


def look(stack):
    hosts = {host.name: host for host in (stack.a, stack.b)}
    states, devices, errors = {}, {}, []
    for name, host in hosts.items():
        states[name] = (asked(host, "status") or {}).get("state")
        try:
            devices[name] = host.states()
        except (OSError, AssertionError, LostHost):
            devices[name] = None
    running = [name for name, state in states.items() if state == "running"]
    for name in running:
        errors += [f"{name}: {error}" for error in damage(asked(hosts[name], "verify"))]
    runs = judge.intervals(testimony(stack))
    return Verdict(running, states, devices, errors, judge.overlaps(runs), judge.darkness(runs))


INITIATES, DEAF = {"RUNNING", "PRE_COPY"}, {"ERROR", "STOP", "STOP_COPY", "RESUMING"}


def wrong(verdict, runs_at, lost=(), hangs=None):
    """Why this is not the end that it should be: the VM runs at `runs_at` (a host's name; None: nowhere) and is whole
    but for the devices `lost`, whose state is gone. Where it runs every device does; where it does not none may start a
    transfer that another would lose, whatever the one that `hangs` does."""
    bad = [f"two ran at once: {overlap}" for overlap in verdict.overlaps]
    if verdict.running != ([runs_at] if runs_at else []):
        bad.append(f"it runs at {verdict.running}, not at {runs_at}: {verdict.states}")
    bad += [error for error in verdict.errors if not any(name in error for name in lost)]
    for host, devices in verdict.devices.items():
        others = {name: state for name, state in (devices or {}).items() if name != hangs and name not in lost}
        if host == runs_at and not hangs and set(others.values()) != {"RUNNING"}:
            bad.append(f"{host} runs it with {devices}")
        busy = verdict.states[host] is not None and verdict.states[host] != "incoming"
        if busy and INITIATES & set(others.values()) and DEAF & set(others.values()):
            bad.append(f"{host}: one would lose what another sends: {devices}")
    return bad
