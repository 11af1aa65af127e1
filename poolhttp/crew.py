"""The threads, and which of them runs the loop.

Lives here: hand-over. Must not live here: which request runs where (``scheduler``), what a turn
does (``loop``), HTTP.

There are app threads, at most ``limit``, and one **relief** that never calls the app. One of all
these is the **leader**: it runs the loop. An app thread that leads may call the app itself, since
there is always somebody to take the loop from it: another app thread that is parked, or the relief.
With a limit of 1 the thread that called :meth:`Crew.run` is the app thread; with more it is the
relief, so that signals find it.

Who leads changes in four ways, each under the mutex, each by an order to the successor:

- *displaced*: the watch takes the loop from a call that overstays (``baton``);
- *left*: a response that must wait for its peer gives the loop away;
- *off to work*: jobs wait and nobody is parked, so the leader takes one, and the relief leads;
- *claimed*: the relief leads, an app thread has nothing to do and gets the loop.

A successor goes on in the middle of the turn; all that is left of it belongs to the loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from poolhttp.baton import Baton, Displaced
from poolhttp.loop import Loop
from poolhttp.member import Member

_LEAD = object()
_QUIT = object()

KEEP = 64
"""Turns in a row for which an app thread keeps the loop, since quick calls run on it, although jobs
wait and nobody else can take them; then it takes one. Arbitrary: under load some tens of
milliseconds."""

ALERT = 1000
"""Calls that are looked at when one has overstayed; arbitrary."""

JOIN = 1.0
"""Seconds for which the end waits for a thread that is not in the app; arbitrary."""


class Crew:
    """The threads of one loop.

    Args:
        loop: whose turns they run.
        baton: lent by the leader to the app.
        limit: most app threads.
        budget: seconds that a call may keep the loop, 0: any time.

    Attributes:
        mutex: for everything here, and for the queue behind ``next_job``.
        step: runs the next turn; False when there are no more. On the leader.
        next_job: returns a job or None, under the mutex.
        waiting: how many jobs there are that nobody has taken.
        slow_wait: whether one of them is not for the thread of the loop; under the mutex.
        perform: carries out a job, on an app thread; must not raise but to end the server.
        on_lead: called with the member that is about to run the loop.
        on_displaced: called with a response that has lost the loop; on its successor's thread, or
            on its own if it has left. Gives it another sink.
        displaced, left: how often that was.
        alert: calls to be looked at when they are over, since one has overstayed; it may have been
            over itself before the watch had the GIL.
        members: the app threads; abandoned: those left behind in a call.
    """

    def __init__(self, loop: Loop, baton: Baton, limit: int, budget: float) -> None:
        self.mutex = threading.Lock()
        self.step: Callable[[], bool]
        self.next_job: Callable[[], Any]
        self.waiting: Callable[[], int]
        self.slow_wait: Callable[[], bool]
        self.perform: Callable[[Member, Any], None]
        self.on_lead: Callable[[Member], None]
        self.on_displaced: Callable[[Any], None]
        self.limit = limit
        self.displaced = 0
        self.alert = 0
        self.left = 0
        self.leader: Member | None = None
        self.relief = Member("poolhttp relief", runs_apps=False)
        self.members: list[Member] = []
        self.abandoned: set[Member] = set()
        self._loop = loop
        self._baton = baton
        self._budget = budget
        self._started = 0
        self._kept = 0
        self._parked: list[Member] = []
        self._claimant: Member | None = None
        self._taken_from: Any = None
        self._moved = threading.Condition(threading.Lock())
        self._threads: dict[Member, threading.Thread] = {}
        self._here = threading.local()
        self._over = False
        self._seized = False
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        baton.settle = self._on_lost
        baton.leave = self._leave

    # The life of all

    def run(self, least: int) -> None:
        """Run the loop to its end, with the calling thread as a member.

        Args:
            least: app threads to start with.
        """
        watch = None
        if self._budget:
            watch = threading.Thread(target=self._watch, name="poolhttp watch", daemon=True)
            watch.start()
        if self.limit == 1:
            caller = self._new_member()
            self._start(self.relief, None)
        else:
            caller = self.relief
        self.leader = caller
        if self.limit > 1:
            for _ in range(least):
                self.add_thread()
        try:
            self._live(caller, _LEAD)
        finally:
            self._seize(caller)
            self._loop.calls.stop()
            if watch is not None:
                watch.join()
            self._join()
        if self._failure is not None:
            raise self._failure

    def _new_member(self) -> Member:
        self._started += 1
        member = Member(f"poolhttp app {self._started}", runs_apps=True)
        self.members.append(member)
        return member

    def add_thread(self) -> None:
        """Start one more app thread.

        Raises:
            RuntimeError: the system gives no more.
        """
        member = self._new_member()
        try:
            self._start(member, None)
        except RuntimeError:
            with self.mutex:
                self._remove(member)
            raise

    def _start(self, member: Member, order: object) -> None:
        thread = threading.Thread(
            target=self._live_apart, args=(member, order), name=member.name, daemon=True
        )
        self._threads[member] = thread
        try:
            thread.start()
        except RuntimeError:
            del self._threads[member]
            raise

    def _live_apart(self, member: Member, order: object) -> None:
        try:
            self._live(member, order)
        except BaseException as exc:
            self._failure = exc
            if self.leader is member:
                self._end()
            else:
                self._seized = True
                self._loop.inbox.wake()
        finally:
            self._threads.pop(member, None)

    def _live(self, member: Member, order: object) -> None:
        member.ident = threading.get_ident()
        self._here.member = member
        while order is not _QUIT:
            if order is _LEAD:
                self._lead(member)
            elif order is not None:
                self.perform(member, order)
            order = self._rest(member)

    def _rest(self, member: Member) -> object:
        """Return what to do next; block until there is something."""
        with self.mutex:
            if self._over or member.abandoned:
                self._remove(member)
                return _QUIT
            if member.runs_apps:
                claims = self.leader is self.relief and self._claimant is None
                if not claims or self.slow_wait():
                    job = self.next_job()
                    if job is not None:
                        return job
                if claims:
                    # Quick jobs that wait run on the loop's thread as soon as that is this one.
                    self._claimant = member
                    self._loop.inbox.wake()
                else:
                    self._parked.append(member)
        return member.wait()

    def _remove(self, member: Member) -> None:
        self.abandoned.discard(member)
        if member in self.members:
            self.members.remove(member)

    # Leading

    def _lead(self, member: Member) -> None:
        self._loop.owner = member.ident
        self.on_lead(member)
        try:
            self._succeed()
            while not self._gives_way(member):
                if self._seized or not self.step():
                    self._end()
                    return
        except Displaced:
            return

    def _succeed(self) -> None:
        """Take over from whoever has lost the loop, and finish its turn."""
        if self._taken_from is not None:
            response, self._taken_from = self._taken_from, None
            try:
                self.on_displaced(response)
            finally:
                self._tell(response)
        self._loop.go_on()

    def _gives_way(self, member: Member) -> bool:
        """Whether somebody else leads from now on."""
        if member.runs_apps:
            if not self.waiting():
                self._kept = 0
                return False
            if self.limit > 1 and self._loop.calls.called and self._kept < KEEP:
                self._kept += 1
                return False
            self._kept = 0
            with self.mutex:
                if self._parked:
                    return False
                self._appoint(self.relief)
            return True
        return self._claimant is not None and self._hand_to_claimant()

    def _hand_to_claimant(self) -> bool:
        with self.mutex:
            claimant, self._claimant = self._claimant, None
            if claimant is not None:
                self._appoint(claimant)
        return claimant is not None

    def _appoint(self, member: Member) -> None:
        self.leader = member
        member.ring(_LEAD)

    def _successor(self) -> Member:
        return self._parked.pop() if self._parked else self.relief

    # Losing the loop

    def _watch(self) -> None:
        calls = self._loop.calls
        running = self._baton.running
        while calls.wait(self._budget):
            self.alert = ALERT
            if not calls.is_current:
                continue
            try:
                response, _ = running.popitem()
            except KeyError:
                continue
            calls.settle()
            with self.mutex:
                predecessor = self.leader
                if predecessor is None:
                    # A signal has ended its call, and all the rest.
                    break
                self.displaced += 1
                predecessor.job = response
                predecessor.since = time.monotonic()
                predecessor.cpu = predecessor.cpu_now()
                self._taken_from = response
                self._appoint(self._successor())
            # Until there is another one this frame would keep them.
            del response, predecessor

    def _on_lost(self, response: Any) -> None:
        """Wait until the response has another sink; on any thread, and as often as it asks."""
        with self._moved:
            while not response.moved:
                self._moved.wait()

    def _tell(self, response: Any) -> None:
        with self._moved:
            response.moved = True
            self._moved.notify_all()

    def _leave(self, response: Any) -> None:
        """Give the loop away, from within a call that doesn't hold it up yet."""
        member = self.leader
        assert member is not None
        self.left += 1
        member.job = response
        member.since = time.monotonic()
        member.cpu = time.thread_time()
        self._loop.calls.settle()
        self.on_displaced(response)
        self._tell(response)
        with self.mutex:
            self._appoint(self._successor())

    def here(self) -> Member:
        """Return the member whose thread calls."""
        member: Member = self._here.member
        return member

    # Jobs

    def summon(self) -> None:
        """Wake somebody for a job that was just added to the queue; under the mutex."""
        if self._parked:
            member = self._parked.pop()
        elif self._claimant is not None and self.slow_wait():
            member, self._claimant = self._claimant, None
        else:
            return
        member.ring(self.next_job())

    @property
    def idle(self) -> int:
        """App threads without work; the leader isn't one of them."""
        return len(self._parked)

    def retire(self, count: int) -> None:
        """End so many threads that have been idle for longest."""
        with self.mutex:
            for member in self._parked[:count]:
                member.ring(_QUIT)
                self._remove(member)
            del self._parked[:count]

    def abandon(self, member: Member, job: Any) -> None:
        """Count with a thread no more, if it is still at this job: it ends when that does."""
        with self.mutex:
            if member.job is not job:
                return
            self._remove(member)
            member.abandoned = True
            self.abandoned.add(member)

    # The end

    def _end(self) -> None:
        """Let all go home who are not in the app."""
        with self.mutex:
            self._over = True
            idle, self._parked = self._parked, []
            if self._claimant is not None:
                idle.append(self._claimant)
                self._claimant = None
            leader = self.leader
            self.leader = None
            if leader is not self.relief:
                idle.append(self.relief)
        for member in idle:
            member.ring(_QUIT)
        self._ended.set()

    def _seize(self, caller: Member) -> None:
        """The caller goes home, whatever the others do: see that nobody runs the loop."""
        if self._over:
            return
        if self.leader is caller:
            self._end()
            return
        self._seized = True
        self._loop.inbox.wake()
        self._ended.wait(JOIN)

    def _join(self) -> None:
        """Wait for the threads that are not in the app; the others are left to end with it."""
        for member, thread in list(self._threads.items()):
            if member.job is None:
                thread.join(JOIN)
