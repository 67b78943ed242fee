# SPDX-License-Identifier: Apache-2.0
"""Plays systemd for one daemon: notify socket, watchdog, fd store, socket-activation variables, restarts.

Like systemd it believes only the service's own process (NotifyAccess=main), keeps stored fds by name, drops those whose
other end is gone (FDPOLL), hands them over as 3, 4, ... at the next start, and forgets them once the service was
stopped on purpose."""
import array
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time

from processes import LIMIT, Process

_UCRED = struct.Struct("3i")
_HIGH = 200      # where fds wait before the shell moves them to 3, 4, ...


class Service:
    """`spawn(argv, env)` makes a Process and is told to whoever wants to know by `on_start(process)`.

    `first_env`: a dict for the first start only, or a list of them, one for each of the first starts.
    `on_end()`: what happens on the host when the service has ended unasked, before a restart.
    `restart`: "always", "on-failure" (any end but status 0) or "no"."""

    def __init__(self, name, argv, folder, env=None, first_env=None, restart="on-failure", watchdog_ms=None,
                 fd_store_max=64, on_start=None, spawn=None, starts_max=20, on_end=None):
        self.name, self.argv, self.env = name, argv, dict(env or {})
        self.first_env = first_env if isinstance(first_env, list) else [first_env or {}]
        self.restart, self.watchdog_ms, self.fd_store_max = restart, watchdog_ms, fd_store_max
        self.on_start, self.starts_max, self.on_end = on_start, starts_max, on_end
        self.spawn = spawn or (lambda argv_, env_, **options: Process(name, argv_, env_, **options))
        self.process, self.starts, self.status = None, 0, None
        self.ready = self.stopping = False
        self.messages = []
        self._fds = []                # (name, fd, polled)
        self._changed = threading.Condition(threading.RLock())
        self._wanted = False          # should it run?
        self._last_watchdog = 0
        self._path = folder(f"{name}.notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(self._path)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.setblocking(False)
        self._closed = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    # ---- what the service says ----

    def _listen(self):
        while not self._closed:
            try:
                select.select([self._socket], [], [], 0.2)
            except (OSError, ValueError):
                return
            with self._changed:
                self._receive()
                self._check_watchdog()

    def _receive(self):
        """All that has come. Under the lock."""
        while not self._closed:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(
                    65536, socket.CMSG_SPACE(253 * 4) + socket.CMSG_SPACE(_UCRED.size), socket.MSG_CMSG_CLOEXEC)
            except OSError:
                return
            pid, fds = None, array.array("i")
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(payload[:len(payload) - len(payload) % fds.itemsize])
                elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    pid = _UCRED.unpack(payload)[0]
            if self.process is None or pid != self.process.pid:
                for fd in fds:
                    os.close(fd)
                continue
            self._heard(data.decode(errors="replace").splitlines(), list(fds))
            self._changed.notify_all()

    def _heard(self, lines, fds):
        self.messages.append(lines)
        said = dict(line.split("=", 1) for line in lines if "=" in line)
        if said.get("READY") == "1":
            self.ready = True
        if said.get("STOPPING") == "1":
            self.stopping = True
        if said.get("WATCHDOG") == "1":
            self._last_watchdog = time.monotonic()
        if said.get("WATCHDOG") == "trigger" and self.process.alive():
            self.process.popen.send_signal(signal.SIGABRT)
        name = said.get("FDNAME", "stored")
        if said.get("FDSTOREREMOVE") == "1":
            self._drop(lambda entry: entry[0] == name)
        if said.get("FDSTORE") == "1":
            for fd in fds:
                if len(self._fds) < self.fd_store_max:
                    self._fds.append((name, fd, said.get("FDPOLL") != "0"))
                else:
                    os.close(fd)
            fds = []
        for fd in fds:
            os.close(fd)

    def _check_watchdog(self):
        if not (self.watchdog_ms and self.ready and self.process and self.process.alive()):
            return
        if time.monotonic() - self._last_watchdog > self.watchdog_ms / 1000:
            # A process that does not even abort is killed when as much time has passed again.
            again = self.messages[-1:] == [["(watchdog)"]]
            self.messages.append(["(watchdog)"])
            self.process.popen.send_signal(signal.SIGKILL if again else signal.SIGABRT)
            self._last_watchdog = time.monotonic()

    # ---- the fd store ----

    def _drop(self, condition):
        keep = []
        for entry in self._fds:
            if condition(entry):
                os.close(entry[1])
            else:
                keep.append(entry)
        self._fds = keep

    @staticmethod
    def _hung_up(entry):
        poll = select.poll()
        poll.register(entry[1], 0)
        return entry[2] and any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL)
                                for _, events in poll.poll(0))

    def stored(self):
        """Names of the fds that would be handed over now."""
        with self._changed:
            self._receive()
            self._drop(self._hung_up)
            return [name for name, _, _ in self._fds]

    # ---- life ----

    def start(self):
        with self._changed:
            self._wanted = True
            self._start()
        threading.Thread(target=self._supervise, daemon=True).start()
        return self

    def _start(self):
        env = {**self.env, "NOTIFY_SOCKET": self._path}
        if self.starts < len(self.first_env):
            env.update(self.first_env[self.starts])
        if self.watchdog_ms:
            env["WATCHDOG_USEC"] = str(self.watchdog_ms * 1000)
        self._drop(self._hung_up)
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH) for _, fd, _ in self._fds]
        # The shell becomes the service: pid and LISTEN_PID are the same.
        moves = "".join(f" {3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(high))
        names = ":".join(name for name, _, _ in self._fds)
        script = f"export LISTEN_FDS={len(high)} LISTEN_FDNAMES='{names}' LISTEN_PID=$$; " if high else ""
        if self.watchdog_ms:
            script += "export WATCHDOG_PID=$$; "
        self.ready = self.stopping = False
        self._last_watchdog = time.monotonic()
        self.starts += 1
        self.process = self.spawn(["/bin/bash", "-c", f'{script}exec "$@"{moves}', "service", *self.argv], env,
                                  pass_fds=tuple(high))
        for fd in high:
            os.close(fd)
        if self.on_start:
            self.on_start(self.process)
        self._changed.notify_all()

    def _supervise(self):
        while True:
            process = self.process
            process.wait(None)
            with self._changed:
                self._receive()  # what it said last
                self.status = process.popen.returncode
                again = self._wanted and self.starts < self.starts_max and (
                    self.restart == "always" or (self.restart == "on-failure" and self.status != 0))
                if self._wanted and self.on_end:
                    self.on_end()
                if again:
                    self._start()
                else:
                    self._wanted = False
                self._changed.notify_all()
                if not again:
                    return

    def wait_for(self, condition, what, limit=LIMIT):
        with self._changed:
            if not self._changed.wait_for(condition, limit):
                raise AssertionError(f"{self.name}: no {what} within {limit} s\n{self.process.tail()}")

    def wait_ready(self, limit=LIMIT):
        self.wait_for(lambda: self.ready, "READY=1", limit)

    def wait_starts(self, n, limit=LIMIT):
        """Until it has been started `n` times in all."""
        self.wait_for(lambda: self.starts >= n, f"start number {n}", limit)

    def stop(self, number=signal.SIGTERM, limit=LIMIT):
        """Ends it for good, and forgets its fds; the exit status. What has not ended in time is killed, then raised."""
        with self._changed:
            self._wanted = False
            process = self.process
        if process.alive():
            process.popen.send_signal(number)
            process.popen.send_signal(signal.SIGCONT)
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{self.name} did not end within {limit} s\n{process.tail()}") from None
        finally:
            self.close()

    def close(self):
        with self._changed:
            self._wanted = False
            self._closed = True
            self._drop(lambda entry: True)
            self._socket.close()
            if os.path.exists(self._path):
                os.unlink(self._path)
