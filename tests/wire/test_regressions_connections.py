"""What a review found in the life of connections: one test for each finding.

Many begin in a turn of their own: a request whose app waits holds the loop, while clients do what
the loop then finds all at once.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from live import (
    TIMEOUT,
    App,
    Environ,
    LiveServer,
    Serve,
    StartResponse,
    exchange,
    message,
    read_response,
    read_to_eof,
)

from poolhttp import Server, Settings

from .apps import BODY_WAIT, hello

GET = message("GET / HTTP/1.1")
LAST = message("GET / HTTP/1.1", "Connection: close")
NBYTES = 4096
MSS = 536
SHORT_KEEPALIVE = 0.5


class Held:
    """An app around another, in which a request for /hold holds the loop.

    Args:
        app: answers all else; without one, NBYTES bytes are the answer.
    """

    def __init__(self, app: App | None = None) -> None:
        self._app = app
        self._entered = threading.Event()
        self._left = threading.Event()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/hold":
            self._entered.set()
            assert self._left.wait(BODY_WAIT)
            # Not in one small piece, which would be collected with what comes next.
            start_response("200 OK", [])
            return iter([b"held"])
        if self._app is not None:
            return self._app(environ, start_response)
        start_response("200 OK", [("Content-Length", str(NBYTES))])
        return [b"z" * NBYTES]

    @contextmanager
    def holding(self, server: LiveServer) -> Iterator[None]:
        """The loop stands still meanwhile."""
        self._entered.clear()
        self._left.clear()
        with server.connect() as sock:
            sock.sendall(message("GET /hold HTTP/1.1"))
            assert self._entered.wait(BODY_WAIT)
            try:
                yield
            finally:
                self._left.set()
            assert read_response(sock).body == b"held"


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def reluctant(server: LiveServer, stack: ExitStack) -> socket.socket:
    """A client for which the kernels keep next to nothing: small segments, a small window."""
    sock = stack.enter_context(socket.socket())
    sock.settimeout(TIMEOUT)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, MSS)
    sock.connect(server.address)
    return sock


def outlast_keepalive(server: LiveServer, active: Iterable[socket.socket]) -> None:
    """Ask over `active` until a client that idles has been cut, and so all who idle longer."""
    with server.connect() as witness:
        assert exchange(witness, GET).status == 200
        while not select.select([witness], [], [], 0.01)[0]:
            for sock in active:
                assert exchange(sock, GET).status == 200
        assert read_to_eof(witness) == b""


def none_is_mistaken(server: LiveServer) -> None:
    """Whoever has left is counted once, and whoever got their descriptors isn't cut for them."""
    active = [server.connect() for _ in range(20)]
    for sock in active:
        assert exchange(sock, GET).status == 200
    outlast_keepalive(server, active)
    for sock in active:
        assert exchange(sock, GET).status == 200
    assert server.server.nconnections == len(active)
    assert server.server.loop.accept_room == Settings().worker_connections - len(active)


# Peers that have left


def test_reset_behind_expect_is_survived(serve: Serve) -> None:
    """100 Continue is sent to a client that has left."""
    app = Held(hello)
    server = serve(app)
    for _ in range(3):
        with app.holding(server):
            sock = server.connect()
            sock.sendall(message("POST / HTTP/1.1", "Content-Length: 5", "Expect: 100-continue"))
            reset(sock)
        assert server.ask(GET).status == 200
    assert "Traceback" not in server.log_text()


# Flushing while responses are collected

PER_CLIENT = [7, 8, 9, 16]
"""Pipelined requests, so that an early flush comes with a client's last one or in between: it does
after 256 responses, and once did after 63 of this size."""


@pytest.mark.parametrize("requests", PER_CLIENT)
def test_reset_in_an_early_flush_closes_once(serve: Serve, requests: int) -> None:
    app = Held()
    server = serve(app, keepalive=SHORT_KEEPALIVE)
    with app.holding(server):
        for _ in range(1000 // requests):
            sock = server.connect()
            sock.sendall(GET * requests)
            reset(sock)
    none_is_mistaken(server)


@pytest.mark.parametrize("requests", PER_CLIENT)
@pytest.mark.parametrize("last", [GET, LAST], ids=["keep", "close"])
def test_an_early_flush_truncates_nothing(serve: Serve, last: bytes, requests: int) -> None:
    """The clients read late: behind the time for which they are kept alive."""
    app = Held()
    server = serve(app, keepalive=SHORT_KEEPALIVE)
    with ExitStack() as stack:
        socks: list[socket.socket] = []
        with app.holding(server):
            for _ in range(600 // requests):
                sock = reluctant(server, stack)
                sock.sendall(GET * (requests - 1) + last)
                socks.append(sock)
        outlast_keepalive(server, [])
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
            for _ in range(requests):
                assert read_response(sock).body == b"z" * NBYTES
        for sock in socks:
            assert read_to_eof(sock) == b""
    assert server.ask(GET).status == 200


# Apps that ignore a reset


def test_a_reset_that_the_app_swallows_closes_once(serve: Serve) -> None:
    """Then the app answers as if nothing had happened, with a small list."""
    gone = threading.Semaphore(0)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/hints":
            assert gone.acquire(timeout=BODY_WAIT)
            # The first may still be taken by the kernel.
            for _ in range(2):
                with suppress(OSError):
                    environ["wsgi.early_hints"]([("Link", "</a>; rel=preload")])
        return hello(environ, start_response)

    server = serve(app, keepalive=SHORT_KEEPALIVE)
    for _ in range(5):
        sock = server.connect()
        sock.sendall(message("GET /hints HTTP/1.1"))
        reset(sock)
        gone.release()
        assert server.ask(GET).status == 200
    none_is_mistaken(server)


# Requests that are counted


def test_max_requests_without_keepalive() -> None:
    """Connections that are never kept alive don't make each request the last one."""
    limit = 5
    server = Server(hello, bind=["127.0.0.1:0"], settings=Settings(keepalive=0), max_requests=limit)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        for left in reversed(range(limit)):
            with socket.create_connection(server.addresses[0], TIMEOUT) as sock:
                response = exchange(sock, GET)
                assert (response.status, response.closes) == (200, True)
                if left:
                    assert not server.stopping
                assert read_to_eof(sock) == b""
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    finally:
        server.stop()
        thread.join(TIMEOUT)


# Deadlines


@pytest.mark.parametrize("length", [None, 400])
def test_a_stream_longer_than_write_timeout_reaches_a_prompt_reader(
    serve: Serve, length: int | None
) -> None:
    """Over many turns (of 64 items) nothing is ever kept: the client is not late, the app is."""
    items = 400

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [] if length is None else [("Content-Length", str(length))])
        for _ in range(items):
            select.select([], [], [], 0.002)
            yield b"x"

    with serve(app, write_timeout=0.1).connect() as sock:
        assert exchange(sock, GET).body == b"x" * items


def test_idle_clients_do_not_pay_for_a_handler(serve: Serve) -> None:
    """They ask in time; only the loop hears of it late, and of more than it can in one turn."""
    app = Held(hello)
    server = serve(app, keepalive=2 * SHORT_KEEPALIVE)
    socks = [server.connect() for _ in range(300)]
    for sock in socks:
        assert exchange(sock, GET).status == 200
    with app.holding(server):
        for sock in socks:
            sock.sendall(GET)
        # Longer than all of them may idle, as a handler may take.
        select.select([], [], [], 3 * SHORT_KEEPALIVE)
    for sock in socks:
        assert read_response(sock).status == 200


def test_a_last_request_behind_its_deadline_closes_once(serve: Serve) -> None:
    """Its connection is closed behind the answer and was due in the same turn."""
    app = Held(hello)
    server = serve(app, keepalive=SHORT_KEEPALIVE)
    socks = [server.connect() for _ in range(20)]
    for sock in socks:
        assert exchange(sock, GET).status == 200
    closes = server.server.loop.stats()["close_calls"]
    with app.holding(server):
        for sock in socks:
            sock.sendall(LAST)
        select.select([], [], [], 2 * SHORT_KEEPALIVE)
    for sock in socks:
        assert read_response(sock).status == 200
        assert read_to_eof(sock) == b""
    # And /hold's connection, which has its client's end, or none yet.
    outlast_keepalive(server, [])
    assert server.server.nconnections == 0
    assert server.server.loop.stats()["close_calls"] - closes <= len(socks) + 2


# Errors for HEAD


def _over_the_limit(sock: socket.socket) -> int:
    sock.sendall(message("HEAD / HTTP/1.1", "Content-Length: 100"))
    return 413


def _cut_body(sock: socket.socket) -> int:
    sock.sendall(message("HEAD / HTTP/1.1", "Content-Length: 5") + b"bo")
    sock.shutdown(socket.SHUT_WR)
    return 400


def _malformed_body(sock: socket.socket) -> int:
    sock.sendall(message("HEAD / HTTP/1.1", "Transfer-Encoding: chunked") + b"x\r\n")
    return 400


@pytest.mark.parametrize("fault", [_over_the_limit, _cut_body, _malformed_body])
def test_an_error_for_a_head_with_a_body_has_none(
    serve: Serve, fault: Callable[[socket.socket], int]
) -> None:
    with serve(hello, max_body=10).connect() as sock:
        status = fault(sock)
        response = read_response(sock, "HEAD")
        assert (response.status, response.closes) == (status, True)
        assert read_to_eof(sock) == b""
