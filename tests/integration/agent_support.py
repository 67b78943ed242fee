# SPDX-License-Identifier: Apache-2.0
"""Agents on simulated hosts, driven as a coordinator would, with stock grpcio and protobuf."""
import functools
import importlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
import uuid

import grpc

BUILD = os.environ.get("LOCKSTEP_BUILD", "build")
ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
LIMIT = 30  # seconds for anything that should happen at once

STOP, RUNNING, STOP_COPY, RESUMING, P2P, PRE_COPY = 1, 2, 3, 4, 5, 6


@functools.lru_cache(maxsize=None)
def messages():
    out = tempfile.mkdtemp(prefix="lockstep-pb-")
    names = [f"lockstep/v1/{n}.proto" for n in ("migration", "agent", "stream", "vmm")]
    subprocess.run(["protoc", f"-I{ROOT}/proto", f"--python_out={out}", *names], check=True)
    sys.path.insert(0, out)
    return tuple(importlib.import_module(f"lockstep.v1.{n}_pb2") for n in ("migration", "agent", "stream", "vmm"))


migration_pb, agent_pb, stream_pb, vmm_pb = messages()


class Process:
    """A child whose output is read line by line; output of both kinds goes to .seen."""

    def __init__(self, *argv, env=None):
        self.seen = []
        self.lines = queue.Queue()
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        env=dict(os.environ, **(env or {})))
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.seen.append(line.rstrip("\n"))
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def expect(self, part):
        """The next line that contains `part`."""
        while True:
            line = self.lines.get(timeout=LIMIT)
            assert line is not None, f"ended before saying {part!r}:\n" + "\n".join(self.seen)
            if part in line:
                return line

    def stop(self, code=0):
        self.process.terminate()
        got = self.process.wait(timeout=LIMIT)
        self.reader.join(timeout=LIMIT)
        assert code is None or got == code, f"exit {got}:\n" + "\n".join(self.seen)

    def kill(self):
        self.process.kill()
        self.process.wait()


class SimHost(Process):
    def __init__(self, directory, devices):
        self.socket = f"{directory}/sim.sock"
        config = f"{directory}/sim.ini"
        with open(config, "w") as f:
            f.write(f"[host]\nsocket = {self.socket}\n")
            for i, (name, kind) in enumerate(devices):
                f.write(f"[device {name}]\ntype = {kind}\nslot = {i}\nfabric = 1\nmemory = 1M\n")
        super().__init__(f"{BUILD}/agent/lockstep-simhost", config)
        self.expect("ready")

    def debug(self, name, command):
        subprocess.run([f"{BUILD}/agent/lockstep-simhost", "debug", self.socket, name, command], check=True,
                       stdout=subprocess.DEVNULL)


class Agent(Process):
    def __init__(self, directory, host, text, env=None, **agent_keys):
        self.host = host
        self.config = f"{directory}/{host}.ini"
        self.vmm = f"{directory}/{host}.vmm"
        keys = {"host": host, "listen": "127.0.0.1:0", "stream": "127.0.0.1:0", "vmm": self.vmm,
                "ledger": f"{directory}/{host}.ledger", **agent_keys}
        with open(self.config, "w") as f:
            f.write("[agent]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) + text)
        super().__init__(f"{BUILD}/agent/lockstep-agent", "--config", self.config, env=env)
        ready = self.expect("agent.ready listen=")
        fields = dict(f.split("=") for f in ready.split("agent.ready ")[1].split())
        self.listen, self.stream = fields["listen"], fields["stream"]
        self.channel = grpc.insecure_channel(self.listen, [("grpc.use_local_subchannel_pool", 1)])

    def call(self, method, request, timeout=LIMIT):
        answer = {"Hello": "HelloResponse", "Describe": "DescribeResponse", "CheckVersion": "CheckVersionResponse",
                  "Prepare": "PrepareResponse", "Grant": "GrantResponse", "Unwind": "WordResponse",
                  "GetWord": "WordResponse", "Settle": "WordResponse",
                  "ListMigrations": "ListAgentMigrationsResponse"}[method]
        return self.channel.unary_unary(f"/lockstep.v1.Agent/{method}", type(request).SerializeToString,
                                        getattr(agent_pb, answer).FromString)(request, timeout=timeout)

    def watch(self, migration, after=0):
        return self.channel.unary_stream("/lockstep.v1.Agent/Watch", agent_pb.AgentWatchRequest.SerializeToString,
                                         agent_pb.AgentEvent.FromString)(
            agent_pb.AgentWatchRequest(migration=migration, after_sequence=after), timeout=LIMIT * 2)

    def refusal(self, method, request):
        """Code, reason and message of a call that must fail."""
        try:
            answer = self.call(method, request)
        except grpc.RpcError as e:
            detail = migration_pb.ErrorDetail()
            for key, value in e.trailing_metadata() or ():
                if key == "lockstep-error-bin":
                    detail.ParseFromString(value)
            return e.code(), detail.reason, e.details()
        raise AssertionError(f"{method} should have been refused: {answer}")

    def word(self, migration):
        return self.call("GetWord", agent_pb.WordRequest(migration=migration)).word

    def stop(self, code=0):
        self.channel.close()
        super().stop(code)


FLAGS = {"stopcopy": 1, "p2p": 3, "full": 7}


def schedule(kinds, source="a", destination="b", precopy=False):
    """As the coordinator makes it for devices that all have P2P."""
    everyone = (1 << len(kinds)) - 1
    s = migration_pb.Schedule()
    pre = 0
    for i, kind in enumerate(kinds):
        use = precopy and kind == "full"
        pre |= use << i
        s.device.add(source_name=f"{source}{i}", destination_name=f"{destination}{i}", source_flags=FLAGS[kind],
                     destination_flags=FLAGS[kind], reaches=everyone & ~(1 << i), precopy=use)

    def add(track, kind, devices=0, target=0, gate=0):
        track.add(kind=kind, devices=devices, target=target, gate=gate)

    m = migration_pb
    add(s.source, m.STEP_STREAMS, everyone)
    if pre:
        add(s.source, m.STEP_ARC, pre, PRE_COPY)
        add(s.source, m.STEP_PRECOPY, pre)
    add(s.source, m.STEP_GATE, gate=m.GATE_BEFORE_PAUSE)
    add(s.source, m.STEP_VMM_PAUSE)
    add(s.source, m.STEP_ARC, everyone, P2P)
    add(s.source, m.STEP_ARC, everyone, STOP_COPY)
    add(s.source, m.STEP_GATE, gate=m.GATE_STOPPED)
    for kind in (m.STEP_VMM_FINAL, m.STEP_CONSENT):
        add(s.source, kind)
    add(s.source, m.STEP_RELEASE, everyone)
    add(s.source_unwind, m.STEP_RESET, everyone)
    for track in (s.source_unwind, s.destination):
        if track is s.destination:
            add(track, m.STEP_ARC, everyone, RESUMING)
            add(track, m.STEP_LOAD, everyone)
            add(track, m.STEP_VMM_READY)
            add(track, m.STEP_GATE, gate=m.GATE_DECIDE)
            add(track, m.STEP_DECIDE)
        add(track, m.STEP_ARC, everyone, P2P)
        add(track, m.STEP_ARC, everyone, RUNNING)
        add(track, m.STEP_VMM_RESUME)
    add(s.source_unwind, m.STEP_RETURNED)
    add(s.destination, m.STEP_STARTED)
    add(s.destination_unwind, m.STEP_RESET, everyone)
    add(s.destination_unwind, m.STEP_VMM_DISCARD)
    return s


class Pair:
    """Two agents, each with a simulated host of its own, and the moves between them."""

    def __init__(self, directory, kinds=("p2p", "p2p"), adapter="none", vm_keys="", env=None, **agent_keys):
        self.kinds = kinds
        self.term = agent_pb.Term(number=1, coordinator="c")
        self.hosts, self.agents = [], []
        for host, letter in (("ha", "a"), ("hb", "b")):
            place = f"{directory}/{host}"
            os.makedirs(place)
            sim = SimHost(place, [(f"{letter}{i}", kind) for i, kind in enumerate(kinds)])
            text = "".join(f"[device {letter}{i}]\nvm = vm1\nprovider = sim\npath = {sim.socket}#{letter}{i}\n"
                           f"slot = s{i}\n" for i in range(len(kinds)))
            text += f"[vm vm1]\nadapter = {adapter}\n{vm_keys}"
            self.hosts.append(sim)
            self.agents.append(Agent(place, host, text, env=env, **{"arc_timeout_ms": 5000, **agent_keys}))
        self.source, self.destination = self.agents

    def requests(self, name=None, deadline_ms=0, precopy=False, kinds=None):
        name = name or f"m-{uuid.uuid4().hex[:12]}"
        plan = schedule(kinds or self.kinds, precopy=precopy)
        token = os.urandom(32)
        d = agent_pb.PrepareRequest(term=self.term, migration=name, vm="vm1", side=agent_pb.SIDE_DESTINATION,
                                    schedule=plan, peer_host="ha", token=token, deadline_ms=deadline_ms)
        s = agent_pb.PrepareRequest(term=self.term, migration=name, vm="vm1", side=agent_pb.SIDE_SOURCE, schedule=plan,
                                    peer_host="hb", peer_address=self.destination.stream, token=token,
                                    deadline_ms=deadline_ms)
        return name, s, d

    def prepare(self, **options):
        name, s, d = self.requests(**options)
        s.peer_ledger_id = self.destination.call("Prepare", d).ledger_id
        self.source.call("Prepare", s)
        return name

    def grant(self, name, *gates):
        for agent in self.agents:
            agent.call("Grant", agent_pb.GrantRequest(term=self.term, migration=name, gate=gates))

    def end(self, name):
        """All events of both sides, once both have ended."""
        return [list(agent.watch(name)) for agent in self.agents]

    def move(self, **options):
        name = self.prepare(**options)
        self.grant(name, 1, 2, 3)
        return name, *self.end(name)

    def close(self):
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.stop()
        for host in self.hosts:
            host.kill()


def ended(events):
    return events[-1].ended.how


def words(events):
    return [e.word for e in events if e.WhichOneof("kind") == "word"]


def errors(events):
    return [e.error for e in events if e.WhichOneof("kind") == "error"]
