"""Condenses the measurements of a scenario: medians, spreads, and comparisons paired by round."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.rounds import Entry, Measurement


@dataclass(frozen=True)
class Spread:
    """The median of some figures with the least and the greatest of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Spread:
        """Condense one or more figures."""
        values = list(figures)
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Row:
    """What the rounds of one entry come to.

    Attributes:
        name: the entry's name.
        rounds: how many measurements there are.
        rate: requests per second.
        total_us, user_us, system_us: CPU time per request in microseconds.
        ratio: CPU time per request as a multiple of the floor's in the same round, or None.
        busy: the share (0 to 1) of its core that the server used.
        p50_us, p99_us: latency in microseconds.
        errors: failed connections, late responses and statuses from 400 up, over all rounds.
        requests: responses, over all rounds.
    """

    name: str
    rounds: int
    rate: Spread
    total_us: Spread
    user_us: Spread
    system_us: Spread
    ratio: Spread | None
    busy: Spread
    p50_us: Spread
    p99_us: Spread
    errors: int
    requests: int


def by_entry(measurements: Sequence[Measurement]) -> dict[str, dict[int, Measurement]]:
    """Arrange measurements by entry name and round, in the order in which they were made."""
    table: dict[str, dict[int, Measurement]] = {}
    for measurement in measurements:
        table.setdefault(measurement.entry, {})[measurement.round] = measurement
    return table


def rows_of(measurements: Sequence[Measurement], floor: str) -> list[Row]:
    """Return one row per entry of a scenario.

    Args:
        measurements: of one scenario.
        floor: the entry that the ratio compares with; where it is missing there are no ratios.
    """
    table = by_entry(measurements)
    floor_rounds = table.get(floor, {})
    rows = []
    for name, rounds in table.items():
        made = list(rounds.values())
        ratios = [
            measurement.total_us / floor_rounds[number].total_us
            for number, measurement in rounds.items()
            if number in floor_rounds
        ]
        rows.append(
            Row(
                name=name,
                rounds=len(made),
                rate=Spread.of(one.rate for one in made),
                total_us=Spread.of(one.total_us for one in made),
                user_us=Spread.of(one.user_us for one in made),
                system_us=Spread.of(one.system_us for one in made),
                ratio=Spread.of(ratios) if ratios else None,
                busy=Spread.of(one.busy for one in made),
                p50_us=Spread.of(one.load.p50_us for one in made),
                p99_us=Spread.of(one.load.p99_us for one in made),
                errors=sum(one.load.errors for one in made),
                requests=sum(one.load.requests for one in made),
            )
        )
    return rows


def log_costs(measurements: Sequence[Measurement], entries: Iterable[Entry]) -> dict[str, Spread]:
    """Return what the access log costs each contender, in microseconds of CPU per request.

    The difference is taken within each round, between the entry that logs and the one that doesn't.
    """
    table = by_entry(measurements)
    costs: dict[str, Spread] = {}
    for entry in entries:
        silent = table.get(entry.contender.name, {})
        logging = table.get(entry.name, {}) if entry.logs else {}
        differences = [
            logging[number].total_us - silent[number].total_us
            for number in logging
            if number in silent
        ]
        if differences:
            costs[entry.contender.name] = Spread.of(differences)
    return costs
