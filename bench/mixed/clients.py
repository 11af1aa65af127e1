"""Runs the clients: closedloop, which sends after responses; openloop, which sends by the clock."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.launch import pinned
from bench.load import OVERTIME_SECONDS, LoadError
from bench.mixed.samples import Recording
from bench.programs import last_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.programs import Programs

DIRECTORY = Path(__file__).resolve().parent
CLOSED, OPEN = DIRECTORY / "closedloop.c", DIRECTORY / "openloop.c"
# What the clients take to connect, at the most, beside the time of their schedule.
CONNECT_SECONDS = 10
TICK_SECONDS = 0.05
SECOND_US = 1_000_000
# The closed-loop client wants some time before it counts.
LEAST_WARMUP = 0.001


@dataclass(frozen=True)
class Closed:
    """Clients that send their next request when they have the last response.

    Attributes:
        path: what they ask for.
        connections: how many there are.
    """

    path: str
    connections: int


@dataclass(frozen=True)
class Flow:
    """What came of the requests of a group of such clients.

    Attributes:
        path: what they asked for.
        seconds: for how long.
        requests: responses with status 200.
        p50_us, p99_us: their latency in microseconds; None without any.
        errors: responses with another status, and lost connections.
    """

    path: str
    seconds: float
    requests: int
    p50_us: int | None
    p99_us: int | None
    errors: int

    @property
    def rate(self) -> float:
        """Responses per second."""
        return self.requests / self.seconds


def drive(
    groups: Sequence[Closed],
    port: int,
    programs: Programs,
    *,
    core: int,
    warmup: float,
    seconds: float,
) -> list[Flow]:
    """Load a server with groups of closed-loop clients at the same time.

    Args:
        groups: the clients.
        port: where the server listens, on the loopback address.
        programs: where the client is compiled.
        core: the core that it may use.
        warmup: the seconds of the load that do not count.
        seconds: the seconds behind it, that do.
    """
    warmup = max(warmup, LEAST_WARMUP)
    command = [str(programs.c_program(CLOSED)), str(port), f"{warmup:.3f}", f"{seconds:.3f}"]
    command += [f"{group.path}:{group.connections}" for group in groups]
    text = _printed(command, programs, core=core, seconds=warmup + seconds)
    flows = []
    for group, line in zip(groups, text.splitlines(), strict=True):
        requests, p50, p99, errors = map(int, line.split())
        p50_us, p99_us = (p50, p99) if requests else (None, None)
        flows.append(Flow(group.path, seconds, requests, p50_us, p99_us, errors))
    return flows


@dataclass(frozen=True)
class Open:
    """A client that sends requests at fixed times.

    Attributes:
        path: what it asks for.
        connections: on how many connections.
        stretches: the schedule: requests per second, and for how many seconds, one after another.
        drain_seconds: how long it waits for responses after the end of the schedule.
    """

    path: str
    connections: int
    stretches: Sequence[tuple[float, float]]
    drain_seconds: int

    @property
    def seconds(self) -> float:
        """How long it takes at the most, without its start."""
        return sum(seconds for _rate, seconds in self.stretches) + self.drain_seconds


def replay(
    client: Open, port: int, programs: Programs, *, core: int, tick: Callable[[], None]
) -> Recording:
    """Run the open-loop client to its end.

    Args:
        client: what it sends, and when.
        port: where the server listens, on the loopback address.
        programs: where it is compiled.
        core: the core that it may use.
        tick: called every TICK_SECONDS meanwhile.
    """
    stretches = [f"{rate:.6f}:{seconds:.6f}" for rate, seconds in client.stretches]
    numbers = [str(client.connections), str(client.drain_seconds)]
    command = [str(programs.c_program(OPEN)), str(port), client.path, *numbers, *stretches]
    text = _printed(command, programs, core=core, seconds=client.seconds, tick=tick)
    return Recording.parse(text, round(client.seconds * SECOND_US))


def _printed(
    command: Sequence[str],
    programs: Programs,
    *,
    core: int,
    seconds: float,
    tick: Callable[[], None] = lambda: None,
) -> str:
    """Return what a client prints that should take `seconds`, and not much longer."""
    deadline = time.monotonic() + seconds + CONNECT_SECONDS + OVERTIME_SECONDS
    with tempfile.TemporaryFile("w+", dir=programs.build) as printed:
        process = subprocess.Popen(
            pinned(command, core),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise LoadError(f"{Path(command[0]).name} did not end in time")
                tick()
                time.sleep(TICK_SECONDS)
        finally:
            process.kill()
            process.wait()
        printed.seek(0)
        text = printed.read()
    if process.returncode != 0:
        raise LoadError(last_line(text))
    return text
