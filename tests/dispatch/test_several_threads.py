"""threads=N: a call that blocks holds up nobody, and there are never more than N."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator

import pytest
from live import (
    Environ,
    LiveServer,
    Response,
    Serve,
    StartResponse,
    exchange,
    message,
    read_response,
    read_to_eof,
    read_until,
)

from .gated import LARGE, Gated, scheduler_of, until

DISPATCH = ["adaptive", "threads"]


def get(path: str, *fields: str, version: str = "1.1") -> bytes:
    return message(f"GET {path} HTTP/{version}", *fields)


def others_are_served(live: LiveServer, count: int = 5) -> None:
    for number in range(count):
        assert live.ask(get(f"/other/{number}")).body == f"/other/{number}".encode()


@pytest.mark.parametrize("dispatch", DISPATCH)
@pytest.mark.parametrize("threads", [2, 4])
def test_blocked_calls_hold_up_nobody(
    serve: Serve, gated: Gated, dispatch: str, threads: int
) -> None:
    live = serve(gated, threads=threads, dispatch=dispatch)
    held = [f"/hold/{number}" for number in range(threads - 1)]
    socks = [live.connect() for _ in held]
    for sock, path in zip(socks, held, strict=True):
        sock.sendall(get(path))
        gated.wait_for(path)
        others_are_served(live)
    gated.let_go()
    for sock, path in zip(socks, held, strict=True):
        assert read_response(sock).body == path.encode()


@pytest.mark.parametrize("dispatch", DISPATCH)
@pytest.mark.parametrize("threads", [2, 3])
def test_never_more_calls_than_threads(
    serve: Serve, gated: Gated, dispatch: str, threads: int
) -> None:
    live = serve(gated, threads=threads, dispatch=dispatch)
    crew = scheduler_of(live).crew
    socks = [live.connect() for _ in range(3 * threads)]
    for number, sock in enumerate(socks):
        sock.sendall(get(f"/hold/{number}"))
    until(lambda: len(gated.paths) == threads, "all threads are in the app")
    until(lambda: crew.waiting() == 2 * threads, "the others wait")
    assert len(gated.paths) == threads
    gated.let_go()
    for number, sock in enumerate(socks):
        assert read_response(sock).body == f"/hold/{number}".encode()
        assert exchange(sock, get(f"/again/{number}")).body == f"/again/{number}".encode()
    assert gated.most == threads


@pytest.mark.parametrize("dispatch", [*DISPATCH, "inline"])
def test_a_request_has_one_thread(serve: Serve, gated: Gated, dispatch: str) -> None:
    live = serve(gated, threads=3, dispatch=dispatch)
    paths = [f"/stream/{number}" for number in range(20)]
    socks = [live.connect() for _ in range(3)]
    for path in paths:
        for sock in socks:
            sock.sendall(get(path + f"/{socks.index(sock)}"))
    for _ in paths:
        for sock in socks:
            assert read_response(sock).body == b"0 1 2 "
    until(lambda: len(gated.closed) == 60, "all are closed")
    assert len(gated.threads) == 60
    assert {len(threads) for threads in gated.threads.values()} == {1}
    assert sorted(gated.closed) == sorted(gated.threads)


@pytest.mark.parametrize("dispatch", DISPATCH)
def test_a_request_that_loses_the_loop_has_one_thread(
    serve: Serve, gated: Gated, dispatch: str
) -> None:
    """Lost in the middle of iterating: the rest and close() are called by the same thread."""
    live = serve(gated, threads=2, dispatch=dispatch)
    with live.connect() as sock:
        sock.sendall(get("/stream/hold"))
        gated.wait_for("/stream/hold begun")
        others_are_served(live)
        gated.let_go("/stream/hold")
        assert read_response(sock).body == b"0 1 2 "
    until(lambda: gated.closed == ["/stream/hold"], "it is closed")
    assert len(gated.threads["/stream/hold"]) == 1
    if dispatch == "adaptive":
        assert scheduler_of(live).crew.displaced >= 1


@pytest.mark.parametrize("dispatch", DISPATCH)
def test_slow_reader_of_a_finished_response_keeps_no_thread(
    serve: Serve, gated: Gated, dispatch: str
) -> None:
    live = serve(gated, threads=2, dispatch=dispatch)
    readers = [live.connect(rcvbuf=4096) for _ in range(4)]
    for number, sock in enumerate(readers):
        sock.sendall(get(f"/large/{number}"))
        assert sock.recv(5) == b"HTTP/"
    holders = [live.connect() for _ in range(2)]
    for number, sock in enumerate(holders):
        sock.sendall(get(f"/hold/{number}"))
    gated.wait_for("/hold/0", "/hold/1")
    for sock in readers:
        assert len(read_to_length(sock, LARGE)) == LARGE
    gated.let_go()
    for number, sock in enumerate(holders):
        assert read_response(sock).body == f"/hold/{number}".encode()


def read_to_length(sock: socket.socket, size: int) -> bytes:
    """The body of a response whose first bytes have been read."""
    recv = sock.recv
    data = b""
    while b"\r\n\r\n" not in data:
        data += recv(65536)
    pieces = [data.partition(b"\r\n\r\n")[2]]
    left = size - len(pieces[0])
    while left > 0:
        pieces.append(recv(1 << 20))
        assert pieces[-1], f"{left} bytes are missing"
        left -= len(pieces[-1])
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("dispatch", "by_write"), [("adaptive", False), ("threads", False), ("threads", True)]
)
def test_slow_reader_of_a_stream_keeps_its_thread_only(
    serve: Serve, gated: Gated, dispatch: str, by_write: bool
) -> None:
    blocks = 1000
    produced: list[int] = []
    threads: set[int] = set()

    def block(number: int) -> bytes:
        produced.append(number)
        threads.add(threading.get_ident())
        return b"x" * 65536

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/slow":
            return gated(environ, start_response)
        write = start_response("200 OK", [])
        if not by_write:
            return (block(number) for number in range(blocks))
        for number in range(blocks):
            write(block(number))
        return []

    live = serve(app, threads=3, dispatch=dispatch)
    with live.connect(rcvbuf=4096) as reader, live.connect() as holder:
        reader.sendall(get("/slow"))
        assert reader.recv(5) == b"HTTP/"
        holder.sendall(get("/hold/1"))
        gated.wait_for("/hold/1")
        others_are_served(live)
        assert 0 < len(produced) < blocks
        gated.let_go()
        assert read_response(holder).body == b"/hold/1"
        tail = b""
        while tail != b"0\r\n\r\n":
            piece = reader.recv(1 << 20)
            assert piece, "the stream was cut"
            tail = (tail + piece)[-5:]
    assert produced == list(range(blocks))
    assert len(threads) == 1


@pytest.mark.parametrize("dispatch", DISPATCH)
@pytest.mark.parametrize("threads", [1, 2])
def test_pipelined_requests_are_answered_in_order(
    serve: Serve, gated: Gated, dispatch: str, threads: int
) -> None:
    live = serve(gated, threads=threads, dispatch=dispatch)
    paths = [
        "/1",
        "/hold/2",
        "/3",
        "/stream/4",
        "/hold/5",
        *(f"/n{number}" for number in range(30)),
    ]
    with live.connect() as sock:
        sock.sendall(b"".join(get(path) for path in paths))
        gated.wait_for("/hold/2")
        if threads > 1:
            others_are_served(live)
        assert [path for path in paths if path in gated.paths] == ["/1", "/hold/2"]
        gated.let_go("/hold/2")
        gated.wait_for("/hold/5")
        gated.let_go("/hold/5")
        for path in paths:
            expected = b"0 1 2 " if path.startswith("/stream") else path.encode()
            assert read_response(sock).body == expected
    assert [path for path in gated.paths if not path.startswith("/other")] == paths


def test_pipelined_requests_that_come_later_are_answered_in_order(
    serve: Serve, gated: Gated
) -> None:
    """They arrive while an app thread is at the first one, and in pieces."""
    live = serve(gated, threads=2)
    with live.connect() as sock:
        sock.sendall(get("/hold/1"))
        gated.wait_for("/hold/1")
        for number in range(2, 6):
            data = get(f"/{number}")
            sock.sendall(data[:20])
            others_are_served(live, 2)
            sock.sendall(data[20:])
        gated.let_go()
        assert read_response(sock).body == b"/hold/1"
        for number in range(2, 6):
            assert read_response(sock).body == f"/{number}".encode()


def wait_until_displaced(live: LiveServer) -> None:
    crew = scheduler_of(live).crew
    until(lambda: crew.displaced == 1, "the loop is taken from the call")


# What the wire must not show


FORMS = {
    "head": (message("HEAD {} HTTP/1.1"), "HEAD", True),
    "get": (get("{}"), "GET", True),
    "close": (get("{}", "Connection: close"), "GET", False),
    "1.0": (get("{}", version="1.0"), "GET", False),
    "1.0 keep-alive": (get("{}", "Connection: keep-alive", version="1.0"), "GET", True),
    "head 1.0": (message("HEAD {} HTTP/1.0"), "HEAD", False),
    "post": (message("POST {} HTTP/1.1", body=b"x" * 100_000), "POST", True),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", ["/quick", "/hold", "/stream"])
def test_answer_is_that_of_an_inline_call(serve: Serve, gated: Gated, form: str, path: str) -> None:
    """The same to the byte, whether called here, apart, or displaced."""
    data, method, lives = FORMS[form]
    # In HTTP/1.0 only the end of the connection ends a body of unknown length.
    lives = lives and (form, path) != ("1.0 keep-alive", "/stream")
    data = data.replace(b"{}", path.encode())
    answers: list[Response] = []
    for settings in ({"dispatch": "inline"}, {"dispatch": "threads"}, {}, {"threads": 1}):
        app = Gated()
        live = serve(app, **{"threads": 2, **settings})
        with live.connect() as sock:
            sock.sendall(data)
            app.wait_for(path)
            if path == "/hold" and "dispatch" not in settings:
                wait_until_displaced(live)
            app.let_go()
            answers.append(read_response(sock, method))
            if lives:
                assert exchange(sock, get("/next")).body == b"/next"
            else:
                assert read_to_eof(sock) == b""
    assert len({repr(each.without_date) for each in answers}) == 1
    assert answers[0].closes != lives


@pytest.mark.parametrize("dispatch", DISPATCH)
def test_body_is_asked_for_before_a_thread_is(serve: Serve, gated: Gated, dispatch: str) -> None:
    """100 Continue is the loop's; a thread is only needed when the body is there."""
    live = serve(gated, threads=2, dispatch=dispatch)
    with live.connect() as sock:
        sock.sendall(message("POST /p HTTP/1.1", "Expect: 100-continue", "Content-Length: 4"))
        assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert gated.paths == []
        sock.sendall(b"body")
        assert read_response(sock).body == b"/p"


@pytest.mark.parametrize("dispatch", DISPATCH)
def test_early_hints_of_an_app_thread(serve: Serve, gated: Gated, dispatch: str) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        gated.note_thread("/hints")
        gated.hold_on("/hints")
        environ["wsgi.early_hints"]([("Link", "</b.css>; rel=preload")])
        start_response("200 OK", [])
        yield b"late"

    live = serve(app, threads=2, dispatch=dispatch)
    with live.connect() as sock:
        sock.sendall(get("/"))
        assert b"a.css" in read_until(sock, b"\r\n\r\n")
        gated.let_go("/hints")
        response = read_response(sock)
    assert (response.interim, response.body) == ([103], b"late")


def test_failing_calls_of_app_threads(serve: Serve, gated: Gated) -> None:
    """A 500, logged, and the thread goes on; also for SystemExit, which is not the server's."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith("/fail"):
            return gated(environ, start_response)
        raise SystemExit(3) if path.endswith("exit") else ValueError("on purpose")

    live = serve(app, threads=2, dispatch="threads")
    for _ in range(5):
        assert live.ask(get("/fail")).status == 500
        assert live.ask(get("/fail/exit")).status == 500
    assert live.ask(get("/fine")).body == b"/fine"
    log = live.log_text()
    assert log.count("ValueError: on purpose") == log.count("SystemExit: 3") == 5
    assert live.thread.is_alive()
