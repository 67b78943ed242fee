# SPDX-License-Identifier: Apache-2.0
"""Who runs the VM, and is it whole? Asks the test VMMs and the simulated hardware alone; shares no code and no database
with the daemons.

    judge.py --ask VMM-PROGRAM --simhost HARDWARE-PROGRAM --events FILE HOST=CONTROL,HARDWARE,LIVE,DEVICE...[ HOST=...]

FILE: what VMMs testified, JSON lines {ns, pid, vm, event: running|paused}, and {ns, pid, event: dead} from whoever
buried one. LIVE: what the host's hardware testified, {ns, device, event: live|quiet}: could the device start transfers?
All times are CLOCK_MONOTONIC of this machine. The answer is one line of JSON:

    running, states   hosts whose VMM says that the VM runs there; what each VMM said
    whole, errors     is a VM that runs as it was: RAM, device memory, every peer-to-peer write, every device
                      RUNNING, and none that could transfer on any other host
    overlaps          [[pid, pid, ms]]: VMMs whose guests ran at the same time
    devices, live     state of each device of each host; those that could transfer now
    live_overlaps     [[host, host, ms]]: hosts whose devices could transfer at the same time
    dark_ms, open     longest time between two runs; did guest code run nowhere at the end"""
import argparse
import json
import os
import subprocess
import sys

FOREVER = 1 << 63
RUNNING = "2"     # a device's state, as the hardware numbers it


def intervals(events, key="pid", begin="running"):
    """[(begin, end, who)]: when guest code, or a device, may have run."""
    runs, since = [], {}
    for event in sorted(events, key=lambda e: e["ns"]):
        who = event[key]
        if event["event"] == begin:
            since.setdefault(who, event["ns"])
        elif who in since:
            runs.append((since.pop(who), event["ns"], who))
    return sorted(runs + [(start, FOREVER, who) for who, start in since.items()])


def overlaps(runs):
    """Pairs of different ones that ran at the same time, and for how long."""
    bad = []
    for i, (begin, end, who) in enumerate(runs):
        for other_begin, other_end, other in runs[i + 1:]:
            if other != who and other_begin < end:
                last = min(end, other_end)
                bad.append([who, other, -1 if last == FOREVER else (last - max(begin, other_begin)) / 1e6])
    return bad


def darkness(runs):
    """The longest time between two runs, in ms."""
    longest, end = 0, None
    for begin, this_end, _ in runs:
        if end is not None:
            longest = max(longest, begin - end)
        end = this_end if end is None else max(end, this_end)
    return longest / 1e6


def testimony(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def ask(program, socket, command, limit=30):
    """A VMM's answer; None: nobody answers there."""
    try:
        done = subprocess.run([program, "--ask", socket, command], capture_output=True, text=True, timeout=limit)
        return json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None


def device(program, socket, name):
    """What the hardware says of a device."""
    done = subprocess.run([program, "counters", socket, name], capture_output=True, text=True, timeout=30, check=True)
    return dict(word.split("=") for word in done.stdout.split())


def closed(program, socket, name):
    """A dead VMM's device is reset when the last holder of it is gone; that is waited for, not for long."""
    try:
        subprocess.run([program, "debug", socket, name, "wait-closed"], timeout=5, check=False, capture_output=True)
    except subprocess.TimeoutExpired:
        pass


class Host:
    def __init__(self, args, text):
        self.args = args
        self.name, rest = text.split("=", 1)
        self.control, self.hardware, self.testimony, *self.names = rest.split(",")
        self.state = (ask(args.ask, self.control, "status") or {}).get("state")

    def look(self):
        self.devices = {name: device(self.args.simhost, self.hardware, name) for name in self.names}
        if self.state is None:
            for name in self.live():
                closed(self.args.simhost, self.hardware, name)
                self.devices[name] = device(self.args.simhost, self.hardware, name)

    def live(self):
        return [name for name, said in self.devices.items() if said["live"] == "1"]

    def verify(self):
        """What is wrong with the VM that runs here."""
        report = ask(self.args.ask, self.control, "verify")
        errors = list(report["errors"]) if report else ["no report"]
        if report and not report["ok"] and not errors:
            errors.append("not well, and does not say why")
        for pair in report["pairs"] if report else []:
            if pair["sent"] != pair["received"] or pair["first_missing"]:
                errors.append(str(pair))
        return errors

    def at_work(self):
        """Which devices of the VM that runs here do not."""
        return [f"{name}: state {said['state']}, {'live' if said['live'] == '1' else 'quiet'}"
                for name, said in self.devices.items() if said["state"] != RUNNING or said["live"] != "1"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ask", required=True)
    parser.add_argument("--simhost", required=True)
    parser.add_argument("--events", required=True)
    parser.add_argument("host", nargs="+")
    args = parser.parse_args()
    hosts = [Host(args, text) for text in args.host]
    running = [host for host in hosts if host.state == "running"]
    errors = [f"{host.name}: {error}" for host in running for error in host.verify()]
    for host in hosts:
        host.look()
    errors += [f"{host.name}: {error}" for host in running for error in host.at_work()]
    errors += [f"{host.name}: the VM runs elsewhere, and {name} could transfer here"
               for host in hosts if running and host not in running for name in host.live()]
    runs = intervals(testimony(args.events))
    live = sorted(run[:2] + (host.name,) for host in hosts
                  for run in intervals(testimony(host.testimony), "device", "live"))
    json.dump({"running": [host.name for host in running], "states": {host.name: host.state for host in hosts},
               "whole": bool(running) and not errors, "errors": errors, "overlaps": overlaps(runs),
               "devices": {host.name: {name: int(said["state"]) for name, said in host.devices.items()}
                           for host in hosts},
               "live": {host.name: host.live() for host in hosts}, "live_overlaps": overlaps(live),
               "dark_ms": darkness(runs), "open": not any(end == FOREVER for _, end, _ in runs)}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
