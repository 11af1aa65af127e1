"""wsgi.input: the request's body as a file.

PEP 3333 ("Input and Error Streams"); wsgi.input_terminated is the extension by which frameworks
know that reading to the end is safe without CONTENT_LENGTH.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from live import Environ, Serve, StartResponse, chunked, exchange, message

LINES = b"first\nsecond line\n\nlast without end"

USES: dict[str, tuple[Callable[[Any], object], object]] = {
    "iteration": (list, [b"first\n", b"second line\n", b"\n", b"last without end"]),
    "read": (lambda body: body.read(), LINES),
    "read(n)": (
        lambda body: [body.read(7), body.read(3), body.read(0)],
        [b"first\ns", b"eco", b""],
    ),
    "read(-1)": (lambda body: body.read(-1), LINES),
    "read past the end": (
        lambda body: [body.read(1000), body.read(5), body.read()],
        [LINES, b"", b""],
    ),
    "readline": (lambda body: [body.readline(), body.readline()], [b"first\n", b"second line\n"]),
    "readline(n)": (
        lambda body: [body.readline(3), body.readline(100), body.readline(6)],
        [b"fir", b"st\n", b"second"],
    ),
    "readline at the end": (lambda body: [body.read(), body.readline()], [LINES, b""]),
    "readlines": (lambda body: body.readlines(), LINES.splitlines(keepends=True)),
    "readlines(hint)": (lambda body: body.readlines(8), [b"first\n", b"second line\n"]),
    "mixed": (
        lambda body: [body.readline(), body.read(6), next(iter(body)), body.readlines()],
        [b"first\n", b"second", b" line\n", [b"\n", b"last without end"]],
    ),
}


class Use:
    """An app that does something with its input and keeps the outcome."""

    def __init__(self, use: Callable[[Any], object]) -> None:
        self.use = use
        self.outcome: object = None
        self.terminated: object = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.outcome = self.use(environ["wsgi.input"])
        self.terminated = environ.get("wsgi.input_terminated")
        start_response("200 OK", [("Content-Length", "0")])
        return []


@pytest.mark.parametrize("way", ["length", "chunked"])
@pytest.mark.parametrize("use", USES)
def test_reading(serve: Serve, use: str, way: str) -> None:
    call, expected = USES[use]
    app = Use(call)
    if way == "length":
        data = message("POST / HTTP/1.1", body=LINES)
    else:
        data = message("POST / HTTP/1.1", "Transfer-Encoding: chunked")
        data += chunked(LINES[:3], LINES[3:20], LINES[20:])
    assert serve(app).ask(data).status == 200
    assert app.outcome == expected
    assert app.terminated is True


@pytest.mark.parametrize("data", [message("GET / HTTP/1.1"), message("POST / HTTP/1.1")])
def test_no_body_is_an_empty_file(serve: Serve, data: bytes) -> None:
    """RFC 9112 section 6.3, rule 7: no framing field, no body."""
    app = Use(lambda body: [body.read(), body.readline(), list(body)])
    assert serve(app).ask(data).status == 200
    assert app.outcome == [b"", b"", []]


@pytest.mark.parametrize("length", ["0", "000"])
def test_content_length_zero(serve: Serve, length: str) -> None:
    app = Use(lambda body: body.read())
    data = message("POST / HTTP/1.1", f"Content-Length: {length}")
    assert serve(app).ask(data).status == 200
    assert app.outcome == b""


def test_empty_chunked_body(serve: Serve) -> None:
    app = Use(lambda body: body.read())
    data = message("POST / HTTP/1.1", "Transfer-Encoding: chunked") + chunked()
    assert serve(app).ask(data).status == 200
    assert app.outcome == b""


def test_get_may_have_a_body(serve: Serve) -> None:
    """RFC 9112 section 6: framing doesn't depend on the method."""
    app = Use(lambda body: body.read())
    server = serve(app)
    with server.connect() as sock:
        exchange(sock, message("GET / HTTP/1.1", body=b"GET /x HTTP/1.1\r\n\r\n"))
        with_body = app.outcome
        exchange(sock, message("GET / HTTP/1.1"))
    assert (with_body, app.outcome) == (b"GET /x HTTP/1.1\r\n\r\n", b"")


@pytest.mark.parametrize("way", ["length", "chunked"])
def test_large_body_is_whole(serve: Serve, way: str) -> None:
    """More than any buffer in memory; the pattern shows lost, doubled and swapped pieces."""
    body = b"".join(b"%08d" % i for i in range(400_000))
    app = Use(lambda file: file.read())
    with serve(app).connect() as sock:
        if way == "length":
            data = message("POST / HTTP/1.1", body=body)
        else:
            pieces = [body[i : i + 70_001] for i in range(0, len(body), 70_001)]
            data = message("POST / HTTP/1.1", "Transfer-Encoding: chunked") + chunked(*pieces)
        assert exchange(sock, data).status == 200
        assert app.outcome == body
        assert exchange(sock, message("POST / HTTP/1.1", body=b"next")).status == 200
    assert app.outcome == b"next"


def ask_twice(sock: socket.socket) -> None:
    assert exchange(sock, message("POST /1 HTTP/1.1", body=b"unread body")).status == 200
    assert exchange(sock, message("POST /2 HTTP/1.1", body=b"second")).status == 200


def test_body_the_app_does_not_read_is_skipped(serve: Serve) -> None:
    """RFC 9112 section 9.3: the rest is read or the connection closed, never executed."""
    paths = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        paths.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with serve(app).connect() as sock:
        ask_twice(sock)
    assert paths == ["/1", "/2"]


def test_app_may_close_its_input(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if hasattr(environ["wsgi.input"], "close"):
            environ["wsgi.input"].close()
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with serve(app).connect() as sock:
        ask_twice(sock)


def test_input_of_an_earlier_request_gives_no_bytes_of_a_later_one(serve: Serve) -> None:
    kept: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        kept.append(environ["wsgi.input"])
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with serve(app).connect() as sock:
        ask_twice(sock)
        try:
            late = kept[0].read()
        except ValueError:
            late = b""
        assert b"second" not in late
