"""Generators: each item goes to the client before the next one is asked for.

PEP 3333 ("Buffering and Streaming"): servers "must not delay the transmission of any block".
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import pytest
from live import Environ, Serve, StartResponse, exchange, message, read_response, read_until

from .apps import BODY_WAIT, answer, hello


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_item_is_sent_before_the_next_is_made(serve: Serve, framing: str) -> None:
    seen = [threading.Event(), threading.Event()]

    def app(_environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "15")] if framing == "length" else [])
        yield b"first"
        assert seen[0].wait(BODY_WAIT)
        yield b"again"
        assert seen[1].wait(BODY_WAIT)
        yield b"third"

    version = "1.0" if framing == "close" else "1.1"
    ending = b"\r\n" if framing == "chunked" else b""
    with serve(app).connect() as sock:
        sock.sendall(message(f"GET / HTTP/{version}"))
        head, _, first = read_until(sock, b"first" + ending).partition(b"\r\n\r\n")
        seen[0].set()
        second = read_until(sock, b"again" + ending)
        seen[1].set()
        read_until(sock, b"third" + (b"\r\n0\r\n\r\n" if framing == "chunked" else b""))
    assert b"200 OK" in head
    assert first.strip(b"5\r\n") == b"first"
    assert second.strip(b"5\r\n") == b"again"


def test_head_is_sent_with_the_first_item_only(serve: Serve) -> None:
    """An empty item doesn't fix the head; PEP 3333 lets start_response be called until then."""

    def app(_environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("X-Old", "1")])
        yield b""
        try:
            raise ValueError
        except ValueError as error:
            start_response("500 Oops", [], (type(error), error, error.__traceback__))
        yield b"x"

    response = serve(app).ask(message("GET / HTTP/1.1"))
    assert (response.status, response.one(b"x-old")) == (500, None)


@pytest.mark.parametrize("items", [[], [b""], [b"", b"a", b"", b"b", b""]])
def test_empty_items_do_not_end_a_chunked_body(serve: Serve, items: list[bytes]) -> None:
    """A chunk of size 0 is the end (RFC 9112 section 7.1)."""

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return iter(items)

    with serve(app).connect() as sock:
        for _ in range(2):
            assert exchange(sock, message("GET / HTTP/1.1")).body == b"".join(items)


@pytest.mark.parametrize("size", [1, 15, 16, 255, 4096, 65_536, 3_000_000])
@pytest.mark.parametrize("count", [1, 2, 70])
def test_sizes_of_items(serve: Serve, size: int, count: int) -> None:
    """Small and large ones, more than one turn takes, on a connection that lives on."""
    if size * count > 50_000_000:
        count = 5
    item = bytes(range(256)) * (size // 256) + bytes(range(size % 256))

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        items = [item] * count
        return items if environ["PATH_INFO"] == "/list" else iter(items)

    with serve(app).connect() as sock:
        for path in ("/list", "/generator"):
            assert exchange(sock, message(f"GET {path} HTTP/1.1")).body == item * count


def test_mutable_item_is_sent_as_it_was_yielded(serve: Serve) -> None:
    """A generator may reuse its bytearray, even while a slow client hasn't taken it."""
    size, count = 200_000, 30

    def app(_environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        block = bytearray(size)
        for i in range(count):
            block[:] = bytes([i]) * size
            yield block  # type: ignore[misc]  # PEP 3333 says bytes; servers are lenient

    with serve(app).connect(rcvbuf=4096) as sock:
        response = exchange(sock, message("GET / HTTP/1.1"))
    assert response.body == b"".join(bytes([i]) * size for i in range(count))


def test_list_of_very_many_items(serve: Serve) -> None:
    """More than one writev takes (IOV_MAX)."""
    items = [b"%d," % i for i in range(5000)]
    with serve(answer(*items)).connect() as sock:
        for _ in range(2):
            assert exchange(sock, message("GET / HTTP/1.1")).body == b"".join(items)


def test_others_are_served_between_items(serve: Serve) -> None:
    """A generator that never waits for its client must not keep the loop to itself."""
    other_answered = threading.Event()
    produced = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/other":
            return hello(environ, start_response)
        start_response("200 OK", [])
        return stream()

    def stream() -> Iterator[bytes]:
        while not other_answered.is_set():
            produced.append(1)
            yield b"x" * 100
        yield b"end"

    server = serve(app, threads=2)
    with server.connect() as sock:
        sock.sendall(message("GET / HTTP/1.1"))
        reader = threading.Thread(target=lambda: bodies.append(read_response(sock).body))
        bodies: list[bytes] = []
        reader.start()
        try:
            assert server.ask(message("GET /other HTTP/1.1")).body == b"hello /other"
        finally:
            other_answered.set()
            reader.join()
    assert bodies[0].endswith(b"end")
