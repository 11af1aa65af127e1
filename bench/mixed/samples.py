"""What the open-loop client recorded, and the figures that are drawn from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

OK = 200
SHED = 503
START_MARK = "# start "


class Sample(NamedTuple):
    """One request; times are in microseconds from the start of the schedule, -1 for never.

    Attributes:
        scheduled: when it was to be sent; latency is counted from here.
        sent: when it was sent.
        done: when its response was complete, or its connection was lost.
        status: of the response; 0 if there is none.
        waited: it had to wait in the client for a free connection.
    """

    scheduled: int
    sent: int
    done: int
    status: int
    waited: bool

    @property
    def answered(self) -> bool:
        """Whether there is an end to it, be it a failure."""
        return self.done >= 0


class Recording:
    """All requests of one run of the client.

    Args:
        start_us: the start of the schedule on the monotonic clock, in microseconds.
        given_up_us: when, after that, the client gave up what was not answered.
        samples: in the order of the schedule.
    """

    def __init__(self, start_us: int, given_up_us: int, samples: Sequence[Sample]) -> None:
        self.start_us = start_us
        self.given_up_us = given_up_us
        self.samples = samples

    @classmethod
    def parse(cls, text: str, given_up_us: int) -> Recording:
        """Read what the client printed."""
        first, *lines = text.splitlines()
        if not first.startswith(START_MARK):
            raise ValueError(f"not a recording: {first!r}")
        rows = (map(int, line.split(",")) for line in lines)
        samples = [
            Sample(scheduled, sent, done, status, bool(waited))
            for scheduled, sent, done, status, waited in rows
        ]
        return cls(int(first.removeprefix(START_MARK)), given_up_us, samples)

    def between(self, start_us: int, end_us: int) -> Recording:
        """Return the part of it that was scheduled in a half-open range of time."""
        part = [one for one in self.samples if start_us <= one.scheduled < end_us]
        return Recording(self.start_us, self.given_up_us, part)

    def latencies_us(self, status: int = OK) -> list[int]:
        """Return the latencies of the responses with `status`, and of what was not answered.

        That counts with the time until it was given up, which is less than it would have been.
        """
        return [
            (one.done if one.answered else self.given_up_us) - one.scheduled
            for one in self.samples
            if one.status == status or (status == OK and not one.answered)
        ]

    def share(self, holds: Callable[[Sample], bool]) -> float:
        """Return the share (0 to 1) of the requests for which something holds."""
        return sum(map(holds, self.samples)) / len(self.samples) if self.samples else 0.0

    @property
    def not_ok(self) -> float:
        """The share (0 to 1) of the requests that were not answered with 200."""
        return self.share(lambda one: one.status != OK)

    @property
    def late_p99_us(self) -> float | None:
        """By how much the client itself was late, where it had a free connection."""
        return percentile(
            (one.sent - one.scheduled for one in self.samples if not one.waited and one.sent >= 0),
            0.99,
        )


def percentile(figures: Iterable[float], share: float) -> float | None:
    """Return the least figure that at least `share` of all do not exceed; None if there is none."""
    ordered = sorted(figures)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
