"""Admission: which request runs next, and who is shed when more arrive than can be run.

Lives here: the order of those that wait for an app thread, and the decision to shed. Must not live
here: threads, locks, the clock, or what a shed request is answered with. Time comes in as ``now``
(monotonic seconds, never going back), and the caller holds a mutex around each call.

Guarantees: a job that was pushed leaves once, by ``take``, ``overdue`` or ``discard``; an exempt
job is never shed; within a class the order is that of arrival; every operation is O(1), ``overdue``
per job that it returns.

A queue that only absorbs bursts is good, one that stands makes everybody late and serves nobody
more. CoDel (RFC 8289; for servers: Maurer, "Fail at Scale", ACM Queue 13(8), 2015) tells them apart
by the *shortest* wait over an interval: a burst drains, so the wait falls; in a standing queue it
never does. The wait looked at here is that of the oldest job that may be shed. With one class this
is the wait of the next to be taken, which is CoDel's; with several, those that overtake don't
hide that the others stand. As it is known at any time and not only when a job is taken, threads
that are all stuck are noticed too.

The price: jobs behind a few long-running ones can't be told from overload, so ``target`` should be
several times what the app's requests usually take.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

MIN_INTERVAL = 0.1
"""Seconds: the shortest interval; RFC 8289 and "Fail at Scale" both have 100 ms."""

LEAVE_BELOW = 0.5
"""Share of the target at which a wait ends the overload: less than 1, since while jobs are shed at
the target the others wait just below it. Arbitrary."""

QUICK_IN_A_ROW = 8
"""Quick jobs taken in a row while a slow one waits. Arbitrary: a ninth of the turns is theirs."""

NEVER = float("inf")


class Waiting(Protocol):
    """A request that waits for an app thread.

    Attributes:
        arrived: when it was pushed (monotonic seconds); set by the queue.
        exempt: never shed, and before all others; for the few that must get through, such as
            health checks, since nothing bounds how long they keep the others waiting.
        quick: predicted to be fast, so it goes before those that aren't.
    """

    arrived: float
    exempt: bool
    quick: bool


Job = TypeVar("Job", bound=Waiting)


class AdmissionQueue(Generic[Job]):
    """The requests that wait for an app thread.

    Args:
        limit: most jobs that wait, 0: no limit.
        target: seconds that a job may wait while there is overload, 0: none is shed by time.

    Attributes:
        interval: seconds for which all waits must have been above the target before jobs are shed.
        shed_full: jobs refused because the queue was full.
        shed_late: jobs shed because they had waited too long.
    """

    def __init__(self, limit: int, target: float) -> None:
        self.limit = limit or NEVER
        self.target = target or NEVER
        self.interval = max(target, MIN_INTERVAL)
        self.shed_full = 0
        self.shed_late = 0
        # By identity. A plain dict's first entry is found past the places of all those removed.
        self._exempt: OrderedDict[int, Job] = OrderedDict()
        self._quick: OrderedDict[int, Job] = OrderedDict()
        self._slow: OrderedDict[int, Job] = OrderedDict()
        self._quick_run = 0
        # The time from which on the oldest has always waited at least the target; may lie ahead.
        self._above_since = NEVER
        self._overloaded = False
        self._empty_since = 0.0

    def __len__(self) -> int:
        return len(self._exempt) + len(self._quick) + len(self._slow)

    def push(self, job: Job, now: float) -> bool:
        """Let a job wait that doesn't wait yet; False: the queue is full and the job must be shed.

        An exempt job is always taken in, so there may be more than ``limit``.
        """
        job.arrived = now
        if job.exempt:
            self._exempt[id(job)] = job
            return True
        if len(self) >= self.limit:
            self.shed_full += 1
            return False
        if not self._quick and not self._slow:
            self._above_since = now + self.target
            # No wait shows it if the caller runs jobs past the queue while threads are idle.
            if now >= self._empty_since + self.interval:
                self._overloaded = False
        (self._quick if job.quick else self._slow)[id(job)] = job
        return True

    def take(self, now: float) -> Job | None:
        """Remove and return the job to run next, None if none waits.

        Exempt ones go first, then quick ones, then the others, each in the order of arrival; but
        after ``QUICK_IN_A_ROW`` quick ones past a slow one, the slow one goes. Those due to be shed
        are not passed over: call ``overdue`` before, if ``next_look`` says so.
        """
        if self._exempt:
            return self._exempt.popitem(last=False)[1]
        oldest = self._oldest()
        if oldest is None:
            return None
        if self._quick and not (self._slow and self._quick_run >= QUICK_IN_A_ROW):
            job = self._quick.popitem(last=False)[1]
            self._quick_run = self._quick_run + 1 if self._slow else 0
        else:
            job = self._slow.popitem(last=False)[1]
            self._quick_run = 0
        self._overloaded = self._is_overload(now) and (
            now - oldest.arrived > self.target * LEAVE_BELOW
        )
        self._has_left(now)
        return job

    @property
    def has_slow(self) -> bool:
        """Whether one waits that is neither exempt nor quick."""
        return bool(self._slow)

    def overdue(self, now: float) -> list[Job]:
        """Remove and return the jobs to be shed now, the oldest first.

        In overload these are all that have waited for the target, apart from exempt ones; overload
        lasts from when all waits of an interval were at least that long, until one was at most half
        of it, the queue was empty for an interval, or the clients of all that waited had left.
        """
        shed: list[Job] = []
        if not self._is_overload(now):
            return shed
        self._overloaded = True
        while (oldest := self._oldest()) is not None and now >= oldest.arrived + self.target:
            del (self._quick if id(oldest) in self._quick else self._slow)[id(oldest)]
            shed.append(oldest)
        if shed:
            self.shed_late += len(shed)
            self._has_left(now)
        return shed

    def discard(self, job: Job) -> bool:
        """Remove a job whose client has left; False: it doesn't wait here (any more)."""
        if self._exempt.pop(id(job), None) is not None:
            return True
        was_oldest = self._oldest() is job
        if self._quick.pop(id(job), None) is None and self._slow.pop(id(job), None) is None:
            return False
        if (oldest := self._oldest()) is None:
            self._above_since = NEVER
            self._overloaded = False
        elif was_oldest:
            # Was it due already? If so, this puts overload off, but not past target and interval.
            self._above_since = max(self._above_since, oldest.arrived + self.target)
        return True

    def next_look(self, now: float) -> float:
        """Return when ``overdue`` may next return something, if no job comes or goes before.

        Monotonic seconds; not after ``now``: at once; inf: never.
        """
        oldest = self._oldest()
        if oldest is None:
            return NEVER
        if self._is_overload(now):
            return oldest.arrived + self.target
        return self._above_since + self.interval

    def _oldest(self) -> Job | None:
        """Return the job that has waited longest, of those that may be shed."""
        quick = next(iter(self._quick.values())) if self._quick else None
        slow = next(iter(self._slow.values())) if self._slow else None
        if quick is None or slow is None:
            return slow if quick is None else quick
        return quick if quick.arrived < slow.arrived else slow

    def _is_overload(self, now: float) -> bool:
        return self._overloaded or now >= self._above_since + self.interval

    def _has_left(self, now: float) -> None:
        """A job that may be shed has left, so another may be the oldest."""
        oldest = self._oldest()
        if oldest is None:
            self._above_since = NEVER
            self._empty_since = now
        elif now < oldest.arrived + self.target:
            self._above_since = oldest.arrived + self.target
