# SPDX-License-Identifier: Apache-2.0
"""K3's invariant, from the agents' own timestamps: on one host, no device that may start peer-to-peer writes
while another would lose them. What an arc may already have done, or may not have done yet, counts against it."""
from dataclasses import dataclass

ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P = range(8)
INITIATES = {RUNNING, PRE_COPY}
DEAF = {ERROR, STOP, STOP_COPY, RESUMING}
EVER = 1 << 63


@dataclass
class Arc:
    device: str
    begin: int
    end: int
    origin: int
    target: int     # where the device was afterwards
    meant: int      # where it was to go


def arcs(migration, host, messages):
    """Every device's arcs on that host, in time order."""
    found = {}
    for step in migration.step:
        if step.host != host or not step.device or step.step.kind not in (messages.STEP_ARC, messages.STEP_LOAD):
            continue
        target = step.step.target if step.step.kind == messages.STEP_ARC else STOP
        found.setdefault(step.device, []).append(
            Arc(step.device, step.begin_ns, step.end_ns or EVER, step.from_state,
                step.from_state if step.errno_value else target, target))
    for line in found.values():
        line.sort(key=lambda arc: arc.begin)
        for arc, following in zip(line, line[1:]):
            arc.target = following.origin
    return found


def spans(line, states, untouched_before=0):
    """When the device may have been in one of `states`: from the begin of an arc that enters (or passes) them to the
    end of the one that leaves."""
    result = []
    previous_end = untouched_before
    for arc in line:
        if arc.origin in states:
            result.append((previous_end, arc.end))
        elif arc.target in states or arc.meant in states:
            result.append((arc.begin, arc.end))
        previous_end = arc.begin if arc.target in states else arc.end
    if line and line[-1].target in states:
        result.append((line[-1].begin, EVER))
    return result


def violations(lines, fresh_until=None):
    """Pairs that overlap. `fresh_until`: device -> time up to which it is opened or reset and not touched by its VM, so
    that it starts nothing (a destination's device before its image is loaded)."""
    bad = []
    for name, line in lines.items():
        fresh = (fresh_until or {}).get(name, 0)
        for begin, end in spans(line, INITIATES):
            begin = max(begin, fresh)
            if begin >= end:
                continue
            for other, theirs in lines.items():
                if other == name:
                    continue
                bad += [(name, other, begin, end, b, e) for b, e in spans(theirs, DEAF) if begin < e and b < end]
    return bad
