# SPDX-License-Identifier: Apache-2.0
"""The whole of lockstep on this machine: two simulated hosts, an agent on each, the coordinator, test VMMs."""
import contextlib
import json
import signal
import subprocess
import sys

from processes import LIMIT, Folder, Process, binary, free_port
from service_manager import Service

VM = "vm1"
# One of each type and one more of the full type.
TYPES = ("stopcopy", "p2p", "full", "full")
RATE = 4000           # descriptors a second and device: with its peers' that is 2 writes in 11 to each
LATENCY_MS = 30       # of each arc on the way down: about 20 writes per pair in the window that must lose none
QUIESCE_ARCS = ("RUNNING RUNNING_P2P", "PRE_COPY PRE_COPY_P2P", "RUNNING_P2P STOP", "RUNNING STOP",
                "PRE_COPY_P2P STOP_COPY", "PRE_COPY STOP_COPY")


class Host:
    """What runs on one host, and how it is configured."""

    def __init__(self, stack, letter, types):
        self.stack, self.letter, self.name = stack, letter, f"host-{letter}"
        self.types = list(types)
        self.slots = list(range(len(types)))
        self.memory = [None] * len(types)
        self.ballast_kib = None     # of each device's memory, filled by its VM
        self.software_version = None
        self.listen = f"127.0.0.1:{free_port()}"
        self.stream = f"127.0.0.1:{free_port()}"
        self.stream_as_told = self.stream      # a test may put a proxy in between
        self.reached_at = self.listen          # the same for the coordinator
        self.folder = stack.folder
        self.extra_agent_config = ""
        self.arc_timeout_ms = self.keep_ended = None
        self.agent_env, self.vmm_env, self.simhost_env = {}, {}, {}
        self.service_options = {}   # managed: the agent's
        self.first_env = None   # managed: for the first start only, or one of each of the first starts
        self.simhost = self.agent = self.vmm = None

    def path(self, name):
        return self.folder(f"{self.letter}-{name}")

    def device(self, i):
        return f"{self.letter}{i}"

    @property
    def devices(self):
        return [self.device(i) for i in range(len(self.types))]

    # ---- simulated kernel and hardware ----

    def start_simhost(self):
        text = f"[host]\nsocket = {self.path('hw')}\n"
        if self.software_version is not None:
            text += f"software_version = {self.software_version}\n"
        for i, kind in enumerate(self.types):
            text += f"[device {self.device(i)}]\ntype = {kind}\nslot = {self.slots[i]}\nrate = {self.stack.rate}\n"
            if self.memory[i]:
                text += f"memory = {self.memory[i]}\n"
        config = self.folder.write(f"{self.letter}-hw.conf", text)
        self.simhost = self.stack.process(f"simhost-{self.letter}", [binary("lockstep-simhost"), config],
                                          self.simhost_env)
        self.simhost.expect("ready")
        for name in self.devices:
            for arc in QUIESCE_ARCS:
                self.debug(name, f"latency {arc} {self.stack.latency_ms}")

    def debug(self, device, command):
        return subprocess.run([binary("lockstep-simhost"), "debug", self.path("hw"), device, command], check=True,
                              capture_output=True, text=True, timeout=LIMIT).stdout

    # ---- agent ----

    def agent_config(self):
        text = (f"[agent]\nhost = {self.name}\nlisten = {self.listen}\nstream = {self.stream}\n"
                f"vmm = {self.path('vmm')}\nledger = {self.path('ledger.db')}\n")
        if self.arc_timeout_ms:
            text += f"arc_timeout_ms = {self.arc_timeout_ms}\n"
        if self.keep_ended:
            text += f"keep_ended = {self.keep_ended}\n"
        for i, name in enumerate(self.devices):
            text += (f"[device {name}]\nvm = {VM}\nprovider = sim\npath = {self.path('hw')}#{name}\n"
                     f"slot = {self.slots[i]}\n")
        return text + self.extra_agent_config

    def start_agent(self, **env):
        config = self.folder.write(f"{self.letter}-agent.conf", self.agent_config())
        if self.stack.managed:
            self.agent_service = self.stack.service(f"agent-{self.letter}",
                                                    [binary("lockstep-agent"), "--config", config], self, "agent",
                                                    self.agent_env, self.first_env or env, self.service_options)
            self.agent.expect_log("agent.ready")
            return
        self.agent = self.stack.process(f"agent-{self.letter}", [binary("lockstep-agent"), "--config", config],
                                        {**self.agent_env, **env})
        self.agent.expect_log("agent.ready")

    # ---- VMM ----

    def start_vmm(self, incoming=False, peer=None, connected=True, **env):
        argv = [binary("lockstep-testvmm"), "--vm", VM, "--sim", self.path("hw"), "--agent", self.path("vmm"),
                "--control", self.path("control"), "--stall-ms", "2000", "--ram", "16"]
        for name in self.devices:
            argv += ["--device", f"{name}={name}"]
        if self.ballast_kib:
            argv += ["--ballast", str(self.ballast_kib)]
        if incoming:
            argv += ["--incoming", "--ram-listen", "127.0.0.1:0"]
        if peer:
            argv += ["--ram-peer", peer]
        self.vmm = self.stack.process(f"vmm-{self.letter}", argv, {**self.vmm_env, **env})
        self.ram = self.vmm.expect("vmm.ram-listen").split("=")[1] if incoming else None
        self.vmm.expect("vmm.incoming" if incoming else "vmm.running")
        if connected:
            self.vmm.expect("vmm.connected")
        return self

    def ask(self, command, limit=LIMIT):
        done = subprocess.run([binary("lockstep-testvmm"), "--ask", self.path("control"), *command.split()],
                              capture_output=True, text=True, timeout=limit)
        return done.stdout

    def verify(self):
        return json.loads(self.ask("verify"))

    def wait(self, state):
        assert self.ask(f"wait {state}").strip() == f"ok {state}", self.vmm.tail()


class Stack:
    def __init__(self, types=TYPES, folder=None, rate=RATE, latency_ms=LATENCY_MS, destination_types=None,
                 managed=False):
        self.folder = folder or Folder()
        self.rate, self.latency_ms = rate, latency_ms
        self.processes, self.services = [], []
        self.managed = managed   # do the daemons run under the service manager?
        self.first_env = None    # managed: as Host's, for the coordinator
        self.service_options = {}
        self.on_line = None      # called with each process that has said something
        self.a = Host(self, "a", types)
        self.b = Host(self, "b", destination_types or types)
        self.address = f"127.0.0.1:{free_port()}"
        self.coordinator = None
        self._channel = None
        self._moves = 0

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind, value, trace):
        if kind:
            sys.stderr.write(self.tails() + "\n")
        self.stop()
        if not kind:
            assert not self.complaints(), self.tails()

    def process(self, name, argv, env=None, **options):
        process = Process(name, argv, env, on_line=self.on_line, **options)
        self.processes.append(process)
        return process

    def service(self, name, argv, owner, attribute, env, first_env, more):
        """A daemon under the service manager; `owner.attribute` is its newest process."""
        service = Service(name, argv, self.folder, env=env, first_env=first_env,
                          spawn=lambda argv_, env_, **options: self.process(name, argv_, env_, **options),
                          on_start=lambda process: setattr(owner, attribute, process), **more)
        self.services.append(service)
        return service.start()

    def start(self):
        for host in (self.a, self.b):
            host.start_simhost()
            host.start_agent()
        self.start_coordinator()
        return self

    def start_coordinator(self, **env):
        text = f"[coordinator]\nid = one\nlisten = {self.address}\nstore = {self.folder('store.db')}\n"
        for host in (self.a, self.b):
            text += f"[host {host.name}]\nagent = {host.reached_at}\nstream = {host.stream_as_told}\n"
        config = self.folder.write("lockstepd.conf", text)
        if self.managed:
            self.coordinator_service = self.service("lockstepd", [binary("lockstepd"), "--config", config], self,
                                                    "coordinator", {}, self.first_env or env, self.service_options)
        else:
            self.coordinator = self.process("lockstepd", [binary("lockstepd"), "--config", config], env)
        self.coordinator.expect_log("coordinator.ready")

    def boot(self, source=None, destination=None):
        """A running VM on one host and one that waits for it on the other."""
        source, destination = source or self.a, destination or self.b
        destination.start_vmm(incoming=True)
        source.start_vmm(peer=destination.ram)

    def turn(self, new_source, new_destination):
        """After a move: a VMM waits where the VM came from, so that it can go back."""
        assert new_destination.vmm.wait() == 0, new_destination.vmm.tail()
        new_destination.start_vmm(incoming=True)
        assert new_source.ask(f"ram-peer {new_destination.ram}") == "ok\n"

    def ctl(self, *args, limit=LIMIT):
        return subprocess.run([binary("lockstepctl"), "--server", self.address, *args], capture_output=True,
                              text=True, timeout=limit)

    # ---- the API ----

    @property
    def api(self):
        import grpc
        import messages
        if not self._channel:
            self._channel = grpc.insecure_channel(self.address)
        return messages.lockstep(self._channel)

    def spec(self, source=None, destination=None, **fields):
        import messages
        self._moves += 1
        fields.setdefault("id", f"m{self._moves}")
        return messages.migration.MigrationSpec(vm=VM, source=(source or self.a).name,
                                                destination=(destination or self.b).name, **fields)

    def begin(self, spec):
        import messages
        return self.api.Start(messages.migration.StartRequest(spec=spec, actor="test"), timeout=LIMIT)

    def watch(self, spec):
        """Yields the migration as it changes, to its end."""
        import messages
        return self.api.Watch(messages.migration.GetRequest(id=spec.id), timeout=LIMIT)

    def until(self, spec, condition):
        """The migration as soon as `condition` holds for it, or at its end."""
        import messages
        last = None
        for last in self.watch(spec):
            if condition(last) or last.phase >= messages.migration.PHASE_DONE:
                break
        return last

    def finish(self, spec):
        last = None
        for last in self.watch(spec):
            pass
        return last

    def move(self, source=None, destination=None, **fields):
        spec = self.spec(source, destination, **fields)
        self.begin(spec)
        return self.finish(spec)

    # ---- the end ----

    def tails(self):
        return "\n".join(process.tail() for process in self.processes)

    def stop(self, number=signal.SIGTERM, limit=LIMIT):
        """All of it, in the opposite order; exit statuses by name. What did not end in time is killed like the rest,
        and raised after that. `number`, `limit`: for what runs under the service manager."""
        statuses = {}
        with contextlib.ExitStack() as last:
            last.callback(self.folder.remove)
            for process in self.processes:
                last.callback(lambda p=process: statuses.update({p.name: p.stop()}))
            for service in self.services:
                last.callback(service.stop, number, limit)
            if self._channel:
                last.callback(self._channel.close)
        return statuses

    def complaints(self):
        """What sanitizers had to say."""
        return [line for process in self.processes for line in process.err
                if "ERROR: AddressSanitizer" in line or "runtime error:" in line or "ERROR: LeakSanitizer" in line or
                "WARNING: ThreadSanitizer" in line]
