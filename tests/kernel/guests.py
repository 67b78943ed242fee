# SPDX-License-Identifier: Apache-2.0
"""The stack of tests/integration with emulated hosts: a real kernel, our driver, agent and VMM inside each guest; the
coordinator and the tests outside. Same interface, so the same tests run on both."""
import errno
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(_HERE), "integration"))
from processes import LIMIT, Process, build_dir  # noqa: E402
from stack import QUIESCE_ARCS, TYPES, VM, Host, Stack  # noqa: E402

GUEST_LIMIT = 4 * LIMIT  # emulated CPUs are slow
AGENT_PORT, STREAM_PORT, RAM_PORT = 7001, 7002, 7003


class LostHost(AssertionError):
    """The host ended while it was spoken to."""


class Shell:
    """One command in a guest; its output."""

    def __init__(self, port):
        self.port = port

    def run(self, command, check=True, limit=GUEST_LIMIT):
        with socket.create_connection(("127.0.0.1", self.port), timeout=limit) as s:
            s.sendall(f"({command}\n) 2>&1; s=$?; echo; echo @status $s; exit\n".encode())
            text = b""
            while part := s.recv(65536):
                text += part
        output, _, status = text.decode(errors="replace").rpartition("@status ")
        if not status.strip():
            raise LostHost(f"the guest's shell died in {command!r}: {text!r}")
        output = output[:-1]
        if check:
            assert int(status) == 0, f"{command!r} answered {status.strip()}:\n{output}"
        return output


class GuestProcess(Process):
    """A process in a guest, as if it were here. Both of its outputs come on one connection, in order."""

    def __init__(self, shell, name, argv, env=None):  # pylint: disable=super-init-not-called
        self.name, self.shell = name, shell
        self.out = self.err = []
        self.times = []  # when each line came, time.monotonic_ns()
        self._changed = threading.Condition()
        self._seen, self._open = 0, 1
        self.status = self.pid_there = self.ended_ns = None
        words = [f"{key}={value}" for key, value in (env or {}).items()] + list(argv)
        self._socket = socket.create_connection(("127.0.0.1", shell.port), timeout=None)
        line = " ".join(shlex.quote(word) for word in words)
        self._socket.sendall((f"exec 2>&1; env {line} </dev/null & p=$!; echo @pid $p; wait $p; echo @status $?; exit\n"
                              ).encode())
        self._lines = self._socket.makefile("r", errors="replace")
        self.pid_there = int(self._lines.readline().split()[1])
        self._readers = [threading.Thread(target=self._follow, daemon=True)]
        self._readers[0].start()

    def _follow(self):
        try:
            for line in self._lines:
                with self._changed:
                    if line.startswith("@status "):
                        status = int(line.split()[1])
                        self.status = 128 - status if status > 128 else status
                    else:
                        self.times.append(time.monotonic_ns())
                        self.out.append(line.rstrip("\n"))
                    self._changed.notify_all()
        except OSError:
            pass  # the guest lost power
        with self._changed:
            self._open, self.ended_ns = 0, time.monotonic_ns()
            self._changed.notify_all()

    @property
    def pid(self):
        return self.pid_there

    def alive(self):
        return self._open > 0

    def wait(self, limit=GUEST_LIMIT):
        with self._changed:
            if not self._changed.wait_for(lambda: self._open == 0, limit):
                raise subprocess.TimeoutExpired(self.name, limit)
        return self.status

    def signal(self, number):
        self.shell.run(f"kill -{int(number)} {self.pid_there}", check=False)

    def kill(self):
        if self.alive():
            self.signal(signal.SIGKILL)
        self.wait()

    def stop(self):
        if self.alive():
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.wait()
            return None

    def expect(self, start, limit=GUEST_LIMIT):
        return super().expect(start, limit)

    def expect_log(self, text, after=0, limit=GUEST_LIMIT):
        return super().expect_log(text, after, limit)

    def tail(self, lines=40):
        return "\n".join([f"--- {self.name} (in a guest, pid {self.pid}, status {self.status})"] +
                         [f"  {line}" for line in self.out[-lines:]])


class GuestHost(Host):
    """An emulated host. Its "simhost" is the kernel with our driver."""

    def __init__(self, stack, letter, types, address, shell, agent_port):
        super().__init__(stack, letter, types)
        self.address, self.shell = address, Shell(shell)
        self.listen = self.reached_at = f"127.0.0.1:{agent_port}"  # as the coordinator sees it
        self.stream = self.stream_as_told = f"{address}:{STREAM_PORT}"
        self.way = None  # how its VMM opens devices: cdev, group, or as the kernel has it
        self.ledger = "/run/ledger.db"  # below /disk it outlives a power cut

    def path(self, name):
        return f"/run/{name}"

    def uuid(self, device):
        return f"00000000-0000-4000-8000-{self.devices.index(device):012d}"

    def sysfs(self, device):
        return f"/sys/bus/mdev/devices/{self.uuid(device)}"

    def debugfs(self, device):
        return f"/sys/kernel/debug/lockstep_vdev/{self.uuid(device)}"

    def states(self):
        """Where the driver has each device, whatever the agents believe."""
        told = self.shell.run("cat " + " ".join(f"{self.debugfs(name)}/state" for name in self.devices))
        return dict(zip(self.devices, told.split()))

    def start_simhost(self):
        lines = ["set -e", "P=/sys/class/mdev_bus/lockstep-pf0"]
        for i, (name, kind) in enumerate(zip(self.devices, self.types)):
            lines += [f"echo {self.uuid(name)} >$P/mdev_supported_types/lockstep-{kind}/create",
                      f"echo 1 >{self.sysfs(name)}/lockstep/fabric", f"echo {self.slots[i]} >{self.sysfs(name)}/lockstep/slot",
                      f"echo {self.stack.rate} >{self.sysfs(name)}/lockstep/rate"]
            if self.memory[i]:
                lines.append(f"echo {self.memory[i]} >{self.sysfs(name)}/lockstep/memory_mib")
        self.shell.run("\n".join(lines))
        for name in self.devices:
            for arc in QUIESCE_ARCS:
                self.debug(name, f"latency {arc} {self.stack.latency_ms}")

    def debug(self, device, command):
        """The commands of the simulated host's debug control, through the driver's debugfs."""
        words = command.split()
        if words[0] == "wait-closed":
            # The driver refuses another slot while anyone has the device open, and tells nobody when that ends.
            slot = f"{self.sysfs(device)}/lockstep/slot"
            return self.shell.run(f"until echo {self.slots[self.devices.index(device)]} >{slot}; do :; done 2>/dev/null")
        if words[0] == "wait-stuck":
            # Nor does it tell when an arc begins.
            return self.shell.run(f"until grep -q '{' '.join(words[1:])} now' {self.debugfs(device)}/arcs; do :; done")
        if words[0] in ("stick", "release"):
            words = ["latency", *words[1:3], "60000" if words[0] == "stick" else "0"]
        files = {"latency": ("arc_latency", words[1:4]), "fail": ("fail_arc", words[1:4]),
                 "fail-error": ("fail_arc", words[1:4] + ["error"]), "rate": (None, words[1:]),
                 "quirks": ("quirks", words[1:]), "save-rate": ("save_rate", words[1:]), "load-rate": ("load_rate", words[1:])}
        file, text = files[words[0]]
        path = f"{self.debugfs(device)}/{file}" if file else f"{self.sysfs(device)}/lockstep/rate"
        text = [str(getattr(errno, word, word)) for word in text]
        # Arcs that a type does not have cannot be slowed down.
        return self.shell.run(f"echo {' '.join(text)} >{path}", check=words[0] != "latency")

    def agent_config(self):
        text = (f"[agent]\nhost = {self.name}\nlisten = 0.0.0.0:{AGENT_PORT}\nstream = {self.stream}\nplaintext = any\n"
                f"vmm = {self.path('vmm')}\nledger = {self.ledger}\n")
        if self.arc_timeout_ms:
            text += f"arc_timeout_ms = {self.arc_timeout_ms}\n"
        for i, name in enumerate(self.devices):
            text += (f"[device {name}]\nvm = {VM}\nprovider = vfio\npath = {self.sysfs(name)}\n"
                     f"slot = {self.slots[i]}\n")
        return text + self.extra_agent_config

    def start_agent(self, **env):
        config = self.path("agent.conf")
        self.shell.run(f"cat >{config} <<'END'\n{self.agent_config()}END")
        self.agent = self.stack.add(GuestProcess(self.shell, f"agent-{self.letter}",
                                                 ["/bin/lockstep-agent", "--config", config], {**self.agent_env, **env}))
        self.agent.expect_log("agent.ready")

    def start_vmm(self, incoming=False, peer=None, **env):
        argv = ["/bin/lockstep-testvmm", "--vm", VM, "--agent", self.path("vmm"), "--control", self.path("control"),
                "--stall-ms", "10000", "--ram", "16", "--no-stdin"]
        for name in self.devices:
            argv += ["--device", f"{name}={self.sysfs(name)}"]
        if self.way:
            argv += ["--vfio", self.way]
        if incoming:
            argv += ["--incoming", "--ram-listen", f"{self.address}:{RAM_PORT}"]
        if peer:
            argv += ["--ram-peer", peer]
        self.vmm = self.stack.add(GuestProcess(self.shell, f"vmm-{self.letter}", argv, {**self.vmm_env, **env}))
        self.ram = self.vmm.expect("vmm.ram-listen").split("=")[1] if incoming else None
        self.vmm.expect("vmm.incoming" if incoming else "vmm.running")
        self.vmm.expect("vmm.connected")
        return self

    def power_cut(self):
        """Whatever was not synced is lost, and all that ran there."""
        self.stack.guests.tell(f"kill {self.letter}")
        for process in self.stack.processes:
            if getattr(process, "shell", None) is self.shell:
                process.wait()

    def power_on(self):
        """The kernel and the devices, fresh; nothing else runs yet."""
        self.stack.guests.tell(f"boot {self.letter}")
        self.start_simhost()

    def ask(self, command, limit=GUEST_LIMIT):
        return self.shell.run(f"/bin/lockstep-testvmm --ask {self.path('control')} {command}", check=False, limit=limit)

    def verify(self):
        return json.loads(self.ask("verify"))


class Guests:
    """Two guests, linked; booted once for many stacks."""

    def __init__(self, version="6.12", *image):
        self.popen = subprocess.Popen([os.path.join(_HERE, "pair.sh"), version, build_dir(), *image], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
        self.ports = None
        for line in self.popen.stdout:
            if line.startswith("pair "):
                self.ports = [int(port) for port in line.split()[1:]]
                break
        if not self.ports:
            _, err = self.popen.communicate()
            raise RuntimeError(f"the emulated hosts do not start:\n{err}")

    def has(self, file):
        """Does the first host's kernel have this file?"""
        return Shell(self.ports[0]).run(f"[ -e {file} ] && echo yes", check=False).strip() == "yes"

    def tell(self, command):
        """cut a | heal a | kill b | boot b"""
        self.popen.stdin.write(command + "\n")
        self.popen.stdin.flush()
        assert self.popen.stdout.readline().startswith("done"), f"pair.sh did not {command}"

    def end(self):
        """Powers both off; raises if a kernel log is not clean."""
        out, err = self.popen.communicate("end\n", timeout=GUEST_LIMIT)
        assert self.popen.returncode == 0 and "pair clean" in out, f"the emulated hosts did not end well:\n{out}{err}"


class GuestStack(Stack):
    def __init__(self, guests, types=TYPES, destination_types=None, **more):
        super().__init__(types, **more)
        shell_a, agent_a, shell_b, agent_b = guests.ports
        self.guests = guests
        self.a = GuestHost(self, "a", types, "10.77.0.1", shell_a, agent_a)
        self.b = GuestHost(self, "b", destination_types or types, "10.77.0.2", shell_b, agent_b)

    def add(self, process):
        self.processes.append(process)
        return process

    def stop(self, **more):
        statuses = super().stop(**more)
        for host in (self.a, self.b):
            host.shell.run("for d in /sys/bus/mdev/devices/*; do [ -e $d ] && echo 1 >$d/remove; done; "
                           "rm -f /run/ledger.db* /disk/ledger.db* /run/*.conf; true")
        return statuses
