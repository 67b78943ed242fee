# SPDX-License-Identifier: Apache-2.0
"""Migrations to strike at: what goes wrong in them already, what the client does, how they end if nothing else happens.

`again`: the place's process dies at these points, one a life, before the life that is struck. `orders`: what else fails
on purpose in that life (LOCKSTEP_FAULT). A point that several flows pass is struck in the first of them."""
import dataclasses
import glob
import os
from typing import Callable

import messages

M = messages.migration
AGENT_KINDS = ("kill", "freeze", "cut", "cut-coordinator", "source-vmm", "destination-vmm", "vmm-freeze")
COORDINATOR_KINDS = ("kill", "freeze", "cut-source", "cut-destination")


@dataclasses.dataclass(frozen=True)
class Flow:
    title: str
    ends: str                                   # moved, returned, refused
    again: dict = dataclasses.field(default_factory=dict)
    orders: dict = dataclasses.field(default_factory=dict)
    hold: tuple = ()                            # gates, released as they are reached
    cancel_at: int = 0                          # cancelled at this gate instead
    types: tuple = ("p2p", "full")
    begin: Callable = lambda stack: None        # once the VM runs, before the migration
    options: Callable = lambda run: None        # before anything is started
    resolve: Callable = lambda run, view: None  # what an operator decides at the sight of this
    late: dict = dataclasses.field(default_factory=dict)   # place: a point that is passed when all seems over
    # Points that it passes only sometimes, and another flow always; with "again": only the first pass is sure.
    unsure: tuple = ()
    without: tuple = ()                         # kinds that make no sense here

    def kinds(self, place):
        return [kind for kind in (COORDINATOR_KINDS if place == "coordinator" else AGENT_KINDS)
                if kind not in self.without]


def at_first_end(what):
    """`what`, when the service has ended for the first time."""
    left = [what]
    return lambda: left and left.pop()()


def lose_store(run):
    def lose():
        for path in glob.glob(run.stack.folder("store.db") + "*"):
            os.remove(path)
    run.stack.service_options = {"on_end": at_first_end(lose)}


def host_down(run):
    """The destination's VMM dies with its agent; nobody starts either."""
    run.stack.b.service_options = {"restart": "no", "fd_store_max": 0,
                                   "on_end": at_first_end(lambda: run.bury(run.stack.b))}


def new_vmm(host):
    for device in host.devices:
        host.debug(device, "wait-closed")
    host.start_vmm(incoming=True, connected=False)


def vmm_anew(run):
    """The destination's VMM dies with its agent, no fd store keeps the devices, and another VMM waits there."""
    def anew():
        run.bury(run.stack.b)
        new_vmm(run.stack.b)
    run.stack.b.service_options = {"fd_store_max": 0, "on_end": at_first_end(anew)}


def keep_one(run):
    for host in run.hosts.values():
        host.keep_ended = 1


def move_and_return(stack):
    """One that ends before the one that is struck."""
    spec = stack.spec(hold=[M.GATE_BEFORE_PAUSE])
    stack.begin(spec)
    stack.until(spec, lambda view: view.waiting_at)
    stack.api.Cancel(M.CancelRequest(id=spec.id, actor="test"), timeout=60)
    view = stack.finish(spec)
    assert view.phase == M.PHASE_RETURNED, view


def fence(run, view):
    """The operator says that the destination's host was powered off. When the VM is back that host is started again."""
    if view.source_word == "CONSENTED":
        claim = M.FenceClaim(host=view.spec.destination, method=M.FenceClaim.POWERED_OFF, evidence="pulled the plug",
                             actor="ann")
        return M.ResolveRequest(id=view.spec.id, action=M.RESOLVE_RETURN_FENCED, claim=claim, actor="ann")
    host = run.stack.b
    if view.source_word in ("RETURNING", "RETURNED") and host.agent_service.starts == 1:
        new_vmm(host)
        host.agent_service.start()
    return None


def return_lost(run, view):
    if view.phase != M.PHASE_OPERATOR or view.error.reason != "LOST_AFTER_COMMIT":
        return None
    return M.ResolveRequest(id=view.spec.id, action=M.RESOLVE_RETURN_LOST, actor="ann")


# Who hears of it first, the coordinator or the other agent, is a race.
SETTLE = ("coordinator.call.before.settle.destination", "coordinator.call.after.settle.destination")
TERM = ("agent.ledger.before.term again", "agent.ledger.commit.term again")
UNWIND = ("coordinator.call.before.unwind.source", "coordinator.call.after.unwind.source", "agent.unwind")

FLOWS = {
    "move": Flow("in a move", "moved"),
    "unwind": Flow("in an unwind: the destination refused an image", "returned",
                   begin=lambda stack: stack.b.debug("b1", "fail RESUMING STOP EBADMSG"),
                   unsure=SETTLE + UNWIND),
    "held": Flow("in a move held at its last two gates, with a device that has no P2P state", "moved",
                 hold=(M.GATE_STOPPED, M.GATE_DECIDE), types=("stopcopy", "full")),
    "cancel": Flow("in a move that is cancelled with all devices stopped", "returned",
                   hold=(M.GATE_STOPPED,), cancel_at=M.GATE_STOPPED, unsure=SETTLE),
    "unprepared": Flow("in a move that the source's ledger refuses", "returned",
                       orders={"source": ",".join(f"agent.ledger.before.ACTIVE#{n}=error:EIO" for n in range(1, 6))}),
    "source-again": Flow("in the source agent's second life: it died when it had consented", "returned",
                         again={"source": ("agent.word.known.CONSENTED",)}),
    "destination-again": Flow("in the destination agent's second life: it died when it had committed", "moved",
                              again={"destination": ("agent.ledger.commit.COMMITTED",)}),
    "coordinator-again": Flow("in the coordinator's second life: it died when it had planned", "moved",
                              again={"coordinator": ("coordinator.record.known.planned",)}, unsure=TERM),
    "empty-store": Flow("in the coordinator's second life: its store was lost", "moved", options=lose_store,
                        again={"coordinator": ("coordinator.record.known.prepared#2",)}),
    "fence": Flow("in a return after a fence: the destination's host went down when the source had consented",
                  "returned", again={"destination": ("agent.ledger.before.COMMITTED",)}, options=host_down,
                  resolve=fence, without=("destination-vmm", "cut", "cut-destination")),
    "fence-committed": Flow("in a return after a fence: the destination's host went down when it had committed",
                            "operator: CONFLICT", again={"destination": ("agent.ledger.commit.COMMITTED",)},
                            options=host_down, resolve=fence, without=("destination-vmm", "cut", "cut-destination"),
                            late={"source": "agent.ledger.commit.conflict",
                                  "destination": "agent.ledger.commit.conflict"}),
    "pruned": Flow("in a move after another, with agents that keep one record", "moved", begin=move_and_return,
                   options=keep_one),
    "lost": Flow("in a return after the destination committed and lost its devices", "returned",
                 # So long that the coordinator sees the source on its way, and needs no operator any more.
                 begin=lambda stack: stack.a.debug("a1", "latency RUNNING_P2P RUNNING 300"),
                 again={"destination": ("agent.ledger.commit.COMMITTED",)}, options=vmm_anew, resolve=return_lost,
                 without=("destination-vmm",)),
}
