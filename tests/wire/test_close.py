"""close() of the app's iterable is called exactly once, however the request ends.

PEP 3333 ("Specification Details"): "whether the request was completed normally, or terminated early
due to an application error during iteration or an early disconnect of the browser". Frameworks give
database connections back there, so once too few is a leak and once too often a bug.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

import pytest
from live import Environ, Serve, StartResponse, TruncatedError, exchange, message, read_until

from .apps import BODY_WAIT, Closable, hello

GET = message("GET / HTTP/1.1")


class Serving:
    """An app that answers `/` with one iterable, and everything else with hello."""

    def __init__(self, iterable: Iterable[bytes], status: str, length: int | None) -> None:
        self.iterable = iterable
        self.status = status
        self.headers = [] if length is None else [("Content-Length", str(length))]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/":
            return hello(environ, start_response)
        start_response(self.status, list(self.headers))
        return self.iterable


CASES: dict[str, tuple[list[bytes | Exception], str, str, int | None]] = {
    "chunked": ([b"a", b"", b"b"], "GET", "200 OK", None),
    "with Content-Length": ([b"a", b"b"], "GET", "200 OK", 2),
    "empty": ([], "GET", "200 OK", None),
    "only empty items": ([b"", b""], "GET", "200 OK", None),
    "Content-Length reached early": ([b"a", b"b", b"c"], "GET", "200 OK", 2),
    "shorter than Content-Length": ([b"a"], "GET", "200 OK", 2),
    "HEAD": ([b"a", b"b"], "HEAD", "200 OK", None),
    "HEAD with Content-Length": ([b"a", b"b"], "HEAD", "200 OK", 2),
    "204": ([b"a"], "GET", "204 No Content", None),
    "304": ([b"a"], "GET", "304 Not Modified", None),
    "raises first": ([ZeroDivisionError("app")], "GET", "200 OK", None),
    "raises later": ([b"a", ZeroDivisionError("app")], "GET", "200 OK", None),
    "large": ([b"a" * 1_000_000] * 5, "GET", "200 OK", None),
}


@pytest.mark.parametrize("case", CASES)
def test_once_for_an_iterable(serve: Serve, case: str) -> None:
    items, method, status, length = CASES[case]
    iterable = Closable(items)
    server = serve(Serving(iterable, status, length))
    with server.connect() as sock:
        try:
            exchange(sock, message(f"{method} / HTTP/1.1"), method)
        except TruncatedError:
            assert case in {"raises later", "shorter than Content-Length"}
        assert iterable.ended.wait(BODY_WAIT)
        assert server.ask(message("GET /after HTTP/1.1")).status == 200
    server.log_text()
    server.stop()
    assert iterable.closed == 1


def test_once_for_a_list_with_close(serve: Serve) -> None:
    """A subclass of list is an iterable with close() like any other."""

    class Items(list[bytes]):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    items = Items([b"abc"])
    server = serve(Serving(items, "200 OK", 3))
    assert server.ask(GET).body == b"abc"
    server.stop()
    assert items.closed == 1


def test_once_if_the_head_is_refused(serve: Serve) -> None:
    """A generator that calls start_response with nonsense is closed all the same."""
    ended = []

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            start_response("nonsense", [])
            yield b"x"
        finally:
            ended.append(True)

    server = serve(app)
    assert server.ask(GET).status == 500
    server.log_text()
    server.stop()
    assert ended == [True]


def endless() -> Iterable[bytes]:
    while True:
        yield b"x" * 65536


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("length", [None, 1 << 30])
def test_once_if_the_client_leaves_while_it_reads(
    serve: Serve, how: str, length: int | None
) -> None:
    iterable = Closable(endless())
    server = serve(Serving(iterable, "200 OK", length))
    with server.connect(rcvbuf=4096) as sock:
        sock.sendall(GET)
        assert sock.recv(100)
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert iterable.ended.wait(BODY_WAIT)
    assert server.ask(message("GET /after HTTP/1.1")).status == 200
    server.stop()
    assert iterable.closed == 1


def test_once_if_the_client_leaves_between_items(serve: Serve) -> None:
    """The app learns of it at the latest when it yields into the void for a while."""
    iterable = Closable(endless())
    server = serve(Serving(iterable, "200 OK", None))
    sock = server.connect()
    sock.sendall(GET)
    read_until(sock, b"x")
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    assert iterable.ended.wait(BODY_WAIT)
    server.stop()
    assert iterable.closed == 1


def test_once_if_the_server_stops_first(serve: Serve) -> None:
    """A response that nobody takes is given up after graceful_timeout."""
    iterable = Closable(endless())
    server = serve(Serving(iterable, "200 OK", None), graceful_timeout=0.2)
    sock = server.connect(rcvbuf=4096)
    sock.sendall(GET)
    assert sock.recv(100)
    server.server.stop()
    assert iterable.ended.wait(BODY_WAIT)
    server.stop()
    assert iterable.closed == 1
