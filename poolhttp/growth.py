"""Growth: how many app threads there should be.

Lives here: the decision, from what is seen now and then. Must not live here: threads, locks, the
clock, or the queue. Time comes in as ``now`` (monotonic seconds, never going back), and the caller
holds a mutex around each call.

Guarantees, if the caller does as told: never fewer than ``least`` nor more than ``most`` threads,
none started while the process computes as much as the GIL lets it, and a constant load leads to a
constant number.

A thread helps only if the others wait for something that isn't the GIL. So requests that wait are
not reason enough: the process must also have left a part of a core unused (as .NET's thread pool
looks at the CPU before it adds a thread). This counts all threads of the process: an app whose C
code computes on several cores without the GIL gets no more threads by it, and needs a higher
``least``. Threads go slowly, since one too many costs some memory and one too few costs waiting.
"""

from __future__ import annotations

PERIOD = 0.005
"""Seconds between two looks that may lead to growth. As long as CPython's switch interval
(sys.getswitchinterval): within less, even an idle process may leave a request waiting."""

CPU_BOUND = 0.85
"""Share of one core from which a process counts as CPU-bound; near 1, since threads that only
wait for the GIL use it all, and below, since handing it over takes some. Arbitrary within that."""

STALL = 0.1
"""Seconds between two looks after which they don't count as a row: the process was stopped, or
throttled, and what waits has piled up meanwhile. Arbitrary, well above a loaded loop's jitter."""

SHRINK_PERIOD = 1.0
"""Seconds between two looks that may lead to shrinking. Arbitrary, much longer than a request."""

SHRINK_LOOKS = 3
"""Looks in a row that must show idle threads before some are retired. Arbitrary."""

SPARE = 1
"""Idle threads that are kept, so that the next request needn't wait for a look."""


class Growth:
    """Decides how many app threads to start or to retire.

    Growth at most doubles their number, and adds no more than there are requests without a thread.
    With a look every ``PERIOD`` it takes 30 ms from 2 to 64 threads.

    Args:
        least: threads that there are always.
        most: threads that there are at the most.

    Raises:
        ValueError: not 0 <= least <= most, or most is 0.
    """

    def __init__(self, least: int, most: int) -> None:
        if not 0 <= least <= most or most < 1:
            raise ValueError(f"not 0 <= least <= most, 1 <= most: {least}, {most}")
        self.least = least
        self.most = most
        # The last look that showed requests waiting: its time and CPU seconds.
        self._short: tuple[float, float] | None = None
        self._stalled = False
        # The last look of those that showed more idle threads than needed: its time.
        self._calm_at = 0.0
        self._calm_looks = 0
        self._least_idle = 0

    def decide(self, now: float, *, threads: int, idle: int, waiting: int, cpu: float) -> int:
        """Return how many threads to start (positive), to retire (negative), or 0.

        To be called about every ``PERIOD`` while requests wait, and about once a second otherwise;
        looks that come sooner start no growth, and never shrink anything.

        Args:
            now: monotonic seconds.
            threads: those that live or are being started, without those told to retire.
            idle: those of them that could take a request now, with those being started.
            waiting: requests that no thread has taken.
            cpu: CPU seconds of the process (time.process_time).
        """
        if waiting > idle:
            self._calm_looks = 0
            change = self._grow(now, threads, waiting - idle, cpu)
        else:
            self._short = None
            self._stalled = False
            change = self._shrink(now, idle, waiting)
        # Whatever else holds: threads may have died, or none be there yet.
        return min(max(change, self.least - threads), self.most - threads)

    def _grow(self, now: float, threads: int, lacking: int, cpu: float) -> int:
        if threads == 0:
            return 1
        if self._short is None:
            self._short = now, cpu
            return 0
        since, cpu_then = self._short
        span = now - since
        if span < PERIOD:
            return 0
        self._short = now, cpu
        # Two long spans in a row are no stall: the caller looks no more often than that, and the
        # requests must not wait for ever.
        self._stalled = span > STALL and not self._stalled
        if self._stalled or cpu - cpu_then >= CPU_BOUND * span:
            return 0
        return min(lacking, threads)

    def _shrink(self, now: float, idle: int, waiting: int) -> int:
        if waiting or idle <= SPARE:
            self._calm_looks = 0
            return 0
        if self._calm_looks == 0:
            self._calm_at, self._calm_looks, self._least_idle = now, 1, idle
            return 0
        # A look that comes too soon to count has seen how many were idle all the same.
        self._least_idle = min(self._least_idle, idle)
        if now - self._calm_at < SHRINK_PERIOD:
            return 0
        self._calm_at = now
        self._calm_looks += 1
        if self._calm_looks < SHRINK_LOOKS:
            return 0
        self._calm_looks = 0
        # Half, rounded up: quick enough for thousands, and a burst that comes back finds a part.
        excess = self._least_idle - SPARE
        return -((excess + 1) // 2)
