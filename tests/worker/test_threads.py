"""Threads under gunicorn: who runs the app, and when the arbiter takes a worker for dead."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from corpus.clients import connect, wait_until
from live import exchange, message, read_response

from .asking import ask, pid_of, wait_for_line, wait_until_gone

if TYPE_CHECKING:
    import socket

    from corpus.serving import Server

    from .conftest import Start

DISPATCH = Path(__file__).parents[1] / "dispatch"

TIMEOUTS = 2.5
"""Timeouts of the arbiter (1 s here) that a worker outlives."""


def get(path: str) -> bytes:
    return message(f"GET {path} HTTP/1.1")


def hang(server: Server, stack: ExitStack, count: int) -> list[socket.socket]:
    """Have so many calls never end."""
    socks = []
    for number in range(count):
        socks.append(stack.enter_context(connect(server.port)))
        socks[-1].sendall(get(f"/hang/{number}"))
        wait_for_line(server, f"called: /hang/{number}")
    return socks


@pytest.mark.parametrize("threads", ["1", "3"])
def test_app_runs_on_the_main_thread_if_it_is_the_only_one(
    start: Start, tmp_path: Path, threads: str
) -> None:
    os.mkfifo(tmp_path / "where")
    env = {"GATES": str(tmp_path)}
    server = start("--threads", threads, app="threads_app:app", app_dir=DISPATCH, env=env)
    expected = "main" if threads == "1" else "other"
    with connect(server.port) as sock:
        responses = [exchange(sock, get("/where"))]
        sock.sendall(get("/hold/where"))
        with open(tmp_path / "where", "wb"), connect(server.port) as other:
            assert exchange(other, b"BAD\r\n\r\n").status == 400
        responses.append(read_response(sock))
    for response in responses:
        assert response.one(b"x-called-on") == expected.encode()
        assert response.body.decode().split() == [expected] * 3


def test_worker_with_a_free_thread_lives(start: Start) -> None:
    options = ("--threads", "2", "-t", "1", "--graceful-timeout", "1")
    server = start(*options, app="threads_app:app", app_dir=DISPATCH)
    worker = pid_of(server.port)
    with ExitStack() as stack:
        hang(server, stack, 1)
        end = time.monotonic() + TIMEOUTS
        wait_until(
            lambda: pid_of(server.port) != worker or time.monotonic() > end, "time has passed"
        )
        assert pid_of(server.port) == worker
        assert "WORKER TIMEOUT" not in server.output()
        # It is said all the same.
        wait_for_line(server, "An app call has taken")
    output = server.output()
    assert output.count("An app call has taken") == 1
    assert "GET /hang/0" in output
    assert "in _hang" in output


@pytest.mark.parametrize("threads", [1, 2])
def test_worker_all_of_whose_threads_are_stuck_is_replaced(start: Start, threads: int) -> None:
    server = start("--threads", str(threads), "-t", "1", app="threads_app:app", app_dir=DISPATCH)
    worker = pid_of(server.port)
    with ExitStack() as stack:
        hang(server, stack, threads)
        wait_for_line(server, f"WORKER TIMEOUT (pid:{worker})")
        wait_until_gone(worker)
        assert pid_of(server.port) != worker
    _, _, dump = server.output().partition("Aborted by the arbiter.")
    assert "Requests under way:" in dump
    for number in range(threads):
        assert f"GET /hang/{number}" in dump
    assert dump.count("in _hang") >= threads
    assert server.stop() == 0, server.output()


def test_worker_that_makes_progress_lives(start: Start) -> None:
    """All threads are in calls that take several timeouts, and send something now and then."""
    server = start("--threads", "2", "-t", "2", app="threads_app:app", app_dir=DISPATCH)
    worker = pid_of(server.port)
    with connect(server.port) as one, connect(server.port) as two:
        for sock in (one, two):
            sock.sendall(get("/trickle"))
        for sock in (one, two):
            assert read_response(sock).body == b"." * 22
    assert "WORKER TIMEOUT" not in server.output()
    assert pid_of(server.port) == worker


def test_worker_ends_with_its_calls(start: Start, tmp_path: Path) -> None:
    for name in ("one", "two"):
        os.mkfifo(tmp_path / name)
    env = {"GATES": str(tmp_path), "POOLHTTP_DRAIN_KEEPALIVE": "0.1"}
    server = start(
        "--threads", "4", "--access-logfile", "-", app="threads_app:app", app_dir=DISPATCH, env=env
    )
    worker = pid_of(server.port)
    with connect(server.port) as one, connect(server.port) as two:
        one.sendall(get("/hold/one"))
        two.sendall(get("/hold/two"))
        with open(tmp_path / "one", "wb"), open(tmp_path / "two", "wb"):
            server.send_signal(signal.SIGTERM)
            wait_for_line(server, "Handling signal: term")
        assert read_response(one).body == b"/hold/one"
        assert read_response(two).body == b"/hold/two"
    assert server.wait() == 0
    wait_until_gone(worker)
    output = server.output()
    for name in ("one", "two"):
        assert output.count(f'"GET /hold/{name} HTTP/1.1" 200 ') == 1


def test_timeout_of_handlers_needs_threads(start: Start) -> None:
    server = start(env={"POOLHTTP_HANDLER_TIMEOUT": "1"})
    assert server.wait() == 1
    assert "handler_timeout" in server.output()
    env = {"POOLHTTP_HANDLER_TIMEOUT": "0.3"}
    server = start("--threads", "2", "--graceful-timeout", "1", env=env)
    assert ask(server.port, "/hang").status == 504
    assert ask(server.port, "/pid").status == 200
