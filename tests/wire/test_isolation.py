"""Slow peers cost only themselves.

The four ways in which clients stop thread pools (peers that send half a head or half a body, or
don't read a finished or an unfinished response). Proved by order: somebody else is answered before
they go on, and in the end they are answered, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from live import Environ, LiveServer, Serve, StartResponse, exchange, message, read_response

from .apps import BODY_WAIT, Recorder, hello

BLOCK = b"x" * 65536
ROUNDS = 20


def others_are_served(server: LiveServer) -> None:
    """New connections and one that lives on are answered again and again."""
    with server.connect() as sock:
        for _ in range(ROUNDS):
            assert exchange(sock, message("GET /other HTTP/1.1")).status == 200
            assert server.ask(message("GET /other HTTP/1.1")).status == 200


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (message("GET /slow HTTP/1.1"), 20),
        (message("GET /slow HTTP/1.1"), -1),
        (message("POST /slow HTTP/1.1", body=b"x" * 1000), -500),
        (message("POST /slow HTTP/1.1", body=b"x" * 3_000_000), -1_000_000),
    ],
    ids=["head", "last byte of a head", "body", "large body"],
)
def test_half_sent_requests(serve: Serve, data: bytes, cut: int) -> None:
    app = Recorder()
    server = serve(app)
    slow = [server.connect() for _ in range(12)]
    for sock in slow:
        sock.sendall(data[:cut])
    others_are_served(server)
    assert ("GET", "/slow") not in app.lines
    assert ("POST", "/slow") not in app.lines
    for sock in slow:
        sock.sendall(data[cut:])
    for sock in slow:
        assert read_response(sock).status == 200


def test_finished_responses_that_nobody_reads(serve: Serve) -> None:
    """Six lists of 8 MB each: the app is done, so its responses are the server's business."""
    size = 8 << 20

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/slow":
            return hello(environ, start_response)
        start_response("200 OK", [("Content-Length", str(size))])
        return [BLOCK] * (size // len(BLOCK))

    server = serve(app)
    slow = [server.connect(rcvbuf=4096) for _ in range(6)]
    for sock in slow:
        sock.sendall(message("GET /slow HTTP/1.1"))
    for sock in slow:
        # Begun, and far from its end.
        assert sock.recv(5) == b"HTTP/"
    others_are_served(server)
    for sock in slow:
        assert len(read_to_length(sock.recv, size)) >= size


def read_to_length(recv: object, size: int) -> bytes:
    """All up to the body's end."""
    assert callable(recv)
    data = b""
    while b"\r\n\r\n" not in data:
        data += recv(65536)
    left = size - len(data.partition(b"\r\n\r\n")[2])
    pieces = [data]
    while left > 0:
        pieces.append(recv(1 << 20))
        assert pieces[-1], f"{left} bytes missing"
        left -= len(pieces[-1])
    return b"".join(pieces)


@pytest.mark.parametrize("size", [1 << 16, 1 << 20])
def test_stream_that_nobody_reads(serve: Serve, size: int) -> None:
    """64 MB in blocks: the generator is asked for what the kernel takes, and little more."""
    total = 64 << 20
    produced = []

    def stream() -> Iterator[bytes]:
        for i in range(total // size):
            produced.append(i)
            yield b"x" * size

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/slow":
            return hello(environ, start_response)
        start_response("200 OK", [("Content-Length", str(total))])
        return stream()

    server = serve(app, threads=2)
    with server.connect() as sock:
        sock.sendall(message("GET /slow HTTP/1.1"))
        assert sock.recv(5) == b"HTTP/"
        others_are_served(server)
        # 6 MB is the most that Linux gives a receiver by default, and 4 MB a sender.
        assert len(produced) * size < total // 4
        read_to_length(sock.recv, total)
    assert len(produced) * size == total


@pytest.mark.parametrize("pipelined", [50, 2000])
def test_pipelines_that_nobody_reads(serve: Serve, pipelined: int) -> None:
    """Requests behind an unread response wait: memory for one peer is bounded."""
    answered = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/slow":
            return hello(environ, start_response)
        answered.append(1)
        start_response("200 OK", [("Content-Length", str(len(BLOCK) * 16))])
        return [BLOCK] * 16

    server = serve(app)
    with server.connect(rcvbuf=4096) as sock:
        sock.sendall(message("GET /slow HTTP/1.1") * pipelined)
        assert sock.recv(5) == b"HTTP/"
        others_are_served(server)
        assert len(answered) < 20


def test_client_that_reads_one_stream_late(serve: Serve) -> None:
    """A slow reader's stream goes on when it reads, also after others were served in between."""
    seen: list[int] = []

    def stream() -> Iterator[bytes]:
        for i in range(300):
            seen.append(i)
            yield bytes([i % 256]) * 65536

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/slow":
            return hello(environ, start_response)
        start_response("200 OK", [])
        return stream()

    server = serve(app, write_timeout=BODY_WAIT, threads=6)
    socks = [server.connect(rcvbuf=4096) for _ in range(4)]
    for sock in socks:
        sock.sendall(message("GET /slow HTTP/1.1"))
    expected = b"".join(bytes([i % 256]) * 65536 for i in range(300))
    for sock in socks:
        others_are_served(server)
        assert read_response(sock).body == expected
