"""Lingering close: a final response reaches a client that is still sending.

RFC 9112 section 9.6: a server that closes with unread bytes makes the kernel send a reset, which
destroys the response on its way. So it shuts its side and discards, but not for ever.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Thread

import pytest
from live import Serve, exchange, message, read_response, read_to_eof

from .apps import Recorder, hello
from .delivery import deliver

BIG = 10_000_000
"""Bytes announced by a client whose body is refused."""


@pytest.mark.parametrize("before", [0, 1_000, 100_000])
def test_413_reaches_a_client_that_goes_on_sending(serve: Serve, before: int) -> None:
    """It may send on for a while without an error, before and after it has read the answer."""
    with serve(Recorder(), max_body=100).connect() as sock:
        sock.sendall(message("POST / HTTP/1.1", f"Content-Length: {BIG}"))
        for _ in range(before // 1000):
            sock.sendall(b"x" * 1000)
        response = read_response(sock)
        assert (response.status, response.closes) == (413, True)
        assert read_to_eof(sock) == b""


def test_sending_on_is_no_error(serve: Serve) -> None:
    """A library that first sends and then reads would report the error, and never the answer."""
    server = serve(Recorder(), max_body=100)
    with server.connect() as sock, server.connect() as barrier:
        sock.sendall(message("POST / HTTP/1.1", f"Content-Length: {BIG}"))
        deliver(sock, barrier, [b"x" * 1000] * 50)
        # Were the connection reset by now, this would be EPIPE.
        sock.sendall(b"x")
        assert read_response(sock).status == 413
        assert read_to_eof(sock) == b""


def test_413_reaches_a_client_that_reads_later(serve: Serve) -> None:
    """All of it is sent in one go, more than the kernel's buffers of a moment."""
    with serve(Recorder(), max_body=100).connect() as sock:
        sock.sendall(message("POST / HTTP/1.1", body=b"x" * 200_000))
        assert read_response(sock).status == 413


@pytest.mark.parametrize(
    "data",
    [
        message("GET / HTTP/1.1", "Name : v") + b"x" * 100_000,
        message("GET / HTTP/1.1", "Connection: close") + message("GET / HTTP/1.1") * 2_000,
        message("POST / HTTP/1.1", "Expect: nothing", f"Content-Length: {BIG}") + b"x" * 100_000,
        b"GET /" + b"a" * 100_000,
    ],
)
def test_closing_response_reaches_a_client_with_unread_bytes(serve: Serve, data: bytes) -> None:
    with serve(hello).connect() as sock:
        sock.sendall(data)
        assert read_response(sock).closes
        assert read_to_eof(sock) == b""


def flood(sock: socket.socket, blocks: int) -> None:
    """Send without ever reading."""
    for _ in range(blocks):
        sock.sendall(b"x" * 65536)


def test_server_does_not_listen_for_ever(serve: Serve) -> None:
    """A client that never stops sending is cut, by bytes or by time."""
    with serve(Recorder(), max_body=100, linger_timeout=0.3).connect() as sock:
        sock.sendall(message("POST / HTTP/1.1", f"Content-Length: {1 << 40}"))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            flood(sock, 100_000)


def test_server_does_not_wait_for_ever(serve: Serve) -> None:
    """A client that neither sends nor closes loses the connection in the end."""
    server = serve(Recorder(), linger_timeout=0.2, worker_connections=1)
    silent = server.connect()
    assert exchange(silent, message("GET / HTTP/1.1", "Name : v")).status == 400
    assert read_to_eof(silent) == b""
    # There is room for one connection only, so this one is served when that one is gone.
    assert server.ask(message("GET / HTTP/1.1")).status == 200


def test_shut_side_is_seen_at_once(serve: Serve) -> None:
    """The client learns of the end with the response, not when lingering ends."""
    with serve(hello, linger_timeout=600.0).connect() as sock:
        assert exchange(sock, message("GET / HTTP/1.1", "Connection: close")).closes
        assert read_to_eof(sock) == b""
        assert exchange_fails(sock)


def exchange_fails(sock: socket.socket) -> bool:
    """No second request is answered."""
    try:
        sock.sendall(message("GET / HTTP/1.1"))
        return sock.recv(1) == b""
    except (BrokenPipeError, ConnectionResetError):
        return True


def test_others_are_served_meanwhile(serve: Serve) -> None:
    """Ten refused uploads in full flow, and somebody else."""
    server = serve(hello, max_body=100)
    socks = [server.connect() for _ in range(10)]
    for sock in socks:
        sock.sendall(message("POST / HTTP/1.1", f"Content-Length: {1 << 40}"))

    def upload(sock: socket.socket) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            flood(sock, 1000)

    threads = [Thread(target=upload, args=(sock,)) for sock in socks]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert server.ask(message("GET / HTTP/1.1")).body == b"hello /"
    for thread in threads:
        thread.join()
