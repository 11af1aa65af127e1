"""Runs wrk against a server and reads its figures."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contenders import HOST
from bench.launch import pinned
from bench.programs import last_line, system_program

if TYPE_CHECKING:
    from bench.scenarios import Scenario

SCRIPT = Path(__file__).resolve().with_name("wrk.lua")
# How much longer than its duration wrk may take before it is ended.
OVERTIME_SECONDS = 15.0


class LoadError(Exception):
    """wrk did not run to its end; the text is the reason, in one line."""


@dataclass(frozen=True)
class Load:
    """The figures of one run of wrk.

    Attributes:
        requests: responses received completely.
        duration_us: microseconds from its first connection to its last response.
        p50_us, p99_us: latency percentiles in microseconds, with wrk's own correction.
        connect, read, write: connections that failed when they were made, read from, written to.
        status: responses with a status of 400 or above.
        timeout: responses that took longer than two seconds.
    """

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    connect: int
    read: int
    write: int
    status: int
    timeout: int

    @property
    def errors(self) -> int:
        """Everything that was not a response in time with a status below 400."""
        return self.connect + self.read + self.write + self.status + self.timeout


def drive(scenario: Scenario, port: int, *, core: int, connections: int, seconds: int) -> Load:
    """Load a server on the loopback address with wrk, closed-loop, for a bounded time.

    Args:
        scenario: the requests to send.
        port: where the server listens.
        core: the core that wrk may use; it runs one thread.
        connections: how many connections it keeps busy, each with one request at a time.
        seconds: how long.
    """
    command = [str(system_program("wrk")), "-t", "1", "-c", str(connections)]
    command += ["-d", f"{seconds}s", "-s", str(SCRIPT)]
    for header in scenario.headers:
        command += ["-H", header]
    command += [f"http://{HOST}:{port}/", "--"]
    if scenario.marker:
        command.append(scenario.marker)

    try:
        done = subprocess.run(
            pinned(command, core),
            capture_output=True,
            text=True,
            timeout=seconds + OVERTIME_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"wrk was still running {OVERTIME_SECONDS:.0f} s after its time") from error
    if done.returncode != 0:
        raise LoadError(f"wrk: {last_line(done.stderr or done.stdout)}")
    return Load(**json.loads(last_line(done.stdout)))
