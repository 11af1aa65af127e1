"""Routes that turn out slow run apart from the loop, and come back when they are quick again."""

from __future__ import annotations

import pytest
from live import LiveServer, Serve, exchange, message, read_response

from poolhttp.scheduler import Scheduler

from .gated import Gated, scheduler_of, until

BUDGET = 0.05
"""Seconds: above what a stalled machine makes of a quick call; gated calls last as long as need be.
"""

MANY = 20
"""More quick calls than any counter needs to forget a slow one."""


def get(path: str) -> bytes:
    return message(f"GET {path} HTTP/1.1")


def displace(live: LiveServer, app: Gated, path: str) -> None:
    """Have one call of the path lose the loop."""
    crew = scheduler_of(live).crew
    before = crew.displaced
    with live.connect() as sock:
        sock.sendall(get(path))
        app.wait_for(path)
        until(lambda: crew.displaced == before + 1, "the loop is taken from the call")
        app.let_go(path)
        assert read_response(sock).body == path.encode()


def is_apart(live: LiveServer, scheduler: Scheduler, path: str) -> bool:
    """Whether a request is given to an app thread."""
    before = scheduler.apart
    assert live.ask(get(path)).status == 200
    return scheduler.apart > before


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_displaced_route_is_expected_to_be_slow(serve: Serve, gated: Gated, threads: int) -> None:
    live = serve(gated, threads=threads, inline_budget=BUDGET)
    scheduler = scheduler_of(live)
    displace(live, gated, "/hold")
    assert scheduler.apart == 0
    assert is_apart(live, scheduler, "/hold")
    assert scheduler.crew.displaced == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_slow_calls_apart_stay_apart(serve: Serve, gated: Gated, threads: int) -> None:
    """They are slow again and again, and the loop is never taken from one."""
    live = serve(gated, threads=threads, inline_budget=0.001)
    scheduler = scheduler_of(live)
    displace(live, gated, "/hold/1000")
    with live.connect() as sock, live.connect() as other:
        for number in range(1, 10):
            path = f"/hold/{number}"
            sock.sendall(get(path))
            gated.wait_for(path)
            if threads > 1:
                assert exchange(other, b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
            # Twice what a quick call may take; a timer of the system is no less exact.
            gated.hold_on_for(3 * 0.001)
            gated.let_go(path)
            assert read_response(sock).body == path.encode()
            assert scheduler.apart >= number
    assert "/hold/9" in gated.paths


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_route_that_is_quick_again_comes_back(serve: Serve, gated: Gated, threads: int) -> None:
    live = serve(gated, threads=threads, inline_budget=BUDGET)
    scheduler = scheduler_of(live)
    displace(live, gated, "/hold")
    with live.connect() as sock:
        for _ in range(MANY):
            assert exchange(sock, get("/hold")).status == 200
        # The thread that has made the answer may still be on its way to the loop.
        crew = scheduler.crew
        until(lambda: crew.leader is not None and crew.leader.runs_apps, "an app thread leads")
        before = scheduler.apart
        assert 0 < before < MANY
        for _ in range(MANY):
            assert exchange(sock, get("/hold")).status == 200
        assert scheduler.apart == before


def test_other_routes_and_methods_stay(serve: Serve, gated: Gated) -> None:
    live = serve(gated, threads=4, inline_budget=BUDGET)
    scheduler = scheduler_of(live)
    displace(live, gated, "/hold")
    crew = scheduler.crew
    until(lambda: crew.leader is not None and crew.leader.runs_apps, "an app thread leads")
    assert not is_apart(live, scheduler, "/quick")
    before = scheduler.apart
    assert live.ask(message("POST /hold HTTP/1.1", body=b"x")).status == 200
    assert scheduler.apart == before


def test_routes_differ_by_their_shape(serve: Serve, gated: Gated) -> None:
    """What holds for /hold/1 holds for /hold/2, which is the same route."""
    live = serve(gated, threads=4, inline_budget=BUDGET)
    displace(live, gated, "/hold/1")
    gated.let_go()
    assert is_apart(live, scheduler_of(live), "/hold/2")


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_without_prediction_each_call_is_displaced(
    serve: Serve, gated: Gated, threads: int
) -> None:
    live = serve(gated, threads=threads, predict=False, inline_budget=BUDGET)
    scheduler = scheduler_of(live)
    crew = scheduler.crew
    for number in range(1, 4):
        until(lambda: crew.leader is not None and crew.leader.runs_apps, "an app thread leads")
        displace(live, gated, f"/hold/{number}")
        assert crew.displaced == number
    assert scheduler.apart == 0


@pytest.mark.parametrize("threads", [1, 4])
def test_inline_never_loses_the_loop(serve: Serve, gated: Gated, threads: int) -> None:
    live = serve(gated, threads=threads, dispatch="inline", inline_budget=0.001)
    scheduler = scheduler_of(live)
    with live.connect() as sock, live.connect() as behind:
        sock.sendall(get("/hold"))
        gated.wait_for("/hold")
        behind.sendall(get("/behind"))
        gated.hold_on_for(0.02)
        assert gated.paths == ["/hold"]
        gated.let_go()
        assert read_response(sock).body == b"/hold"
        assert read_response(behind).body == b"/behind"
    assert (scheduler.crew.displaced, scheduler.apart) == (0, 0)
    assert len(set().union(*gated.threads.values())) == 1


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_never_calls_inline(serve: Serve, gated: Gated, threads: int) -> None:
    live = serve(gated, threads=threads, dispatch="threads")
    scheduler = scheduler_of(live)
    with live.connect() as sock:
        for number in range(2 * MANY):
            assert exchange(sock, get(f"/{number}")).status == 200
    assert (scheduler.crew.displaced, scheduler.apart) == (0, 2 * MANY)
