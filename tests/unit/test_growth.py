"""Growth: threads come when they would help, go when they don't, and otherwise nothing moves."""

from __future__ import annotations

import heapq
import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhttp.growth import CPU_BOUND, PERIOD, SHRINK_LOOKS, SHRINK_PERIOD, STALL, Growth


class Script:
    """A clock, a CPU and a number of threads that does what is decided."""

    def __init__(self, least: int, most: int, threads: int = 0) -> None:
        self.growth = Growth(least, most)
        self.threads = threads
        self.now = 1000.0
        self.cpu = 5.0

    def look(self, after: float, *, idle: int = 0, waiting: int = 0, share: float = 0.1) -> int:
        """Look ``after`` seconds in which the process used ``share`` of a core."""
        self.now += after
        self.cpu += after * share
        change = self.growth.decide(
            self.now, threads=self.threads, idle=idle, waiting=waiting, cpu=self.cpu
        )
        self.threads += change
        return change

    def calm(self, idle: int, times: int = SHRINK_LOOKS) -> int:
        return sum(self.look(SHRINK_PERIOD, idle=idle) for _ in range(times))


def test_the_first_thread_comes_at_once() -> None:
    assert Script(0, 8).look(0.0, waiting=1) == 1
    assert Script(0, 8).look(0.0, waiting=50, share=1.0) == 1
    assert Script(0, 8).look(0.0) == 0


def test_what_is_missing_of_the_least_comes_at_once() -> None:
    assert Script(3, 8).look(0.0) == 3
    assert Script(3, 8, threads=2).look(0.0, waiting=5, share=1.0) == 1
    assert Script(3, 8, threads=10).look(0.0, idle=0) == -2


def test_two_looks_a_period_apart_are_needed() -> None:
    script = Script(1, 100, threads=4)
    assert script.look(1.0, waiting=9) == 0
    assert script.look(PERIOD / 2, waiting=9) == 0
    assert script.look(PERIOD / 4, waiting=9) == 0
    assert script.look(PERIOD / 2, waiting=9) == 4
    assert script.look(PERIOD / 2, waiting=9) == 0
    assert script.look(PERIOD, waiting=3) == 3


def test_a_look_at_which_none_waits_breaks_the_row() -> None:
    script = Script(1, 100, threads=4)
    for _ in range(10):
        assert script.look(PERIOD, waiting=9) == 0
        assert script.look(PERIOD, idle=1, waiting=1) == 0, "an idle thread will take it"


def test_from_2_to_64_in_less_than_50_ms() -> None:
    script = Script(2, 64, threads=2)
    start = script.now
    while script.threads < 64:
        script.look(PERIOD * 1.01, waiting=500)
    assert script.now - start <= 0.05
    assert script.look(PERIOD * 2, waiting=500) == 0


@pytest.mark.parametrize(("share", "grows"), [(CPU_BOUND - 0.05, True), (CPU_BOUND + 0.05, False)])
def test_a_process_that_computes_gets_no_more(share: float, grows: bool) -> None:
    script = Script(1, 64, threads=2)
    for _ in range(20):
        script.look(PERIOD * 1.01, waiting=100, share=share)
    assert (script.threads > 2) is grows


def test_a_stall_is_no_row_but_slow_looks_are() -> None:
    script = Script(1, 64, threads=2)
    script.look(1.0, waiting=1)
    assert script.look(STALL * 5, waiting=100) == 0
    assert script.look(PERIOD * 1.01, waiting=100) == 2
    assert script.look(STALL * 5, waiting=100) == 0
    assert script.look(STALL * 5, waiting=100) == 4
    script = Script(1, 64, threads=2)
    script.look(1.0, waiting=1)
    script.look(STALL * 5, waiting=1)
    script.look(PERIOD, idle=1)
    script.look(PERIOD, waiting=1)
    assert script.look(STALL * 5, waiting=100) == 0, "the stall before is forgotten"


def test_idle_threads_count_for_those_that_wait() -> None:
    script = Script(1, 64, threads=10)
    script.look(1.0, idle=3, waiting=5)
    assert script.look(PERIOD * 1.01, idle=3, waiting=5) == 2


def test_half_of_what_was_never_used_goes() -> None:
    script = Script(2, 64, threads=20)
    assert script.look(1.0, idle=15) == 0
    assert script.look(SHRINK_PERIOD / 2, idle=9) == 0
    assert script.look(SHRINK_PERIOD / 2, idle=15) == 0
    assert script.look(SHRINK_PERIOD, idle=15) == -4, "9 idle at the least, one spare, half of 8"


def test_shrinking_stops_at_the_least_and_at_a_spare_one() -> None:
    script = Script(5, 64, threads=40)
    for _ in range(20):
        script.calm(script.threads)
    assert script.threads == 5
    script = Script(0, 64, threads=40)
    for _ in range(20):
        script.calm(script.threads)
    assert script.threads == 1


@pytest.mark.parametrize("event", [{"idle": 1}, {"idle": 9, "waiting": 1}, {"waiting": 1}])
def test_use_of_the_idle_ones_begins_the_row_anew(event: dict[str, int]) -> None:
    script = Script(1, 64, threads=10)
    for _ in range(5):
        assert script.calm(9, times=SHRINK_LOOKS - 1) == 0
        assert script.look(SHRINK_PERIOD / 8, **event) == 0


def test_a_long_gap_is_one_look() -> None:
    script = Script(1, 64, threads=10)
    assert script.look(1.0, idle=9) == 0
    assert script.look(1e6, idle=9) == 0
    assert script.look(SHRINK_PERIOD, idle=9) == -4


@pytest.mark.parametrize(("least", "most"), [(-1, 4), (5, 4), (0, 0)])
def test_bounds_that_make_no_sense_are_refused(least: int, most: int) -> None:
    with pytest.raises(ValueError, match="least"):
        Growth(least, most)


BOUNDS = st.tuples(st.integers(0, 20), st.integers(1, 200)).map(lambda two: (min(two), max(two)))
SPANS = st.sampled_from([0.0, PERIOD / 3, PERIOD, 2 * PERIOD, STALL * 2, SHRINK_PERIOD, 3.5, 1e5])


@given(
    BOUNDS,
    st.lists(st.tuples(SPANS, st.floats(0, 1), st.integers(0, 400), st.floats(0, 8)), max_size=80),
)
def test_the_number_stays_within_its_bounds(
    bounds: tuple[int, int], looks: list[tuple[float, float, int, float]]
) -> None:
    script = Script(*bounds)
    for after, idle, waiting, share in looks:
        before, idle_threads = script.threads, int(idle * script.threads)
        change = script.look(after, idle=idle_threads, waiting=waiting, share=share)
        assert bounds[0] <= script.threads <= bounds[1]
        assert -change < max(idle_threads, 1), "a thread in use, or the spare one, was retired"
        assert change <= max(before, bounds[0] - before, 1)
        if before >= bounds[0] and before:
            assert change <= max(waiting - idle_threads, 0)


@given(
    st.integers(1, 20),
    st.lists(
        st.tuples(SPANS.filter(bool), st.integers(0, 400), st.floats(CPU_BOUND + 0.01, 8)),
        max_size=50,
    ),
)
def test_a_process_that_computes_never_grows(
    threads: int, looks: list[tuple[float, int, float]]
) -> None:
    script = Script(0, 100, threads=threads)
    for after, waiting, share in looks:
        assert script.look(after, waiting=waiting, share=share) <= 0


@given(BOUNDS, st.integers(0, 200), st.integers(0, 300), st.randoms(use_true_random=False))
def test_a_constant_load_leads_to_a_constant_number(
    bounds: tuple[int, int], begin: int, load: int, rng: random.Random
) -> None:
    """``load`` requests are under way at any time; the looks are irregular."""
    least, most = bounds
    script = Script(least, most, threads=min(max(begin, least), most))
    seen = []
    for _ in range(120):
        busy = min(load, script.threads)
        waiting = load - busy
        period = PERIOD if waiting else SHRINK_PERIOD
        script.look(period * rng.uniform(0.8, 1.5), idle=script.threads - busy, waiting=waiting)
        seen.append(script.threads)
    assert len(set(seen[-30:])) == 1
    assert min(max(load, least), most) <= seen[-1] <= max(least, load + 1)


class Surge:
    """Requests come at a rate that changes; each keeps a thread for 2 to 8 ms without computing."""

    START = 0.001
    """Seconds until a started thread takes its first request."""

    CPU = 50e-6
    """CPU seconds of the server per request: at 12,000 a second, 0.6 of a core."""

    def __init__(self, least: int, most: int, seed: int) -> None:
        print("seed", seed)
        self.growth = Growth(least, most)
        self.rng = random.Random(seed)
        self.now = self.cpu = self.looked = 0.0
        self.next_look = 0.0
        self.threads = self.idle = self.starting = 0
        self.queue: deque[float] = deque()
        self.ends: list[tuple[float, bool]] = []
        self.waits: list[tuple[float, float]] = []
        self.numbers: list[tuple[float, int]] = []

    def run(self, rate: float, span: float) -> None:
        end = self.now + span
        arrival = self.now + self.rng.expovariate(rate)
        while self.now < end:
            self.now = min(arrival, self.next_look, self.ends[0][0] if self.ends else end, end)
            if self.now == arrival:
                arrival += self.rng.expovariate(rate)
                self.queue.append(self.now)
            while self.ends and self.ends[0][0] <= self.now:
                self.starting -= heapq.heappop(self.ends)[1]
                self.idle += 1
            if self.queue and not self.idle:
                self.next_look = min(self.next_look, max(self.now, self.looked + PERIOD))
            while self.queue and self.idle:
                self._serve()
            if self.next_look <= self.now:
                self._look()

    def _serve(self) -> None:
        self.waits.append((self.now, self.now - self.queue.popleft()))
        self.idle -= 1
        self.cpu += self.CPU
        heapq.heappush(self.ends, (self.now + self.rng.uniform(0.002, 0.008), False))

    def _look(self) -> None:
        change = self.growth.decide(
            self.now,
            threads=self.threads,
            idle=self.idle + self.starting,
            waiting=len(self.queue),
            cpu=self.cpu,
        )
        self.threads += change
        for _ in range(change):
            self.starting += 1
            heapq.heappush(self.ends, (self.now + self.START, True))
        self.idle += min(change, 0)
        self.numbers.append((self.now, self.threads))
        self.looked = self.now
        self.next_look = self.now + (PERIOD if self.queue else SHRINK_PERIOD)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_surge_is_over_within_half_a_second(seed: int) -> None:
    surge = Surge(2, 128, seed)
    surge.run(2000.0, 3.0)
    before = surge.threads
    surge.run(12000.0, 2.0)
    late = [at for at, wait in surge.waits if at > 3.0 and wait > PERIOD]
    print("threads", before, surge.threads, "recovered", max(late, default=3.0) - 3.0)
    assert before < 60, "all the threads were there already"
    assert max(late, default=3.0) <= 3.5
    assert 60 <= surge.threads <= 128


def test_threads_go_after_a_surge_and_the_rest_suffices() -> None:
    surge = Surge(2, 128, 5)
    surge.run(12000.0, 1.0)
    high = surge.threads
    surge.run(1000.0, 30.0)
    assert surge.threads < high / 2
    waits = sorted(wait for at, wait in surge.waits if at > 2.0)
    assert waits[int(0.99 * len(waits))] <= PERIOD
