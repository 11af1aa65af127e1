"""Request bodies in chunked coding: extensions, trailers, and everything that isn't chunked coding.

RFC 9112 section 7.1, RFC 9110 section 6.5. A chunk that two servers read differently is request
smuggling, so whatever is not exactly the grammar is 400.
"""

from __future__ import annotations

import socket

import pytest
from live import LiveServer, Serve, chunked, exchange, message, read_response, read_to_eof

from .apps import Recorder

HEAD = message("POST / HTTP/1.1", "Transfer-Encoding: chunked")
SMUGGLED = message("GET /smuggled HTTP/1.1")

RIGHT: dict[str, bytes] = {
    "one chunk": b"4\r\nbody\r\n0\r\n\r\n",
    "upper-case size": b"A\r\n0123456789\r\n0\r\n\r\n",
    "lower-case size": b"a\r\n0123456789\r\n0\r\n\r\n",
    "leading zeros": b"0004\r\nbody\r\n000\r\n\r\n",
    "extension": b"4;name\r\nbody\r\n0\r\n\r\n",
    "extension with a value": b"4;name=value\r\nbody\r\n0;last=1\r\n\r\n",
    "extension with a quoted value": b'4;name="a b"\r\nbody\r\n0\r\n\r\n',
    "two extensions": b"4;a=1;b=2\r\nbody\r\n0\r\n\r\n",
    "trailer": b"4\r\nbody\r\n0\r\nX-Checksum: 1\r\n\r\n",
    "data with line ends": b"8\r\n\r\n0\r\n\r\nx\r\n0\r\n\r\n",
}

WRONG: dict[str, bytes] = {
    "size not hexadecimal": b"g\r\nbody\r\n0\r\n\r\n",
    "size with 0x": b"0x4\r\nbody\r\n0\r\n\r\n",
    "size with a sign": b"+4\r\nbody\r\n0\r\n\r\n",
    "size negative": b"-4\r\nbody\r\n0\r\n\r\n",
    "size with an underscore": b"0_4\r\nbody\r\n0\r\n\r\n",
    "size empty": b"\r\nbody\r\n0\r\n\r\n",
    "size only an extension": b";a\r\nbody\r\n0\r\n\r\n",
    "space before the size": b" 4\r\nbody\r\n0\r\n\r\n",
    "size over 64 bits": b"10000000000000004\r\nbody\r\n0\r\n\r\n",
    "bare LF behind the size": b"4\nbody\r\n0\r\n\r\n",
    "bare CR behind the size": b"4\rbody\r\n0\r\n\r\n",
    "bare LF in an extension": b"4;a\nb\r\nbody\r\n0\r\n\r\n",
    "bare CR in an extension": b"4;a\rb\r\nbody\r\n0\r\n\r\n",
    "NUL in an extension": b"4;a\x00b\r\nbody\r\n0\r\n\r\n",
    "bare LF behind the data": b"4\r\nbody\n0\r\n\r\n",
    "nothing behind the data": b"4\r\nbody0\r\n\r\n",
    "more data than its size": b"4\r\nbodyx\r\n0\r\n\r\n",
    "less data than its size": b"5\r\nbody\r\n0\r\n\r\n",
    "bare LF behind the last chunk": b"4\r\nbody\r\n0\n\r\n",
    "bare LF at the end": b"4\r\nbody\r\n0\r\n\n",
    "trailer without a colon": b"4\r\nbody\r\n0\r\nX\r\n\r\n",
    "trailer with a bare LF": b"4\r\nbody\r\n0\r\nX: 1\n\r\n",
    "trailer with a space before the colon": b"4\r\nbody\r\n0\r\nX : 1\r\n\r\n",
    "trailer folded": b"4\r\nbody\r\n0\r\nX: 1\r\n 2\r\n\r\n",
    "trailer Content-Length": b"4\r\nbody\r\n0\r\nContent-Length: 1\r\n\r\n",
    "trailer Transfer-Encoding": b"4\r\nbody\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailer Host": b"4\r\nbody\r\n0\r\nHost: other\r\n\r\n",
    "trailer Authorization": b"4\r\nbody\r\n0\r\nauthorization: me\r\n\r\n",
    "trailer Trailer": b"4\r\nbody\r\n0\r\nTrailer: X\r\n\r\n",
    "trailer TE": b"4\r\nbody\r\n0\r\nTE: trailers\r\n\r\n",
}


@pytest.fixture(scope="module")
def app() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def server(serve_module: Serve, app: Recorder) -> LiveServer:
    return serve_module(app)


@pytest.mark.parametrize("pieces", ["whole", "bytes"])
@pytest.mark.parametrize("case", RIGHT)
def test_right(serve: Serve, case: str, pieces: str) -> None:
    """And the request behind it is found."""
    app = Recorder()
    data = HEAD + RIGHT[case] + message("GET /next HTTP/1.1")
    with serve(app).connect() as sock:
        for piece in [data] if pieces == "whole" else [data[i : i + 1] for i in range(len(data))]:
            sock.sendall(piece)
        assert read_response(sock).status == 200
        assert read_response(sock).body == b"2 /next"
    expected = {
        "upper-case size": b"0123456789",
        "lower-case size": b"0123456789",
        "data with line ends": b"\r\n0\r\n\r\nx",
    }
    assert app.calls[0].body == expected.get(case, b"body")


@pytest.mark.parametrize("case", WRONG)
def test_wrong(server: LiveServer, app: Recorder, case: str) -> None:
    """400, the end of the connection, and no call of the app."""
    before = len(app.calls)
    with server.connect() as sock:
        sock.sendall(HEAD + WRONG[case] + SMUGGLED)
        assert read_response(sock).status == 400
        assert read_to_eof(sock) == b""
    assert len(app.calls) == before


@pytest.mark.parametrize("size", [b"7fffffffffffffff", b"8000000000000000", b"ffffffffffffffff"])
def test_size_at_the_end_of_64_bits(server: LiveServer, app: Recorder, size: bytes) -> None:
    """A number like any other: never negative, never 0, so the body is never complete."""
    before = len(app.calls)
    with server.connect() as sock:
        sock.sendall(HEAD + size + b"\r\nbody\r\n0\r\n\r\n" + SMUGGLED)
        sock.shutdown(socket.SHUT_WR)
        assert read_response(sock).status in {400, 413}
        assert read_to_eof(sock) == b""
    assert len(app.calls) == before


def test_trailers_do_not_reach_the_environ(serve: Serve) -> None:
    """RFC 9110 section 6.5.1: merged, they would overwrite what was checked in the head."""
    app = Recorder()
    data = message(
        "POST / HTTP/1.1",
        "Transfer-Encoding: chunked",
        "Trailer: X-Forwarded-For, X-New",
        "X-Forwarded-For: 1.1.1.1",
        "Cookie: a=1",
    )
    trailers = "X-Forwarded-For: 6.6.6.6\r\nX-New: 1\r\nCookie: b=2\r\nX_Forwarded_For: 7\r\n"
    with serve(app).connect() as sock:
        exchange(sock, data + chunked(b"body", trailers=trailers))
        exchange(sock, message("GET / HTTP/1.1"))
    first, second = (call.environ for call in app.calls)
    assert first["HTTP_X_FORWARDED_FOR"] == "1.1.1.1"
    assert first["HTTP_COOKIE"] == "a=1"
    assert "HTTP_X_NEW" not in first
    assert not second.keys() & {"HTTP_X_NEW", "HTTP_COOKIE", "HTTP_X_FORWARDED_FOR"}


def test_a_tab_behind_the_coding_is_refused(serve: Serve) -> None:
    """RFC 9110 section 5.5 allows it; llhttp refuses it, and a framing field is no place to be
    generous in."""
    app = Recorder()
    data = message("POST / HTTP/1.1", "Transfer-Encoding: chunked\t") + chunked(b"body")
    assert serve(app).ask(data).status == 400
    assert not app.calls


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED", " \tchunked", "chunked "])
def test_name_of_the_coding(serve: Serve, coding: str) -> None:
    """RFC 9112 section 7: names of codings are case-insensitive."""
    app = Recorder()
    data = message("POST / HTTP/1.1", f"Transfer-Encoding:{coding}") + chunked(b"body")
    assert serve(app).ask(data).status == 200
    assert app.calls[0].body == b"body"


def test_very_many_small_chunks(serve: Serve) -> None:
    app = Recorder()
    body = bytes(i % 251 for i in range(30_000))
    data = HEAD + chunked(*(body[i : i + 1] for i in range(len(body))))
    assert serve(app).ask(data).status == 200
    assert app.calls[0].body == body


@pytest.mark.parametrize(
    "flood",
    [b"1;" + b"x" * 2_000_000, b"0\r\nX: " + b"y" * 2_000_000, b"0\r\n" + b"X: y\r\n" * 300_000],
)
def test_extensions_and_trailers_are_bounded(serve: Serve, flood: bytes) -> None:
    """They cost the sender nothing and are kept nowhere; without end they are an attack."""
    app = Recorder()
    with serve(app).connect() as sock:
        try:
            sock.sendall(HEAD + flood)
        except (BrokenPipeError, ConnectionResetError):
            return
        try:
            assert read_response(sock).status in {400, 413, 431}
        except ConnectionResetError:
            return
    assert app.calls == []
