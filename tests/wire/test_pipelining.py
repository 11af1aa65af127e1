"""Several requests on a connection before the first answer.

RFC 9112 section 9.3.2: responses come in the order of the requests, whatever the segments are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import pytest
from live import (
    Environ,
    Response,
    Serve,
    StartResponse,
    chunked,
    exchange,
    message,
    read_response,
    read_to_eof,
)

from .apps import BODY_WAIT, Recorder, hello, mirror


def get(number: int) -> bytes:
    return message(f"GET /{number} HTTP/1.1")


@pytest.mark.parametrize("count", [2, 5, 17, 1000])
def test_gets_are_answered_in_order(serve: Serve, count: int) -> None:
    app = Recorder()
    with serve(app, keepalive=30.0).connect() as sock:
        sock.sendall(b"".join(get(i) for i in range(count)))
        for i in range(count):
            assert read_response(sock).body == f"{i + 1} /{i}".encode()
        assert exchange(sock, get(count)).body == f"{count + 1} /{count}".encode()


def test_same_request_a_thousand_times(serve: Serve) -> None:
    """What is remembered of a head must not lose count of the copies."""
    app = Recorder()
    with serve(app).connect() as sock:
        sock.sendall(get(0) * 1000)
        for i in range(1000):
            assert read_response(sock).body == f"{i + 1} /0".encode()
    assert len(app.calls) == 1000


def test_posts_with_bodies(serve: Serve) -> None:
    """Each body belongs to its request, in either framing, also if it looks like a request."""
    bodies = [b"plain", b"GET /body HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\n", b"0\r\n\r\n", b""]
    app = Recorder()
    data = b""
    for i, body in enumerate(bodies):
        data += message(f"POST /{i}/length HTTP/1.1", body=body)
        data += message(f"POST /{i}/chunked HTTP/1.1", "Transfer-Encoding: chunked")
        data += chunked(*([body] if body else []))
        data += get(i)
    with serve(app).connect() as sock:
        sock.sendall(data)
        for _ in range(3 * len(bodies)):
            assert read_response(sock).status == 200
    assert [call.body for call in app.calls] == [
        each for body in bodies for each in (body, body, b"")
    ]


def test_large_responses(serve: Serve) -> None:
    """The second waits for the first to be taken by a client that reads late."""
    sizes = [3_000_000, 10, 5_000_000, 0, 100_000]

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        size = int(environ["PATH_INFO"][1:])
        start_response("200 OK", [("Content-Length", str(size))])
        return [b"x" * size]

    with serve(app).connect(rcvbuf=4096) as sock:
        sock.sendall(b"".join(get(size) for size in sizes))
        assert [len(read_response(sock).body) for _ in sizes] == sizes


def test_mixed_framings(serve: Serve) -> None:
    """Chunked, with length, without body: each response ends where the next one begins."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        kind = environ["PATH_INFO"][1:]
        if kind == "none":
            start_response("204 No Content", [])
            return []
        start_response("200 OK", [("Content-Length", "4")] if kind == "length" else [])
        return iter([b"bo", b"dy"])

    kinds = ["chunked", "length", "none"] * 10
    with serve(app).connect() as sock:
        sock.sendall(b"".join(message(f"GET /{kind} HTTP/1.1") for kind in kinds))
        bodies = [read_response(sock).body for _ in kinds]
    assert bodies == [b"" if kind == "none" else b"body" for kind in kinds]


def test_head_among_gets(serve: Serve) -> None:
    with serve(hello).connect() as sock:
        sock.sendall(get(1) + message("HEAD /2 HTTP/1.1") + get(3))
        assert read_response(sock).body == b"hello /1"
        assert read_response(sock, "HEAD").one(b"content-length") == b"8"
        assert read_response(sock).body == b"hello /3"


def test_second_waits_for_a_streaming_first(serve: Serve) -> None:
    """One request of a connection is answered at a time."""
    order = []
    release = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        order.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return stream(environ["PATH_INFO"])

    def stream(path: str) -> Iterator[bytes]:
        yield b"x" * 100
        if path == "/1":
            assert release.wait(BODY_WAIT)
        order.append(f"end of {path}")

    with serve(app).connect() as sock:
        sock.sendall(get(1) + get(2))
        assert sock.recv(1)
        release.set()
        # The byte that was taken is put back in front for the parser.
        data = b"H" + read_until_second_end(sock.recv)
    assert data.count(b"HTTP/1.1 200 OK") == 2
    assert order == ["/1", "end of /1", "/2", "end of /2"]


def read_until_second_end(recv: object) -> bytes:
    """All up to the last chunk of the second response."""
    assert callable(recv)
    data = b""
    while data.count(b"\r\n0\r\n\r\n") < 2:
        piece = recv(65536)
        assert piece
        data += piece
    return data


def test_nothing_behind_connection_close_is_answered(serve: Serve) -> None:
    """RFC 9112 section 9.6: the server must not process requests behind it."""
    app = Recorder()
    with serve(app).connect() as sock:
        sock.sendall(get(1) + message("GET /2 HTTP/1.1", "Connection: close") + get(3))
        assert read_response(sock).body == b"1 /1"
        assert read_response(sock).closes
        assert read_to_eof(sock) == b""
    assert app.lines == [("GET", "/1"), ("GET", "/2")]


def test_nothing_behind_a_bad_request_is_answered(serve: Serve) -> None:
    """Nobody knows where the next one begins; those before it are answered, in order."""
    app = Recorder()
    with serve(app).connect() as sock:
        sock.sendall(get(1) + b"not http\r\n\r\n" + get(3))
        assert read_response(sock).body == b"1 /1"
        assert read_response(sock).status == 400
        assert read_to_eof(sock) == b""
    assert app.lines == [("GET", "/1")]


def test_connections_do_not_mix(serve: Serve) -> None:
    """Interleaved pipelines on many connections: everybody gets their own answers."""
    server = serve(mirror)
    socks = [server.connect() for _ in range(20)]
    halves = []
    for number, sock in enumerate(socks):
        data = b"".join(
            message(f"POST /{number}/{i} HTTP/1.1", body=b"%d" % (number * 100 + i))
            for i in range(10)
        )
        cut = len(data) // 2 + number
        sock.sendall(data[:cut])
        halves.append(data[cut:])
    for sock, half in zip(socks, halves, strict=True):
        sock.sendall(half)
    for number, sock in enumerate(socks):
        responses: list[Response] = [read_response(sock) for _ in range(10)]
        for i, response in enumerate(responses):
            assert f'"body": "{number * 100 + i}"'.encode() in response.body
            assert f'"PATH_INFO": "/{number}/{i}"'.encode() in response.body
