"""How many threads there are, and that those with nothing to do sleep."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from corpus.clients import connect
from corpus.serving import Launch, Server
from live import LiveServer, Serve, exchange, message, read_response

from poolhttp.scheduler import LEAST

from .gated import Gated, scheduler_of, until

HERE = Path(__file__).parent

PERIOD = 3.0
"""Seconds for which an idle server is watched."""

SLACK = 3
"""Wake-ups of a thread beyond one a second: the ends of the period, and a lock that was busy."""

BUDGET = 0.001


def get(path: str) -> bytes:
    return message(f"GET {path} HTTP/1.1")


def hold(live: LiveServer, app: Gated, count: int, stack: ExitStack) -> None:
    """Have so many clients wait for calls that are held."""
    for number in range(count):
        sock = stack.enter_context(live.connect())
        sock.sendall(get(f"/hold/{number}"))


@pytest.mark.parametrize("dispatch", ["adaptive", "threads"])
def test_sleepers_get_threads_which_go_again(serve: Serve, gated: Gated, dispatch: str) -> None:
    most = 4
    live = serve(gated, threads=most, dispatch=dispatch)
    crew = scheduler_of(live).crew
    until(lambda: len(crew.members) == LEAST, "the first threads are there")
    seen: set[int] = set()

    def number() -> int:
        seen.add(len(crew.members))
        return len(crew.members)

    with ExitStack() as stack:
        hold(live, gated, most + 3, stack)
        until(lambda: number() == most, "there are as many threads as there may be")
        until(lambda: len(gated.paths) == most, "all of them work")
        until(lambda: crew.waiting() == 3, "the others wait")
        gated.let_go()
    until(lambda: number() == LEAST, "those that are idle go")
    for each in range(20):
        assert live.ask(get(f"/after/{each}")).status == 200
        number()
    assert (min(seen), max(seen)) == (LEAST, most)
    assert gated.most == most


def test_quick_calls_get_no_threads(serve: Serve, gated: Gated) -> None:
    live = serve(gated, threads=16)
    crew = scheduler_of(live).crew
    socks = [live.connect() for _ in range(8)]
    for number in range(50):
        for sock in socks:
            sock.sendall(get(f"/quick/{number}"))
        for sock in socks:
            assert read_response(sock).status == 200
    assert scheduler_of(live).apart <= crew.displaced * 20
    if not crew.displaced:  # A stalled machine may have made a slow call of a quick one.
        assert len(crew.members) == LEAST


# Sleeping


def switches(pid: int) -> dict[str, int]:
    """Voluntary context switches of each thread: so often it has gone to sleep."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                found[task.name] = int(line.split()[1])
    return found


def is_quiet(pid: int) -> bool:
    """Whether nobody has woken up for a moment."""
    before = switches(pid)
    end = time.monotonic() + 0.1
    until(lambda: time.monotonic() >= end, "time has passed")
    after = switches(pid)
    return sum(after.values()) - sum(before.values()) <= len(after)


@pytest.mark.parametrize("options", [("--threads", "1"), ("--threads", "4")], ids=" ".join)
def test_idle_server_sleeps(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Also with connections open, and after it has been busy."""
    launch = Launch(
        "threads_app:app", HERE, None, (*options, "--keep-alive", "60"), {"GATES": str(tmp_path)}
    )
    with Server(launch) as server, connect(server.port) as sock:
        for number in range(20):
            assert exchange(sock, get(f"/quick/{number}")).status == 200
            assert exchange(sock, get(f"/nap/{number}")).status == 200
        until(lambda: is_quiet(server.pid), "the server comes to rest")
        before, began = switches(server.pid), time.monotonic()
        until(lambda: time.monotonic() >= began + PERIOD, "time has passed")
        seconds, after = time.monotonic() - began, switches(server.pid)
    assert before.keys() >= after.keys()
    woken = {task: after[task] - before[task] for task in after}
    assert all(count <= seconds + SLACK for count in woken.values()), woken


def test_watch_looks_at_the_clock_and_not_at_requests(serve: Serve, gated: Gated) -> None:
    """Between two looks it sleeps for half of the budget at least."""
    live = serve(gated, threads=2, inline_budget=BUDGET)
    scheduler_of(live)
    with live.connect() as sock:
        exchange(sock, get("/warm"))
        began, looks = time.monotonic(), live.server.loop.stats()["watch_looks"]
        for _ in range(20):
            sock.sendall(get("/quick") * 100)
            for _ in range(100):
                assert read_response(sock).body == b"/quick"
        looks = live.server.loop.stats()["watch_looks"] - looks
        assert 0 < looks <= (time.monotonic() - began) / (BUDGET / 2) + 1
        until(lambda: is_still(live), "it looks no more")


def is_still(live: LiveServer) -> bool:
    """Whether the watch has not looked for the time of many looks."""
    before = live.server.loop.stats()["watch_looks"]
    end = time.monotonic() + 50 * BUDGET
    until(lambda: time.monotonic() >= end, "time has passed")
    return live.server.loop.stats()["watch_looks"] == before


def test_watch_sleeps_while_calls_run_apart(serve: Serve, gated: Gated) -> None:
    """A call that has lost the loop is nobody's business any more."""
    live = serve(gated, threads=2, inline_budget=BUDGET)
    crew = scheduler_of(live).crew
    with live.connect() as sock:
        sock.sendall(get("/hold"))
        gated.wait_for("/hold")
        until(lambda: crew.displaced == 1, "the loop is taken from it")
        until(lambda: is_still(live), "the watch sleeps")
        gated.let_go()
        assert read_response(sock).status == 200


def test_watch_does_not_exist_without_need(serve: Serve, gated: Gated) -> None:
    for dispatch in ("inline", "threads"):
        live = serve(gated, threads=2, dispatch=dispatch)
        scheduler_of(live)
        assert live.ask(get("/quick")).status == 200
        assert live.server.loop.stats()["watch_looks"] == 0
