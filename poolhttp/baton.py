"""The loop as a token: lent while the app is called, so that it can be taken from a slow call.

Lives here: the atomic question "was the loop taken from me?". Must not live here: who takes it and
who goes on (``crew``), what is called (``wsgi``).

The thread of the loop puts the response whose app it calls into ``running`` and takes it out when
the call is over; whoever wants the loop takes it out first. ``dict.pop`` is atomic, so exactly one
of both succeeds, and since the key is the response, a thread that comes back late can't take the
loop from its successor's call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any


class Displaced(BaseException):
    """Unwinds a thread that has lost the loop while its app was called. No ``Exception``: nothing
    on the way may take it for a failure."""


def _nobody(_response: Any) -> None:
    raise AssertionError("BUG: the loop was lost, and nobody has taken it")


class Baton:
    """What the thread of the loop and its watch share.

    Args:
        mark: one 64-bit number that the watch looks at; it changes with each call.

    Attributes:
        running: the response whose app is just called on the thread of the loop, as the only key.
        number: gives the next value for ``mark``.
        settle: called with a response on its thread when that has lost the loop; returns when the
            response's sink is another.
        leave: called with a response on the thread of the loop to give the loop away at once.
    """

    def __init__(self, mark: memoryview | None = None) -> None:
        self.mark = mark if mark is not None else memoryview(bytearray(8)).cast("q")
        self.running: dict[Any, None] = {}
        self.number: Callable[[], int] = itertools.count(1).__next__
        self.settle: Callable[[Any], None] = _nobody
        self.leave: Callable[[Any], None] = _nobody
