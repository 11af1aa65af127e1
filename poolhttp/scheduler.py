"""Who runs the app: the one place that decides it.

Lives here: inline, apart or shed; what is learned of each call. Must not live here: threads
(``crew``), prediction (``predictor``), the queue (``admission``), how many threads (``growth``),
HTTP.
"""

from __future__ import annotations

import sys
import time
from contextvars import Context
from typing import Any

from poolhttp.admission import AdmissionQueue
from poolhttp.appcontext import AppContext
from poolhttp.baton import Displaced
from poolhttp.crew import Crew, Member
from poolhttp.detached import Detached
from poolhttp.growth import PERIOD, Growth
from poolhttp.loop import Loop
from poolhttp.predictor import Predictor
from poolhttp.settings import Settings
from poolhttp.stuck import StuckCalls
from poolhttp.wsgi import Response

LEAST = 2
"""App threads to start with, of several: one to lead and one to work."""


class Scheduler:
    """Runs app calls on the thread of the loop or apart from it.

    Args:
        settings: threads, dispatch and limits.
        loop: whose thread that is.
        context: the app's.

    Attributes:
        crew: the threads.
        next_look: when ``look`` is due (monotonic seconds).
        apart: responses that were given to an app thread.
        skipped: responses whose client left before a thread had come to them.
    """

    def __init__(self, settings: Settings, loop: Loop, context: AppContext) -> None:
        self._settings = settings
        self._loop = loop
        self._adaptive = settings.dispatch == "adaptive"
        self._predictor = Predictor()
        self._predicts = self._adaptive and settings.predict
        self._queue: AdmissionQueue[Detached] = AdmissionQueue(
            settings.queue_limit, settings.queue_target
        )
        self._growth = Growth(min(LEAST, settings.threads), settings.threads)
        budget = settings.inline_budget if self._adaptive else 0.0
        self.crew = crew = Crew(loop, context.baton, settings.threads, budget)
        crew.next_job = self._next_job
        crew.waiting = self._queue.__len__
        crew.perform = self._perform
        crew.on_lead = self._on_lead
        crew.on_displaced = _detach
        self.stuck = StuckCalls(
            crew, context.baton, context.log, settings.timeout, settings.handler_timeout
        )
        self._inline = False
        self._variables = Context()
        self.next_look = 0.0
        self.apart = 0
        self.skipped = 0

    def serve(self) -> None:
        """Run the loop to its end; see :meth:`poolhttp.crew.Crew.run`."""
        settings = self._settings
        before = sys.getswitchinterval()
        if settings.threads > 1 and settings.switch_interval:
            sys.setswitchinterval(settings.switch_interval)
        try:
            self.crew.run(min(LEAST, settings.threads))
        finally:
            sys.setswitchinterval(before)

    # On the thread of the loop

    def run(self, response: Response) -> tuple[bytes, bytes] | None:
        """Call the app if that may be done here and now.

        Returns:
            As :meth:`poolhttp.wsgi.Response.run`. None with ``response.inline`` False: the app has
            not been called, ``submit`` must follow.

        Raises:
            Displaced: it was, and the loop runs on another thread now.
        """
        path = response.environ["PATH_INFO"]
        slot = -1
        if not self._inline:
            response.inline = False
            return None
        if self._predictor.any_slow:
            slot = self._predictor.slot(response.request.method, path)
            if self._predictor.is_slow(slot):
                response.inline = False
                return None
        variables = self._variables
        small = response.run(variables)
        if small is None and not response.inline:
            self._part(response, path)
        if slot >= 0:
            self._predictor.note(slot, False)
        if variables:
            # The app has set some: the next request starts without.
            self._variables = self.crew.here().variables = Context()
        return small

    def _part(self, response: Response, path: str) -> None:
        """The call has lost the loop, and its response is complete or left to the loop."""
        if self._predicts:
            self._predictor.note_displaced(self._predictor.slot(response.request.method, path))
        self._end_job(self.crew.here(), response)
        raise Displaced

    def submit(self, detached: Detached) -> bool:
        """Have the app called by another thread; False: there is no room to wait for one."""
        response: Response = detached.response
        path: str = response.environ["PATH_INFO"]
        detached.exempt = path in self._settings.shed_exempt
        detached.slot = self._predictor.slot(response.request.method, path)
        detached.quick = not self._predictor.is_slow(detached.slot)
        with self.crew.mutex:
            if not self._queue.push(detached, time.monotonic()):
                return False
            self.crew.summon()
            if len(self._queue):
                self.next_look = min(self.next_look, self._loop.clock.now + PERIOD)
        self.apart += 1
        return True

    def discard(self, detached: Detached) -> None:
        """Nobody waits for it any more; it costs no app call."""
        with self.crew.mutex:
            if self._queue.discard(detached):
                self.skipped += 1

    @property
    def wait_limit(self) -> float:
        """Seconds for which the loop may sleep: requests that wait are looked after."""
        return PERIOD if len(self._queue) else self.stuck.interval

    def look(self) -> None:
        """Give up, shed, grow and shrink; when ``next_look`` has come."""
        now = self._loop.clock.now
        self.stuck.look(now)
        crew = self.crew
        overdue: list[Detached] = []
        with crew.mutex:
            waiting = len(self._queue)
            if waiting and now >= self._queue.next_look(now):
                overdue = self._queue.overdue(now)
            leading = crew.leader is not None and crew.leader.runs_apps
            change = self._growth.decide(
                now,
                threads=len(crew.members),
                idle=crew.idle + leading,
                waiting=len(self._queue),
                cpu=time.process_time(),
            )
        self.next_look = now + self.wait_limit
        for detached in overdue:
            detached.owner.shed()
        for _ in range(change):
            crew.add_thread()
        if change < 0:
            crew.retire(-change)

    # On an app thread

    def _next_job(self) -> Detached | None:
        return self._queue.take(time.monotonic())

    def _perform(self, member: Member, detached: Detached) -> None:
        if not detached.claim():
            return
        response: Response = detached.response
        member.since = detached.active = time.monotonic()
        member.job = response
        response.run_apart(member.variables)
        if self._predicts:
            slow = time.monotonic() - member.since > self._settings.inline_budget
            self._predictor.note(detached.slot, slow)
        self._end_job(member, response)

    def _end_job(self, member: Member, response: Response) -> None:
        member.job = None
        member.reported = False
        if len(member.variables):
            member.variables = Context()
        sink: Any = response.sink
        sink.finish()

    # Hand-over

    def _on_lead(self, member: Member) -> None:
        self._inline = member.runs_apps and self._settings.dispatch != "threads"
        self._variables = member.variables


def _detach(response: Response) -> None:
    sink: Any = response.sink
    sink.detach(response)
