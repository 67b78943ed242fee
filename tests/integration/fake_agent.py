# SPDX-License-Identifier: Apache-2.0
"""Two agents made of stock python3-grpcio: they answer the coordinator as real ones would, move nothing, and can be told
to misbehave. What each was asked is kept in `calls`, in order, over both."""
import threading
from concurrent import futures

import grpc

from messages import agent as pb
from messages import migration as m
from processes import LIMIT

_METHODS = {method.name: method for method in pb.DESCRIPTOR.services_by_name["Agent"].methods}
NEVER = object()  # as an answer: none, ever


def device(name, slot, **fields):
    values = {"vm": "vm1", "provider": "sim", "path": f"/dev/{name}", "driver": "toy", "type": "toy-full", "flags": 7,
              "state": 2, "open": True, "size_known": True, "size": 1 << 20, "version": "toy-1", "numa_node": 0,
              "dirty_tracking": True, "max_image": 64 << 20, **fields}
    return m.Device(name=name, slot=slot, **values)


class Refusal(Exception):
    def __init__(self, status, reason, message, **fields):
        super().__init__(message)
        self.status = status
        self.detail = m.ErrorDetail(reason=reason, message=message, **fields)


class Pair:
    """Source host-a and destination host-b."""

    def __init__(self):
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.calls = []
        self.a = FakeAgent(self, "host-a", "ledger-a", incoming=False,
                           devices=[device("a0", "s0"), device("a1", "s1")])
        self.b = FakeAgent(self, "host-b", "ledger-b", incoming=True,
                           devices=[device("b0", "s0"), device("b1", "s1")])
        self.granted = set()
        self.schedule = None
        self.at = None       # the gate where the source (1, 2) or the destination (3) waits
        self.over = False    # unwound or done
        self.fail_load = False
        self.stop_at = None  # a word after which nothing goes on

    def asked(self, host, method):
        with self.lock:
            return [request for h, name, request in self.calls if h == host and name == method]

    def order(self):
        with self.lock:
            return [f"{h}.{name}" for h, name, _ in self.calls
                    if name in ("Prepare", "Grant", "Unwind", "Settle")]

    def await_call(self, host, method, count=1):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.asked(host, method)) >= count, LIMIT), self.order()

    # ---- the move, told in events ----

    def begin(self):
        for kind in (m.STEP_STREAMS, m.STEP_PRECOPY):
            self.a.step(kind)
        for i, name in enumerate(("a0", "a1")):
            self.a.tell(sequence=0, progress=m.DeviceProgress(name=name, source_state=6, bytes_sent=1000 * (i + 1),
                                                              rounds=1))
        self.wait_at(m.GATE_BEFORE_PAUSE)

    def wait_at(self, gate):
        self.at = gate
        side = self.b if gate == m.GATE_DECIDE else self.a
        side.tell(gate=gate)
        self.go_on()

    def go_on(self):
        while not self.over and self.at in self.granted:
            gate, self.at = self.at, None
            {m.GATE_BEFORE_PAUSE: self.stop, m.GATE_STOPPED: self.load, m.GATE_DECIDE: self.decide}[gate]()

    def stop(self):
        self.a.step(m.STEP_VMM_PAUSE)
        self.a.arcs(5)
        self.a.arcs(3)
        self.wait_at(m.GATE_STOPPED)

    def load(self):
        self.a.step(m.STEP_VMM_FINAL)
        if self.fail_load:
            self.b.tell(error=m.ErrorDetail(reason="LOAD_FAILED", message="the device refuses the image", device="b1",
                                            arc="RESUMING -> STOP", errno_value=22))
            self.b.abort()
            self.a.unwind()
            return
        self.b.step(m.STEP_LOAD)
        self.wait_at(m.GATE_DECIDE)

    def decide(self):
        self.a.word("CONSENTED")
        if self.stop_at == "CONSENTED":
            return
        self.b.word("COMMITTED")
        if self.stop_at == "COMMITTED":
            return
        self.start()

    def start(self):
        self.b.arcs(5)
        self.b.arcs(2)
        self.b.step(m.STEP_VMM_RESUME)
        self.b.word("STARTED")
        self.over = True
        self.b.tell(ended=pb.Ended(how=pb.Ended.DONE))
        self.a.tell(blackout=m.Blackout(total_ms=42.5, pause_ms=1, quiesce_ms=2, stop_ms=3, transfer_load_ms=30,
                                        decide_ms=0.5, start_ms=6))
        self.a.word("RELEASED")
        self.a.step(m.STEP_RELEASE)
        self.a.tell(ended=pb.Ended(how=pb.Ended.DONE))


class FakeAgent:
    def __init__(self, pair, name, ledger, incoming, devices):
        self.pair, self.name, self.ledger, self.devices = pair, name, ledger, devices
        self.vmm = [pb.VmmInfo(vm="vm1", adapter="native", connected=True, incoming=incoming, ram_bytes=1 << 30)]
        self.version_answer = pb.CheckVersionResponse(verdict=pb.CheckVersionResponse.COMPATIBLE, where="toy/version")
        self.answers = {}     # method -> Refusal, NEVER, or a function of the request
        self.once = {}        # the same, for the next call only
        self.highest_term = pb.Term()
        self.events, self.current, self.clock = [], "", 1_000_000_000
        self.migration, self.prepared, self.released = None, None, threading.Event()
        self.port = 0
        self.start()

    # ---- server ----

    def start(self):
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        self.server.add_generic_rpc_handlers((_Handler(self),))
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        self.server.start()

    def stop(self):
        self.released.set()
        with self.pair.changed:
            self.pair.changed.notify_all()
        self.server.stop(None).wait(LIMIT)
        self.released.clear()

    # ---- events ----

    def tell(self, **event):
        with self.pair.changed:
            self.clock += 1_000_000
            event.setdefault("sequence", len(self.events) + 1)
            e = pb.AgentEvent(time_ns=self.clock, **event)
            self.events.append(e)
            self.pair.changed.notify_all()

    def word(self, word):
        self.current = word
        self.tell(word=word)

    def step(self, kind, target=0, index=None, devices=()):
        index = len(self.events) if index is None else index
        step = m.Step(kind=kind, target=target, devices=3)
        begin = self.clock
        self.tell(step=m.StepTime(host=self.name, index=index, step=step, begin_ns=begin))
        for name in devices:
            self.tell(step=m.StepTime(host=self.name, index=index, step=step, begin_ns=begin, end_ns=begin + 1_500_000,
                                      device=name))
        self.tell(step=m.StepTime(host=self.name, index=index, step=step, begin_ns=begin, end_ns=begin + 2_000_000))

    def arcs(self, target):
        self.step(m.STEP_ARC, target, devices=[d.name for d in self.devices])

    def unwind(self):
        self.pair.over = True
        self.word("RETURNING")
        self.tell(step=m.StepTime(host=self.name, unwind=True, index=0, step=m.Step(kind=m.STEP_VMM_RESUME),
                                  begin_ns=self.clock, end_ns=self.clock + 5))
        self.word("RETURNED")
        self.tell(ended=pb.Ended(how=pb.Ended.RETURNED))

    def abort(self):
        if self.current != "ABORTED":
            self.pair.over = True
            self.word("ABORTED")
            self.tell(ended=pb.Ended(how=pb.Ended.ABORTED))

    def forget(self):
        """What an agent has after it was restarted: its ledger, and no events."""
        with self.pair.lock:
            self.events = []
            self.migration = None

    # ---- methods ----

    def seen_term(self, term):
        if (term.number, term.coordinator) < (self.highest_term.number, self.highest_term.coordinator):
            raise Refusal(grpc.StatusCode.ABORTED, "STALE_COORDINATOR", "a lower term")
        self.highest_term.CopyFrom(term)

    def Hello(self, _):
        return pb.HelloResponse(protocol_min=1, protocol_max=1, host=self.name, version="0.1.0", ledger_id=self.ledger,
                                highest_term=self.highest_term, kernel="6.12.1", devices=len(self.devices))

    def Describe(self, request):
        return pb.DescribeResponse(device=[d for d in self.devices if not request.vm or d.vm == request.vm],
                                   vmm=self.vmm)

    def CheckVersion(self, _):
        return self.version_answer

    def Prepare(self, request):
        self.seen_term(request.term)
        again = self.migration == request.migration
        self.migration, self.prepared = request.migration, request
        source = request.side == pb.SIDE_SOURCE
        if not again:
            self.word("ACTIVE" if source else "UNDECIDED")
            if source:
                self.pair.begin()
        return pb.PrepareResponse(ledger_id=self.ledger, word=self.current)

    def Grant(self, request):
        self.seen_term(request.term)
        self.pair.granted.update(request.gate)
        self.pair.go_on()
        return pb.GrantResponse()

    def says(self, known=True):
        return pb.WordResponse(migration=self.migration or "", known=known, word=self.current, ledger_id=self.ledger)

    def Unwind(self, request):
        self.seen_term(request.term)
        if not self.current:
            return self.says(False)
        if self.current == "ACTIVE":
            self.unwind()
        elif not self.current.startswith("RETURN"):
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "BAD_STATE", f"the word is {self.current}")
        return self.says()

    def GetWord(self, _):
        return self.says(bool(self.current))

    def ListMigrations(self, request):
        closed = self.current in ("RETURNED", "RELEASED", "STARTED", "ABORTED")
        if not self.current or not self.prepared or (request.open_only and closed):
            return pb.ListAgentMigrationsResponse()
        prepare = pb.PrepareRequest()
        prepare.CopyFrom(self.prepared)
        prepare.token = b""
        return pb.ListAgentMigrationsResponse(migration=[pb.ListAgentMigrationsResponse.Entry(
            migration=prepare.migration, vm=prepare.vm, side=prepare.side, word=self.current, open=not closed,
            term=self.highest_term, prepare=prepare, ledger_id=self.ledger)])

    def Resolve(self, request):
        self.seen_term(request.term)
        if request.action == m.RESOLVE_CLOSE:
            self.tell(ended=pb.Ended(how=pb.Ended.OPERATOR))
        elif self.current == "CONSENTED" and request.action in (m.RESOLVE_RETURN_FENCED, m.RESOLVE_RETURN_LOST):
            self.unwind()
        elif self.current == "RETURNING" and request.action == m.RESOLVE_RESET_SOURCE:
            self.word("RETURNED")
            self.tell(ended=pb.Ended(how=pb.Ended.RETURNED))
        elif self.current == "COMMITTED" and request.action == m.RESOLVE_RESET_DESTINATION:
            self.pair.start()
        else:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT", f"the word is {self.current}")
        return self.says()

    def Settle(self, request):
        self.seen_term(request.term)
        if self.current in ("", "UNDECIDED"):
            self.abort()
        return self.says()

    def watch(self, request, context):
        pair, sent = self.pair, 0
        while True:
            with pair.changed:
                if self.migration != request.migration:
                    context.abort(grpc.StatusCode.NOT_FOUND, "no such migration")
                events = self.events
                assert pair.changed.wait_for(
                    lambda: sent < len(events) or self.released.is_set() or not context.is_active(), LIMIT)
                if self.released.is_set() or not context.is_active():
                    return
                event, sent = events[sent], sent + 1
            if event.sequence and event.sequence <= request.after_sequence:
                continue
            yield event
            if event.WhichOneof("kind") == "ended":
                return


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, agent):
        self.agent = agent

    def service(self, details):
        name = details.method.rpartition("/")[2]
        method = _METHODS[name]
        decode = method.input_type._concrete_class.FromString  # pylint: disable=protected-access

        def unary(request, context):
            agent, pair = self.agent, self.agent.pair
            with pair.changed:
                pair.calls.append((agent.name, name, request))
                pair.changed.notify_all()
                answer = agent.once.pop(name, agent.answers.get(name))
            if answer is NEVER:
                agent.released.wait(LIMIT)
                context.abort(grpc.StatusCode.UNAVAILABLE, "never")
            try:
                if isinstance(answer, Refusal):
                    raise answer
                with pair.changed:
                    return answer(request) if answer else getattr(agent, name)(request)
            except Refusal as refusal:
                context.set_trailing_metadata((("lockstep-error-bin", refusal.detail.SerializeToString()),))
                context.abort(refusal.status, refusal.detail.message)

        def watch(request, context):
            pair = self.agent.pair
            with pair.changed:
                pair.calls.append((self.agent.name, name, request))
                pair.changed.notify_all()
            yield from self.agent.watch(request, context)

        encode = method.output_type._concrete_class.SerializeToString  # pylint: disable=protected-access
        if name == "Watch":
            return grpc.unary_stream_rpc_method_handler(watch, decode, encode)
        return grpc.unary_unary_rpc_method_handler(unary, decode, encode)
