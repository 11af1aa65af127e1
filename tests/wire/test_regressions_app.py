"""What a review found between server and app: one test for each finding."""

from __future__ import annotations

import asyncio
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from live import Environ, Serve, StartResponse, exchange, message, read_to_eof

from .apps import BODY_WAIT, Closable, answer, hello

GET = message("GET / HTTP/1.1")
OTHER = message("GET /other HTTP/1.1")


class PanicError(BaseException):
    """No Exception, as those of some libraries (pyo3's PanicException)."""


# Exceptions that are no Exception

UNUSUAL = [GeneratorExit, asyncio.CancelledError, PanicError]


class Failing:
    """An iterable that raises where it is told to."""

    def __init__(self, error: BaseException, where: str) -> None:
        self._error = error
        self._where = where
        self._items = iter([b"a", b"b"])

    def __iter__(self) -> Iterator[bytes]:
        self._raise("iter")
        return self

    def __next__(self) -> bytes:
        self._raise("next")
        item = next(self._items)
        if item == b"b":
            self._raise("later")
        return item

    def close(self) -> None:
        self._raise("close")

    def _raise(self, where: str) -> None:
        if where == self._where:
            raise self._error


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("where", ["call", "iter", "next", "later", "close"])
def test_an_unusual_exception_ends_its_request_only(
    serve: Serve, where: str, kind: type[BaseException]
) -> None:
    """500, a body that ends early, or a whole answer if only close() fails."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/other":
            return hello(environ, start_response)
        if where == "call":
            raise kind("the app's")
        start_response("200 OK", [])
        return Failing(kind("the app's"), where)

    server = serve(app)
    with server.connect() as bystander, server.connect() as sock:
        assert exchange(bystander, OTHER).status == 200
        if where == "close":
            assert exchange(sock, GET).body == b"ab"
        elif where == "later":
            sock.sendall(GET)
            received = read_to_eof(sock)
            assert received.startswith(b"HTTP/1.1 200 ")
            assert b"\r\n0\r\n" not in received
        else:
            response = exchange(sock, GET)
            assert (response.status, response.closes) == (500, True)
        assert exchange(bystander, OTHER).status == 200
    assert server.ask(OTHER).status == 200
    assert kind.__name__ in server.log_text()


# HEAD


def test_head_does_not_wait_for_the_end_of_a_stream(serve: Serve) -> None:
    """It is closed after its first item, and the connection lives on."""
    stream = Closable(itertools.repeat(b"data: x\n\n"))

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/other":
            return hello(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return stream

    with serve(app).connect() as sock:
        assert exchange(sock, message("HEAD / HTTP/1.1"), "HEAD").status == 200
        assert stream.ended.wait(BODY_WAIT / 5)
        assert exchange(sock, OTHER).body == b"hello /other"
    assert stream.closed == 1


# Buffers whose len() is not their bytes

WORDS = memoryview(array("I", [0x41424344] * 5))
"""20 bytes; its len() is 5."""
HOLES = memoryview(b"abcdef")[::2]
BACKWARDS = memoryview(b"abc")[::-1]
GRID = memoryview(bytes(range(65, 77))).cast("B", (3, 4))
"""12 bytes; its len() is 3."""


@pytest.mark.parametrize("make", [list, tuple, iter])
@pytest.mark.parametrize(
    "items",
    [
        [WORDS],
        [WORDS, b"x"],
        [b"x", WORDS],
        [HOLES],
        [HOLES, b"z"],
        [BACKWARDS, WORDS, HOLES],
        [GRID],
        [GRID, b"x"],
    ],
)
def test_buffers_are_framed_by_their_bytes(
    serve: Serve, items: list[Any], make: Callable[[list[Any]], Iterable[bytes]]
) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/other":
            return hello(environ, start_response)
        start_response("200 OK", [])
        return make(items)

    expected = b"".join(item.tobytes() if isinstance(item, memoryview) else item for item in items)
    with serve(app).connect() as sock:
        assert exchange(sock, GET).body == expected
        assert exchange(sock, OTHER).body == b"hello /other"


@pytest.mark.parametrize("item", [WORDS, HOLES, GRID])
def test_buffers_are_measured_by_their_bytes(serve: Serve, item: memoryview) -> None:
    """Content-Length is compared with bytes, from a list, a generator and write()."""
    length = [("Content-Length", str(item.nbytes))]

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", length)
        if environ["PATH_INFO"] == "/write":
            write(item)  # type: ignore[arg-type]
            return []
        made: Any = iter([item]) if environ["PATH_INFO"] == "/iter" else [item]
        return made  # type: ignore[no-any-return]

    with serve(app).connect() as sock:
        for path in ("/list", "/iter", "/write"):
            assert exchange(sock, message(f"GET {path} HTTP/1.1")).body == item.tobytes()


# Statuses that are no answer


@pytest.mark.parametrize("status", ["100 Continue", "103 Early Hints", "102 Processing"])
@pytest.mark.parametrize("body", [(), (b"x",), (b"x", b"y")])
def test_an_interim_status_is_no_answer(serve: Serve, status: str, body: tuple[bytes]) -> None:
    """The client would wait for a final one."""
    server = serve(answer(*body, status=status))
    with server.connect() as sock:
        sock.sendall(GET)
        received = read_to_eof(sock)
    assert received.startswith(b"HTTP/1.1 500 ")
    assert "Error handling request" in server.log_text()


# Iterables


class Unmeasurable:
    """An iterable whose length nobody may ask for, as a lazy query's without a connection."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __len__(self) -> int:
        raise self._error

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"a", b"b"])


@pytest.mark.parametrize("error", [ValueError(), RuntimeError(), TypeError(), OverflowError()])
def test_an_iterable_without_a_length_is_sent(serve: Serve, error: Exception) -> None:
    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Unmeasurable(error)

    with serve(app).connect() as sock:
        for _ in range(2):
            assert exchange(sock, GET).body == b"ab"
