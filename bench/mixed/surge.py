"""The surge: six times the requests from one moment to the next, to handlers that sleep."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench import procstat
from bench.mixed import layout
from bench.mixed.clients import SECOND_US, Open, replay
from bench.mixed.samples import Recording, percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.mixed.contenders import Variant
    from bench.mixed.rounds import Session

THREADS = 128
PATH = "/nap"
CONNECTIONS = 512
BEFORE_RATE, SURGE_RATE = 2_000, 12_000
BEFORE_SECONDS, SECONDS, AFTER_SECONDS, DRAIN_SECONDS = 3, 6, 2, 5
# The start of the server's first threads does not belong to its p99 before the surge.
SETTLED_US = 1 * SECOND_US
SURGE_US = BEFORE_SECONDS * SECOND_US
WINDOW_US = 250_000
# The p99 is back when this many windows in a row are within this multiple of that before the surge.
BACK_WINDOWS, BACK_FACTOR = 2, 2
# A server that was later than this before the surge has nothing to come back to.
STEADY_US = 1 * SECOND_US

COLUMNS = (
    *("contender", "p99 ms before", "p50 ms in surge", "p99 ms in surge", "back after s"),
    *("threads before", "threads at most", "not 200", "client late p99 ms"),
)
WINDOW_COLUMNS = ("from s", "requests/s", "p50 ms", "p99 ms", "threads")


@dataclass(frozen=True)
class Window:
    """A quarter of a second of the schedule.

    Attributes:
        start_us: its start, from that of the schedule.
        rate: requests per second that were due.
        p50_us, p99_us: latency, counted from when the requests were due; None without a response.
        threads: how many the server had at most.
    """

    start_us: int
    rate: float
    p50_us: float | None
    p99_us: float | None
    threads: int | None


@dataclass(frozen=True)
class Surge:
    """One measurement.

    Attributes:
        contender: the name of the variant.
        round: counted from 1.
        surge_end_us: the end of the surge, from the start of the schedule.
        windows: the whole schedule.
        before_p99_us: latency before the surge.
        p50_us, p99_us: latency in the whole of the surge.
        not_ok: the share (0 to 1) of all requests that were not answered with 200.
        late_p99_us: by how much the client itself was late.
    """

    contender: str
    round: int
    surge_end_us: int
    windows: tuple[Window, ...]
    before_p99_us: float | None
    p50_us: float | None
    p99_us: float | None
    not_ok: float
    late_p99_us: float | None

    @property
    def back_us(self) -> float | None:
        """How long after its start the p99 was back near what it had been; None for never."""
        if self.before_p99_us is None or self.before_p99_us > STEADY_US:
            return None
        run = 0
        for window in self.windows:
            if not SURGE_US <= window.start_us < self.surge_end_us:
                continue
            within = window.p99_us is not None
            within = within and (window.p99_us or 0) <= BACK_FACTOR * self.before_p99_us
            run = run + 1 if within else 0
            if run == BACK_WINDOWS:
                return window.start_us - (BACK_WINDOWS - 1) * WINDOW_US - SURGE_US
        return None

    @property
    def threads_before(self) -> int | None:
        """The most threads before the surge."""
        return _most(one.threads for one in self.windows if one.start_us < SURGE_US)

    @property
    def threads_most(self) -> int | None:
        """The most threads at any time."""
        return _most(one.threads for one in self.windows)

    def as_dict(self) -> dict[str, Any]:
        """Return the measured and the derived figures, for JSON."""
        return asdict(self) | {"back_us": self.back_us}


def _most(figures: Iterable[int | None]) -> int | None:
    return max((figure for figure in figures if figure is not None), default=None)


def seconds_of_load(session: Session, variants: Sequence[Variant]) -> float:
    """Return how long the measurements take at least."""
    one = BEFORE_SECONDS + (session.plan.seconds or SECONDS) + AFTER_SECONDS
    return session.plan.rounds * len(variants) * one


def measure(session: Session, variants: Iterable[Variant]) -> Iterator[Surge]:
    """Yield the surges in the order in which they are measured."""
    seconds = session.plan.seconds or SECONDS
    stretches = ((BEFORE_RATE, BEFORE_SECONDS), (SURGE_RATE, seconds), (BEFORE_RATE, AFTER_SECONDS))
    client = Open(PATH, CONNECTIONS, stretches, DRAIN_SECONDS)

    def surge(variant: Variant, number: int) -> Surge:
        counts: list[tuple[int, int]] = []
        with session.serving(variant, THREADS) as server:
            pids = procstat.tree_pids(server.root)

            def tick() -> None:
                counts.append((time.monotonic_ns() // 1000, procstat.threads(pids)))

            core = session.plan.load_core
            recording = replay(client, server.port, session.programs, core=core, tick=tick)
        return _surge(variant.name, number, recording, counts, seconds)

    return session.alternate({f"{one.name} in the surge": one for one in variants}, surge)


def _surge(
    name: str, number: int, recording: Recording, counts: Sequence[tuple[int, int]], seconds: int
) -> Surge:
    surge_end = SURGE_US + seconds * SECOND_US
    end = surge_end + AFTER_SECONDS * SECOND_US
    before = recording.between(SETTLED_US, SURGE_US).latencies_us()
    during = recording.between(SURGE_US, surge_end).latencies_us()
    return Surge(
        contender=name,
        round=number,
        surge_end_us=surge_end,
        windows=tuple(_window(recording, counts, at) for at in range(0, end, WINDOW_US)),
        before_p99_us=percentile(before, 0.99),
        p50_us=percentile(during, 0.5),
        p99_us=percentile(during, 0.99),
        not_ok=recording.not_ok,
        late_p99_us=recording.late_p99_us,
    )


def _window(recording: Recording, counts: Sequence[tuple[int, int]], start: int) -> Window:
    part = recording.between(start, start + WINDOW_US)
    latencies = part.latencies_us()
    began = recording.start_us + start
    return Window(
        start_us=start,
        rate=len(part.samples) * SECOND_US / WINDOW_US,
        p50_us=percentile(latencies, 0.5),
        p99_us=percentile(latencies, 0.99),
        threads=_most(count for at, count in counts if began <= at < began + WINDOW_US),
    )


def text(surges: Sequence[Surge], *, markdown: bool) -> str:
    """Return the table of all contenders, and for each of them what happened over time."""
    names = list(dict.fromkeys(one.contender for one in surges))
    rows = [(name, *_columns([one for one in surges if one.contender == name])) for name in names]
    title = (
        f"surge: from {BEFORE_RATE:,} to {SURGE_RATE:,} requests/s, handlers that sleep 2 to 8 ms"
    )
    parts = [layout.section(title, COLUMNS, rows, markdown=markdown)]
    for name in names:
        rounds = [one.windows for one in surges if one.contender == name]
        lines = [_line(windows) for windows in zip(*rounds, strict=True)]
        title = f"surge over time: {name}"
        parts.append(layout.section(title, WINDOW_COLUMNS, lines, markdown=markdown))
    return "\n\n".join(parts)


def _columns(surges: Sequence[Surge]) -> tuple[str, ...]:
    milliseconds = layout.MILLISECONDS
    back = layout.spread((one.back_us for one in surges), factor=1 / SECOND_US)
    never = sum(one.back_us is None for one in surges)
    return (
        layout.spread((one.before_p99_us for one in surges), factor=milliseconds),
        layout.spread((one.p50_us for one in surges), factor=milliseconds),
        layout.spread((one.p99_us for one in surges), factor=milliseconds),
        f"{back}, {never} x never" if never else back,
        layout.spread((one.threads_before for one in surges), ".0f"),
        layout.spread((one.threads_most for one in surges), ".0f"),
        layout.spread((one.not_ok for one in surges), ".2%"),
        layout.spread((one.late_p99_us for one in surges), factor=milliseconds),
    )


def _line(windows: Sequence[Window]) -> tuple[str, ...]:
    return (
        format(windows[0].start_us / SECOND_US, ".2f"),
        format(windows[0].rate, ",.0f"),
        layout.spread((one.p50_us for one in windows), factor=layout.MILLISECONDS),
        layout.spread((one.p99_us for one in windows), factor=layout.MILLISECONDS),
        layout.spread((one.threads for one in windows), ".0f"),
    )
