"""gunicorn's heartbeat: who beats lives, who hangs is replaced, and who has no master ends."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from corpus.clients import connect, send, wait_until

from .asking import (
    is_running,
    last_heartbeat,
    pid_of,
    wait_for_line,
    wait_until_gone,
    workers,
)

if TYPE_CHECKING:
    from .conftest import Start

LONG_SECONDS = 4.5
"""More than two timeouts of the tests here."""


def test_idle_worker_is_not_killed(start: Start) -> None:
    server = start("-t", "2")
    worker = pid_of(server.port)
    first = last_heartbeat(worker)
    assert first is not None
    # The file's time is that of the monotonic clock, which is the same in all processes.
    wait_until(
        lambda: not is_running(worker) or time.monotonic() > first + LONG_SECONDS, "time has passed"
    )
    assert "WORKER TIMEOUT" not in server.output()
    assert pid_of(server.port) == worker
    assert last_heartbeat(worker) != first


def test_heart_beats_in_time_wherever_a_request_falls(start: Start) -> None:
    """A request just before a beat is due doesn't put it off by a whole period."""
    server = start("-t", "1")
    worker = pid_of(server.port)
    for _ in range(4):
        beat = last_heartbeat(worker)
        # Whatever the period is: a beat has not come for a while, and then a request does.
        wait_until(lambda since=beat: is_late(worker, since), "time has passed")  # type: ignore[misc]
        assert pid_of(server.port) == worker
        wait_until(lambda since=beat: last_heartbeat(worker) != since, "the next beat")  # type: ignore[misc]
    assert "WORKER TIMEOUT" not in server.output()


def is_late(worker: int, beat: float | None) -> bool:
    """Whether most of a second has passed since a beat, or it wasn't the last."""
    return last_heartbeat(worker) != beat or beat is None or time.monotonic() > beat + 0.8


ABORT_HOOK = """
def worker_abort(worker):
    worker.log.info("hook: worker_abort %s", worker.pid)
"""


def test_hanging_app_gets_its_worker_replaced(start: Start) -> None:
    """As in gunicorn's sync worker: the timeout is also that of a request."""
    server = start("-t", "2", conf=ABORT_HOOK)
    worker = pid_of(server.port)
    with connect(server.port) as held:
        send(held, "/hang")
        wait_for_line(server, "hang: called")
        wait_for_line(server, f"WORKER TIMEOUT (pid:{worker})")
        wait_until_gone(worker)
        assert pid_of(server.port) != worker
    output = server.output()
    assert f"hook: worker_abort {worker}" in output
    assert "hang: left" in output
    assert "SIGKILL" not in output
    assert server.stop() == 0


def test_worker_without_master_ends(start: Start) -> None:
    server = start("-w", "2")
    server.wait_until_listening()
    wait_until(lambda: len(workers(server)) == 2, "both workers run")
    both = workers(server)
    with ExitStack() as stack:
        held = stack.enter_context(connect(server.port))
        held.sendall(b"GET / HTTP/1.1\r\n")
        server.send_signal(signal.SIGKILL)
        held.sendall(b"Host: a\r\nConnection: close\r\n\r\n")
        assert held.recv(65536).startswith(b"HTTP/1.1 404 ")
    for worker in both:
        wait_until_gone(worker)
        wait_for_line(server, f"[{worker}] [INFO] Parent changed, shutting down")
