# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy between the agents that keeps what passes, and a decoder that knows only stock protobuf."""
import socket
import threading

from google.protobuf.internal.decoder import _DecodeVarint32 as decode_varint

import messages


class Connection:
    def __init__(self, client, server):
        self.client, self.server = client, server
        self.to_server, self.to_client = bytearray(), bytearray()

    def close(self):
        for s in (self.client, self.server):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Proxy:
    """`edit(connection, chunk)` may change or cut what goes from source to destination; None closes."""

    def __init__(self, target, edit=None):
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.edit = edit
        self.is_cut = False
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self.is_cut:
                    raise OSError
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            connection = Connection(client, server)
            self.connections.append(connection)
            for args in ((connection, client, server, connection.to_server, self.edit),
                         (connection, server, client, connection.to_client, None)):
                threading.Thread(target=self._pump, args=args, daemon=True).start()

    @staticmethod
    def _pump(connection, source, sink, kept, edit):
        try:
            while chunk := source.recv(1 << 16):
                if edit:
                    chunk = edit(connection, chunk)
                    if chunk is None:
                        break
                kept += chunk
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)
            if edit and chunk is None:
                connection.close()
        except OSError:
            connection.close()

    def cut(self):
        """Nothing passes until mend()."""
        self.is_cut = True
        for connection in list(self.connections):
            connection.close()

    def mend(self):
        self.is_cut = False

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
        except OSError:
            pass
        self.listener.close()
        for connection in self.connections:
            connection.close()


def decode(data):
    """Length-delimited Frames, every byte accounted for."""
    at, frames = 0, []
    while at < len(data):
        size, at = decode_varint(data, at)
        assert at + size <= len(data), "the last frame is cut"
        frames.append(messages.stream.Frame.FromString(bytes(data[at:at + size])))
        at += size
    return frames
