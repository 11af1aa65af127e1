"""A graceful stop: who was let in is answered, and nobody else is let in.

RFC 9112 section 9.6: a response that is the last one on its connection says so if it still can.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import pytest
from live import Environ, Serve, StartResponse, exchange, message, read_response, read_to_eof

from .apps import BODY_WAIT, Recorder, hello

GET = message("GET / HTTP/1.1")


def test_running_request_is_answered(serve: Serve) -> None:
    entered, release = threading.Event(), threading.Event()

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        entered.set()
        assert release.wait(BODY_WAIT)
        start_response("200 OK", [("Content-Length", "8")])
        return [b"survived"]

    live = serve(app)
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

    live = serve(app)
    with live.connect(rcvbuf=4096) as sock:
        sock.sendall(GET)
        assert begun.wait(BODY_WAIT)
        live.server.stop()
        release.set()
        body = read_response(sock).body
        assert body.startswith(b"begun, x")
        assert body.endswith(b"x ended")
        assert read_to_eof(sock) == b""


def test_large_response_is_sent_to_its_end(serve: Serve) -> None:
    """The app is long done; the client takes its time."""
    size = 30_000_000

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(size))])
        return [b"x" * size]

    live = serve(app)
    with live.connect(rcvbuf=4096) as sock:
        sock.sendall(GET)
        assert sock.recv(1) == b"H"
        live.server.stop()
        received = 1
        while piece := sock.recv(1 << 20):
            received += len(piece)
    assert received > size


@pytest.mark.parametrize("cut", [-1, -4])
def test_request_that_was_begun_is_answered(serve: Serve, cut: int) -> None:
    """Half a body was there: the other half may come, and the answer is the last one."""
    app = Recorder()
    live = serve(app)
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
    live = serve(hello)
    socks = [live.connect() for _ in range(10)]
    for sock in socks:
        exchange(sock, GET)
    live.server.stop()
    for sock in socks:
        assert read_to_eof(sock) == b""
    live.thread.join(BODY_WAIT)
    assert not live.thread.is_alive()


def test_request_on_an_idle_connection_is_answered_or_never_read(serve: Serve) -> None:
    """A request that crosses the stop is answered whole, or its connection ends before."""
    app = Recorder()
    live = serve(app)
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
    if answered:
        assert b"Connection: close" in data


def test_nobody_new_is_let_in(serve: Serve) -> None:
    live = serve(hello)
    assert live.ask(GET).status == 200
    live.server.stop()
    live.thread.join(BODY_WAIT)
    with pytest.raises(ConnectionRefusedError):
        live.connect()


def test_stop_may_be_called_again_and_early(serve: Serve) -> None:
    """From any thread, as often as somebody likes, also before anything was served."""
    live = serve(hello)
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
