"""10,000 keep-alive requests leave nothing: no object for the garbage collector, no descriptor, no
buffer; and an idle connection owns no parser."""

from __future__ import annotations

import gc
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from live import LiveServer, Serve

from poolhttp.bufpool import BufferPool

REQUESTS = 10_000
WARM_UP = 1_000
GET = b"GET /a?b HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
BODY = b"hello"


def small(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The quick way: complete, small, one piece."""
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "5")])
    return [BODY]


def streamed(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """The long way: chunked, item by item."""
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield BODY
    yield b""
    yield BODY


def failing(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Raises after start_response; the middleware answers by PEP 3333's exc_info."""
    import sys

    try:
        raise KeyError(environ["PATH_INFO"])
    except KeyError:
        start_response("200 OK", [("Content-Length", "5")], sys.exc_info())
    return [BODY]


def _talk(sock: socket.socket, data: bytes, count: int, pipelined: int = 1) -> None:
    """Send the request ``count`` times and read as many whole answers."""
    sock.sendall(data)
    answer = b""
    while not (answer.endswith((BODY, b"0\r\n\r\n")) and b"\r\n\r\n" in answer):
        answer += sock.recv(1 << 16)
    size = len(answer)
    for _ in range(count // pipelined):
        sock.sendall(data * pipelined)
        left = size * pipelined
        while left:
            got = sock.recv(min(left, 1 << 16))
            assert got, "the server closed"
            left -= len(got)


def _ours() -> Counter[str]:
    """Objects of ours that are alive, by type."""
    found = gc.get_objects()
    return Counter(type(each).__qualname__ for each in found if _module(each) == "poolhttp")


def _module(each: object) -> str:
    """The package of an object's type; some types have a descriptor for a name."""
    name = getattr(type(each), "__module__", "")
    return name.partition(".")[0] if isinstance(name, str) else ""


@contextmanager
def _garbage() -> Iterator[Callable[[], list[object]]]:
    """Nothing is collected meanwhile; gives what only the collector would free."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def collect() -> list[object]:
        gc.collect()
        return [each for each in gc.garbage if _is_ours(each)]

    try:
        yield collect
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.collect()


def _is_ours(each: object) -> bool:
    if isinstance(each, dict):
        return "wsgi.version" in each
    return _module(each) in {"poolhttp", "httptools"}


def _buffers() -> int:
    """Buffers that all pools have ever made."""
    pools = [each for each in gc.get_objects() if isinstance(each, BufferPool)]
    assert pools
    return sum(pool.stats.created for pool in pools)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("app", "data", "count", "pipelined"),
    [
        # A head that stands alone is recalled, one in a pipeline is parsed.
        pytest.param(small, GET, REQUESTS, 1, id="recalled"),
        pytest.param(small, GET, REQUESTS, 20, id="parsed"),
        pytest.param(small, POST, REQUESTS // 5, 1, id="body"),
        pytest.param(small, CHUNKED, REQUESTS // 5, 20, id="chunked body"),
        pytest.param(streamed, GET, REQUESTS // 5, 1, id="streamed"),
        pytest.param(failing, GET, REQUESTS // 5, 20, id="exc_info"),
    ],
)
def test_requests_leave_nothing(
    serve: Serve, app: Any, data: bytes, count: int, pipelined: int
) -> None:
    server = serve(app)
    with server.connect() as sock:
        _talk(sock, data, WARM_UP, pipelined)
        with _garbage() as collect:
            before, numbers = _ours(), (_descriptors(), _buffers())
            _talk(sock, data, count, pipelined)
            assert Counter(type(each).__qualname__ for each in collect()) == {}
            assert _ours() - before == {}
            assert (_descriptors(), _buffers()) == numbers


def test_connections_leave_nothing(serve: Serve) -> None:
    """Neither those that the client ends nor those that the server does."""
    server = serve(small)
    closing = GET.replace(b"X-A: 1", b"Connection: close")

    def come_and_go(count: int) -> None:
        for _ in range(count):
            with server.connect() as sock:
                _talk(sock, GET, 0)
            with server.connect() as sock:
                _talk(sock, closing, 0)
                assert sock.recv(1) == b""
        _settle(server)

    come_and_go(20)
    with _garbage() as collect:
        before, descriptors = _ours(), _descriptors()
        come_and_go(300)
        assert Counter(type(each).__qualname__ for each in collect()) == {}
        # The last one may still be there, or not yet.
        assert sum((_ours() - before).values()) <= 2
        assert _descriptors() <= descriptors + 1


def _settle(server: LiveServer) -> None:
    """Wait until the server knows that all have left: it looks at each new connection's end."""
    for _ in range(1000):
        with socket.create_connection(server.address, 10) as probe:
            probe.sendall(GET)
            assert probe.recv(4096)
        if server.server.nconnections <= 1:
            return
    raise AssertionError("connections are left")


def test_an_idle_connection_owns_nothing(serve: Serve) -> None:
    server = serve(small)
    socks = [server.connect() for _ in range(20)]
    for sock in socks:
        _talk(sock, POST, 0)
    idle = [each for each in server.server.loop.handlers if each is not None]
    assert len(idle) == 20
    for each in idle:
        for name in ("parser", "outbox", "response"):
            assert getattr(each, name) is None
        assert not getattr(each, "input", b"")
