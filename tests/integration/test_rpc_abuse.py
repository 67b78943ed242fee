# SPDX-License-Identifier: Apache-2.0
"""Peers that break the rules on the server's port: one line for the log, and the server stays up."""
import os
import random
import socket
import struct

import pytest

from rpc_support import LIMIT, Echo, unary

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
DATA, HEADERS, RST, PING, GOAWAY = 0, 1, 3, 6, 7
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def headers(stream, path=b"/test.Echo/Echo", flags=0, method=b"POST", **extra):
    fields = {b":method": method, b":scheme": b"http", b":path": path, b":authority": b"x",
              b"content-type": b"application/grpc", b"te": b"trailers"}
    fields.update({k.replace("_", "-").encode(): v for k, v in extra.items()})
    block = b"".join(literal(k, v) for k, v in fields.items() if v is not None)
    return frame(HEADERS, END_HEADERS | flags, stream, block)


def message(payload):
    return struct.pack(">BI", 0, len(payload)) + payload


@pytest.fixture
def echo():
    server = Echo()
    yield server
    with server.channel() as channel:  # it may still be busy with the ends of many connections
        assert unary(channel, "Echo", b"alive", wait_for_ready=True) == b"alive"
    server.close()


def connect(echo):
    return socket.create_connection(echo.host_port(), timeout=LIMIT)


def read_to_end(peer):
    got = b""
    try:
        while True:
            more = peer.recv(65536)
            if not more:
                return got
            got += more
    except ConnectionResetError:
        return got


def read_frames(peer, until):
    """Frames up to the first that satisfies until(kind, flags, stream)."""
    buffered, frames = b"", []
    while True:
        while len(buffered) >= 9:
            length = int.from_bytes(buffered[:3], "big")
            if len(buffered) < 9 + length:
                break
            kind, flags = buffered[3], buffered[4]
            stream = int.from_bytes(buffered[5:9], "big")
            frames.append((kind, flags, stream, buffered[9:9 + length]))
            buffered = buffered[9 + length:]
            if until(kind, flags, stream):
                return frames
        more = peer.recv(65536)
        assert more, f"closed after {frames}"
        buffered += more


@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"hello\n",
    bytes(1000), PREFACE[:-1] + b"X", os.urandom(65536)],
    ids=["http1", "tls", "text", "zeros", "bent", "random"])
def test_garbage_closes_the_connection_with_one_line(echo, garbage):
    with connect(echo) as peer:
        name = "%s:%d" % peer.getsockname()
        try:
            peer.sendall(garbage)
        except (BrokenPipeError, ConnectionResetError):
            pass
        read_to_end(peer)
    assert echo.expect("peer-error ") == f"peer-error {name}: the peer does not speak HTTP/2"
    assert echo.lines.empty()


def test_a_peer_that_says_nothing_is_closed_in_time(echo):
    with connect(echo) as peer:
        assert read_to_end(peer).startswith(b"\0\0")  # our SETTINGS, then the end
    assert echo.expect("peer-error ").endswith("did not speak HTTP/2 in time")


def test_a_broken_frame_is_answered_with_goaway_and_one_line(echo):
    with connect(echo) as peer:
        peer.sendall(PREFACE + SETTINGS + frame(DATA, 0, 0, b"data on stream 0"))
        assert frame(GOAWAY, 0, 0)[3:4] in read_to_end(peer)
    assert "PROTOCOL_ERROR" in echo.expect("peer-error ")


def test_peers_that_just_leave_are_not_reported(echo):
    for sent in (b"", PREFACE[:10], PREFACE, PREFACE + SETTINGS, PREFACE + SETTINGS + headers(1)):
        with connect(echo) as peer:
            peer.sendall(sent)
            peer.shutdown(socket.SHUT_WR)
            read_to_end(peer)
    with echo.channel() as channel:
        assert unary(channel, "Echo", b"x") == b"x"
    assert echo.lines.empty()


def test_a_half_closed_connection_cancels_its_call(echo):
    with connect(echo) as peer:
        peer.sendall(PREFACE + SETTINGS + headers(1, b"/test.Echo/Hang") +
                     frame(DATA, END_STREAM, 1, message(b"")))
        echo.expect("hanging")
        peer.shutdown(socket.SHUT_WR)
        read_to_end(peer)
    echo.expect("cancelled /test.Echo/Hang")


def test_bytes_may_come_one_at_a_time(echo):
    with connect(echo) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in (PREFACE + SETTINGS + headers(1) + frame(DATA, 0, 1, message(b"abc")[:3]) +
                     frame(DATA, 0, 1, message(b"abc")[3:7]) + frame(DATA, 0, 1) +
                     frame(DATA, END_STREAM, 1, message(b"abc")[7:])):
            peer.sendall(bytes((byte,)))
        frames = read_frames(peer, lambda kind, flags, stream: stream == 1 and flags & END_STREAM)
    assert b"".join(p for kind, _, _, p in frames if kind == DATA) == message(b"abc")


def test_a_ping_is_answered(echo):
    with connect(echo) as peer:
        peer.sendall(PREFACE + SETTINGS + frame(PING, 0, 0, b"12345678"))
        frames = read_frames(peer, lambda kind, flags, stream: kind == PING)
    assert frames[-1] == (PING, 1, 0, b"12345678")


@pytest.mark.parametrize("fields, body, status", [
    ({}, b"", b"3"), ({}, b"\0\0\0", b"3"), ({}, message(b"abc")[:-1], b"3"),
    ({}, message(b"a") + message(b"b"), b"12"), ({}, message(b"a") + b"\0", b"12"),
    ({}, b"\1\0\0\0\1x", b"12"), ({"grpc_encoding": b"gzip"}, message(b"a"), b"12"),
    ({}, b"\0\xff\xff\xff\xff", b"8"), ({"grpc_timeout": b"soon"}, message(b"a"), b"3"),
    ({"grpc_timeout": b"0m", "path": b"/test.Echo/Hang"}, message(b"a"), b"4"),
    ({"path": b"/" + b"p" * 120}, message(b"a"), b"12"), ({"path": b"/"}, message(b"a"), b"12"),
], ids=["nothing", "half-prefix", "cut", "two", "tail", "compressed", "encoding", "huge", "timeout",
        "deadline-0", "path", "root"])
def test_a_bad_request_gets_its_status(echo, fields, body, status):
    with connect(echo) as peer:
        peer.sendall(PREFACE + SETTINGS + headers(1, **fields) + frame(DATA, END_STREAM, 1, body))
        frames = read_frames(peer, lambda kind, flags, stream: stream == 1 and flags & END_STREAM)
    assert frames[-1][0] == HEADERS
    assert decode_status(frames[-1][3]) == status


def decode_status(block):
    """grpc-status of a header block. The name is Huffman-coded; one or two digits never gain by it."""
    at = block.index(bytes.fromhex("9acac8b21234da8f")) + 8
    return block[at + 1:at + 1 + block[at]]


@pytest.mark.parametrize("fields", [{"method": b"GET"}, {"content_type": b"text/html"},
                                    {"content_type": None}])
def test_http_that_is_not_grpc_gets_an_http_error(echo, fields):
    with connect(echo) as peer:
        peer.sendall(PREFACE + SETTINGS + headers(1, flags=END_STREAM, **fields))
        frames = read_frames(peer, lambda kind, flags, stream: stream == 1 and flags & END_STREAM)
    assert [f[0] for f in frames if f[2] == 1] == [HEADERS]


def test_rapid_resets_do_not_pile_up(echo):
    with connect(echo) as peer:
        before = echo.rss()
        try:
            peer.sendall(PREFACE + SETTINGS)
            for stream in range(1, 40001, 2):
                peer.sendall(headers(stream, b"/test.Echo/Hang") +
                             frame(DATA, END_STREAM, stream, message(b"")) +
                             frame(RST, 0, stream, struct.pack(">I", 8)))
            peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the library may lose patience
        read_to_end(peer)
    assert echo.rss() - before < 64 << 20


def test_pings_that_nobody_reads_the_answers_of_do_not_pile_up(echo):
    with connect(echo) as peer:
        before = echo.rss()
        peer.settimeout(1)
        try:
            peer.sendall(PREFACE + SETTINGS)
            for _ in range(2000):
                peer.sendall(frame(PING, 0, 0, b"12345678") * 1000)
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            pass  # closed, or not read any more
        assert echo.rss() - before < 32 << 20


def test_unfinished_requests_share_a_bounded_memory():
    """Ten requests that never end, within every window: one of them is told to come back later."""
    server = Echo("--max-receiving", "400000")
    with connect(server) as peer:
        peer.sendall(PREFACE + SETTINGS)
        for stream in range(1, 21, 2):
            peer.sendall(headers(stream) + frame(DATA, 0, stream, struct.pack(">BI", 0, 1 << 20)) +
                         frame(DATA, 0, stream, bytes(16000)) * 3)
        frames = read_frames(peer, lambda kind, flags, stream: kind == RST)
    answers = [payload for kind, flags, _, payload in frames if kind == HEADERS]
    assert decode_status(answers[0]) == b"8"  # later ones refer to HPACK's table
    with server.channel() as channel:  # what the others held went with their connection
        assert unary(channel, "Echo", bytes(390000)) == bytes(390000)
    server.close()


def test_unix_peers_that_leave_at_once_do_not_kill_it(tmp_path):
    server = Echo(addresses=("127.0.0.1:0", f"unix:{tmp_path}/s"))
    with server.channel() as channel:
        for _ in range(3):
            for _ in range(100):
                with socket.socket(socket.AF_UNIX) as peer:
                    peer.connect(f"{tmp_path}/s")
            assert unary(channel, "Echo", b"alive") == b"alive"
    server.close()


def test_connections_over_the_limit_are_closed_and_reported(echo):
    peers = []
    for _ in range(257):
        peers.append(connect(echo))
        peers[-1].sendall(PREFACE + SETTINGS)
    assert echo.expect("peer-error ").endswith("too many connections")
    assert read_to_end(peers[-1]) == b""
    for peer in peers:
        peer.close()


def test_random_frames_never_bring_it_down(echo):
    rng = random.Random(20)
    for _ in range(200):
        with connect(echo) as peer:
            sent = PREFACE + SETTINGS
            for _ in range(rng.randrange(1, 20)):
                kind = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 200))
                stream = rng.choice((0, 1, 3, 5, 0x7fffffff))
                payload = rng.choice((headers(1)[9:], message(b"abc"), rng.randbytes(rng.randrange(64))))
                sent += frame(kind, rng.randrange(256), stream, payload)
            try:
                peer.sendall(sent)
                peer.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError, OSError):
                pass
            read_to_end(peer)
