"""A pool hands out buffers of a fixed capacity, last in first out, keeps a bounded number of bytes,
and with ``guard`` notices whoever breaks the contract; NullPool differs in nothing but keeping."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from poolhttp.bufpool import (
    FREED,
    KEEP_BITS,
    MIN_CLASS,
    BufferPool,
    NullPool,
    make_pool,
    size_class,
)

KIB = 1024


@pytest.mark.parametrize("bits", range(MIN_CLASS, KEEP_BITS + 4))
def test_size_class_at_its_boundaries(bits: int) -> None:
    exact = 1 << bits
    assert size_class(exact - 1) == bits
    assert size_class(exact) == bits
    assert size_class(exact + 1) == bits + 1


def test_nothing_is_below_the_smallest_class() -> None:
    assert [size_class(nbytes) for nbytes in (0, 1, 2, KIB - 1)] == [MIN_CLASS] * 4


@pytest.mark.parametrize("pool", [NullPool(), BufferPool(), BufferPool(guard=True)])
def test_a_buffer_has_the_capacity_of_its_class(pool: NullPool) -> None:
    for nbytes in (0, 1, KIB, KIB + 1, 65536, 65537):
        buffer = pool.acquire(nbytes)
        assert len(buffer) == 1 << size_class(nbytes)
        pool.release(buffer)
    assert pool.stats.in_use == 0


def test_last_in_first_out() -> None:
    pool = BufferPool()
    first, second = pool.acquire(KIB), pool.acquire(KIB)
    pool.release(first)
    pool.release(second)
    assert pool.acquire(KIB) is second
    assert pool.acquire(KIB) is first
    assert pool.stats.created == 2
    assert pool.stats.reused == 2


def test_classes_do_not_mix() -> None:
    pool = BufferPool()
    small = pool.acquire(KIB)
    pool.release(small)
    assert pool.acquire(KIB + 1) is not small


@pytest.mark.parametrize(("retain", "kept"), [(0, 0), (KIB - 1, 0), (KIB, 1), (3 * KIB - 1, 2)])
def test_what_is_kept_is_bounded_by_bytes(retain: int, kept: int) -> None:
    pool = BufferPool(retain)
    buffers = [pool.acquire(KIB) for _ in range(4)]
    for buffer in buffers:
        pool.release(buffer)
    assert pool.stats.retained == kept * KIB
    assert pool.stats.dropped == 4 - kept


def test_beyond_64_kib_nothing_is_kept() -> None:
    """golang/go 23199: one huge request must not make the pool fat for ever."""
    pool = BufferPool()
    largest, beyond = pool.acquire(65536), pool.acquire(65537)
    pool.release(largest)
    pool.release(beyond)
    assert pool.stats.retained == 65536
    assert pool.stats.dropped == 1
    assert pool.acquire(65537) is not beyond


def test_trim_drops_what_is_kept() -> None:
    pool = BufferPool()
    buffer = pool.acquire(KIB)
    pool.release(buffer)
    pool.trim()
    assert pool.stats.retained == 0
    assert pool.stats.dropped == 1
    assert pool.acquire(KIB) is not buffer


def test_guard_makes_use_after_release_visible() -> None:
    pool = BufferPool(guard=True)
    buffer = pool.acquire(KIB)
    buffer[:5] = b"hello"
    view = memoryview(buffer)
    pool.release(buffer)
    assert view == bytes((FREED,)) * KIB
    assert FREED == 0xDD


def test_without_guard_nothing_is_filled() -> None:
    pool = BufferPool()
    buffer = pool.acquire(KIB)
    buffer[:5] = b"hello"
    pool.release(buffer)
    assert buffer[:5] == b"hello"


def test_guard_refuses_a_double_release() -> None:
    pool = BufferPool(guard=True)
    buffer, other = pool.acquire(KIB), pool.acquire(KIB)
    pool.release(buffer)
    pool.release(other)
    with pytest.raises(AssertionError, match=r"BUG: .*twice"):
        pool.release(buffer)


@pytest.mark.parametrize("change", [b"x", b"x" * KIB])
def test_guard_refuses_a_changed_capacity(change: bytes) -> None:
    pool = BufferPool(guard=True)
    buffer = pool.acquire(KIB)
    buffer.extend(change[:-1])
    del buffer[: len(change) - 1]
    buffer.append(0)
    with pytest.raises(AssertionError, match=r"BUG: .*capacity"):
        pool.release(buffer)


def test_null_pool_keeps_nothing() -> None:
    pool = NullPool()
    buffer = pool.acquire(KIB)
    pool.release(buffer)
    pool.trim()
    assert pool.acquire(KIB) is not buffer
    assert pool.stats.created == 2
    assert pool.stats.dropped == 1
    assert pool.stats.retained == 0


def test_both_pools_have_the_same_methods() -> None:
    def methods(kind: type[NullPool]) -> dict[str, inspect.Signature]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: inspect.signature(each) for name, each in found if name[0] != "_"}

    assert methods(NullPool) == methods(BufferPool)


def test_the_setting_names_the_pool() -> None:
    assert type(make_pool("pooled")) is BufferPool
    assert type(make_pool("unpooled")) is NullPool


class PoolMachine(RuleBasedStateMachine):
    """Owners come and go: no buffer has two of them, and the counters tell the truth."""

    RETAIN = 40 * KIB
    held: Bundle[bytearray] = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.pool = BufferPool(self.RETAIN, guard=True)
        self.owned: list[bytearray] = []
        self.released: list[bytearray] = []

    @rule(target=held, nbytes=st.integers(0, 80 * KIB))
    def acquire(self, nbytes: int) -> bytearray:
        buffer = self.pool.acquire(nbytes)
        assert len(buffer) == 1 << size_class(nbytes)
        assert all(buffer is not each for each in self.owned)
        self.released = [each for each in self.released if each is not buffer]
        self.owned.append(buffer)
        buffer[:] = b"\x11" * len(buffer)
        return buffer

    @rule(buffer=consumes(held))
    def release(self, buffer: bytearray) -> None:
        dropped = self.pool.stats.dropped
        self.pool.release(buffer)
        self.owned = [each for each in self.owned if each is not buffer]
        if self.pool.stats.dropped == dropped:
            self.released.append(buffer)
            assert buffer.count(FREED) == len(buffer)

    @precondition(lambda self: self.released)
    @rule(data=st.data())
    def release_twice(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.released) - 1))
        with pytest.raises(AssertionError, match="twice"):
            self.pool.release(self.released[index])

    @rule()
    def trim(self) -> None:
        self.pool.trim()
        self.released.clear()

    @invariant()
    def owners_see_their_bytes(self) -> None:
        assert all(each.count(0x11) == len(each) for each in self.owned)

    @invariant()
    def counters_are_true(self) -> None:
        stats = self.pool.stats
        assert stats.in_use == len(self.owned)
        assert stats.retained == sum(map(len, self.released)) <= self.RETAIN
        assert stats.created == len(self.owned) + len(self.released) + stats.dropped


TestPoolMachine = PoolMachine.TestCase
