"""Bodies that don't have the length that the app declared.

PEP 3333 ("Handling the Content-Length Header"); RFC 9112 section 6.3. The declared number is what
the client counts: never a byte more, and if there are fewer, only the connection's end can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from live import (
    Environ,
    Serve,
    StartResponse,
    TruncatedError,
    exchange,
    message,
    read_response,
    read_to_eof,
)

from .apps import Closable, hello

GET, NEXT = message("GET / HTTP/1.1"), message("GET /next HTTP/1.1")

Deliver = Callable[[list[bytes], Callable[[bytes], object]], Iterable[bytes]]


def by_write(items: list[bytes], write: Callable[[bytes], object]) -> Iterable[bytes]:
    for item in items:
        write(item)
    return []


WAYS: dict[str, Deliver] = {
    "list": lambda items, _: items,
    "tuple": lambda items, _: tuple(items),
    "one item": lambda items, _: [b"".join(items)],
    "generator": lambda items, _: iter(items),
    "write": by_write,
}


def app_with(length: int, items: list[bytes], way: Deliver) -> Callable[..., Iterable[bytes]]:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/next":
            return hello(environ, start_response)
        write = start_response("200 OK", [("Content-Length", str(length))])
        return way(items, write)

    return app


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("way", WAYS)
def test_shorter_closes_the_connection(serve: Serve, way: str, size: int) -> None:
    items = [b"a" * size, b"b" * size]
    server = serve(app_with(2 * size + 1, items, WAYS[way]))
    with server.connect() as sock:
        sock.sendall(GET + NEXT)
        with pytest.raises(TruncatedError) as caught:
            read_response(sock)
    partial = caught.value.partial
    assert partial is not None
    assert partial.body == b"".join(items)
    assert partial.one(b"content-length") == b"%d" % (2 * size + 1)
    server.wait_for_log("Content-Length")


def test_no_body_at_all_closes_the_connection(serve: Serve) -> None:
    server = serve(app_with(1, [], WAYS["list"]))
    with server.connect() as sock:
        sock.sendall(GET)
        assert read_to_eof(sock).endswith(b"\r\n\r\n")
    server.wait_for_log("Content-Length")


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("way", WAYS)
def test_longer_is_cut(serve: Serve, way: str, size: int) -> None:
    """And what follows on the connection is either right or nothing."""
    items = [b"a" * size, b"b" * size, b"c" * size]
    server = serve(app_with(2 * size, items, WAYS[way]))
    with server.connect() as sock:
        sock.sendall(GET + NEXT)
        response = read_response(sock)
        assert response.body == b"a" * size + b"b" * size
        if response.closes:
            assert read_to_eof(sock) == b""
        else:
            assert read_response(sock).body == b"hello /next"


@pytest.mark.parametrize("way", ["list", "one item", "write"])
def test_longer_is_logged(serve: Serve, way: str) -> None:
    """An iterator isn't asked for more than is sent, so there may be nothing to log."""
    server = serve(app_with(5, [b"12345", b"6"], WAYS[way]))
    assert server.ask(GET).body == b"12345"
    server.wait_for_log("Content-Length")


def test_longer_item_of_an_iterator_is_logged(serve: Serve) -> None:
    server = serve(app_with(5, [b"123", b"456"], WAYS["generator"]))
    assert server.ask(GET).body == b"12345"
    server.wait_for_log("Content-Length")


def test_iteration_stops_when_the_length_is_reached(serve: Serve) -> None:
    """PEP 3333: "the server should stop iterating"; an endless iterable mustn't hold anybody."""

    def endless() -> Iterable[bytes]:
        while True:
            yield b"x" * 10

    iterable = Closable(endless())

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/next":
            return hello(environ, start_response)
        start_response("200 OK", [("Content-Length", "25")])
        return iterable

    server = serve(app)
    with server.connect() as sock:
        assert exchange(sock, GET).body == b"x" * 25
        assert exchange(sock, NEXT).body == b"hello /next"
    server.log_text()
    server.stop()
    assert iterable.closed == 1
    assert iterable.produced <= 4


@pytest.mark.parametrize("way", WAYS)
def test_length_zero(serve: Serve, way: str) -> None:
    server = serve(app_with(0, [b"x"], WAYS[way]))
    with server.connect() as sock:
        response = exchange(sock, GET)
        assert response.body == b""
        if not response.closes:
            assert exchange(sock, NEXT).body == b"hello /next"
