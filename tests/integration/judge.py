# SPDX-License-Identifier: Apache-2.0
"""Who runs the VM, and is it whole? Asks the test VMMs alone; shares no code and no database with the daemons.

    judge.py --ask PROGRAM --events FILE HOST=CONTROL-SOCKET...

FILE: what VMMs testified, JSON lines {ns, pid, vm, event: running|paused}, and {ns, pid, event: dead} from whoever
buried one. All times are CLOCK_MONOTONIC of this machine. One line of JSON: {running: [HOST], whole, errors, overlaps:
[[pid, pid, ms]], dark_ms: longest time between two runs, open: did guest code run nowhere at the end}."""
import argparse
import json
import subprocess
import sys

FOREVER = 1 << 63


def intervals(events):
    """[(begin, end, pid)]: when guest code may have run."""
    runs, since = [], {}
    for event in sorted(events, key=lambda e: e["ns"]):
        pid = event["pid"]
        if event["event"] == "running":
            since.setdefault(pid, event["ns"])
        elif pid in since:
            runs.append((since.pop(pid), event["ns"], pid))
    return sorted(runs + [(begin, FOREVER, pid) for pid, begin in since.items()])


def overlaps(runs):
    """Pairs of VMMs whose guests ran at the same time, and for how long."""
    bad = []
    for i, (begin, end, pid) in enumerate(runs):
        for other_begin, other_end, other in runs[i + 1:]:
            if other != pid and other_begin < end:
                last = min(end, other_end)
                bad.append([pid, other, -1 if last == FOREVER else (last - max(begin, other_begin)) / 1e6])
    return bad


def darkness(runs):
    """The longest time between two runs, in ms."""
    longest, end = 0, None
    for begin, this_end, _ in runs:
        if end is not None:
            longest = max(longest, begin - end)
        end = this_end if end is None else max(end, this_end)
    return longest / 1e6


def ask(program, socket, command, limit=30):
    """A VMM's answer; None: nobody answers there."""
    try:
        done = subprocess.run([program, "--ask", socket, command], capture_output=True, text=True, timeout=limit)
        return json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ask", required=True)
    parser.add_argument("--events", required=True)
    parser.add_argument("host", nargs="+")
    args = parser.parse_args()
    sockets = dict(host.split("=", 1) for host in args.host)
    states = {host: (ask(args.ask, socket, "status") or {}).get("state") for host, socket in sockets.items()}
    running = [host for host, state in states.items() if state == "running"]
    errors, whole = [], bool(running)
    for host in running:
        report = ask(args.ask, sockets[host], "verify")
        if not report or not report["ok"]:
            whole = False
            errors += [f"{host}: {error}" for error in (report or {"errors": ["no report"]})["errors"]]
        for pair in (report or {"pairs": []})["pairs"]:
            if pair["sent"] != pair["received"] or pair["first_missing"]:
                whole = False
                errors.append(f"{host}: {pair}")
    with open(args.events, encoding="utf-8") as file:
        runs = intervals([json.loads(line) for line in file])
    json.dump({"running": running, "states": states, "whole": whole, "errors": errors, "overlaps": overlaps(runs),
               "dark_ms": darkness(runs), "open": not any(end == FOREVER for _, end, _ in runs)}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
