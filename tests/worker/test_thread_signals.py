"""Signals to a worker with several threads, whose main thread may wait in a lock."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from corpus.clients import connect, wait_until
from live import exchange, message, read_to_eof

from .asking import ask, is_running, pid_of, wait_until_gone

if TYPE_CHECKING:
    from pathlib import Path

    from corpus.serving import Server

    from .conftest import Start

FOR_EVER = "600"
"""Seconds: whoever waits for a timeout of gunicorn's fails its test."""

OPTIONS = ("--threads", "4", "-t", FOR_EVER, "--graceful-timeout", FOR_EVER)


def idle_worker(server: Server) -> int:
    """The worker, which has answered and now waits."""
    for _ in range(20):
        assert ask(server.port, "/pieces").body == b"onetwo"
    return pid_of(server.port)


def check_ending(server: Server) -> None:
    output = server.output()
    assert "SIGKILL" not in output
    assert "exited with code" not in output
    assert "graceful_timeout" not in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_master_ends(start: Start, number: int) -> None:
    server = start(*OPTIONS)
    worker = idle_worker(server)
    assert server.stop(number) == 0
    assert not is_running(worker)
    check_ending(server)


def test_idle_connection_ends_with_the_server(start: Start) -> None:
    server = start(*OPTIONS, "--keep-alive", FOR_EVER, env={"POOLHTTP_DRAIN_KEEPALIVE": "0.1"})
    with connect(server.port) as sock:
        assert exchange(sock, message("GET /pid HTTP/1.1")).status == 200
        server.send_signal(signal.SIGTERM)
        assert read_to_eof(sock) == b""
        assert server.wait() == 0
    check_ending(server)


def test_signalled_worker_is_replaced(start: Start) -> None:
    server = start(*OPTIONS)
    worker = idle_worker(server)
    os.kill(worker, signal.SIGTERM)
    wait_until_gone(worker)
    assert pid_of(server.port) != worker
    assert server.stop() == 0
    check_ending(server)


def test_hup_replaces_the_worker(start: Start) -> None:
    server = start(*OPTIONS)
    worker = idle_worker(server)
    server.send_signal(signal.SIGHUP)
    wait_until_gone(worker)
    assert idle_worker(server) != worker
    assert server.stop() == 0
    check_ending(server)


def test_usr1_reopens_the_access_log(start: Start, tmp_path: Path) -> None:
    """Twice, and of a worker that has nothing else to do."""
    log = tmp_path / "access.log"
    server = start(*OPTIONS, "--access-logfile", str(log))
    worker = idle_worker(server)
    for number in range(2):
        rotated = tmp_path / f"access.log.{number}"
        log.rename(rotated)
        server.send_signal(signal.SIGUSR1)
        wait_until(lambda old=rotated: not has_open(worker, old), "the old log is let go")  # type: ignore[misc]
        ask(server.port, f"/{number}")
        wait_until(lambda: log.exists() and bool(log.read_text()), "the new log is written to")
        assert f"/{number} " not in rotated.read_text()
        [line] = log.read_text().splitlines()
        assert f"/{number} " in line
    assert server.stop() == 0
    check_ending(server)


def has_open(pid: int, path: Path) -> bool:
    descriptors = f"/proc/{pid}/fd"
    return any(
        os.path.realpath(f"{descriptors}/{name}") == str(path) for name in os.listdir(descriptors)
    )
