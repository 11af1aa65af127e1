"""Starts a server on its cores, waits until it answers, and ends it with everything it started."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from bench.app import BODY
from bench.contenders import HOST
from bench.programs import ROOT, UnavailableError, last_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 0.02
ANSWER_TIMEOUT_SECONDS = 5.0

# Settings of the caller's shell that would configure a server behind the benchmark's back.
FOREIGN_SETTINGS = (
    *("GUNICORN_", "GRANIAN_", "POOLHTTP_", "WEB_CONCURRENCY"),
    *("PYTHON", "VIRTUAL_ENV", "GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT"),
)


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_SETTINGS)
    }


def pinned(command: Sequence[str], *cores: int) -> list[str]:
    """Return the command line that runs `command` on `cores` only, and not longer than its parent.

    The prefixed programs replace themselves with `command`, so its process id is that of the child.
    """
    leash = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    return [*leash, "taskset", "--cpu-list", ",".join(map(str, cores)), *command]


@contextlib.contextmanager
def running(command: Sequence[str], cores: Sequence[int], port: int, log: Path) -> Iterator[int]:
    """Run a server on `cores` for the length of a `with` block.

    Args:
        command: its command line.
        cores: the cores that it may use.
        port: where it will listen, on the loopback address.
        log: the file for what it prints.

    Yields:
        The process id of the root of its process tree.

    Raises:
        UnavailableError: it ended, or was not listening after START_TIMEOUT_SECONDS.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned(command, *cores),
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_listening(process, port, log)
        yield process.pid
    finally:
        _end(process)


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if (status := _exit_status(process)) is not None:
            said = last_line(log.read_text(errors="replace"))
            raise UnavailableError(f"ended with status {status}: {said}")
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(POLL_SECONDS)
    raise UnavailableError(f"did not listen within {START_TIMEOUT_SECONDS:.0f} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server's process group: SIGTERM, and SIGKILL for what is left of it.

    The group is the server's own, made when it was started. Its id cannot have been given to
    another process, since nothing before the last line here waits for its leader.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while time.monotonic() < deadline and _exit_status(process) is None:
        time.sleep(POLL_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _exit_status(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit status (or signal) of a process that has ended, leaving its id in use."""
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return None if ended is None else ended.si_status


def check_answer(port: int, headers: Sequence[str]) -> None:
    """Send one request and raise UnavailableError unless the answer is the one all must give."""
    named = dict(header.split(": ", 1) for header in headers)
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_TIMEOUT_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/", headers=named)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"did not answer: {error!r}") from error
    got = (
        response.status,
        (response.getheader("Content-Type") or "").partition(";")[0],
        response.getheader("Content-Length"),
        body,
    )
    wanted = (200, "text/plain", str(len(BODY)), BODY)
    if got != wanted:
        raise UnavailableError(f"answered {got} instead of {wanted}")
