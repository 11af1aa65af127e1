"""Turns rows into a table, as plain text for a terminal or as Markdown for a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.summary import Row, Spread

COLUMNS = (
    *("contender", "requests/s", "CPU us/request", "user us", "system us"),
    *("x floor", "core busy", "p50 ms", "p99 ms", "errors"),
)
LOG_COLUMNS = ("contender", "access log, CPU us/request")
NONE = "-"
# The share of the server's core that others may use before the tables say that it was disturbed.
FOREIGN_TOLERATED = 0.05


def spread_text(spread: Spread, pattern: str = ".2f", factor: float = 1.0) -> str:
    """Write a spread as `median (least..most)`, each multiplied by `factor`."""
    median, least, most = (
        format(figure * factor, pattern) for figure in (spread.median, spread.least, spread.most)
    )
    return f"{median} ({least}..{most})"


def cells_of(row: Row) -> tuple[str, ...]:
    """Return a row's text for each of COLUMNS."""
    milliseconds = 1e-3
    return (
        row.name,
        spread_text(row.rate, ",.0f"),
        spread_text(row.total_us),
        spread_text(row.user_us),
        spread_text(row.system_us),
        NONE if row.ratio is None else spread_text(row.ratio),
        format(row.busy.median, ".0%"),
        spread_text(row.p50_us, factor=milliseconds),
        spread_text(row.p99_us, factor=milliseconds),
        f"{row.errors:,}",
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """Lay out rows of text under their column heads: the first to the left, others to the right."""
    if markdown:
        rules = ["---", *("---:" for _ in columns[1:])]
        lines = [columns, rules, *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    lines = [columns, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def heading(text: str, *, markdown: bool) -> str:
    """Return a heading."""
    return f"### {text}" if markdown else f"{text}\n{'=' * len(text)}"


def items(pairs: Mapping[str, str], *, markdown: bool) -> str:
    """Return labels with their texts, one a line."""
    mark = "* " if markdown else "  "
    return "\n".join(f"{mark}{label}: {text}" for label, text in pairs.items())


def scenario_text(title: str, rows: Sequence[Row], foreign: float, *, markdown: bool) -> str:
    """Return the table of a scenario.

    Args:
        title: the heading.
        rows: one per entry.
        foreign: the greatest share (0 to 1) of the server's core that something else used in any of
            the measurements; a line below the table says so where it is more than tolerable.
        markdown: for a document instead of a terminal.
    """
    text = table(COLUMNS, [cells_of(row) for row in rows], markdown=markdown)
    parts = [heading(title, markdown=markdown), text]
    if foreign > FOREIGN_TOLERATED:
        parts.append(f"Disturbed: other work took up to {foreign:.0%} of the server's core.")
    return "\n\n".join(parts)


def log_text(costs: Mapping[str, Spread], *, markdown: bool) -> str:
    """Return the table of what the access log costs each contender."""
    rows = [(name, spread_text(cost, "+.2f")) for name, cost in costs.items()]
    return table(LOG_COLUMNS, rows, markdown=markdown)
