# SPDX-License-Identifier: Apache-2.0
"""Processes of a test: started in a folder of their own, read line by line, ended by their own pid."""
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time

LIMIT = 60  # seconds for anything that should happen soon; nothing waits for it to pass

_REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def build_dir():
    return os.environ.get("LOCKSTEP_BUILD", os.path.join(_REPO, "build"))


def binary(name):
    """A program of the build, wherever its folder is."""
    for folder in ("", "agent", "agent/sim", "coordinator", "coordinator/ctl", "tests/vmm", "bin"):
        path = os.path.join(build_dir(), folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(f"{name} is not below {build_dir()}: build first, or set LOCKSTEP_BUILD")


def has_controls():
    """Is this build one whose safety can be switched off?"""
    with open(os.path.join(build_dir(), "CMakeCache.txt"), encoding="utf-8") as cache:
        return any(line.startswith("LOCKSTEP_CONTROLS:BOOL=ON") for line in cache)


def sanitizer():
    with open(os.path.join(build_dir(), "CMakeCache.txt"), encoding="utf-8") as cache:
        return next((line.split("=", 1)[1].strip() for line in cache if line.startswith("LOCKSTEP_SANITIZE:")), "")


_PORTS = range(12000, 32000)  # below the range that outgoing connections take theirs from
_next_port = random.randrange(len(_PORTS))


def free_port():
    """One that nobody has and that this process has not given out before: its owner may come to it late, or again."""
    global _next_port
    for _ in _PORTS:
        port = _PORTS[_next_port % len(_PORTS)]
        _next_port += 1
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"no port of {_PORTS} is free")


# It dies with the thread that started it. No preexec_fn for that: with one Python forks, the child runs gRPC's fork
# handlers, and these abort it now and then (absl, "pending CondVar queueing"); without, it is a vfork.
_DIES_WITH_US = ("/usr/bin/setpriv", "--pdeathsig", "KILL", "--")


class Process:
    """Lines of stdout and stderr are kept, in the order in which each came."""

    def __init__(self, name, argv, env=None, pass_fds=(), on_line=None):
        self.name, self.on_line = name, on_line
        self.out, self.err = [], []
        self._changed = threading.Condition()
        self._seen = 0
        self._open = 2
        self.popen = subprocess.Popen([*_DIES_WITH_US, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      text=True, bufsize=1, errors="replace", env={**os.environ, **(env or {})},
                                      pass_fds=pass_fds)
        self._readers = [threading.Thread(target=self._read, args=args, daemon=True)
                         for args in ((self.popen.stdout, self.out), (self.popen.stderr, self.err))]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self):
        return self.popen.pid

    def _read(self, pipe, lines):
        for line in pipe:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
            if self.on_line:
                self.on_line(self)
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def _wait(self, find, what, limit):
        end = time.monotonic() + limit
        with self._changed:
            while True:
                found = find()
                if found is not None:
                    return found
                if self._open == 0:
                    raise AssertionError(f"{self.name} ended before {what}\n{self.tail()}")
                if not self._changed.wait(end - time.monotonic()) and time.monotonic() >= end:
                    raise AssertionError(f"{self.name}: no {what} within {limit} s\n{self.tail()}")

    def expect(self, start, limit=LIMIT):
        """The next line of stdout that starts so; those before it are passed over."""
        def find():
            while self._seen < len(self.out):
                line = self.out[self._seen]
                self._seen += 1
                if line.startswith(start):
                    return line
            return None
        return self._wait(find, f"line {start!r}", limit)

    def expect_log(self, text, after=0, limit=LIMIT):
        """The first line of stderr from number `after` on that contains `text`."""
        def find():
            return next((line for line in self.err[after:] if text in line), None)
        return self._wait(find, f"log line with {text!r}", limit)

    def logs(self, text):
        with self._changed:
            return [line for line in self.err if text in line]

    def say(self, line):
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def alive(self):
        return self.popen.poll() is None

    def wait(self, limit=LIMIT):
        status = self.popen.wait(timeout=limit)
        for reader in self._readers:
            reader.join(LIMIT)
        return status

    def freeze(self):
        """SIGSTOP, and until every thread of it stands still."""
        self.popen.send_signal(signal.SIGSTOP)
        self.wait_frozen()

    def wait_frozen(self):
        """Until it stands still, or has ended."""
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self):
        self.popen.send_signal(signal.SIGCONT)

    def kill(self):
        if self.alive():
            self.popen.kill()
        self.wait()

    def stop(self):
        """Asks it to end; the exit status. None: it had to be killed."""
        if self.alive():
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.wait()
            return None

    def tail(self, lines=40):
        return "\n".join([f"--- {self.name} (pid {self.pid}, status {self.popen.poll()})"] +
                         [f"  out: {line}" for line in self.out[-lines:]] +
                         [f"  err: {line}" for line in self.err[-lines:]])


class Folder:
    """A folder below /tmp, short enough for unix sockets; kept if `keep` is set before the end."""

    def __init__(self, prefix="lockstep-"):
        import tempfile
        self.path = tempfile.mkdtemp(prefix=prefix, dir="/tmp")
        self.keep = False

    def __call__(self, name):
        return os.path.join(self.path, name)

    def write(self, name, text):
        with open(self(name), "w", encoding="utf-8") as f:
            f.write(text)
        return self(name)

    def remove(self):
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)
