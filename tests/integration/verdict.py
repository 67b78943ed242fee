# SPDX-License-Identifier: Apache-2.0
"""What a run came to, and whether the rules allow it (docs/decision.md)."""
import messages
from flows import FLOWS

M = messages.migration

# Why an operator may be waited for: the VMM that should run the VM, or take it back, was killed, and nothing else was.
OPERATOR = {"VMM_FAILED": "the VMM that should run the VM, or take it back, failed when it was asked to: it is dead",
            "VMM_ABSENT": "the VMM that should run the VM, or take it back, is not there any more"}
# Fault points that no run passes, and why. One that is passed all the same is a violation.
NEVER = {
    "agent.word.known.ACTIVE": "the first word is known when Prepare is: agent.prepare.done",
    "agent.word.known.UNDECIDED": "the first word is known when Prepare is: agent.prepare.done",
    "agent.job.before.other": "the name of a job that does not exist",
    "agent.job.after.other": "the name of a job that does not exist",
    "agent.job.before.ERROR": "no schedule asks a device to go into ERROR",
    "agent.job.after.ERROR": "no schedule asks a device to go into ERROR",
    "agent.vmm.ask.other": "the name of a request that does not exist",
    "agent.vmm.answer.other": "the name of a request that does not exist",
    "agent.peer.send.other": "the name of a message that does not exist",
    "agent.peer.sent.other": "the name of a message that does not exist",
    "agent.peer.receive.other": "a message that does not exist is refused before it gets there",
    "coordinator.call.before.unwind.destination": "a destination is told to settle",
    "coordinator.call.after.unwind.destination": "a destination is told to settle",
    "coordinator.call.before.settle.source": "a source is told to unwind",
    "coordinator.call.after.settle.source": "a source is told to unwind",
    "agent.ended.other": "the name of an end that does not exist",
}


def outcome(scenario, migration, struck, verdict, crashed=()):
    """(what happened, why that is a violation or None)"""
    running = verdict["running"]
    if verdict["overlaps"] or len(running) > 1:
        return "two run", f"two ran at once: {verdict['overlaps']}"
    if verdict["live_overlaps"]:
        return "devices on both sides", f"devices could transfer on both sides: {verdict['live_overlaps']}"
    if crashed:
        return "crashed", f"ended by themselves: {crashed}"
    if not struck:
        return "not reached", f"the fault point was not passed; {words(migration)}"
    if migration is None or migration.phase < M.PHASE_DONE:
        phase = M.Phase.Name(migration.phase) if migration else "no answer"
        return "no end", f"no end in time: {phase}, {words(migration)}; running: {running}"
    if running and not verdict["whole"]:
        return "damaged", "; ".join(verdict["errors"])[:300]
    return end(scenario, migration, verdict)


def end(scenario, migration, verdict):
    running, phase, reason = verdict["running"], M.Phase.Name(migration.phase)[6:], migration.error.reason
    vmm_died = scenario.kind in ("source-vmm", "destination-vmm")
    if f"{phase.lower()}: {reason}" == FLOWS[scenario.flow].ends:
        wrong = running != ["source"] and not vmm_died
        return f"operator: {reason}", f"the VM runs at {running or 'neither host'}" if wrong else None
    if phase == "OPERATOR":
        known = reason in OPERATOR and vmm_died
        return f"operator: {reason}", None if known else f"nothing for an operator: {migration.error.message}"
    wanted = {"DONE": "destination", "RETURNED": "source", "REFUSED": "source"}[phase]
    what = {"DONE": "moved", "RETURNED": "returned", "REFUSED": "refused"}[phase]
    if vmm_died and not running and scenario.kind == f"{wanted}-vmm":
        left = {host: live for host, live in verdict["live"].items() if live}
        return "died with its VMM", f"devices may transfer without a VM: {left}" if left else None
    if running != [wanted]:
        where = running or "neither host"
        return what, f"{phase}, but the VM runs at {where} ({verdict['states']}), {words(migration)}"
    # A coordinator that dies, freezes or is cut off changes nothing, but what it cannot ask when it plans it refuses.
    cut_short = what == "refused" and scenario.kind.startswith("cut")
    if scenario.place == "coordinator" and what != FLOWS[scenario.flow].ends and not cut_short:
        return what, f"{what} without need: {reason}: {migration.error.message}"
    return what, None


def words(migration):
    return f"words {migration.source_word or '-'}/{migration.destination_word or '-'}" if migration else "no words"
