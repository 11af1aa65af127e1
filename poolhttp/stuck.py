"""App calls that take too long.

Lives here: finding them, saying so, giving them up. Must not live here: taking the loop from them,
which happens after a millisecond and is no event (``crew``).
"""

from __future__ import annotations

import sys
import threading
import traceback
from typing import Any

from poolhttp.baton import Baton
from poolhttp.crew import Crew
from poolhttp.member import Member

LOOK = 1.0
"""Seconds between two looks; timeouts are much longer as a rule."""


class StuckCalls:
    """Watches the app calls that have a thread of their own by now.

    Args:
        crew: the threads.
        baton: knows the call on the thread of the loop.
        log: anything with Logger's methods.
        timeout: seconds after which a call is logged, 0: never.
        handler_timeout: seconds after which a call is given up, 0: never.

    Attributes:
        given_up: how many calls were.
    """

    def __init__(
        self, crew: Crew, baton: Baton, log: Any, timeout: float, handler_timeout: float
    ) -> None:
        self._crew = crew
        self._baton = baton
        self._log = log
        self._timeout = timeout or float("inf")
        self._handler_timeout = handler_timeout or float("inf")
        self._next_look = 0.0
        self.interval = min(LOOK, self._handler_timeout / 4)
        """Seconds between two looks."""
        self.given_up = 0

    def look(self, now: float) -> None:
        """Log and give up what is due; on the thread of the loop.

        Args:
            now: monotonic seconds.
        """
        if now < self._next_look:
            return
        self._next_look = now + self.interval
        for member in list(self._crew.members):
            job, since = member.job, member.since
            if job is None:
                continue
            if now - since > self._timeout and not member.reported:
                member.reported = True
                self._log.error(
                    "An app call has taken %.1f s so far (%s, %s)\n%s",
                    now - since,
                    job,
                    member.name,
                    _stack(member),
                )
            if now - since > self._handler_timeout:
                self._give_up(member, job, now - since)

    def _give_up(self, member: Member, job: Any, seconds: float) -> None:
        crew = self._crew
        if len(crew.abandoned) >= crew.limit:
            if not member.reported:
                member.reported = True
                self._log.error(
                    "An app call has taken %.1f s (%s), but %d threads are left behind already",
                    seconds,
                    job,
                    crew.limit,
                )
            return
        owner = getattr(job.sink, "owner", None)
        if owner is None:
            return
        stack = _stack(member)
        if not owner.give_up():
            return
        self._log.error(
            "Giving up an app call after %.1f s; its thread is left behind (%s, %s)\n%s",
            seconds,
            job,
            member.name,
            stack,
        )
        self.given_up += 1
        crew.abandon(member, job)

    def last_progress(self, now: float) -> float:
        """Return when an app thread last began a call or sent something: ``now`` if one is free or
        could be started.

        Args:
            now: monotonic seconds.
        """
        if len(self._crew.members) < self._crew.limit:
            return now
        latest = float("-inf")
        for member in list(self._crew.members):
            job = member.job
            if job is None:
                return now
            latest = max(latest, member.since, getattr(job.sink, "active", 0.0))
        return latest if latest > float("-inf") else now

    def describe(self) -> str:
        """Return the requests under way, and what each thread is doing, for people."""
        requests = [f"{member.name}: {member.job}" for member in list(self._crew.members)
                    if member.job is not None]  # fmt: skip
        requests += [f"on the thread of the loop: {each}" for each in list(self._baton.running)]
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        stacks = [
            f"Thread {names.get(ident, ident)}:\n" + "".join(traceback.format_stack(frame))
            for ident, frame in sys._current_frames().items()
        ]
        return "\n".join(["Requests under way:", *(requests or ["none"]), *stacks])


def _stack(member: Member) -> str:
    frame = sys._current_frames().get(member.ident)
    return "".join(traceback.format_stack(frame)) if frame is not None else "(has ended)"
