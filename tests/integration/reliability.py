#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/reliability.md from the records of test_kills.py, of one run or of several:

    LOCKSTEP_TEST_MODE=full LOCKSTEP_KILLS=kills.jsonl python3 -m pytest tests/integration/test_kills.py
    python3 tests/integration/reliability.py kills.jsonl... > docs/reliability.md
"""
import collections
import json
import sys

from flows import FLOWS
from verdict import NEVER, OPERATOR

KINDS = {"kill": "kill", "freeze": "freeze", "cut": "cut: agents", "cut-coordinator": "cut: coordinator",
         "cut-source": "cut: source", "cut-destination": "cut: destination", "source-vmm": "source VMM",
         "destination-vmm": "destination VMM", "vmm-freeze": "VMM frozen"}
PLACES = {"source": "Source agent", "destination": "Destination agent", "coordinator": "Coordinator"}
REASONS = {**OPERATOR, "CONFLICT": "the fenced destination had committed: it starts nothing, says so, and the VM runs at "
                                   "the source"}
SHORT = {"died with its VMM": "VM lost with its VMM"}

HEAD = """# What happens when something dies

Generated: `tests/integration/reliability.py` made this page from {files} of records, which
`tests/integration/test_kills.py` wrote:

{commits}

That test starts both agents, the coordinator and two test VMMs on simulated hosts, all under a small service manager
that plays systemd (restart, fd store). To make the page anew:

    LOCKSTEP_TEST_MODE=full LOCKSTEP_KILLS=/tmp/kills.jsonl \\
      /usr/bin/python3 -m pytest -p no:cacheprovider tests/integration/test_kills.py
    /usr/bin/python3 tests/integration/reliability.py /tmp/kills.jsonl > docs/reliability.md

`LOCKSTEP_SHARD=I/N` makes the I-th N-th of it, and `reliability.py` takes several files, oldest first. A cell that
is empty was not run.

Each run is one migration of a VM with two devices. When the process named by the section passes the fault point
(`lockstep-agent --faults`, `lockstepd --faults`; `common/fault.h`) for the first time after the migration began, and in
another run for the second time (`#2`, if the first was 1), one thing happens:

- **kill**: SIGKILL; the service manager starts it again at once.
- **freeze**: SIGSTOP until another process is seen to react, at most a second, then SIGCONT.
- **cut**: while it is stopped every connection is closed between the agents, or between the agent and the coordinator,
  or, at the coordinator's points, between it and the agent named; new ones can be made.
- **source VMM**, **destination VMM**: while it is stopped that VMM is killed, and stays dead.
- **VMM frozen**: its own host's VMM is stopped as in a freeze, while the agent goes on.

The end is judged by `tests/integration/judge.py`, which shares no code and no database with the daemons. It asks the
VMMs who runs and has every peer-to-peer write and all RAM verified, asks the simulated hardware for each device's
state, and reads when guest code ran, and when devices could start transfers, from what VMMs and hardware wrote down
themselves. Violations are: two VMMs that run, or devices of both hosts that can transfer, at once and for however short
a time; a device of the VM that runs which does not, or of the other host which could; anything lost or changed; a fault
point that was not passed; and an end other than these:

- **moved**, **returned**, **refused**: the VM runs at the destination, or at the source, whole, and nowhere else; where
  the fault was the coordinator's, only as the migration would have ended without it;
- **VM lost with its VMM**: the VMM that had the VM was killed, nobody else may run it, and nobody does;
- **operator: REASON**: the migration waits for an operator, where a VMM was killed, for one of the reasons below.
"""


def short(outcome):
    return SHORT.get(outcome, outcome)


def cell(records):
    names = collections.Counter(short(r["outcome"]) for r in records)
    return " / ".join(f"**{name}**" if any(r["violation"] for r in records) else name for name in names) or ""


def table(records):
    kinds = [kind for kind in KINDS if any(r["kind"] == kind for r in records)]
    yield "| fault point | " + " | ".join(KINDS[kind] for kind in kinds) + " |"
    yield "| --- |" + " --- |" * len(kinds)
    rows = {}
    for r in records:
        rows.setdefault((r["point"], r["number"]), []).append(r)
    for (point, number), row in sorted(rows.items()):
        name = f"`{point}`" + (f" #{number}" if number > 1 else "")
        yield f"| {name} | " + " | ".join(cell([r for r in row if r["kind"] == kind]) for kind in kinds) + " |"


def counts(records):
    kinds = [kind for kind in KINDS if any(r["kind"] == kind for r in records)]
    yield "Runs, by what happened and how they ended:\n"
    yield "| outcome | " + " | ".join(KINDS[kind] for kind in kinds) + " | all |"
    yield "| --- |" + " --- |" * (len(kinds) + 1)
    for outcome in sorted({r["outcome"] for r in records}):
        mine = [sum(r["outcome"] == outcome and r["kind"] == kind for r in records) for kind in kinds]
        yield f"| {short(outcome)} | " + " | ".join(str(n or "") for n in [*mine, sum(mine)]) + " |"
    mine = [sum(r["kind"] == kind for r in records) for kind in kinds]
    yield "| all | " + " | ".join(map(str, mine)) + f" | {len(records)} |"
    yield "\nBy whose fault point it was:\n"
    yield "| place | " + " | ".join(KINDS[kind] for kind in kinds) + " |"
    yield "| --- |" + " --- |" * len(kinds)
    for place, name in PLACES.items():
        mine = [sum(r["place"] == place and r["kind"] == kind for r in records) for kind in kinds]
        yield f"| {name} | " + " | ".join(str(n or "") for n in mine) + " |"


def reasons(records):
    asked = sorted({r["reason"] for r in records if r["outcome"].startswith("operator: ")})
    if asked:
        yield "\nWhat an operator is asked for:\n"
        yield "| reason | runs | why |"
        yield "| --- | --- | --- |"
        for reason in asked:
            n = sum(r["outcome"] == f"operator: {reason}" for r in records)
            yield f"| {reason} | {n} | {REASONS.get(reason, '**none**')} |"


def darkness(records):
    yield "\nThe longest time without a running VM, of runs that ended with one, by what happened and how it ended:\n"
    yield "| outcome | kind | runs | median ms | longest ms | where |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for outcome in ("moved", "returned", "refused"):
        for kind in KINDS:
            mine = [r for r in records if (r["kind"], r["outcome"]) == (kind, outcome)]
            mine.sort(key=lambda r: r["dark_ms"])
            if mine:
                worst = mine[-1]
                yield (f"| {outcome} | {KINDS[kind]} | {len(mine)} | {mine[len(mine) // 2]['dark_ms']:.0f} | "
                       f"{worst['dark_ms']:.0f} | {worst['place']}, `{worst['point']}`, {FLOWS[worst['flow']].title} |")
    ended = [r for r in records if r["outcome"] in ("moved", "returned", "refused")]
    if ended:
        worst = max(ended, key=lambda r: r["dark_ms"])
        yield (f"\nOf all: {worst['dark_ms']:.0f} ms, {KINDS[worst['kind']]}, {worst['outcome']}. A freeze lasts up to "
               "1000 ms itself, and where an operator decides, the time until then is in it. Runs share the machine with "
               "each other and with what else it does: these are upper bounds, no benchmark.")
    yield f"\nThe longest run took {max(r['seconds'] for r in records):.0f} s from the first process to the verdict."


def figures(records):
    bad = [r for r in records if r["violation"]]
    points = len({(r["place"], r["point"]) for r in records})
    yield "## Figures\n"
    yield (f"{len(records)} runs, {points} fault points (those of both agents counted twice), "
           f"{sum(r['number'] > 1 for r in records)} runs at a later pass than the first, {len(bad)} violations.\n")
    yield from counts(records)
    yield from reasons(records)
    yield from darkness(records)
    if bad:
        yield "\n## Violations\n"
        for r in bad:
            yield f"- {r['flow']}, {r['place']}, `{r['point']}` #{r['number']}, {r['kind']}: {r['violation']}"


NOT_HERE = """
## Not in these runs

- Third and later passes; two faults at once, but those of the second lives, fences and losses above.
- Cuts that last (`test_resolve_whole.py` has some), and of a VMM's socket alone: a VMM's death and freeze stand for it.
- VMMs dead or frozen at the coordinator's points; simulated hardware that dies.
- Real kernels, hosts that lose power, arcs that fail or hang: `tests/kernel`. Disks that fail or lose power:
  `tests/unit`. Any fault at any event, on simulated time: `tests/sim`.
"""


def commits(records):
    """The runs of each commit, in the order in which they were made."""
    for commit in dict.fromkeys(r["commit"] for r in records):
        mine = [r for r in records if r["commit"] == commit]
        points = len({(r["place"], r["point"]) for r in mine})
        dates = " and ".join(sorted({r["date"] for r in mine}))
        bad = sum(bool(r["violation"]) for r in mine)
        yield f"- commit `{commit}`, {dates}: {len(mine)} runs at {points} points, {bad} violations"


def never():
    yield "## Points that no run passes\n"
    yield "The test verifies that these are all, and that nothing passes them.\n"
    yield "| fault point | why |"
    yield "| --- | --- |"
    for point, why in sorted(NEVER.items()):
        yield f"| `{point}` | {why} |"


def main():
    records = []
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            records += [json.loads(line) for line in file]
    files = "one file" if len(sys.argv) == 2 else f"{len(sys.argv) - 1} files"
    print(HEAD.format(files=files, commits="\n".join(commits(records))))
    print("\n".join(figures(records)))
    for flow, what in FLOWS.items():
        for place, name in PLACES.items():
            mine = [r for r in records if (r["flow"], r["place"]) == (flow, place)]
            if mine:
                print(f"\n## {name}, {what.title}\n")
                print("\n".join(table(mine)))
    print()
    print("\n".join(never()))
    print(NOT_HERE, end="")


if __name__ == "__main__":
    main()
