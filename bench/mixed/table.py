"""The mixed table: what a quick page has left while other clients ask for a slow handler."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.mixed import layout
from bench.mixed.clients import Closed, Flow, drive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.mixed.contenders import Variant
    from bench.mixed.rounds import Session

SECONDS = 4
THREADS = 32
PAGE = Closed("/", 16)
ALONE = "alone"

OVERVIEW = ("contender, medians", "/ alone", "+ 16 that sleep 100 ms", "+ 1 that computes 50 ms")
COLUMNS = ("contender", "/ per s", "% of alone", "p50 ms", "p99 ms", "others per s", "errors")


@dataclass(frozen=True)
class Condition:
    """What runs beside the clients of the quick page.

    Attributes:
        name: what it is called in the results.
        summary: the head of its table.
        beside: the other clients, if there are any.
    """

    name: str
    summary: str
    beside: Closed | None = None


CONDITIONS = (
    Condition(ALONE, "16 clients on `/` and nothing else"),
    Condition("sleep", "beside 16 clients whose handler sleeps 100 ms", Closed("/sleep", 16)),
    Condition("cpu", "beside 1 client whose handler computes 50 ms", Closed("/cpu", 1)),
)


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        contender: the name of the variant.
        condition: the name of the condition.
        round: counted from 1.
        page: what came of the requests for the quick page.
        others: what came of those of the other clients, if there were any.
    """

    contender: str
    condition: str
    round: int
    page: Flow
    others: Flow | None

    def as_dict(self) -> dict[str, Any]:
        """Return the measured and the derived figures, for JSON."""
        others = None if self.others is None else self.others.rate
        return asdict(self) | {"requests_per_s": self.page.rate, "others_per_s": others}


def seconds_of_load(session: Session, variants: Sequence[Variant]) -> float:
    """Return how long the measurements take at least."""
    plan = session.plan
    one = plan.warmup_seconds + (plan.seconds or SECONDS)
    return plan.rounds * len(variants) * len(CONDITIONS) * one


def measure(session: Session, variants: Iterable[Variant]) -> Iterator[Cell]:
    """Yield the cells in the order in which they are measured."""

    def cell(entry: tuple[Variant, Condition], number: int) -> Cell:
        variant, condition = entry
        with session.serving(variant, THREADS) as server:
            groups = [PAGE] if condition.beside is None else [PAGE, condition.beside]
            page, *others = drive(
                groups,
                server.port,
                session.programs,
                core=session.plan.load_core,
                warmup=session.plan.warmup_seconds,
                seconds=session.plan.seconds or SECONDS,
            )
        return Cell(variant.name, condition.name, number, page, others[0] if others else None)

    entries = {
        f"{variant.name} {condition.name}": (variant, condition)
        for variant in variants
        for condition in CONDITIONS
    }
    return session.alternate(entries, cell)


def text(cells: Sequence[Cell], *, markdown: bool) -> str:
    """Return the overview, and a table with the spreads for each condition."""
    names = list(dict.fromkeys(cell.contender for cell in cells))
    overview = [
        (name, *(_glance(_chosen(cells, name, condition)) for condition in CONDITIONS))
        for name in names
    ]
    parts = [
        layout.section("table: `/` beside slow handlers", OVERVIEW, overview, markdown=markdown)
    ]
    for condition in CONDITIONS:
        rows = [
            (name, *_columns(chosen, _chosen(cells, name, CONDITIONS[0])))
            for name in names
            if (chosen := _chosen(cells, name, condition))
        ]
        title = f"table, {condition.name}: {condition.summary}"
        parts.append(layout.section(title, COLUMNS, rows, markdown=markdown))
    return "\n\n".join(parts)


def _chosen(cells: Iterable[Cell], contender: str, condition: Condition) -> list[Cell]:
    return [
        cell for cell in cells if cell.contender == contender and cell.condition == condition.name
    ]


def _glance(cells: Sequence[Cell]) -> str:
    rate = layout.median((cell.page.rate for cell in cells), ",.0f")
    p99 = layout.median((cell.page.p99_us for cell in cells), factor=layout.MILLISECONDS)
    return f"{rate}/s, p99 {p99} ms"


def _columns(cells: Sequence[Cell], alone: Sequence[Cell]) -> tuple[str, ...]:
    before = {cell.round: cell.page.rate for cell in alone}
    shares = (
        cell.page.rate / before[cell.round] if before.get(cell.round) else None for cell in cells
    )
    errors = sum(
        flow.errors for cell in cells for flow in (cell.page, cell.others) if flow is not None
    )
    return (
        layout.spread((cell.page.rate for cell in cells), ",.0f"),
        layout.spread(shares, ".1%"),
        layout.spread((cell.page.p50_us for cell in cells), factor=layout.MILLISECONDS),
        layout.spread((cell.page.p99_us for cell in cells), factor=layout.MILLISECONDS),
        layout.spread((cell.others.rate if cell.others else None for cell in cells), ",.1f"),
        f"{errors:,}",
    )
