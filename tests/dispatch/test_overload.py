"""Requests that wait for a thread: who leaves costs nothing, who can't be served in time is told.

RFC 9110 sections 10.2.3 (Retry-After) and 15.6.4 (503).
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from live import LiveServer, Serve, exchange, message, read_response, read_to_eof

from .gated import Gated, scheduler_of, until

FOR_EVER = 60.0
"""Seconds that no test takes."""

SHORT = 0.15
"""Seconds: the target under test."""


def get(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    return message(f"{method} {path} HTTP/{version}", *fields)


@contextmanager
def all_blocked(live: LiveServer, app: Gated) -> Iterator[None]:
    """While each thread is in the app."""
    threads = live.server.settings.threads
    paths = [f"/hold/{number}" for number in range(threads)]
    with ExitStack() as stack:
        socks = [stack.enter_context(live.connect()) for _ in paths]
        for sock, path in zip(socks, paths, strict=True):
            sock.sendall(get(path))
            app.wait_for(path)
        yield
        app.let_go()
        for sock, path in zip(socks, paths, strict=True):
            assert read_response(sock).body == path.encode()


def wait_for_waiting(live: LiveServer, count: int) -> None:
    crew = scheduler_of(live).crew
    until(lambda: crew.waiting() == count, f"{count} requests wait")


# Leaving


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("resets", [False, True])
def test_who_leaves_costs_no_call(serve: Serve, gated: Gated, threads: int, resets: bool) -> None:
    live = serve(gated, threads=threads, abandon_after=FOR_EVER if resets else 0.0)
    with all_blocked(live, gated), live.connect() as stays:
        leaving = [live.connect() for _ in range(5)]
        for sock in leaving:
            sock.sendall(get("/gone"))
        stays.sendall(get("/stays"))
        wait_for_waiting(live, 6)
        before = live.server.nconnections
        for sock in leaving:
            if resets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        until(lambda: live.server.nconnections == before - 5, "their connections are closed")
        wait_for_waiting(live, 1)
        gated.let_go()
        assert read_response(stays).body == b"/stays"
    assert scheduler_of(live).skipped == 5
    assert "/gone" not in gated.paths


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("late", [False, True])
def test_who_half_closes_is_answered(serve: Serve, gated: Gated, threads: int, late: bool) -> None:
    live = serve(gated, threads=threads, abandon_after=FOR_EVER)
    with all_blocked(live, gated), live.connect() as sock:
        sock.sendall(get("/half"))
        if late:
            wait_for_waiting(live, 1)
        sock.shutdown(socket.SHUT_WR)
        wait_for_waiting(live, 1)
        # The loop has had its turn at the end, too.
        with live.connect() as other:
            assert exchange(other, b"BAD\r\n\r\n").status == 400
        gated.let_go()
        assert read_response(sock).body == b"/half"
        assert read_to_eof(sock) == b""
    assert scheduler_of(live).skipped == 0


def test_who_half_closes_behind_several_requests_gets_all(serve: Serve, gated: Gated) -> None:
    live = serve(gated, threads=1, abandon_after=FOR_EVER)
    with all_blocked(live, gated), live.connect() as sock:
        sock.sendall(get("/1") + get("/2") + get("/3"))
        sock.shutdown(socket.SHUT_WR)
        wait_for_waiting(live, 1)
        gated.let_go()
        assert [read_response(sock).body for _ in range(3)] == [b"/1", b"/2", b"/3"]
        assert read_to_eof(sock) == b""


def test_client_that_leaves_a_running_call(serve: Serve, gated: Gated) -> None:
    """The app goes on to its end, and its thread is free then."""
    live = serve(gated, threads=2, dispatch="threads")
    with live.connect() as sock:
        sock.sendall(get("/stream/hold"))
        gated.wait_for("/stream/hold begun")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: live.server.nconnections == 0, "the connection is closed")
    gated.let_go()
    until(lambda: gated.closed == ["/stream/hold"], "the iterable is closed")
    with all_blocked(live, gated):
        pass


# A full queue


@pytest.mark.parametrize("threads", [1, 2])
def test_full_queue(serve: Serve, gated: Gated, threads: int) -> None:
    live = serve(gated, threads=threads, queue_limit=2)
    with ExitStack() as stack:
        waiting = [stack.enter_context(live.connect()) for _ in range(2)]
        shed = [stack.enter_context(live.connect()) for _ in range(3)]
        with all_blocked(live, gated):
            for number, sock in enumerate(waiting):
                sock.sendall(get(f"/waits/{number}"))
            wait_for_waiting(live, 2)
            for sock in shed:
                for _ in range(3):
                    response = exchange(sock, get("/shed"))
                    assert (response.status, response.closes) == (503, False)
                    retry_after = response.one(b"retry-after")
                    assert retry_after is not None
                    assert int(retry_after) > 0
            gated.let_go()
            for number, sock in enumerate(waiting):
                assert read_response(sock).body == f"/waits/{number}".encode()
        assert "/shed" not in gated.paths
        for sock in shed:
            assert exchange(sock, get("/works")).body == b"/works"


def test_pipelined_requests_are_shed_one_by_one(serve: Serve, gated: Gated) -> None:
    live = serve(gated, threads=1, queue_limit=1)
    with live.connect() as waits, live.connect() as shed, all_blocked(live, gated):
        waits.sendall(get("/waits"))
        wait_for_waiting(live, 1)
        shed.sendall(get("/shed") * 40)
        for _ in range(40):
            assert read_response(shed).status == 503
        gated.let_go()
        assert read_response(waits).body == b"/waits"
        assert exchange(shed, get("/works")).body == b"/works"


FORMS = {
    "get": (get("/shed"), "GET", True),
    "head": (get("/shed", method="HEAD"), "HEAD", True),
    "post": (message("POST /shed HTTP/1.1", body=b"x" * 3_000_000), "POST", True),
    "close": (get("/shed", "Connection: close"), "GET", False),
    "1.0": (get("/shed", version="1.0"), "GET", False),
    "1.0 keep-alive": (get("/shed", "Connection: keep-alive", version="1.0"), "GET", False),
    "head 1.0": (get("/shed", method="HEAD", version="1.0"), "HEAD", False),
}


@pytest.mark.parametrize("form", FORMS)
def test_framing_of_what_is_shed(serve: Serve, gated: Gated, form: str) -> None:
    data, method, lives = FORMS[form]
    live = serve(gated, threads=1, queue_limit=1)
    with live.connect() as waits, live.connect() as shed, all_blocked(live, gated):
        waits.sendall(get("/waits"))
        wait_for_waiting(live, 1)
        response = exchange(shed, data, method)
        assert response.status == 503
        assert response.one(b"retry-after")
        if not lives:
            assert response.closes
            assert read_to_eof(shed) == b""
        gated.let_go()
        assert read_response(waits).body == b"/waits"
        if lives:
            assert not response.closes
            assert exchange(shed, get("/works")).body == b"/works"
    assert "/shed" not in gated.paths


# A queue that stands


@pytest.mark.parametrize("threads", [1, 2])
def test_who_waits_too_long_is_shed(serve: Serve, gated: Gated, threads: int) -> None:
    live = serve(gated, threads=threads, queue_target=SHORT)
    with ExitStack() as stack:
        shed = [stack.enter_context(live.connect()) for _ in range(5)]
        with all_blocked(live, gated):
            for sock in shed:
                sock.sendall(get("/shed"))
            for sock in shed:
                response = read_response(sock)
                assert (response.status, response.closes) == (503, False)
        for sock in shed:
            assert exchange(sock, get("/works")).body == b"/works"
    assert "/shed" not in gated.paths


def test_without_target_all_wait(serve: Serve, gated: Gated) -> None:
    """What the target above is measured against: the same, and nobody is shed."""
    live = serve(gated, threads=1, queue_target=0.0)
    with all_blocked(live, gated), live.connect() as sock:
        sock.sendall(get("/waits"))
        wait_for_waiting(live, 1)
        gated.hold_on_for(2 * SHORT)
        gated.let_go()
        assert read_response(sock).body == b"/waits"


# The few that must get through


def test_exempt_path_finds_room_and_goes_first(serve: Serve, gated: Gated) -> None:
    live = serve(gated, threads=1, queue_limit=2, shed_exempt=("/health",))
    with ExitStack() as stack:
        waiting = [stack.enter_context(live.connect()) for _ in range(2)]
        health = stack.enter_context(live.connect())
        other = stack.enter_context(live.connect())
        with all_blocked(live, gated):
            for number, sock in enumerate(waiting):
                sock.sendall(get(f"/waits/{number}"))
                wait_for_waiting(live, number + 1)
            health.sendall(get("/health?why=not"))
            wait_for_waiting(live, 3)
            assert exchange(other, get("/healthy")).status == 503
            gated.let_go()
            assert read_response(health).body == b"/health"
            for number, sock in enumerate(waiting):
                assert read_response(sock).body == f"/waits/{number}".encode()
    assert gated.paths == ["/hold/0", "/health", "/waits/0", "/waits/1"]


def test_exempt_path_is_not_shed_by_time(serve: Serve, gated: Gated) -> None:
    live = serve(gated, threads=1, queue_target=SHORT, shed_exempt=("/health", "/alive"))
    with live.connect() as health, live.connect() as alive, all_blocked(live, gated):
        health.sendall(get("/health"))
        alive.sendall(get("/alive"))
        wait_for_waiting(live, 2)
        for _ in range(2):
            assert live.ask(get("/shed")).status == 503
        gated.let_go()
        assert read_response(health).body == b"/health"
        assert read_response(alive).body == b"/alive"


def test_slow_route_gets_its_turn_though_quick_ones_keep_coming(serve: Serve, gated: Gated) -> None:
    """The leader has quick calls in every turn, and the only other thread is stuck."""
    live = serve(gated, threads=2, queue_target=0.0)
    crew = scheduler_of(live).crew
    with live.connect() as stuck, live.connect() as slow:
        stuck.sendall(get("/hold/1"))
        gated.wait_for("/hold/1")
        until(lambda: crew.displaced == 1, "the loop is taken from it")
        gated.let_go("/hold/1")
        assert read_response(stuck).status == 200
        stuck.sendall(get("/hold/2"))
        gated.wait_for("/hold/2")
        enough = threading.Event()

        def load() -> None:
            with live.connect() as sock:
                while not enough.is_set():
                    assert exchange(sock, get("/quick")).status == 200

        clients = [threading.Thread(target=load) for _ in range(4)]
        for client in clients:
            client.start()
        until(lambda: len(gated.paths) > 100, "the load is there")
        slow.sendall(get("/hold/3"))
        gated.wait_for("/hold/3")
        enough.set()
        gated.let_go()
        for client in clients:
            client.join()
        assert read_response(stuck).body == b"/hold/2"
        assert read_response(slow).body == b"/hold/3"
