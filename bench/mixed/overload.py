"""The overload: twice the requests that the server can compute answers to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.load import LoadError
from bench.mixed import layout
from bench.mixed.clients import SECOND_US, Closed, Open, drive, replay
from bench.mixed.samples import OK, SHED, percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.mixed.contenders import Variant
    from bench.mixed.rounds import Session

THREADS = 32
PATH = "/work2"
FEW = Closed(PATH, 4)
CAPACITY_SECONDS = 2
CONNECTIONS = 512
FACTOR = 2
SECONDS = 5
DRAIN_SECONDS = 5
# Whoever sheds needs a moment to see that the queue stands.
SETTLED_US = 1 * SECOND_US

COLUMNS = (
    *("contender", "capacity/s", "goodput, % of it", "503", "neither", "p50 ms of 200"),
    *("p99 ms of 200", "p99 ms after 1 s", "p50 ms of 503", "p99 ms of 503", "client late p99 ms"),
)


@dataclass(frozen=True)
class Overload:
    """One measurement.

    Attributes:
        contender: the name of the variant.
        round: counted from 1.
        capacity: responses per second to a few clients in a closed loop.
        goodput: responses with status 200 per second, until the end of the schedule.
        shed: the share (0 to 1) of the requests that were answered with 503.
        neither: the share that failed, was not answered, or had another status.
        p50_us, p99_us: latency of those answered with 200, and of those not answered.
        settled_p99_us: the same without the first second.
        shed_p50_us, shed_p99_us: latency of the 503.
        late_p99_us: by how much the client itself was late.
    """

    contender: str
    round: int
    capacity: float
    goodput: float
    shed: float
    neither: float
    p50_us: float | None
    p99_us: float | None
    settled_p99_us: float | None
    shed_p50_us: float | None
    shed_p99_us: float | None
    late_p99_us: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, for JSON."""
        return asdict(self)


def seconds_of_load(session: Session, variants: Sequence[Variant]) -> float:
    """Return how long the measurements take at least."""
    plan = session.plan
    one = plan.warmup_seconds + CAPACITY_SECONDS + (plan.seconds or SECONDS)
    return plan.rounds * len(variants) * one


def measure(session: Session, variants: Iterable[Variant]) -> Iterator[Overload]:
    """Yield the overloads in the order in which they are measured."""

    def overload(variant: Variant, number: int) -> Overload:
        with session.serving(variant, THREADS) as server:
            return _overload(session, variant.name, number, server.port)

    return session.alternate({f"{one.name} in the overload": one for one in variants}, overload)


def _overload(session: Session, name: str, number: int, port: int) -> Overload:
    core = session.plan.load_core
    seconds = session.plan.seconds or SECONDS
    [few] = drive(
        [FEW],
        port,
        session.programs,
        core=core,
        warmup=session.plan.warmup_seconds,
        seconds=CAPACITY_SECONDS,
    )
    if not few.requests or few.errors:
        raise LoadError(f"no capacity: {few.requests} responses, {few.errors} errors")
    capacity = few.rate
    client = Open(PATH, CONNECTIONS, [(FACTOR * capacity, seconds)], DRAIN_SECONDS)
    recording = replay(client, port, session.programs, core=core, tick=lambda: None)
    end = seconds * SECOND_US
    admitted, shed = recording.latencies_us(), recording.latencies_us(SHED)
    settled = recording.between(SETTLED_US, end).latencies_us()
    in_time = sum(one.status == OK and one.done <= end for one in recording.samples)
    return Overload(
        contender=name,
        round=number,
        capacity=capacity,
        goodput=in_time / seconds,
        shed=recording.share(lambda one: one.status == SHED),
        neither=recording.share(lambda one: one.status not in (OK, SHED)),
        p50_us=percentile(admitted, 0.5),
        p99_us=percentile(admitted, 0.99),
        settled_p99_us=percentile(settled, 0.99),
        shed_p50_us=percentile(shed, 0.5),
        shed_p99_us=percentile(shed, 0.99),
        late_p99_us=recording.late_p99_us,
    )


def text(overloads: Sequence[Overload], *, markdown: bool) -> str:
    """Return the table."""
    names = list(dict.fromkeys(one.contender for one in overloads))
    rows = [
        (name, *_columns([one for one in overloads if one.contender == name])) for name in names
    ]
    title = f"overload: {FACTOR} x the capacity, handlers that compute 2 ms"
    return layout.section(title, COLUMNS, rows, markdown=markdown)


def _columns(overloads: Sequence[Overload]) -> tuple[str, ...]:
    latencies = (
        [one.p50_us for one in overloads],
        [one.p99_us for one in overloads],
        [one.settled_p99_us for one in overloads],
        [one.shed_p50_us for one in overloads],
        [one.shed_p99_us for one in overloads],
        [one.late_p99_us for one in overloads],
    )
    return (
        layout.spread((one.capacity for one in overloads), ",.0f"),
        layout.spread((one.goodput / one.capacity for one in overloads), layout.PERCENT),
        layout.spread((one.shed for one in overloads), ".1%"),
        layout.spread((one.neither for one in overloads), ".1%"),
        *(layout.spread(figures, factor=layout.MILLISECONDS) for figures in latencies),
    )
