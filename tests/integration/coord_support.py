# SPDX-License-Identifier: Apache-2.0
"""lockstepd with two fake agents, and lockstepctl against it."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios

import grpc
import pytest

import messages
from fake_agent import Pair
from processes import LIMIT, Process, binary, free_port

m = messages.migration


def refused(call, *args):
    """Status and detail of a call that fails."""
    with pytest.raises(grpc.RpcError) as e:
        call(*args, timeout=LIMIT)
    trailer = dict(e.value.trailing_metadata())["lockstep-error-bin"]
    return e.value.code(), m.ErrorDetail.FromString(trailer)


def lose_store(c):
    for name in os.listdir(c.folder):
        if name.startswith("store.db"):
            os.remove(os.path.join(c.folder, name))


class Coordinator:
    def __init__(self, folder, pair=None, store=None, wrap=(), **env):
        """`wrap`: what lockstepd is run by, a command that ends by becoming it. `env`: of its first life."""
        self.folder, self.pair, self.wrap = folder, pair or Pair(), list(wrap)
        self.store = store or os.path.join(folder, "store.db")
        self.port = free_port()
        self.config = os.path.join(folder, "lockstepd.ini")
        with open(self.config, "w", encoding="ascii") as f:
            f.write(f"[coordinator]\nid = one\nlisten = 127.0.0.1:{self.port}\nstore = {self.store}\n"
                    f"[host host-a]\nagent = 127.0.0.1:{self.pair.a.port}\nstream = 127.0.0.1:1\n"
                    f"[host host-b]\nagent = 127.0.0.1:{self.pair.b.port}\nstream = 127.0.0.1:2\n")
        self.channel = None
        self.start(**env)

    def start(self, **env):
        self.process = Process("lockstepd", [*self.wrap, binary("lockstepd"), "--config", self.config, "--log", "debug"],
                               env)
        line = self.process.expect_log("coordinator.ready")
        assert f"listen=127.0.0.1:{self.port}" in line
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.use_local_subchannel_pool", 1)])
        self.api = messages.lockstep(self.channel)

    def kill(self):
        self.channel.close()
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """A clean end: exit code 0, and nothing for a sanitizer to say."""
        self.channel.close()
        os.kill(self.process.pid, signal.SIGTERM)
        assert self.process.wait() == 0, self.process.tail()
        assert not self.process.logs("ERROR: "), self.process.tail()

    def close(self):
        try:
            if self.process.alive():
                self.stop()
        finally:
            self.pair.a.stop()
            self.pair.b.stop()

    # ---- calls ----

    def start_move(self, ident="m1", actor="tester", **spec):
        return self.api.Start(m.StartRequest(spec=self.spec(ident, **spec), actor=actor), timeout=LIMIT)

    @staticmethod
    def spec(ident="m1", **fields):
        return m.MigrationSpec(**{"id": ident, "vm": "vm1", "source": "host-a", "destination": "host-b", **fields})

    def get(self, ident="m1"):
        return self.api.Get(m.GetRequest(id=ident), timeout=LIMIT)

    def watch(self, ident="m1"):
        return self.api.Watch(m.GetRequest(id=ident), timeout=LIMIT)

    def end(self, ident="m1"):
        """The migration when it has ended."""
        last = None
        for last in self.watch(ident):
            pass
        assert last.phase >= m.PHASE_DONE
        return last

    def until(self, condition, ident="m1"):
        stream = self.watch(ident)
        for view in stream:
            if condition(view):
                stream.cancel()
                return view
        raise AssertionError("the migration ended before that")

    def _ctl_env(self, server=None):
        env = {**os.environ, "LOCKSTEP_SERVER": server or f"127.0.0.1:{self.port}", "TZ": "UTC", "USER": "tester"}
        env.pop("SUDO_USER", None)
        return env

    def ctl(self, *args, server=None):
        return subprocess.run([binary("lockstepctl"), *args], capture_output=True, text=True, timeout=LIMIT,
                              env=self._ctl_env(server), check=False)

    def terminal(self, *args, typed=None, server=None):
        """The exit code, and what a terminal of 80 columns got to see. `typed` is typed at the first question; bytes 04:
        the end of the input."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(binary("lockstepctl"), ["lockstepctl", *args], self._ctl_env(server))
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        seen = b""
        try:
            while select.select([fd], [], [], LIMIT)[0]:
                seen += os.read(fd, 4096)
                if typed is not None and seen.endswith(b" to do it: "):
                    os.write(fd, typed)
                    typed = None
            os.kill(pid, signal.SIGKILL)
        except OSError:   # EIO: it has ended
            pass
        os.close(fd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, seen.decode().replace("\r\n", "\n")
