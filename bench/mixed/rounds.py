"""The order of a run: rounds over the contenders, each measurement on a freshly started server."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench.launch import check_answer, free_port, running
from bench.load import LoadError
from bench.machine import choose_cores
from bench.programs import Programs, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.mixed.contenders import Variant

Entry = TypeVar("Entry")
Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Plan:
    """What all measurements of a run have in common.

    Attributes:
        rounds: how often each contender is measured.
        seconds: the length of a measurement, or None for the scenario's own.
        warmup_seconds: the length of the closed-loop load in front of it; 0 for none.
        server_cores: the cores that a server may use.
        load_core: the core of the clients.
    """

    rounds: int
    seconds: int | None
    warmup_seconds: int
    server_cores: tuple[int, ...]
    load_core: int


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        root: the process id of the root of its process tree.
        port: where it listens, on the loopback address.
    """

    root: int
    port: int


class Session:
    """Starts contenders in turn and remembers which of them cannot run.

    Args:
        plan: what the measurements have in common.
        programs: where the contenders' executables are.
        say: takes one line of progress at a time.
    """

    def __init__(self, plan: Plan, programs: Programs, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.programs = programs
        self.say = say
        self.skipped: dict[str, str] = {}

    @contextlib.contextmanager
    def serving(self, variant: Variant, threads: int) -> Iterator[Server]:
        """Run a new server, seen to give the right answer, for the length of a `with` block."""
        with tempfile.TemporaryDirectory(dir=self.programs.build) as directory:
            port = free_port()
            command = variant.command(self.programs, port, threads)
            printed = Path(directory) / "output"
            with running(command, self.plan.server_cores, port, printed) as root:
                check_answer(port, ())
                yield Server(root, port)

    def alternate(
        self, entries: Mapping[str, Entry], measure: Callable[[Entry, int], Measured]
    ) -> Iterator[Measured]:
        """Yield what is measured of each entry, round after round: A B C, A B C, and so on.

        An entry that fails once is left out of the remaining rounds; `skipped` says why.

        Args:
            entries: what is measured, by the name it has in messages.
            measure: measures one entry in the round of that number, counted from 1.
        """
        failed: set[str] = set()
        for number in range(1, self.plan.rounds + 1):
            for name, entry in entries.items():
                if name in failed:
                    continue
                self.say(f"{number}/{self.plan.rounds}: {name}")
                try:
                    measured = measure(entry, number)
                except (UnavailableError, LoadError) as error:
                    failed.add(name)
                    self.skipped[name] = str(error)
                    self.say(f"{name} skipped: {error}")
                    continue
                yield measured


def cores_by_default(usable: set[int]) -> tuple[tuple[int, ...], int]:
    """Return two cores for the server, and one for the clients: a third, where there is one."""
    first, second = choose_cores()
    others = sorted(usable - {first, second})
    return tuple(sorted({first, second})), others[0] if others else second
