"""Admission: a standing queue is shed, a burst is not, and no job is lost or comes out twice."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from poolhttp.admission import NEVER, QUICK_IN_A_ROW, AdmissionQueue

TARGET = 0.5
"""Seconds; like all times here that are compared exactly, a sum of powers of two."""


@dataclass(eq=True)
class Job:
    """A job; those of equal content are still two, and can't be hashed."""

    quick: bool = False
    exempt: bool = False
    arrived: float = -1.0


def fill(queue: AdmissionQueue[Job], now: float, *jobs: Job) -> None:
    for job in jobs:
        assert queue.push(job, now)


def drain(queue: AdmissionQueue[Job], now: float) -> list[int]:
    """Take all; their identities."""
    taken = []
    while (job := queue.take(now)) is not None:
        taken.append(id(job))
    return taken


class AdmissionMachine(RuleBasedStateMachine):
    """The model is one list, from which the order is taken anew each time. It doesn't know when
    there is overload, but what must hold of those shed, and of those spared."""

    @initialize(limit=st.integers(0, 6), allowed=st.sampled_from([0.0, 0.25, 0.5]))
    def begin(self, limit: int, allowed: float) -> None:
        self.queue: AdmissionQueue[Job] = AdmissionQueue(limit, allowed)
        self.limit, self.target = limit, allowed
        self.now = 0.0
        self.waiting: list[Job] = []
        self.gone: list[Job] = []
        self.quick_run = 0
        self.refused = self.late = 0

    def _of(self, exempt: bool, quick: bool = False) -> list[Job]:
        return [
            each
            for each in self.waiting
            if each.exempt == exempt and (exempt or each.quick == quick)
        ]

    def _remove(self, job: Job) -> None:
        self.waiting = [each for each in self.waiting if each is not job]
        self.gone.append(job)

    @rule(quick=st.booleans(), exempt=st.sampled_from([False, False, False, True]))
    def push(self, quick: bool, exempt: bool) -> None:
        job = Job(quick, exempt)
        room = exempt or not self.limit or len(self.waiting) < self.limit
        assert self.queue.push(job, self.now) is room
        assert job.arrived == self.now
        if room:
            self.waiting.append(job)
        else:
            self.refused += 1
            self.gone.append(job)

    @rule()
    def take(self) -> None:
        exempt, quick, slow = self._of(True), self._of(False, True), self._of(False, False)
        job = self.queue.take(self.now)
        if exempt:
            expected: Job | None = exempt[0]
        elif quick and not (slow and self.quick_run >= QUICK_IN_A_ROW):
            expected = quick[0]
            self.quick_run = self.quick_run + 1 if slow else 0
        else:
            expected = slow[0] if slow else None
            self.quick_run = 0 if slow else self.quick_run
        assert job is expected
        if job is not None:
            self._remove(job)

    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        if self.waiting:
            job = self.waiting[data.draw(st.integers(0, len(self.waiting) - 1))]
            assert self.queue.discard(job)
            self._remove(job)

    @rule()
    def overdue(self) -> None:
        look = self.queue.next_look(self.now)
        shed = self.queue.overdue(self.now)
        assert bool(shed) is (look <= self.now), "next_look is wrong"
        assert self.queue.next_look(self.now) > self.now, "the caller would spin"
        assert [each.arrived for each in shed] == sorted(each.arrived for each in shed)
        for job in shed:
            assert any(job is each for each in self.waiting), "wasn't waiting"
            assert not job.exempt
            assert self.target
            assert self.now - job.arrived >= self.target
            self._remove(job)
        if shed:
            left = self._of(False, True) + self._of(False, False)
            assert all(self.now - each.arrived < self.target for each in left), "one was spared"
        self.late += len(shed)

    @rule(span=st.sampled_from([0.0625, 0.125, 0.25, 0.5, 1.0]))
    def pass_time(self, span: float) -> None:
        self.now += span

    @invariant()
    def the_counts_are_right(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert (self.queue.shed_full, self.queue.shed_late) == (self.refused, self.late)

    @invariant()
    def what_is_gone_stays_away(self) -> None:
        for job in self.gone[-3:]:
            assert not self.queue.discard(job)


TestAdmissionMachine = AdmissionMachine.TestCase


def test_exempt_before_quick_before_the_others() -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, TARGET)
    jobs = [
        Job(quick, exempt) for _ in range(2) for exempt in (False, True) for quick in (False, True)
    ]
    fill(queue, 0.0, *jobs)
    slow, quick, exempt = jobs[0::4], jobs[1::4], [jobs[2], jobs[3], jobs[6], jobs[7]]
    assert drain(queue, 0.0) == [id(each) for each in (*exempt, *quick, *slow)]
    assert queue.take(0.0) is None


def test_a_flood_of_quick_ones_lets_slow_ones_through() -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, 0.0)
    slow = [Job() for _ in range(3)]
    fill(queue, 0.0, *slow)
    order = []
    for turn in range(3 * (QUICK_IN_A_ROW + 1)):
        fill(queue, float(turn), Job(quick=True), Job(quick=True))
        order.append(queue.take(float(turn)))
    at = [index for index, each in enumerate(order) if each is not None and not each.quick]
    assert at == [(QUICK_IN_A_ROW + 1) * turn - 1 for turn in (1, 2, 3)]
    assert [id(order[index]) for index in at] == [id(each) for each in slow]


def test_at_the_limit_only_exempt_ones_come_in() -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(2, TARGET)
    fill(queue, 0.0, Job(), Job(quick=True))
    assert not queue.push(Job(), 0.0)
    assert not queue.push(Job(quick=True), 0.0)
    assert queue.push(Job(exempt=True), 0.0)
    assert (len(queue), queue.shed_full, queue.shed_late) == (3, 2, 0)
    queue.take(0.0)
    queue.take(0.0)
    assert queue.push(Job(), 0.0)


def test_stuck_threads_are_noticed_though_none_takes() -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, TARGET)
    jobs = [Job(), Job(quick=True), Job(exempt=True), Job()]
    for job, now in zip(jobs, (0.0, 0.125, 0.25, 0.75), strict=True):
        fill(queue, now, job)
    due = TARGET + queue.interval
    assert queue.next_look(0.0) == due
    assert queue.overdue(due - 0.125) == []
    assert [id(each) for each in queue.overdue(due)] == [id(jobs[0]), id(jobs[1])]
    assert queue.next_look(due) == 0.75 + TARGET, "there is overload: no further interval"
    assert [id(each) for each in queue.overdue(0.75 + TARGET)] == [id(jobs[3])]
    assert queue.next_look(due) == NEVER
    assert queue.overdue(1e9) == []
    assert queue.take(1e9) is jobs[2]


@pytest.mark.parametrize("wait", [0.125, 0.25, 0.375])
def test_one_short_wait_ends_the_overload(wait: float) -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, TARGET)
    jobs = [Job() for _ in range(3)]
    fill(queue, 0.0, jobs[0])
    fill(queue, 1.0, *jobs[1:])
    assert queue.overdue(1.0) == [jobs[0]]
    assert queue.take(1.0 + wait) is jobs[1]
    still = wait > TARGET / 2
    assert queue.next_look(1.0 + wait) == 1.0 + TARGET + (0.0 if still else queue.interval)


@pytest.mark.parametrize("ending", ["empty", "empty for an interval", "left by all clients"])
def test_an_empty_queue_ends_the_overload(ending: str) -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, TARGET)
    fill(queue, 0.0, Job())
    now = 1.0
    assert len(queue.overdue(now)) == 1
    now += queue.interval if ending == "empty for an interval" else 0.125
    if ending == "left by all clients":
        last = Job()
        fill(queue, now, last)
        assert queue.discard(last)
    fill(queue, now, Job())
    assert queue.next_look(now) - now == TARGET + (0.0 if ending == "empty" else queue.interval)


def test_quick_ones_that_overtake_dont_hide_that_others_stand() -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, TARGET)
    slow = [Job() for _ in range(3)]
    fill(queue, 0.0, *slow)
    now = 0.0
    while not (shed := queue.overdue(now)):
        now += 0.25
        fill(queue, now, Job(quick=True))
        taken = queue.take(now)
        assert taken is not None
        assert taken.quick
    assert now == TARGET + queue.interval
    assert [id(each) for each in shed] == [id(each) for each in slow]


def test_overload_that_only_takes_have_seen_is_overload() -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, TARGET)
    fill(queue, 0.0, Job())
    fill(queue, 0.625, Job())
    assert queue.take(TARGET + queue.interval) is not None
    assert queue.next_look(TARGET + queue.interval) == 0.625 + TARGET


def test_quick_ones_count_only_while_a_slow_one_waits() -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, TARGET)
    fill(queue, 0.0, *(Job(quick=True) for _ in range(QUICK_IN_A_ROW + 1)))
    for _ in range(QUICK_IN_A_ROW):
        queue.take(0.0)
    fill(queue, 0.0, Job())
    job = queue.take(0.0)
    assert job is not None
    assert job.quick


def test_clients_that_leave_put_overload_off() -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, TARGET)
    first, second, third = Job(), Job(), Job()
    fill(queue, 0.0, first)
    fill(queue, 0.5, second, third)
    assert queue.discard(first)
    assert not queue.discard(first)
    assert len(queue) == 2
    look = 0.5 + TARGET + queue.interval
    assert queue.next_look(0.75) == look
    assert [id(each) for each in queue.overdue(look)] == [id(second), id(third)]


def test_a_client_behind_the_oldest_that_leaves_changes_nothing() -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, TARGET)
    jobs = [Job() for _ in range(3)]
    fill(queue, 0.0, jobs[0])
    fill(queue, 0.25, *jobs[1:])
    assert queue.take(0.875) is jobs[0]
    assert queue.discard(jobs[2])
    assert queue.next_look(0.875) == TARGET + queue.interval, "all waited too long since 0.5"


def test_no_target_sheds_none() -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, 0.0)
    fill(queue, 0.0, Job(), Job(quick=True))
    assert queue.next_look(0.0) == NEVER
    assert queue.overdue(1e12) == []
    assert len(drain(queue, 1e12)) == 2


@dataclass
class Outcome:
    """What a simulation led to; times in seconds."""

    finished: int
    waits: list[float]
    shed: list[Job]
    left: int
    arrived: int


def simulate(
    queue: AdmissionQueue[Job],
    arrivals: list[tuple[float, Job]],
    threads: int,
    service: float,
    seed: int,
    look_every: float = 0.001,
) -> Outcome:
    """Run the arrivals on so many threads; services are exponential with the mean ``service``.

    As a loop with timers of a millisecond would, the looks are at multiples of ``look_every``.
    """
    print("seed", seed)
    rng = random.Random(seed)
    outcome = Outcome(0, [], [], 0, len(arrivals))
    busy: list[float] = []
    pending = list(reversed(arrivals))
    now, end = 0.0, arrivals[-1][0]
    while pending:
        look = queue.next_look(now)
        if look < NEVER:
            look = max(now, -(-look // look_every) * look_every)
        now = min(pending[-1][0], look, busy[0] if busy else NEVER)
        if look <= now:
            outcome.shed += queue.overdue(now)
        if pending[-1][0] <= now:
            queue.push(pending.pop()[1], now)
        while busy and busy[0] <= now:
            heapq.heappop(busy)
            outcome.finished += 1
        while len(busy) < threads and (job := queue.take(now)) is not None:
            outcome.waits.append(now - job.arrived)
            heapq.heappush(busy, now + rng.expovariate(1.0 / service))
    outcome.left = len(queue)
    assert now == end
    return outcome


def poisson(rate: float, span: float, seed: int, quick: float = 0.0) -> list[tuple[float, Job]]:
    """Arrivals at ``rate`` per second for ``span`` seconds; a share of them quick, 1 % exempt."""
    rng = random.Random(seed)
    arrivals = []
    now = rng.expovariate(rate)
    while now < span:
        arrivals.append((now, Job(rng.random() < quick, rng.random() < 0.01)))
        now += rng.expovariate(rate)
    return arrivals


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


@pytest.mark.parametrize("quick", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("load", [1.5, 2.0, 4.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_overload_costs_neither_time_nor_goodput(seed: int, load: float, quick: float) -> None:
    threads, service, target, span = 8, 0.01, 0.1, 10.0
    queue: AdmissionQueue[Job] = AdmissionQueue(0, target)
    capacity = threads / service
    outcome = simulate(
        queue, poisson(load * capacity, span, seed, quick), threads, service, seed + 100
    )
    assert outcome.finished >= 0.9 * capacity * span
    assert percentile(outcome.waits, 0.99) <= 1.1 * target
    assert max(outcome.waits) <= target + queue.interval
    assert not any(each.exempt for each in outcome.shed)
    assert outcome.arrived == len(outcome.waits) + len(outcome.shed) + outcome.left


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_fits_is_not_shed(seed: int) -> None:
    threads, service = 8, 0.01
    queue: AdmissionQueue[Job] = AdmissionQueue(0, 0.1)
    outcome = simulate(
        queue, poisson(0.8 * threads / service, 10.0, seed), threads, service, seed + 100
    )
    assert outcome.shed == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_burst_that_drains_within_the_interval_is_not_shed(seed: int) -> None:
    """Bursts of 120 take 150 ms to drain: 1.5 times the target, 50 ms less than is overload."""
    threads, service, target = 8, 0.01, 0.1
    queue: AdmissionQueue[Job] = AdmissionQueue(0, target)
    arrivals = [(turn * 0.5, Job()) for turn in range(20) for _ in range(120)]
    outcome = simulate(queue, [*arrivals, (10.0, Job())], threads, service, seed)
    assert max(outcome.waits) > target, "the burst is too small to prove anything"
    assert outcome.shed == []


def test_without_shedding_overload_makes_everybody_late() -> None:
    """The control of the simulation: the same without a target."""
    queue: AdmissionQueue[Job] = AdmissionQueue(0, 0.0)
    outcome = simulate(queue, poisson(1600.0, 10.0, 1), 8, 0.01, 101)
    assert percentile(outcome.waits, 0.99) > 4.0


def test_service_recovers_when_the_overload_ends() -> None:
    queue: AdmissionQueue[Job] = AdmissionQueue(0, 0.1)
    heavy = poisson(2000.0, 3.0, 1)
    light = [(at + 3.0, job) for at, job in poisson(560.0, 7.0, 2)]
    outcome = simulate(queue, heavy + light, 8, 0.01, 3)
    assert outcome.shed
    assert max(each.arrived for each in outcome.shed) < 3.2
