"""Deadlines: nobody is called early, and nobody later than one timeout after his deadline."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from poolhttp.timers import Clock, DeadlineQueue, http_date


class Waiting:
    """A waiter that notes when it was called."""

    def __init__(self) -> None:
        self.deadline = 0.0
        self.called_at: float | None = None
        self.clock: list[float] = [0.0]

    def on_timeout(self) -> None:
        assert self.called_at is None, "called twice"
        self.called_at = self.clock[0]


class QueueMachine(RuleBasedStateMachine):
    """A fake clock goes forward as a loop's does: to the time of the next look, or before it."""

    @initialize(timeout=st.integers(1, 20))
    def begin(self, timeout: int) -> None:
        self.queue = DeadlineQueue(float(timeout))
        self.clock = [0.0]
        self.next_look = float("inf")
        self.waiting: list[Waiting] = []

    @rule()
    def enter(self) -> None:
        waiter = Waiting()
        waiter.clock = self.clock
        self.queue.enter(waiter, self.clock[0])
        assert waiter.deadline == self.clock[0] + self.queue.timeout
        self.next_look = min(self.next_look, waiter.deadline)
        self.waiting.append(waiter)

    @rule(data=st.data())
    def progress(self, data: st.DataObject) -> None:
        """The waiter moves its deadline without telling."""
        if self.waiting:
            waiter = data.draw(st.sampled_from(self.waiting))
            waiter.deadline = self.clock[0] + self.queue.timeout

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.waiting:
            waiter = data.draw(st.sampled_from(self.waiting))
            self.queue.leave(waiter)
            self.queue.leave(waiter)
            self.waiting.remove(waiter)

    @rule(span=st.integers(0, 10), every=st.booleans())
    def shorten(self, span: int, every: bool) -> None:
        latest = self.clock[0] + span
        chosen = [each for i, each in enumerate(self.waiting) if every or i % 2]
        due = {id(each): each.deadline for each in self.waiting}
        self.queue.shorten(latest, lambda each: each in chosen)
        self.next_look = min(self.next_look, latest)
        for each in self.waiting:
            shortened = min(due[id(each)], latest) if each in chosen else due[id(each)]
            assert each.deadline == shortened

    @rule(span=st.integers(0, 30))
    def pass_time(self, span: int) -> None:
        """Turns until then: each looks when the queue said that it should be looked at."""
        end = self.clock[0] + span
        while self.next_look <= end:
            self.clock[0] = max(self.clock[0], self.next_look)
            self.next_look = self.queue.expire(self.clock[0])
            self._check()
        self.clock[0] = end

    def _check(self) -> None:
        called = [each for each in self.waiting if each.called_at is not None]
        for each in called:
            assert each.called_at is not None
            assert each.called_at >= each.deadline, "early"
            assert each.called_at <= each.deadline + self.queue.timeout, "late"
        self.waiting = [each for each in self.waiting if each.called_at is None]

    @invariant()
    def nobody_is_overdue(self) -> None:
        for each in self.waiting:
            assert self.clock[0] <= each.deadline + self.queue.timeout

    @invariant()
    def whoever_waits_is_in_the_queue(self) -> None:
        assert set(self.queue) == set(self.waiting)
        assert len(self.queue) == len(self.waiting)


TestQueueMachine = QueueMachine.TestCase


def test_all_that_are_due_are_called_in_order() -> None:
    queue = DeadlineQueue(10.0)
    first, second, third = Waiting(), Waiting(), Waiting()
    for second_of_entry, each in enumerate((first, second, third)):
        queue.enter(each, float(second_of_entry))
    assert queue.expire(9.0) == 10.0
    assert queue.expire(11.0) == 12.0
    assert [each.called_at is None for each in (first, second, third)] == [False, False, True]
    assert queue.expire(12.0) == float("inf")
    assert len(queue) == 0


def test_no_timeout_is_for_ever() -> None:
    queue = DeadlineQueue(0.0)
    waiter = Waiting()
    queue.enter(waiter, 5.0)
    assert waiter.deadline == float("inf")
    assert queue.expire(1e12) == float("inf")
    assert waiter.called_at is None
    queue.shorten(7.0, lambda each: True)
    queue.expire(7.0)
    assert waiter.called_at is not None


def test_a_waiter_may_enter_again_while_it_is_called() -> None:
    queue = DeadlineQueue(1.0)

    class Persistent(Waiting):
        def on_timeout(self) -> None:
            super().on_timeout()
            queue.enter(self, 10.0)

    waiter = Persistent()
    queue.enter(waiter, 0.0)
    assert queue.expire(5.0) == 11.0
    assert list(queue) == [waiter]


@given(st.integers(0, 32503680000))
def test_a_date_is_an_imf_fixdate(wall: int) -> None:
    """RFC 9110 section 5.6.7; formatdate is an independent implementation."""
    assert http_date(wall).decode() == formatdate(wall, usegmt=True)


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.999999])
def test_a_date_is_the_second_that_has_begun(fraction: float) -> None:
    assert http_date(784111777 + fraction) == b"Sun, 06 Nov 1994 08:49:37 GMT"


def test_the_clock_goes_forward() -> None:
    clock = Clock()
    before = clock.now
    clock.tick()
    assert clock.now >= before
    assert clock.date.startswith(b"Date: ")
    assert clock.date.endswith(b" GMT\r\n")


def test_the_date_line_is_the_same_object_within_a_second() -> None:
    """Heads are kept as long as it is."""
    clock = Clock()
    dates = []
    for _ in range(100):
        clock.tick()
        dates.append(clock.date)
    assert len({id(each) for each in dates}) == len(set(dates))
