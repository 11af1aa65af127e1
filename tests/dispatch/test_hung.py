"""App calls that take too long: said once, and given up if that is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from cli.running import refusal
from live import (
    Environ,
    Serve,
    StartResponse,
    TruncatedError,
    exchange,
    message,
    read_response,
    read_to_eof,
)

from poolhttp import Settings
from poolhttp.settings import SettingsError

from .gated import Gated, scheduler_of, until

SHORT = 0.2
"""Seconds: the timeout under test."""

SAID = "An app call has taken"

CUT = (TruncatedError, ConnectionResetError)

GIVEN_UP = "Giving up an app call"


def get(path: str, version: str = "1.1") -> bytes:
    return message(f"GET {path} HTTP/{version}")


# Saying so


@pytest.mark.parametrize("dispatch", ["adaptive", "threads"])
@pytest.mark.parametrize("threads", [1, 3])
def test_long_call_is_logged_once(serve: Serve, gated: Gated, threads: int, dispatch: str) -> None:
    live = serve(gated, threads=threads, dispatch=dispatch, timeout=SHORT)
    with live.connect() as first, live.connect() as second:
        first.sendall(message("POST /hold/1?why HTTP/1.1", body=b"x"))
        log = live.wait_for_log(SAID)
        # Method and target, and where the app is.
        assert "POST /hold/1?why" in log
        assert "in hold_on" in log
        assert __file__.replace("test_hung", "gated") in log
        if threads == 1:
            gated.let_go()
            assert read_response(first).status == 200
        second.sendall(get("/hold/2"))
        if threads > 1:
            live.wait_for_log("GET /hold/2")
            log = live.log_text()
            assert log.count(SAID) == 2
            assert log.count("POST /hold/1") == 1
            gated.let_go()
            assert read_response(first).body == b"/hold/1"
        assert read_response(second).body == b"/hold/2"
    assert scheduler_of(live).stuck.given_up == 0


def test_each_long_call_of_a_thread_is_logged(serve: Serve, gated: Gated) -> None:
    live = serve(gated, threads=1, timeout=SHORT)
    with live.connect() as sock:
        for number in range(2):
            sock.sendall(get(f"/hold/{number}"))
            live.wait_for_log(f"GET /hold/{number}")
            gated.let_go(f"/hold/{number}")
            assert read_response(sock).status == 200
    assert live.log_text().count(SAID) == 2


# Giving up


def test_call_is_given_up_and_its_thread_replaced(serve: Serve, gated: Gated) -> None:
    live = serve(gated, threads=2, handler_timeout=SHORT)
    scheduler = scheduler_of(live)
    crew = scheduler.crew
    with live.connect() as held, live.connect() as other:
        held.sendall(get("/hold/1"))
        gated.wait_for("/hold/1")
        assert exchange(other, get("/other/1")).body == b"/other/1"
        response = read_response(held)
        assert (response.status, response.closes) == (504, True)
        assert read_to_eof(held) == b""
        assert exchange(other, get("/other/2")).body == b"/other/2"
    until(lambda: len(crew.abandoned) == 1, "the thread is left behind")
    until(lambda: len(crew.members) == 2, "the thread is replaced")
    assert scheduler.stuck.given_up == 1
    log = live.wait_for_log(GIVEN_UP)
    assert "GET /hold/1" in log
    assert "in hold_on" in log
    gated.let_go()
    until(lambda: not crew.abandoned, "the thread that was left behind ends")
    assert live.ask(get("/after")).body == b"/after"
    assert len(crew.members) == 2


@pytest.mark.parametrize("method", ["HEAD", "GET", "POST"])
def test_page_for_a_call_that_was_given_up(serve: Serve, gated: Gated, method: str) -> None:
    live = serve(gated, threads=2, handler_timeout=SHORT)
    with live.connect() as sock:
        response = exchange(sock, message(f"{method} /hold HTTP/1.1"), method)
        assert response.status == 504
        assert (response.body == b"") == (method == "HEAD")
        assert read_to_eof(sock) == b""
    live.log_text()


@pytest.mark.parametrize("form", ["chunked", "length", "close"])
def test_begun_response_is_cut(serve: Serve, gated: Gated, form: str) -> None:
    """It must not look complete: a reset, at the latest where only the end would say so."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        headers = [("Content-Length", "100")] if form == "length" else []
        start_response("200 OK", headers)
        return held()

    def held() -> Iterator[bytes]:
        yield b"begun"
        gated.hold_on("/body")
        yield b"never"

    live = serve(app, threads=2, handler_timeout=SHORT)
    with live.connect() as sock:
        sock.sendall(get("/", "1.0" if form == "close" else "1.1"))
        with pytest.raises(ConnectionResetError if form == "close" else CUT):
            read_response(sock)
    gated.let_go()
    assert GIVEN_UP in live.log_text()


def test_no_more_threads_are_left_behind_than_there_may_be(serve: Serve, gated: Gated) -> None:
    """Whoever is stuck beyond that is waited for, and answered after all."""
    live = serve(gated, threads=2, handler_timeout=SHORT, timeout=0.0)
    crew = scheduler_of(live).crew
    given_up = [live.connect() for _ in range(2)]
    for number, sock in enumerate(given_up):
        sock.sendall(get(f"/hold/{number}"))
    for sock in given_up:
        assert read_response(sock).status == 504
    until(lambda: len(crew.abandoned) == 2, "both threads are left behind")
    waited_for = [live.connect() for _ in range(2)]
    for number, sock in enumerate(waited_for):
        sock.sendall(get(f"/hold/late/{number}"))
    gated.wait_for("/hold/late/0", "/hold/late/1")
    until(lambda: live.log_text().count("left behind already") == 2, "both are said")
    assert (len(crew.abandoned), len(crew.members)) == (2, 2)
    assert gated.most == 4
    gated.let_go()
    for number, sock in enumerate(waited_for):
        assert read_response(sock).body == f"/hold/late/{number}".encode()
    until(lambda: not crew.abandoned, "those left behind end")
    assert live.ask(get("/after")).body == b"/after"
    assert live.log_text().count("left behind already") == 2


@pytest.mark.parametrize("begun", [False, True])
def test_later_writes_of_an_abandoned_call_fail(serve: Serve, gated: Gated, begun: bool) -> None:
    failures: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path != "/stuck":
            return gated(environ, start_response)
        write = start_response("200 OK", [])
        if begun:
            write(b"begun")
        gated.hold_on(path)
        try:
            write(b"late")
        except BaseException as error:
            failures.append(error)
            raise
        return []

    live = serve(app, threads=2, handler_timeout=SHORT, dispatch="threads")
    crew = scheduler_of(live).crew
    with live.connect() as sock:
        sock.sendall(get("/stuck"))
        if begun:
            with pytest.raises(CUT):
                read_response(sock)
        else:
            assert read_response(sock).status == 504
    assert live.ask(get("/other")).body == b"/other"
    gated.let_go()
    until(lambda: not crew.abandoned, "its thread ends")
    assert [isinstance(each, OSError) for each in failures] == [True]
    assert live.ask(get("/after")).body == b"/after"
    assert live.log_text().count("ERROR") == 1


def test_iterable_of_an_abandoned_call_is_closed(serve: Serve, gated: Gated) -> None:
    live = serve(gated, threads=2, handler_timeout=SHORT)
    with live.connect() as sock:
        sock.sendall(get("/stream/hold"))
        with pytest.raises(CUT):
            read_response(sock)
    assert gated.closed == []
    gated.let_go()
    until(lambda: gated.closed == ["/stream/hold"], "it is closed")
    assert len(gated.threads["/stream/hold"]) == 1
    live.log_text()


def test_requests_that_wait_are_not_given_up(serve: Serve, gated: Gated) -> None:
    """The time is that of the call; who has waited for a thread gets all of it."""
    live = serve(gated, threads=2, handler_timeout=SHORT)
    crew = scheduler_of(live).crew
    held = [live.connect() for _ in range(2)]
    waiting = [live.connect() for _ in range(6)]
    for number, sock in enumerate(held):
        sock.sendall(get(f"/hold/{number}"))
        gated.wait_for(f"/hold/{number}")
    for number, sock in enumerate(waiting):
        sock.sendall(get(f"/waits/{number}"))
    for sock in held:
        assert read_response(sock).status == 504
    for number, sock in enumerate(waiting):
        assert read_response(sock).body == f"/waits/{number}".encode()
    gated.let_go()
    until(lambda: not crew.abandoned, "the threads end")
    live.log_text()


def test_only_thread_is_never_given_up() -> None:
    with pytest.raises(SettingsError, match="handler_timeout"):
        Settings(threads=1, handler_timeout=1.0)
    line = refusal(2, "serve", "cli_app:app", "--handler-timeout", "1")
    assert "handler-timeout" in line
    line = refusal(2, "serve", "cli_app:app", "--handler-timeout", "1", "--threads", "1")
    assert "threads" in line
