"""Calls that compute: how many at a time, and how often they let others have the GIL.

Lives here: which routes compute, and CPython's switch interval. Must not live here: the queue
(``admission``), threads (``crew``).

Two costs collide. The loop needs the GIL for a moment, again and again, and a thread that computes
gives it up only when asked to, one switch interval (sys.setswitchinterval) after somebody began to
wait. So the interval should be short. But whoever waits wakes up once per interval to ask, so with
many threads that wait for the GIL only because there are many, a short one costs more than it
gives. It is short while a call is under way that is known to compute and the loop waits; when the
loop has the GIL again, it may keep it for Python's own interval, and finish its turn.

More than a few such calls at a time finish no sooner: each has its share of the one GIL, and the
loop has one like them. A route is **heavy** if its calls use the GIL for at least a quarter of
their time, and four heavy calls run at a time: they have use for all of the GIL, and leave the loop
a fifth.
"""

from __future__ import annotations

import sys

AT_ONCE = 4
"""Heavy calls at a time."""

HEAVY = 1 / AT_ONCE
"""Share of a call's time, spent computing, from which it is heavy: so that AT_ONCE of them together
have use for the whole GIL, and limiting them loses nothing."""

LIGHT = HEAVY / 4
"""Share below which it no longer is; calls that must share the GIL get less of it."""


class GilShare:
    """Knows the heavy routes.

    Args:
        slots: number of the predictor's slots.
        interval: seconds of the switch interval while heavy calls run, 0: as it is.
        least: CPU seconds that a call must use to be heavy.

    Attributes:
        running: the heavy calls under way.
    """

    def __init__(self, slots: int, interval: float, least: float) -> None:
        self._heavy = bytearray(slots)
        self._least = least
        self.running: set[object] = set()
        self._usual = sys.getswitchinterval()
        self._interval = interval or self._usual

    def is_heavy(self, slot: int) -> bool:
        """Whether calls of this route are known to compute."""
        return bool(self._heavy[slot])

    @property
    def full(self) -> bool:
        """Whether a further heavy call had better wait."""
        return len(self.running) >= AT_ONCE

    def begin(self, thread: object) -> None:
        """A heavy call begins on this thread."""
        self.running.add(thread)
        sys.setswitchinterval(self._interval)

    def end(self, thread: object, slot: int, cpu: float, wall: float) -> None:
        """A call has ended, heavy or not.

        Args:
            thread: as for ``begin``.
            slot: its route's.
            cpu: CPU seconds that it has used.
            wall: seconds that it took.
        """
        if cpu >= self._least and cpu >= HEAVY * wall:
            self._heavy[slot] = 1
        elif cpu < self._least / 2 or cpu < LIGHT * wall:
            self._heavy[slot] = 0
        self.release(thread)

    def release(self, thread: object) -> None:
        """A call is over, or was not made after all; nothing is learned of its route."""
        if thread in self.running:
            self.running.discard(thread)
            if not self.running:
                self.restore()

    def loop_waits(self) -> None:
        """The loop will want the GIL back from heavy calls; before it waits."""
        sys.setswitchinterval(self._interval)

    def loop_runs(self) -> None:
        """The loop has the GIL, and should not have to share it before its turn ends."""
        sys.setswitchinterval(self._usual)

    def restore(self) -> None:
        """Set the interval that was there before."""
        sys.setswitchinterval(self._usual)
