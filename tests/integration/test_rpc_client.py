# SPDX-License-Identifier: Apache-2.0
"""Our client calls stock python3-grpcio, our own server, and peers that are neither."""
import socket
import threading
import time
from concurrent import futures

import grpc
import pytest

from rpc_support import Echo, call

MIB = 1 << 20


def fail(request, context):
    context.set_trailing_metadata((("lockstep-error-bin", b"\0\1\2detail\xff"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode().split(" ", 1)[1])


def repeat(request, context):
    count, size = (int(n) for n in request.split())
    for _ in range(count):
        yield b"r" * size


def hang(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(60)
    return b""


class PythonServer:
    def __init__(self):
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        handlers = {"Echo": unary(lambda request, context: request), "Fail": unary(fail),
                    "Repeat": stream(repeat), "Hang": unary(hang)}
        self.server = grpc.server(futures.ThreadPoolExecutor(16), options=[
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Echo", handlers),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def close(self):
        self.server.stop(None).wait()


@pytest.fixture(params=[PythonServer, Echo], ids=["grpcio", "ours"])
def server(request):
    server = request.param()
    yield server
    server.close()


@pytest.mark.parametrize("size", [0, 1, 65535, MIB, 4 * MIB])
def test_a_message_of_any_size_comes_back(server, size):
    assert call(server.address, "unary", "/test.Echo/Echo", payload=size) == \
        [f"message {size} {size * ord('x')}", "end OK "]


def test_status_message_and_trailer_arrive(server):
    lines = call(server.address, "unary", "/test.Echo/Fail", payload="=9 Gerät 100%")
    assert lines == ["end FAILED_PRECONDITION Gerät 100% lockstep-error-bin=00010264657461696cff"]


def test_a_stream_arrives_in_order_and_ends(server):
    assert call(server.address, "stream", "/test.Echo/Repeat", payload="=300 1000") == \
        [f"message 1000 {1000 * ord('r')}"] * 300 + ["end OK "]
    assert call(server.address, "stream", "/test.Echo/Repeat", payload="=0 0") == ["end OK "]


def test_an_unknown_method_is_unimplemented(server):
    assert call(server.address, "unary", "/test.Echo/No")[-1].startswith("end UNIMPLEMENTED ")


def test_the_deadline_ends_the_call(server):
    """Whoever notices first: both sides hold a clock."""
    assert call(server.address, "unary", "/test.Echo/Hang", deadline_ms=200)[-1].startswith(
        "end DEADLINE_EXCEEDED ")


def test_a_response_over_the_limit_is_refused(server):
    lines = call(server.address, "stream", "/test.Echo/Repeat", payload="=1 5000000")
    assert lines == ["end RESOURCE_EXHAUSTED response of 5000000 bytes, at most 4194304 are accepted"]


def test_a_unary_call_wants_exactly_one_message(server):
    for payload in ("=0 0", "=2 10"):
        assert call(server.address, "unary", "/test.Echo/Repeat", payload=payload)[-1].startswith(
            "end INTERNAL ")


def test_many_calls_at_once_on_one_connection(server):
    lines = call(server.address, "unary", "/test.Echo/Echo", count=1000, payload=1000)
    assert sorted(lines) == ["end OK "] * 1000 + [f"message 1000 {1000 * ord('x')}"] * 1000


def test_our_server_refuses_a_request_over_its_limit():
    server = Echo("--max-message", "1000")
    lines = call(server.address, "unary", "/test.Echo/Echo", payload=3 * MIB)
    assert lines == ["end RESOURCE_EXHAUSTED message of 3145728 bytes, at most 1000 are accepted"]
    server.close()


def test_unix_sockets_and_names(tmp_path):
    server = Echo(addresses=("127.0.0.1:0", f"unix:{tmp_path}/s"))
    port = server.address.rsplit(":", 1)[1]
    for address in (f"unix:{tmp_path}/s", f"localhost:{port}"):
        assert call(address, "unary", "/test.Echo/Echo") == ["message 2 209", "end OK "]
    server.close()


def test_nobody_there_is_unavailable_at_once(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        began = time.monotonic()
        assert call(address, "unary", "/a/b", count=3) == \
            [f"end UNAVAILABLE cannot connect to {address}: connection refused"] * 3
        assert time.monotonic() - began < 5
    assert call(f"unix:{tmp_path}/no", "unary", "/a/b")[0].startswith("end UNAVAILABLE cannot connect")
    assert call("no-such-host.invalid:1", "unary", "/a/b")[0].startswith("end UNAVAILABLE cannot connect")


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n",
                                  bytes(range(256)) * 20], ids=["nothing", "ssh", "http1", "noise"])
def test_a_peer_that_is_no_grpc_server_is_unavailable(says):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            peer, _ = listener.accept()
            peer.recv(1)
            peer.sendall(says)
            peer.close()
        thread = threading.Thread(target=serve)
        thread.start()
        lines = call("127.0.0.1:%d" % listener.getsockname()[1], "unary", "/a/b")
        thread.join()
    assert lines[0].startswith("end UNAVAILABLE lost the connection")


def test_a_silent_peer_costs_no_more_than_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lines = call("127.0.0.1:%d" % listener.getsockname()[1], "unary", "/a/b", deadline_ms=200)
    assert lines == ["end DEADLINE_EXCEEDED the deadline has passed"]
