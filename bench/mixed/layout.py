"""What the tables of the three scenarios share: spreads of figures some of which may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import report
from bench.summary import Spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MILLISECONDS = 1e-3
PERCENT = ".0%"


def spread(figures: Iterable[float | None], pattern: str = ".2f", factor: float = 1.0) -> str:
    """Write the figures there are as `median (least..most)`, each multiplied by `factor`.

    A single one is written alone, and `-` if there is none.
    """
    there = [figure for figure in figures if figure is not None]
    if len(there) == 1:
        return format(there[0] * factor, pattern)
    return report.spread_text(Spread.of(there), pattern, factor) if there else report.NONE


def median(figures: Iterable[float | None], pattern: str = ".2f", factor: float = 1.0) -> str:
    """Write the median of the figures there are, multiplied by `factor`."""
    there = [figure for figure in figures if figure is not None]
    return format(Spread.of(there).median * factor, pattern) if there else report.NONE


def section(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    markdown: bool,
    note: str = "",
) -> str:
    """Return a heading, its table, and a line below that if there is one."""
    parts = [report.heading(title, markdown=markdown)]
    parts.append(report.table(columns, rows, markdown=markdown))
    return "\n\n".join([*parts, note] if note else parts)
