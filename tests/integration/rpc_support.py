# SPDX-License-Identifier: Apache-2.0
"""Starts the test server and reads what it says, line by line, with a limit in time."""
import os
import queue
import subprocess
import threading

import grpc

BIN = os.environ["LOCKSTEP_BIN"]
LIMIT = 30  # seconds for anything that should happen at once


class Echo:
    """An rpc_echo process."""

    def __init__(self, *args, addresses=("127.0.0.1:0",)):
        self.process = subprocess.Popen([f"{BIN}/rpc_echo", *args, *addresses], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.addresses = [self.expect("listening ").split()[1] for _ in addresses]
        self.address = self.addresses[0]

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def expect(self, start):
        """The next line that starts so."""
        while True:
            line = self.lines.get(timeout=LIMIT)
            assert line is not None, f"the server ended before saying {start!r}"
            if line.startswith(start):
                return line

    def rss(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def host_port(self):
        host, port = self.address.rsplit(":", 1)
        return host.strip("[]"), int(port)

    def channel(self, **options):
        options = [(f"grpc.{k}", v) for k, v in options.items()]
        # A pool of subchannels shared between tests would hide connection errors.
        return grpc.insecure_channel(self.address, options + [("grpc.use_local_subchannel_pool", 1)])

    def close(self):
        """A graceful end: all memory returned, exit code 0."""
        if self.process.stdin:
            self.process.stdin.close()
        assert self.process.wait(timeout=LIMIT) == 0


def unary(channel, method, request=b"", timeout=LIMIT, **kwargs):
    return channel.unary_unary(f"/test.Echo/{method}")(request, timeout=timeout, **kwargs)


def stream(channel, method, request=b"", timeout=LIMIT):
    return channel.unary_stream(f"/test.Echo/{method}")(request, timeout=timeout)


def call(address, kind, path, deadline_ms=LIMIT * 1000, count=1, payload="=hi"):
    """Runs rpc_call and gives its lines."""
    done = subprocess.run([f"{BIN}/rpc_call", address, kind, path, str(deadline_ms), str(count),
                           str(payload)], capture_output=True, text=True, timeout=2 * LIMIT)
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-4000:])
    return done.stdout.splitlines()
