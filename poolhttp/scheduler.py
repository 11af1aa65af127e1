"""Who runs the app: the one place that decides it.

Lives here: inline, apart or shed; what is learned of each call. Must not live here: threads
(``crew``), prediction (``predictor``), the queue (``admission``), how many threads (``growth``),
HTTP.
"""

from __future__ import annotations

import time
from contextvars import Context
from typing import Any

from poolhttp.admission import AdmissionQueue
from poolhttp.appcontext import AppContext
from poolhttp.baton import Displaced
from poolhttp.crew import Crew
from poolhttp.detached import Detached
from poolhttp.gilshare import GilShare
from poolhttp.growth import PERIOD, Growth
from poolhttp.loop import Loop
from poolhttp.member import Member
from poolhttp.predictor import Predictor
from poolhttp.settings import Settings
from poolhttp.stuck import StuckCalls
from poolhttp.wsgi import Response

SLOTS = 4096
"""Counters of the predictor; arbitrary, more than the routes of most apps."""

RETRY = 1.0
"""Seconds until a thread is asked for again when the system gave none; arbitrary."""

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
        gil: the calls that compute.
        next_look: when ``look`` is due (monotonic seconds).
        apart: responses that were to be made by an app thread, apart from the loop.
        recalled: those of them that were made on the thread of the loop after all.
        skipped: responses whose client left before a thread had come to them.
    """

    def __init__(self, settings: Settings, loop: Loop, context: AppContext) -> None:
        self._settings = settings
        self._loop = loop
        self._log = context.log
        self._adaptive = settings.dispatch == "adaptive"
        self._predictor = Predictor(SLOTS)
        self._predicts = self._adaptive and settings.predict
        self._queue: AdmissionQueue[Detached] = AdmissionQueue(
            settings.queue_limit, settings.queue_target
        )
        self._heavy: AdmissionQueue[Detached] = AdmissionQueue(
            settings.queue_limit, settings.queue_target
        )
        self.gil = GilShare(SLOTS, settings.switch_interval, settings.inline_budget)
        self._growth = Growth(min(LEAST, settings.threads), settings.threads)
        budget = settings.inline_budget if self._adaptive else 0.0
        self.crew = crew = Crew(loop, context.baton, settings.threads, budget)
        crew.next_job = self._next_job
        crew.waiting = self._count_waiting
        crew.slow_wait = self._slow_wait
        crew.perform = self._perform
        crew.on_lead = self._on_lead
        crew.on_displaced = _detach
        self.stuck = StuckCalls(
            crew, context.baton, context.log, settings.timeout, settings.handler_timeout
        )
        self._calls = loop.calls
        self._inline = False
        self._variables = Context()
        self.next_look = self._next_thread = 0.0
        self._heavy_next = False
        self.apart = self.recalled = 0
        self.skipped = 0

    def serve(self) -> None:
        """Run the loop to its end; see :meth:`poolhttp.crew.Crew.run`."""
        try:
            self.crew.run(min(LEAST, self._settings.threads))
        finally:
            self.gil.restore()

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
        if self._predictor.any_slow or self.crew.alert:
            slot = self._predictor.slot(response.request.method, path)
            if self._predictor.is_slow(slot):
                response.inline = False
                return None
        variables = self._variables
        small = response.run(variables)
        if small is None and not response.inline:
            self._part(response, path)
        if slot >= 0:
            self._note(slot)
        if variables:
            # The app has set some: the next request starts without.
            self._variables = self.crew.here().variables = Context()
        return small

    def _note(self, slot: int) -> None:
        """Learn from a call that has kept the loop, although it may have overstayed."""
        slow = self._calls.is_current
        if self.crew.alert:
            self.crew.alert -= 1
        if self._predicts:
            self._predictor.note(slot, slow)

    def _part(self, response: Response, path: str) -> None:
        """The call has lost the loop, and its response is complete or left to the loop."""
        member = self.crew.here()
        slot = self._predictor.slot(response.request.method, path)
        self._learn(member, response, slot)
        if self._predicts:
            self._predictor.note_displaced(slot)
        self._end_job(member, response)
        raise Displaced

    def submit(self, detached: Detached) -> bool:
        """Have the app called by another thread; False: there is no room to wait for one."""
        response: Response = detached.response
        path: str = response.environ["PATH_INFO"]
        detached.exempt = path in self._settings.shed_exempt
        detached.slot = self._predictor.slot(response.request.method, path)
        detached.quick = not self._predictor.is_slow(detached.slot)
        queue = self._heavy if self.gil.is_heavy(detached.slot) else self._queue
        with self.crew.mutex:
            if not queue.push(detached, time.monotonic()):
                return False
            self.crew.summon()
            if len(queue):
                self.next_look = min(self.next_look, self._loop.clock.now + PERIOD)
        self.apart += 1
        return True

    def discard(self, detached: Detached) -> None:
        """Nobody waits for it any more; it costs no app call."""
        with self.crew.mutex:
            if self._queue.discard(detached) or self._heavy.discard(detached):
                self.skipped += 1

    def _slow_wait(self) -> bool:
        """Whether a request waits that is not for the thread of the loop; under the mutex."""
        if self._settings.dispatch == "threads":
            return True
        return self._queue.has_slow or bool(self._heavy and not self.gil.full)

    def _count_waiting(self) -> int:
        """Requests that a thread could take now."""
        return len(self._queue) + (0 if self.gil.full else len(self._heavy))

    @property
    def wait_limit(self) -> float:
        """Seconds for which the loop may sleep: requests that wait are looked after."""
        return PERIOD if self._queue or self._heavy else self.stuck.interval

    def look(self) -> None:
        """Give up, shed, grow and shrink; when ``next_look`` has come."""
        now = self._loop.clock.now
        self.stuck.look(now)
        crew = self.crew
        overdue: list[Detached] = []
        with crew.mutex:
            for queue in (self._queue, self._heavy):
                if queue and now >= queue.next_look(now):
                    overdue += queue.overdue(now)
            leading = crew.leader is not None and crew.leader.runs_apps
            change = self._growth.decide(
                now,
                threads=len(crew.members),
                idle=crew.idle + leading,
                waiting=self._count_waiting(),
                cpu=time.process_time(),
            )
        self.next_look = now + self.wait_limit
        for detached in overdue:
            detached.owner.shed()
        if change > 0 and now >= self._next_thread:
            self._add_threads(change)
        if change < 0:
            crew.retire(-change)

    def _add_threads(self, count: int) -> None:
        crew = self.crew
        try:
            for _ in range(count):
                crew.add_thread()
        except RuntimeError as exc:
            self._log.warning("No more than %d app threads: %s", len(crew.members), exc)
            self._next_thread = self._loop.clock.now + RETRY

    # On an app thread

    def _next_job(self) -> Detached | None:
        """Alternate between heavy ones, as far as there may be more of them, and others."""
        now = time.monotonic()
        if self._heavy and not self.gil.full and (self._heavy_next or not self._queue):
            self._heavy_next = False
            job = self._heavy.take(now)
            if job is not None:
                # Now, not when its thread gets going: the next one would find room still.
                self.gil.begin(job)
            return job
        self._heavy_next = True
        return self._queue.take(now)

    def _perform(self, member: Member, detached: Detached) -> None:
        if not detached.claim():
            self.gil.release(detached)
            return
        response: Response = detached.response
        response.inline = False
        member.since = detached.active = time.monotonic()
        member.cpu = time.thread_time()
        member.job = response
        small = response.run(member.variables)
        if small is not None:
            response.keep_alive = response.request.keep_alive
        self._learn(member, detached, detached.slot)
        self._end_job(member, response, small)

    def _learn(self, member: Member, job: object, slot: int) -> None:
        wall = time.monotonic() - member.since
        self.gil.end(job, slot, time.thread_time() - member.cpu, wall)
        if self._predicts:
            self._predictor.note(slot, wall > self._settings.inline_budget)

    def _end_job(
        self, member: Member, response: Response, small: tuple[bytes, bytes] | None = None
    ) -> None:
        member.job = None
        member.reported = False
        if len(member.variables):
            member.variables = Context()
        sink: Any = response.sink
        if not sink.finish(small) and not response.finished:
            response.abort()

    # Hand-over

    def _on_lead(self, member: Member) -> None:
        self._inline = member.runs_apps and self._settings.dispatch != "threads"
        self._variables = member.variables
        if self._inline and self._queue:
            # They are quick, and had to wait for want of a leader that may call the app.
            with self.crew.mutex:
                while self._queue and not self._queue.has_slow:
                    job = self._queue.take(time.monotonic())
                    if job is not None:
                        self.recalled += 1
                        self._loop.call_soon(job.owner.recall)


def _detach(response: Response) -> None:
    sink: Any = response.sink
    sink.detach(response)
