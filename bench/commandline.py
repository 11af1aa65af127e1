"""What the benchmarks' command lines share: reading choices, progress, stopping on a signal."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

ALL = "all"


def positive(text: str) -> int:
    """Read a whole number above 0 from the command line."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def chosen(asked: Sequence[str] | None, known: Iterable[str], default: Sequence[str]) -> list[str]:
    """Return the names asked for on the command line, in the order in which they are known."""
    known = list(known)
    names = {name for item in asked or default for name in item.split(",")}
    if unknown := names - {*known, ALL}:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return [name for name in known if name in names or ALL in names]


def say(line: str) -> None:
    """Print one line of progress to standard error."""
    print(line, file=sys.stderr, flush=True)


def stop(number: int, _frame: FrameType | None) -> None:
    """Leave through the `finally` blocks that end the servers, when told to by a signal."""
    sys.exit(128 + number)
