# SPDX-License-Identifier: Apache-2.0
"""Stock python3-grpcio calls our server."""
import socket
import time

import grpc
import pytest

from rpc_support import Echo, stream, unary

MIB = 1 << 20


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def channel(echo):
    with echo.channel(max_send_message_length=-1, max_receive_message_length=-1) as channel:
        yield channel


def status_of(call, *args, **kwargs):
    with pytest.raises(grpc.RpcError) as error:
        call(*args, **kwargs)
    return error.value


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 65535, 65536, MIB, 4 * MIB])
def test_a_message_of_any_size_comes_back(channel, size):
    request = bytes(i * 7 % 251 for i in range(min(size, 4096))) * (size // min(size, 4096) if size else 0)
    request += b"z" * (size - len(request))
    assert unary(channel, "Echo", request) == request


def test_a_message_over_the_limit_is_refused_and_the_connection_lives(channel):
    error = status_of(unary, channel, "Echo", b"x" * (4 * MIB + 1))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "message of 4194305 bytes, at most 4194304 are accepted"
    assert unary(channel, "Echo", b"on") == b"on"


def test_the_limit_is_configurable():
    server = Echo("--max-message", "10")
    with server.channel() as channel:
        assert unary(channel, "Echo", b"0123456789") == b"0123456789"
        assert status_of(unary, channel, "Echo", b"0123456789a").code() == \
            grpc.StatusCode.RESOURCE_EXHAUSTED
    server.close()


def test_an_unknown_method_is_unimplemented(channel):
    error = status_of(unary, channel, "Nothing")
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    assert error.details() == "unknown method /test.Echo/Nothing"


def test_status_message_and_binary_trailer_arrive(channel):
    error = status_of(unary, channel, "Fail", "9 100% of Gerät vdev0: nicht bereit\n".encode())
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "100% of Gerät vdev0: nicht bereit\n"
    assert dict(error.trailing_metadata())["lockstep-error-bin"] == b"\0\1\2detail\xff"


def test_a_long_status_message_is_cut_between_characters(channel):
    error = status_of(unary, channel, "Fail", ("5 x" + "ä" * 3000).encode())
    assert error.details() == "x" + "ä" * 511


@pytest.mark.parametrize("code", range(1, 17))
def test_every_status_code_arrives(channel, code):
    assert status_of(unary, channel, "Fail", b"%d" % code).code().value[0] == code


def test_a_compressed_message_is_unimplemented(channel):
    error = status_of(unary, channel, "Echo", b"x" * 1000, compression=grpc.Compression.Gzip)
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_stream_gives_its_messages_in_order_and_ends(channel):
    assert [len(m) for m in stream(channel, "Repeat", b"1000 100")] == [100] * 1000
    assert list(stream(channel, "Repeat", b"0 0")) == []
    assert [len(m) for m in stream(channel, "Repeat", b"5 3000000")] == [3000000] * 5
    assert list(stream(channel, "Repeat", b"3 0")) == [b""] * 3


def test_the_deadline_ends_a_call_on_both_sides(echo, channel):
    began = time.monotonic()
    error = status_of(unary, channel, "Hang", timeout=0.3)
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 5
    echo.expect("cancelled /test.Echo/Hang")
    assert list(stream(channel, "Repeat", b"1 1")) == [b"r"]


def test_the_server_knows_how_long_the_client_waits(channel):
    assert 1000 < int(unary(channel, "Peer", timeout=20).split()[-1]) <= 21000
    assert unary(channel, "Peer", timeout=None).split()[-1] == b"-1"


def test_cancel_reaches_the_handler(echo, channel):
    call = stream(channel, "Greet")
    assert next(call) == b"hello"
    call.cancel()
    echo.expect("cancelled /test.Echo/Greet")
    future = channel.unary_unary("/test.Echo/Hang").future(b"", timeout=30)
    echo.expect("hanging")
    future.cancel()
    echo.expect("cancelled /test.Echo/Hang")


def test_an_answer_after_the_deadline_harms_nobody(echo, channel):
    assert status_of(unary, channel, "Later", b"400", timeout=0.1).code() == \
        grpc.StatusCode.DEADLINE_EXCEEDED
    assert unary(channel, "Later", b"500") == b"late"


def test_a_connection_that_dies_cancels_its_calls(echo):
    with echo.channel() as channel:
        call = stream(channel, "Greet")
        assert next(call) == b"hello"
    echo.expect("cancelled /test.Echo/Greet")


def test_many_calls_at_once_on_one_connection(channel):
    method = channel.unary_unary("/test.Echo/Echo")
    requests = [b"%d " % i * (i % 50 * 100) for i in range(1000)]
    futures = [method.future(r, timeout=60) for r in requests]
    assert [f.result() for f in futures] == requests


def test_many_slow_calls_wait_for_their_turn(channel):
    """More than the server's limit of streams: the client queues, nothing fails."""
    method = channel.unary_unary("/test.Echo/Later")
    futures = [method.future(b"20", timeout=60) for _ in range(600)]
    assert {f.result() for f in futures} == {b"late"}


def test_a_slow_reader_costs_the_server_no_memory(echo):
    """Stream of 1 GiB, of which the reader takes three messages: the rest waits at its source."""
    with echo.channel() as channel:
        before = echo.rss()
        call = stream(channel, "Repeat", b"4096 262144")
        for _ in range(3):
            next(call)
        for _ in range(20):  # other calls go on beside it
            assert unary(channel, "Echo", b"x") == b"x"
        assert echo.rss() - before < 32 * MIB
        call.cancel()
        echo.expect("cancelled /test.Echo/Repeat")


def test_a_sender_that_does_not_wait_is_stopped(echo, channel):
    call = stream(channel, "Flood", b"100000 1000")
    with pytest.raises(grpc.RpcError) as error:
        for _ in call:
            pass
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(echo.expect("flood queued ").split()[2]) <= 4 * MIB


def test_unix_sockets_and_ipv6_serve_beside_ipv4(tmp_path):
    path = f"unix:{tmp_path}/echo.sock"
    server = Echo(addresses=("127.0.0.1:0", "[::1]:0", path))
    for address, peer in zip(server.addresses, ("127.0.0.1:", "[::1]:", "unix:uid=")):
        with grpc.insecure_channel(address) as channel:
            assert unary(channel, "Peer").decode().startswith(peer)
    server.close()
    assert not (tmp_path / "echo.sock").exists()


def test_a_dead_socket_file_is_replaced_and_a_live_one_is_not(tmp_path):
    path = tmp_path / "echo.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    server = Echo(addresses=(f"unix:{path}",))
    with pytest.raises(AssertionError):
        Echo(addresses=(f"unix:{path}",))
    with server.channel() as channel:
        assert unary(channel, "Echo", b"still me") == b"still me"
    server.close()


def test_shutdown_lets_running_calls_finish(echo):
    with echo.channel() as channel:
        future = channel.unary_unary("/test.Echo/Later").future(b"300", timeout=30)
        assert unary(channel, "Echo", b"x") == b"x"  # the call above has arrived: same connection
        echo.process.stdin.close()
        assert future.result() == b"late"
        echo.expect("drained")
