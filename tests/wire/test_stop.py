"""A graceful stop: who was let in is answered, and nobody else is let in.

RFC 9112 section 9.6: a response that is the last one on its connection says so if it still can.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

import pytest
from live import (
    Environ,
    LiveServer,
    Serve,
    StartResponse,
    exchange,
    message,
    read_response,
    read_to_eof,
)

from .apps import BODY_WAIT, Recorder, hello

GET = message("GET / HTTP/1.1")

DRAIN = 0.2
"""Seconds for which idle connections may still ask; short, as most of these tests wait for it."""


def test_running_request_is_answered(serve: Serve) -> None:
    entered, release = threading.Event(), threading.Event()

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        entered.set()
        assert release.wait(BODY_WAIT)
        start_response("200 OK", [("Content-Length", "8")])
        return [b"survived"]

    live = serve(app, drain_keepalive=DRAIN)
    with live.connect() as sock:
        sock.sendall(GET)
        assert entered.wait(BODY_WAIT)
        live.server.stop()
        release.set()
        assert read_response(sock).body == b"survived"
        assert read_to_eof(sock) == b""
    live.thread.join(BODY_WAIT)
    assert not live.thread.is_alive()


def test_stream_is_sent_to_its_end(serve: Serve) -> None:
    begun, release = threading.Event(), threading.Event()

    def app(_environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun, "
        begun.set()
        assert release.wait(BODY_WAIT)
        for _ in range(200):
            yield b"x" * 65536
        yield b" ended"

    live = serve(app, drain_keepalive=DRAIN)
    with live.connect(rcvbuf=4096) as sock:
        sock.sendall(GET)
        assert begun.wait(BODY_WAIT)
        live.server.stop()
        release.set()
        body = read_response(sock).body
        assert body.startswith(b"begun, x")
        assert body.endswith(b"x ended")
        assert read_to_eof(sock) == b""
    assert "graceful_timeout" not in live.log_text(), "an idle connection held up the stop"


def test_large_response_is_sent_to_its_end(serve: Serve) -> None:
    """The app is long done; the client takes its time."""
    size = 30_000_000

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(size))])
        return [b"x" * size]

    live = serve(app, drain_keepalive=DRAIN)
    with live.connect(rcvbuf=4096) as sock:
        sock.sendall(GET)
        assert sock.recv(1) == b"H"
        live.server.stop()
        received = 1
        while piece := sock.recv(1 << 20):
            received += len(piece)
    assert received > size
    assert "graceful_timeout" not in live.log_text(), "an idle connection held up the stop"


@pytest.mark.parametrize("cut", [-1, -4])
def test_request_that_was_begun_is_answered(serve: Serve, cut: int) -> None:
    """Half a body was there: the other half may come, and the answer is the last one."""
    app = Recorder()
    live = serve(app, drain_keepalive=DRAIN)
    data = message("POST /upload HTTP/1.1", body=b"body")
    with live.connect() as sock:
        exchange(sock, message("GET /barrier HTTP/1.1"))
        sock.sendall(data[:cut])
        live.ask(message("GET /barrier HTTP/1.1"))
        live.server.stop()
        sock.sendall(data[cut:])
        response = read_response(sock)
        assert (response.status, response.closes) == (200, True)
        assert read_to_eof(sock) == b""
    assert app.calls[-1].body == b"body"


def test_idle_connections_end_without_a_word(serve: Serve) -> None:
    live = serve(hello, drain_keepalive=DRAIN)
    socks = [live.connect() for _ in range(10)]
    for sock in socks:
        exchange(sock, GET)
    live.server.stop()
    for sock in socks:
        assert read_to_eof(sock) == b""
    live.thread.join(BODY_WAIT)
    assert not live.thread.is_alive()


def test_request_that_crosses_the_stop_is_answered_or_never_read(serve: Serve) -> None:
    """It is answered whole, or its connection ends before; never half of either."""
    app = Recorder()
    live = serve(app, drain_keepalive=DRAIN)
    with live.connect() as sock:
        exchange(sock, GET)
        live.server.stop()
        try:
            sock.sendall(message("GET /late HTTP/1.1"))
            data = read_to_eof(sock)
        except (BrokenPipeError, ConnectionResetError):
            data = b""
    answered = data.startswith(b"HTTP/1.1 200 ")
    assert answered or data == b""
    assert answered == (("GET", "/late") in app.lines)


def test_last_response_says_so(serve: Serve) -> None:
    """An idle connection may still ask while the server drains; "close" tells it to stop."""
    live = serve(Recorder(), drain_keepalive=60.0)
    with live.connect() as sock:
        exchange(sock, GET)
        exchange(sock, GET)
        live.server.stop()
        wait_until_refused(live)
        assert exchange(sock, GET).closes
        assert read_to_eof(sock) == b""


def wait_until_refused(live: LiveServer) -> None:
    """Until nobody new is let in; each look is a connection attempt."""
    deadline = time.monotonic() + BODY_WAIT
    while lets_in(live):
        assert time.monotonic() < deadline, "the server still accepts connections"


def lets_in(live: LiveServer) -> bool:
    try:
        live.connect().close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True


def test_nobody_new_is_let_in(serve: Serve) -> None:
    live = serve(hello, drain_keepalive=DRAIN)
    assert live.ask(GET).status == 200
    live.server.stop()
    live.thread.join(BODY_WAIT)
    with pytest.raises(ConnectionRefusedError):
        live.connect()


def test_stop_may_be_called_again_and_early(serve: Serve) -> None:
    """From any thread, as often as somebody likes, also before anything was served."""
    live = serve(hello, drain_keepalive=DRAIN)
    threads = [threading.Thread(target=live.server.stop) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live.thread.join(BODY_WAIT)
    assert not live.thread.is_alive()


def test_graceful_timeout_ends_what_does_not_end(serve: Serve) -> None:
    def app(_environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        while True:
            yield b"x" * 65536

    live = serve(app, graceful_timeout=0.2)
    with live.connect(rcvbuf=4096) as sock:
        sock.sendall(GET)
        assert sock.recv(1) == b"H"
        live.server.stop()
        live.thread.join(BODY_WAIT)
        assert not live.thread.is_alive()
