"""The order of a benchmark run: rounds over the contenders, each on a freshly started server."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contenders import Contender, Start
from bench.launch import check_answer, free_port, running
from bench.load import Load, LoadError, drive
from bench.procstat import CpuTime, core_busy, tree_cpu
from bench.programs import Programs, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bench.scenarios import Scenario

MICROSECONDS = 1e6


@dataclass(frozen=True)
class Plan:
    """What all measurements of a run have in common.

    Attributes:
        rounds: how often each contender is measured.
        seconds: the length of a measurement.
        warmup_seconds: the length of the load in front of it, which is not measured; 0 for none.
        connections: connections that wrk keeps busy.
        server_core, load_core: where the server and wrk run.
        access_log: the file that access logs go to, or None for one that is deleted afterwards.
    """

    rounds: int
    seconds: int
    warmup_seconds: int
    connections: int
    server_core: int
    load_core: int
    access_log: Path | None = None


@dataclass(frozen=True)
class Entry:
    """One row of a table: a contender, with its access log on or off."""

    contender: Contender
    logs: bool = False

    @property
    def name(self) -> str:
        """The contender's name, marked when it logs."""
        return f"{self.contender.name} +log" if self.logs else self.contender.name


@dataclass(frozen=True)
class Measurement:
    """One measurement.

    Attributes:
        scenario: the scenario's name.
        entry: the name of the row.
        round: counted from 1.
        load: wrk's figures.
        cpu: CPU time in seconds that the server's process tree used.
        foreign: the share (0 to 1) of the server's core that something else used.
    """

    scenario: str
    entry: str
    round: int
    load: Load
    cpu: CpuTime
    foreign: float

    @property
    def seconds(self) -> float:
        """The length of the measurement in seconds."""
        return self.load.duration_us / MICROSECONDS

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.load.requests / self.seconds

    @property
    def user_us(self) -> float:
        """User CPU time per request in microseconds."""
        return self.cpu.user * MICROSECONDS / self.load.requests

    @property
    def system_us(self) -> float:
        """System CPU time per request in microseconds."""
        return self.cpu.system * MICROSECONDS / self.load.requests

    @property
    def total_us(self) -> float:
        """CPU time per request in microseconds."""
        return self.cpu.total * MICROSECONDS / self.load.requests

    @property
    def busy(self) -> float:
        """The share (0 to 1) of its core that the server used."""
        return self.cpu.total / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """Return the measured and the derived figures, named with their units, for JSON."""
        return {
            "scenario": self.scenario,
            "contender": self.entry,
            "round": self.round,
            **asdict(self.load),
            "cpu_user_s": self.cpu.user,
            "cpu_system_s": self.cpu.system,
            "requests_per_s": self.rate,
            "cpu_user_us_per_request": self.user_us,
            "cpu_system_us_per_request": self.system_us,
            "cpu_us_per_request": self.total_us,
            "server_core_busy": self.busy,
            "server_core_foreign": self.foreign,
        }


def entries_of(scenario: Scenario, contenders: Iterable[Contender]) -> list[Entry]:
    """Return the rows of a scenario's table, in the order in which a round visits them."""
    rows: list[Entry] = []
    for contender in contenders:
        if contender.only_in and scenario.name not in contender.only_in:
            continue
        if not scenario.both_log_modes:
            rows.append(Entry(contender))
        elif contender.writes_access_log:
            rows += [Entry(contender), Entry(contender, logs=True)]
    return rows


def _took_log_lines(log: Path) -> bool:
    """Say whether something was written to an access log, as far as it can be known of a device."""
    return log.is_char_device() or (log.exists() and log.stat().st_size > 0)


class Runner:
    """Measures contenders in turn and remembers which of them cannot run.

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

    def measure_all(
        self, scenario: Scenario, contenders: Iterable[Contender]
    ) -> Iterator[Measurement]:
        """Yield the measurements of one scenario, round after round: A B C, A B C, and so on.

        An entry that fails once is left out of the rest of the scenario; `skipped` says why.
        """
        entries = entries_of(scenario, contenders)
        failed: set[str] = set()
        for number in range(1, self.plan.rounds + 1):
            for entry in entries:
                if entry.name in failed:
                    continue
                try:
                    measurement = self._measure(scenario, entry, number)
                except (UnavailableError, LoadError) as error:
                    failed.add(entry.name)
                    self.skipped[f"{entry.name} in {scenario.name}"] = str(error)
                    self.say(f"{scenario.name}: {entry.name} skipped: {error}")
                    continue
                self.say(
                    f"{scenario.name} {number}/{self.plan.rounds}: {entry.name} "
                    f"{measurement.rate:,.0f}/s, {measurement.total_us:.2f} us CPU per request"
                )
                yield measurement

    def _measure(self, scenario: Scenario, entry: Entry, number: int) -> Measurement:
        plan = self.plan
        with tempfile.TemporaryDirectory(dir=self.programs.build) as directory:
            log = (plan.access_log or Path(directory) / "access.log") if entry.logs else None
            start = Start(free_port(), log)
            command = entry.contender.command(self.programs, start)
            printed = Path(directory) / "output"
            with running(command, [plan.server_core], start.port, printed) as root:
                check_answer(start.port, scenario.headers)
                if plan.warmup_seconds:
                    self._drive(scenario, start.port, plan.warmup_seconds)
                busy_before, cpu_before = core_busy(plan.server_core), tree_cpu(root)
                load = self._drive(scenario, start.port, plan.seconds)
                cpu = tree_cpu(root) - cpu_before
                busy = core_busy(plan.server_core) - busy_before
            if log is not None and not _took_log_lines(log):
                raise LoadError("wrote nothing to its access log")
        if load.requests == 0:
            raise LoadError(f"no request was answered, {load.errors} errors")
        foreign = max(0.0, busy - cpu.total) / (load.duration_us / MICROSECONDS)
        return Measurement(scenario.name, entry.name, number, load, cpu, foreign)

    def _drive(self, scenario: Scenario, port: int, seconds: int) -> Load:
        return drive(
            scenario,
            port,
            core=self.plan.load_core,
            connections=self.plan.connections,
            seconds=seconds,
        )
