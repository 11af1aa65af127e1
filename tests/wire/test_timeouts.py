"""Peers that are late: 408 for a request that was begun, silence for one that wasn't.

RFC 9110 section 15.5.9, RFC 9112 section 9.5. The times are the settings; no test measures them.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable

import pytest
from live import Environ, Serve, StartResponse, exchange, message, read_response, read_to_eof

from .apps import BODY_WAIT, Closable, Recorder, hello

SHORT = 0.15
"""Seconds: the timeout under test."""

TRICKLE = 0.01
"""Seconds between two bytes of a client that is slow on purpose."""


def trickle(sock: socket.socket, piece: bytes) -> None:
    """Send `piece` again and again until the server has something to say."""
    for _ in range(int(BODY_WAIT / TRICKLE)):
        if select.select([sock], [], [], TRICKLE)[0]:
            return
        sock.sendall(piece)
    pytest.fail("the server never lost patience")


def expect_408(sock: socket.socket) -> None:
    response = read_response(sock)
    assert (response.status, response.closes) == (408, True)
    assert read_to_eof(sock) == b""


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1\r\nHo", message("GET / HTTP/1.1")[:-1]])
def test_half_a_head_is_408(serve: Serve, data: bytes) -> None:
    app = Recorder()
    with serve(app, head_timeout=SHORT).connect() as sock:
        sock.sendall(data)
        expect_408(sock)
    assert app.calls == []


def test_half_a_head_behind_a_request_is_408(serve: Serve) -> None:
    with serve(hello, head_timeout=SHORT).connect() as sock:
        assert exchange(sock, message("GET / HTTP/1.1") + b"GET / HT").status == 200
        expect_408(sock)


def test_more_bytes_do_not_buy_time_for_a_head(serve: Serve) -> None:
    """Slowloris: one byte now and then would keep a connection for ever."""
    with serve(hello, head_timeout=SHORT).connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nX: ")
        trickle(sock, b"y")
        expect_408(sock)


@pytest.mark.parametrize(
    "data",
    [
        message("POST / HTTP/1.1", "Content-Length: 5"),
        message("POST / HTTP/1.1", "Content-Length: 5") + b"body",
        message("POST / HTTP/1.1", "Transfer-Encoding: chunked"),
        message("POST / HTTP/1.1", "Transfer-Encoding: chunked") + b"5\r\nbody",
        message("POST / HTTP/1.1", "Transfer-Encoding: chunked") + b"4\r\nbody\r\n0\r\n",
    ],
)
def test_half_a_body_is_408(serve: Serve, data: bytes) -> None:
    app = Recorder()
    with serve(app, body_timeout=SHORT).connect() as sock:
        sock.sendall(data)
        expect_408(sock)
    assert app.calls == []


def test_each_byte_buys_time_for_a_body(serve: Serve) -> None:
    """A slow upload is legitimate; only a pause is not."""
    app = Recorder()
    nbytes = 60
    with serve(app, body_timeout=0.4).connect() as sock:
        sock.sendall(message("POST / HTTP/1.1", f"Content-Length: {nbytes}"))
        for _ in range(nbytes):
            select.select([], [], [], 2 * TRICKLE)
            sock.sendall(b"x")
        assert read_response(sock).status == 200
    assert app.calls[0].body == b"x" * nbytes


def test_each_request_buys_time_for_a_connection(serve: Serve) -> None:
    with serve(hello, keepalive=0.4).connect() as sock:
        for _ in range(60):
            select.select([], [], [], 2 * TRICKLE)
            assert exchange(sock, message("GET / HTTP/1.1")).status == 200
        assert read_to_eof(sock) == b""


def test_silent_connection_is_closed_without_a_word(serve: Serve) -> None:
    """Who has asked nothing must not find an answer when asking (RFC 9112 section 9.5)."""
    with serve(hello, head_timeout=SHORT, defer_accept=False).connect() as sock:
        assert read_to_eof(sock) == b""


def test_idle_connection_is_closed_without_a_word(serve: Serve) -> None:
    with serve(hello, keepalive=SHORT).connect() as sock:
        assert exchange(sock, message("GET / HTTP/1.1")).status == 200
        assert read_to_eof(sock) == b""


def test_many_idle_connections_expire(serve: Serve) -> None:
    server = serve(hello, keepalive=SHORT)
    socks = [server.connect() for _ in range(50)]
    for sock in socks:
        assert exchange(sock, message("GET / HTTP/1.1")).status == 200
    for sock in socks:
        assert read_to_eof(sock) == b""


def test_waiting_for_the_app_is_no_lateness(serve: Serve) -> None:
    """None of the timeouts is the app's; a stream of many pauses outlives all of them."""
    pauses = 8

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        for _ in range(pauses):
            select.select([], [], [], SHORT / 3)
            yield b"x"

    short = dict.fromkeys(("head_timeout", "body_timeout", "write_timeout", "keepalive"), SHORT)
    with serve(app, **short).connect() as sock:
        assert exchange(sock, message("GET / HTTP/1.1")).body == b"x" * pauses


@pytest.mark.parametrize("kind", ["list", "generator"])
def test_client_that_takes_nothing_is_given_up(serve: Serve, kind: str) -> None:
    iterable = Closable([b"x" * 1_000_000] * 64)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/other":
            return hello(environ, start_response)
        start_response("200 OK", [])
        return iterable if kind == "generator" else [b"x" * 1_000_000] * 64

    server = serve(app, write_timeout=SHORT)
    with server.connect(rcvbuf=4096) as sock:
        sock.sendall(message("GET / HTTP/1.1"))
        server.wait_for_log("takes nothing")
        if kind == "generator":
            assert iterable.ended.wait(BODY_WAIT)
        received = 0
        try:
            while piece := sock.recv(1 << 20):
                received += len(piece)
        except ConnectionResetError:
            pass
    assert received < 64_000_000
    assert server.ask(message("GET /other HTTP/1.1")).status == 200


def test_client_that_takes_slowly_is_not_given_up(serve: Serve) -> None:
    """Whoever takes something has time again: a bad line is no attack.

    The kernel reports room only when a third of its buffer is free (sock_writeable), which takes
    this client longer than write_timeout; what it took meanwhile shows in the queue (SIOCOUTQ).
    """
    size = 7_000_000

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(size))])
        return [b"x" * size]

    with serve(app, write_timeout=0.5).connect(rcvbuf=32768) as sock:
        sock.sendall(message("GET / HTTP/1.1"))
        received = 0
        while received < size:
            select.select([], [], [], TRICKLE / 2)
            piece = sock.recv(8192)
            assert piece, f"given up after {received} bytes"
            received += len(piece)
