"""Hands out and takes back fixed-capacity buffers.

Lives here: :class:`BufferPool`, and :class:`NullPool` with the same methods, which always
allocates, so that pooled against unpooled is one argument. Must not live here: what the bytes mean.

Guarantees: a buffer has exactly the capacity of its size class for ever (``bytearray.clear()``
and ``del b[:]`` would free the storage and turn a pool into an allocator); last in, first out, so
that what is handed out is warm; at most ``retain`` bytes are kept; one owner at a time.
Assumes: the owner keeps no view of a buffer that it has released. With ``guard`` the pool fills
what it takes back with 0xDD and refuses to take it twice; the tests run so.

Worst waste: ``retain`` bytes that nobody needs, and, for a buffer in use, one byte less than half
of it, since classes are powers of two.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_CLASS = 10
"""Smallest class: 2**10 = 1 KiB; below it Python's own allocator is as quick."""

KEEP_BITS = 16
"""Largest class that is kept: 2**16 = 64 KiB, the rule of sync.Pool's users (golang/go 23199): one
huge request must not make the pool fat for ever."""

RETAIN = 4 * 1024 * 1024
"""Bytes that a pool may keep; arbitrary, about the read slab of a loop."""

FREED = 0xDD


def size_class(nbytes: int) -> int:
    """Return the exponent of the smallest power of two that holds ``nbytes``.

    >>> [size_class(n) for n in (0, 1024, 1025, 65536)]
    [10, 10, 11, 16]
    """
    return max(MIN_CLASS, (nbytes - 1).bit_length())


@dataclass
class PoolStats:
    """Counters since the start; ``retained`` and ``in_use`` are the state of now."""

    created: int = 0
    reused: int = 0
    dropped: int = 0
    in_use: int = 0
    retained: int = 0


class NullPool:
    """The four methods of a pool without the pool: every buffer is new and is left to the
    garbage collector when released."""

    def __init__(self) -> None:
        self.stats = PoolStats()

    def acquire(self, nbytes: int) -> bytearray:
        """Return a buffer of at least ``nbytes`` bytes; its content is undefined."""
        self.stats.created += 1
        self.stats.in_use += 1
        return bytearray(1 << size_class(nbytes))

    def release(self, buffer: bytearray) -> None:
        """Take back what :meth:`acquire` returned."""
        self.stats.in_use -= 1
        self.stats.dropped += 1

    def trim(self) -> None:
        """Drop everything that is kept."""


class BufferPool(NullPool):
    """Size classes of powers of two, each a LIFO free list, together bounded by bytes.

    Args:
        retain: bytes that may be kept free.
        guard: detect double release and make use after release visible.
    """

    def __init__(self, retain: int = RETAIN, *, guard: bool = False) -> None:
        super().__init__()
        self._retain = retain
        self._guard = guard
        self._free: list[list[bytearray]] = [[] for _ in range(KEEP_BITS + 1)]

    def acquire(self, nbytes: int) -> bytearray:
        """Return a buffer of at least ``nbytes`` bytes; its content is undefined."""
        bits = size_class(nbytes)
        if bits <= KEEP_BITS and self._free[bits]:
            buffer = self._free[bits].pop()
            self.stats.reused += 1
            self.stats.retained -= len(buffer)
            self.stats.in_use += 1
            return buffer
        return super().acquire(nbytes)

    def release(self, buffer: bytearray) -> None:
        """Take back what :meth:`acquire` returned.

        Raises:
            AssertionError: in guard mode, if it was released before or has changed its size.
        """
        bits = size_class(len(buffer))
        if self._guard:
            assert len(buffer) == 1 << bits, "BUG: a pooled buffer has changed its capacity"
            assert all(buffer is not other for other in self._free[min(bits, KEEP_BITS)]), (
                "BUG: a buffer was released twice"
            )
            buffer[:] = bytes((FREED,)) * len(buffer)
        if bits > KEEP_BITS or self.stats.retained + len(buffer) > self._retain:
            super().release(buffer)
            return
        self.stats.in_use -= 1
        self.stats.retained += len(buffer)
        self._free[bits].append(buffer)

    def trim(self) -> None:
        """Drop everything that is kept."""
        for free in self._free:
            self.stats.dropped += len(free)
            free.clear()
        self.stats.retained = 0


def make_pool(buffers: str, *, guard: bool = False) -> NullPool:
    """Return the pool that the setting ``buffers`` names: ``pooled`` or ``unpooled``."""
    return BufferPool(guard=guard) if buffers == "pooled" else NullPool()
