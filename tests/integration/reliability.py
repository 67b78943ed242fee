#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/reliability.md from a run of test_kills.py:

    LOCKSTEP_TEST_MODE=full LOCKSTEP_KILLS=kills.jsonl python3 -m pytest tests/integration/test_kills.py
    python3 tests/integration/reliability.py kills.jsonl > docs/reliability.md
"""
import collections
import json
import sys

KINDS = ("kill", "freeze", "cut", "source-vmm", "destination-vmm")
# Where an operator is waited for, and why the rules say so (docs/decision.md).
OPERATOR = {
    "LOST_AFTER_COMMIT": "rule 6: D committed, and what it had loaded is gone",
    "VMM_FAILED": "the VMM that should run the VM, or take it back, is dead",
    "VMM_ABSENT": "the VMM that should run the VM, or take it back, is dead",
    "ARC_FAILED": "rule 6: a start arc failed after COMMITTED, policy hold",
    "BAD_STATE": "a device is not where it can go on from: only a reset helps, and that loses its state",
    "LEDGER": "rule 10: a word could not be written",
}
PLACES = {"source": "Source agent", "destination": "Destination agent", "coordinator": "Coordinator"}
SHORT = {"died with its VMM": "VM lost with its VMM", "not reached": "not passed"}

HEAD = """# What happens when something dies

Generated: `tests/integration/reliability.py` made this page from a run of `tests/integration/test_kills.py`. It starts
both agents, the coordinator and two test VMMs on simulated hosts, all under a small service manager that plays systemd
(restart, fd store). To make it anew:

    LOCKSTEP_TEST_MODE=full LOCKSTEP_KILLS=/tmp/kills.jsonl \\
      /usr/bin/python3 -m pytest -p no:cacheprovider tests/integration/test_kills.py
    /usr/bin/python3 tests/integration/reliability.py /tmp/kills.jsonl > docs/reliability.md

Each run is one migration of a VM with two devices. When the process named by the section passes the fault point for
the first time (`lockstep-agent --faults`, `lockstepd --faults`; `common/fault.h`), one thing happens:

- **kill**: SIGKILL; the service manager starts it again at once.
- **freeze**: SIGSTOP until another process is seen to react, at most a second, then SIGCONT.
- **cut**: while it is stopped every connection between the agents is closed; new ones can be made.
- **source VMM**, **destination VMM**: while it is stopped that VMM is killed, and stays dead.

The end is judged by `tests/integration/judge.py`, which shares no code and no database with the daemons. It asks the
VMMs who runs and has every peer-to-peer write and all RAM verified, and reads when guest code ran from what the VMMs
wrote down themselves: two at once, for however short a time, is a violation. So is an end other than these:

- **moved**, **returned**, **refused**: the VM runs at the destination, or at the source, whole, and nowhere else;
- **VM lost with its VMM**: the VMM that had the VM was killed, nobody else may run it, and nobody does;
- **operator: REASON**: the migration waits for an operator, for a reason that the rules know.
"""


def cell(records):
    names = collections.Counter(SHORT.get(r["outcome"], r["outcome"]) for r in records)
    return " / ".join(f"**{name}**" if any(r["violation"] for r in records) else name for name in names) or ""


def table(records):
    kinds = [kind for kind in KINDS if any(r["kind"] == kind for r in records)]
    yield "| fault point | " + " | ".join(kind.replace("-vmm", " VMM") for kind in kinds) + " |"
    yield "| --- |" + " --- |" * len(kinds)
    rows = {}
    for r in records:
        rows.setdefault(r["point"], []).append(r)
    for point in sorted(rows):
        cells = [cell([r for r in rows[point] if r["kind"] == kind]) for kind in kinds]
        yield f"| `{point}` | " + " | ".join(cells) + " |"


def figures(records):
    yield "## Figures\n"
    bad = [r for r in records if r["violation"]]
    points = len({(r["place"], r["point"]) for r in records})
    yield f"{len(records)} runs, {points} fault points (those of both agents counted twice), {len(bad)} violations.\n"
    yield "| outcome | " + " | ".join(KINDS) + " |"
    yield "| --- |" + " --- |" * len(KINDS)
    for outcome in sorted({r["outcome"] for r in records}):
        counts = [sum(r["outcome"] == outcome and r["kind"] == kind for r in records) for kind in KINDS]
        yield f"| {SHORT.get(outcome, outcome)} | " + " | ".join(str(n or "") for n in counts) + " |"
    asked = sorted({r["reason"] for r in records if r["outcome"].startswith("operator: ")})
    if asked:
        yield "\nWhat an operator is asked for. Where the VMM that had the VM is dead the first cause may be another one:\n"
        yield "| reason | runs | why the rules say so |"
        yield "| --- | --- | --- |"
        for reason in asked:
            n = sum(r["outcome"] == f"operator: {reason}" for r in records)
            yield f"| {reason} | {n} | {OPERATOR.get(reason, 'a VMM was killed as well; this came first')} |"
    yield "\nThe longest time without a running VM, of runs that ended with one:\n"
    yield "| kind | ms | where |"
    yield "| --- | --- | --- |"
    for kind in KINDS:
        ended = [r for r in records if r["kind"] == kind and r["outcome"] in ("moved", "returned")]
        if ended:
            worst = max(ended, key=lambda r: r["dark_ms"])
            yield f"| {kind} | {worst['dark_ms']:.0f} | {worst['place']}, `{worst['point']}` |"
    yield "\nA freeze lasts up to 1000 ms itself. The longest run took " \
          f"{max(r['seconds'] for r in records):.0f} s from the first process to the verdict.\n"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    print(HEAD)
    print("\n".join(figures(records)))
    bad = [r for r in records if r["violation"]]
    if bad:
        print("## Violations\n")
        for r in bad:
            print(f"- {r['place']}, `{r['point']}`, {r['kind']}: {r['violation']}")
        print()
    for flow, title in (("move", "in a move"), ("unwind", "in an unwind: the destination refused an image")):
        for place, name in PLACES.items():
            mine = [r for r in records if (r["flow"], r["place"]) == (flow, place)]
            if mine:
                print(f"## {name}, {title}\n")
                print("\n".join(table(mine)) + "\n")


if __name__ == "__main__":
    main()
