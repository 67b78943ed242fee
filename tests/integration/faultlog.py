# SPDX-License-Identifier: Apache-2.0
"""Fault points as a daemon passes them: a pipe for LOCKSTEP_FAULT_LOG, read at once."""
import os
import threading


class FaultLog:
    """`lines`, one a pass, in one life of one process. `changed`, a Condition, is told of each."""

    def __init__(self, path, changed):
        self.path, self.lines, self._changed = path, [], changed
        os.mkfifo(path)
        # Open for writing too: no end of file when the daemon dies, and nobody waits for a reader.
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        rest = ""
        while True:
            *lines, rest = (rest + os.read(self._fd, 1 << 16).decode()).split("\n")
            with self._changed:
                self.lines += [line for line in lines if line]
                self._changed.notify_all()
            if "" in lines:
                return

    def acted(self, point, number):
        """Has something happened at that pass?"""
        start = f"{point} #{number} "
        return any(line.startswith(start) and not line.endswith(" pass") for line in self.lines)

    def passes(self):
        """[(point, number)]"""
        return [(line.split()[0], int(line.split()[1][1:])) for line in self.lines if line[0] != "("]

    def mark(self):
        """How many lines were written before now."""
        name = f"(mark) #{len(self.lines)} pass"
        os.write(self._fd, f"{name}\n".encode())
        with self._changed:
            self._changed.wait_for(lambda: name in self.lines)
            return self.lines.index(name)

    def close(self):
        os.write(self._fd, b"\n\n")
        self._reader.join()
        os.close(self._fd)
