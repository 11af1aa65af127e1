"""Peers that end their side: inside a head, inside a body, behind a request.

RFC 9112 sections 8 and 9.6. An incomplete request is not executed; a half-closed client has asked,
and is still reading.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

import pytest
from live import (
    Environ,
    Serve,
    StartResponse,
    chunked,
    exchange,
    message,
    read_response,
    read_to_eof,
)

from .apps import Recorder, hello

GET = message("GET / HTTP/1.1")


@pytest.mark.parametrize("before", [b"", GET])
@pytest.mark.parametrize("cut", [0, 1, 10, len(GET) - 2, len(GET) - 1])
def test_end_inside_a_head_is_silent(serve: Serve, cut: int, before: bytes) -> None:
    app = Recorder()
    with serve(app).connect() as sock:
        if before:
            assert exchange(sock, before).status == 200
        sock.sendall(GET[:cut])
        sock.shutdown(socket.SHUT_WR)
        assert read_to_eof(sock) == b""
    assert len(app.calls) == bool(before)


CHUNKED = message("POST / HTTP/1.1", "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    "data",
    [
        message("POST / HTTP/1.1", "Content-Length: 5"),
        message("POST / HTTP/1.1", "Content-Length: 5") + b"body",
        CHUNKED,
        CHUNKED + b"5\r\nbody",
        CHUNKED + b"4\r\nbody\r\n",
        CHUNKED + chunked(b"body")[:-2],
        CHUNKED + chunked(b"body", trailers="X: y\r\n")[:-2],
    ],
)
def test_end_inside_a_body_calls_no_app(serve: Serve, data: bytes) -> None:
    """400 or nothing for the client, a line in the log for the operator."""
    app = Recorder()
    server = serve(app)
    with server.connect() as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        rest = read_to_eof(sock)
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")
    assert app.calls == []
    server.wait_for_log("body")


@pytest.mark.parametrize("data", [b"", GET[:10], CHUNKED, CHUNKED + b"5\r\nbo"])
def test_reset_is_no_error(serve: Serve, data: bytes) -> None:
    """A client that vanishes is everyday life: no traceback, no other client touched."""
    server = serve(hello)
    with server.connect() as sock:
        if data:
            sock.sendall(data)
        assert server.ask(GET).status == 200
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert server.ask(GET).status == 200
    assert "Traceback" not in server.log_text()


@pytest.mark.parametrize("size", [10, 20_000_000])
@pytest.mark.parametrize("kind", ["list", "generator"])
@pytest.mark.parametrize("requests", [1, 3])
def test_half_closed_client_gets_the_whole_answer(
    serve: Serve, kind: str, size: int, requests: int
) -> None:
    """As `nc -N` and some libraries do: everything is asked, then the sending side is shut."""

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        items = [b"x" * (size // 10)] * 10
        return items if kind == "list" else iter(items)

    with serve(app).connect(rcvbuf=4096) as sock:
        sock.sendall(GET * requests)
        sock.shutdown(socket.SHUT_WR)
        for _ in range(requests):
            assert len(read_response(sock).body) == size
        assert read_to_eof(sock) == b""


def test_half_closed_upload(serve: Serve) -> None:
    app = Recorder()
    with serve(app).connect() as sock:
        sock.sendall(message("POST / HTTP/1.1", body=b"x" * 3_000_000))
        sock.shutdown(socket.SHUT_WR)
        assert read_response(sock).status == 200
        assert read_to_eof(sock) == b""
    assert len(app.calls[0].body) == 3_000_000


def test_half_closed_with_connection_close(serve: Serve) -> None:
    with serve(hello).connect() as sock:
        sock.sendall(message("GET / HTTP/1.1", "Connection: close"))
        sock.shutdown(socket.SHUT_WR)
        assert read_response(sock).body == b"hello /"
        assert read_to_eof(sock) == b""


def test_client_that_left_before_it_was_answered(serve: Serve) -> None:
    """Its pipelined requests may be executed or not; the server lives on, without a traceback."""
    server = serve(hello)
    for _ in range(20):
        sock = server.connect()
        sock.sendall(GET * 50)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert server.ask(GET).status == 200
    assert "Traceback" not in server.log_text()
