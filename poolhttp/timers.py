"""Time: the clock of a turn, and who is due when.

Lives here: monotonic deadlines and the Date field. Must not live here: what happens then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

DATE_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DATE_MONTHS = (
    "", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


class Waiter(Protocol):
    """Somebody with a deadline (monotonic seconds)."""

    deadline: float

    def on_timeout(self) -> None: ...


class DeadlineQueue:
    """Handlers that share one timeout, in the order in which they began to wait.

    All wait for the same span, so the front is due first: entering, leaving and finding who is due
    are O(1). A waiter may move its ``deadline`` later on without telling, which costs one store;
    the queue finds out when it is due and puts it back at the end. The price: such a waiter may
    be called up to one timeout late.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout or float("inf")
        self._due: dict[Waiter, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(list(self._due))

    def enter(self, waiter: Waiter, now: float) -> None:
        """Start the waiter's wait: it is due at ``now + timeout`` (seconds, monotonic)."""
        waiter.deadline = self._due[waiter] = now + self.timeout

    def leave(self, waiter: Waiter) -> None:
        """End the waiter's wait."""
        self._due.pop(waiter, None)

    def shorten(self, latest: float, applies: Callable[[Waiter], bool]) -> None:
        """Make all whom ``applies`` accepts due at ``latest`` at the latest; O(n)."""
        entries = []
        for waiter, due in self._due.items():
            if applies(waiter):
                waiter.deadline = min(waiter.deadline, latest)
                due = min(due, latest)
            entries.append((waiter, due))
        self._due = dict(sorted(entries, key=lambda entry: entry[1]))

    def postpone(self, span: float) -> None:
        """Make everybody due ``span`` seconds later; O(n)."""
        for waiter in self._due:
            waiter.deadline += span
            self._due[waiter] += span

    def expire(self, now: float) -> float:
        """Call ``on_timeout`` of whoever is due; return the time of the next look."""
        while self._due:
            waiter, due = next(iter(self._due.items()))
            if due > now:
                return due
            del self._due[waiter]
            if waiter.deadline > now:
                self._due[waiter] = waiter.deadline
            else:
                waiter.on_timeout()
        return float("inf")


class Clock:
    """Time, taken once per turn: monotonic seconds and the Date field's line."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.date = b""
        self._next_second = 0.0
        self.tick()

    def tick(self) -> None:
        """Take the time."""
        self.now = now = time.monotonic()
        if now >= self._next_second:
            wall = time.time()
            self._next_second = now + 1.0 - wall % 1.0
            self.date = b"Date: " + http_date(wall) + b"\r\n"


def http_date(wall: float) -> bytes:
    """Return an IMF-fixdate (RFC 9110 section 5.6.7) for seconds since the epoch."""
    at = time.gmtime(wall)
    return (
        f"{DATE_DAYS[at.tm_wday]}, {at.tm_mday:02d} {DATE_MONTHS[at.tm_mon]} {at.tm_year} "
        f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} GMT"
    ).encode("ascii")
