"""threads=1: the app sees one thread, that of the caller; all else goes on while it is called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from corpus.clients import connect
from corpus.serving import Launch, Server
from live import (
    Environ,
    LiveServer,
    Serve,
    StartResponse,
    exchange,
    message,
    read_response,
    read_to_eof,
    read_until,
)

from .gated import LARGE, Gated, scheduler_of, until

HERE = Path(__file__).parent

DISPATCH = ["adaptive", "inline", "threads"]


def get(path: str, *fields: str) -> bytes:
    return message(f"GET {path} HTTP/1.1", *fields)


@contextmanager
def blocked(live: LiveServer, app: Gated) -> Iterator[None]:
    """While the only app thread is in the app."""
    with live.connect() as sock:
        sock.sendall(get("/hold/blocked"))
        app.wait_for("/hold/blocked")
        yield
        app.let_go("/hold/blocked")
        assert read_response(sock).body == b"/hold/blocked"


@pytest.mark.parametrize("dispatch", DISPATCH)
def test_app_runs_on_the_thread_that_called_run(serve: Serve, gated: Gated, dispatch: str) -> None:
    """Each call, its iteration and its close(), also of a call that holds everybody up."""
    gated.let_go("/hold/late")
    live = serve(gated, dispatch=dispatch, threads=1)
    with live.connect() as sock:
        for path in ("/first", "/stream/1", "/hold/late", "/large", "/stream/2"):
            assert exchange(sock, get(path)).status == 200
        sock.sendall(get("/hold/slow") + get("/stream/3"))
        gated.wait_for("/hold/slow")
        gated.let_go("/hold/slow")
        assert read_response(sock).body == b"/hold/slow"
        sock.sendall(get("/stream/hold"))
        assert read_response(sock).body == b"0 1 2 "
        gated.wait_for("/stream/hold begun")
        gated.let_go("/stream/hold")
        assert read_response(sock).body == b"0 1 2 "
    assert live.thread.ident is not None
    assert set().union(*gated.threads.values()) == {live.thread.ident}
    until(lambda: len(gated.closed) == 4, "all streams are closed")


@pytest.mark.parametrize("dispatch", DISPATCH)
def test_never_two_calls_at_a_time(serve: Serve, gated: Gated, dispatch: str) -> None:
    live = serve(gated, dispatch=dispatch, threads=1)
    with ExitStack() as stack:
        socks = [stack.enter_context(live.connect()) for _ in range(8)]
        socks[0].sendall(get("/hold/0"))
        gated.wait_for("/hold/0")
        for number, sock in enumerate(socks[1:], 1):
            sock.sendall(get(f"/hold/{number}") + get(f"/quick/{number}"))
        if dispatch != "inline":
            until(lambda: scheduler_of(live).crew.waiting() == 7, "all others wait")
        assert gated.paths == ["/hold/0"]
        gated.let_go()
        assert read_response(socks[0]).body == b"/hold/0"
        for number, sock in enumerate(socks[1:], 1):
            assert read_response(sock).body == f"/hold/{number}".encode()
            assert read_response(sock).body == f"/quick/{number}".encode()
    assert gated.most == 1
    assert len(gated.paths) == 15


def test_multithread_is_false(serve: Serve) -> None:
    seen: list[bool] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(environ["wsgi.multithread"])
        start_response("204 No Content", [])
        return []

    assert serve(app, threads=1).ask(get("/")).status == 204
    assert serve(app, threads=2).ask(get("/")).status == 204
    assert seen == [False, True]


# What goes on while the app blocks


def test_malformed_request_is_refused(serve: Serve, gated: Gated) -> None:
    live = serve(gated)
    with blocked(live, gated), live.connect() as sock:
        assert exchange(sock, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n").status == 400
        assert read_to_eof(sock) == b""


def test_late_request_is_refused(serve: Serve, gated: Gated) -> None:
    live = serve(gated, head_timeout=0.1)
    with blocked(live, gated), live.connect() as sock:
        assert exchange(sock, b"GET / HTTP/1.1\r\nHo").status == 408
        assert read_to_eof(sock) == b""


def test_late_body_is_refused(serve: Serve, gated: Gated) -> None:
    live = serve(gated, body_timeout=0.1)
    with blocked(live, gated), live.connect() as sock:
        assert (
            exchange(sock, message("POST / HTTP/1.1", "Content-Length: 5") + b"abc").status == 408
        )


def test_large_body_is_refused(serve: Serve, gated: Gated) -> None:
    live = serve(gated, max_body=10)
    with blocked(live, gated), live.connect() as sock:
        assert exchange(sock, message("POST / HTTP/1.1", "Content-Length: 11")).status == 413


def test_who_finds_no_room_to_wait_is_shed(serve: Serve, gated: Gated) -> None:
    live = serve(gated, queue_limit=1)
    with blocked(live, gated), live.connect() as waits, live.connect() as shed:
        waits.sendall(get("/waits"))
        until(lambda: scheduler_of(live).crew.waiting() == 1, "it waits")
        assert exchange(shed, get("/shed")).status == 503
        gated.let_go()
        assert read_response(waits).body == b"/waits"
    assert "/shed" not in gated.paths


def test_body_is_asked_for(serve: Serve, gated: Gated) -> None:
    live = serve(gated)
    with blocked(live, gated), live.connect() as sock:
        sock.sendall(message("POST /p HTTP/1.1", "Expect: 100-continue", "Content-Length: 4"))
        assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"body")
        gated.let_go()
        assert read_response(sock).body == b"/p"


@pytest.mark.parametrize("readers", [1, 5])
def test_finished_response_is_sent_to_slow_clients(
    serve: Serve, gated: Gated, readers: int
) -> None:
    live = serve(gated)
    socks = [live.connect(rcvbuf=4096) for _ in range(readers)]
    for number, sock in enumerate(socks):
        sock.sendall(get(f"/large/{number}"))
    gated.wait_for(*(f"/large/{number}" for number in range(readers)))
    with blocked(live, gated):
        for sock in socks:
            assert len(read_response(sock).body) == LARGE


def test_connections_are_accepted(serve: Serve, gated: Gated) -> None:
    live = serve(gated)
    with blocked(live, gated):
        before = live.server.nconnections
        socks = [live.connect() for _ in range(20)]
        for sock in socks:
            sock.sendall(b"GET / HT")
        until(lambda: live.server.nconnections == before + 20, "all are accepted")
        for sock in socks:
            sock.close()
        until(lambda: live.server.nconnections == before, "all are gone")


def test_idle_connections_expire(serve: Serve, gated: Gated) -> None:
    live = serve(gated, keepalive=0.3)
    with live.connect() as sock:
        sock.sendall(get("/before"))
        assert read_response(sock).body == b"/before"
        with blocked(live, gated):
            assert read_to_eof(sock) == b""


def test_relief_never_calls_the_app(serve: Serve, gated: Gated) -> None:
    """After many changes of the leader it is still one thread, and the loop comes back to it."""
    live = serve(gated)
    with live.connect() as slow, live.connect() as quick:
        for number in range(20):
            slow.sendall(get(f"/hold/{number}"))
            gated.wait_for(f"/hold/{number}")
            quick.sendall(get(f"/quick/{number}"))
            gated.let_go(f"/hold/{number}")
            assert read_response(slow).body == f"/hold/{number}".encode()
            assert read_response(quick).body == f"/quick/{number}".encode()
    assert set().union(*gated.threads.values()) == {live.thread.ident}
    crew = scheduler_of(live).crew
    until(lambda: crew.leader is not None and crew.leader.runs_apps, "the app thread leads")


# In a process of its own


def test_command_calls_the_app_on_the_main_thread(tmp_path: Path) -> None:
    """Inline, displaced, and apart from the loop: the main thread, which signal handlers need."""
    os.mkfifo(tmp_path / "where")
    launch = Launch("threads_app:app", HERE, None, (), {"GATES": str(tmp_path)})
    with Server(launch) as server:
        with connect(server.port) as sock:
            responses = [exchange(sock, get("/where"))]
            for _ in range(3):
                sock.sendall(get("/hold/where"))
                with open(tmp_path / "where", "wb"), connect(server.port) as other:
                    # The loop runs elsewhere now.
                    assert exchange(other, b"BAD\r\n\r\n").status == 400
                responses.append(read_response(sock))
        for response in responses:
            assert response.one(b"x-called-on") == b"main"
            assert response.body == b"main main main "
        assert server.stop() == 0, server.output()
