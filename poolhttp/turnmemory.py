"""The memory that Python and the native turn share.

Lives here: slabs and tables, their sizes, and the C struct that points to them. Must not live here:
what is done with them (``loop``, ``_native.c``).
"""

from __future__ import annotations

import array
import resource
from typing import Any

from poolhttp._native import ffi
from poolhttp.bufpool import NullPool

MAX_EVENTS = 256
"""Events of one turn; with SLOT it gives a slab of 4 MiB, of which only used pages are touched."""

SLOT = 16 * 1024
"""Bytes received from one connection in one turn; nearly all heads fit."""

MAX_RUNS = 4 * MAX_EVENTS
"""Runs of output in one turn: one for each event, and as many again before an early flush."""

MAX_TABLE = 1 << 20
"""Descriptors that the per-fd tables reach; 5 bytes each, of which the kernel maps what is used."""

COUNTERS = (
    "turns", "wait_calls", "recv_calls", "send_calls", "accept_calls", "ctl_calls", "close_calls",
    "stale_events", "watch_looks",
)  # fmt: skip
"""What the native side counts."""

PEER_SIZE = 28
PEER_KEY = 24
"""Bytes of a ``ph_peer``, and of its part before the port."""


class TurnMemory:
    """Allocates it all once.

    Args:
        pool: gives the read slab.
        epoll_fd: the epoll descriptor, for the struct.

    Attributes:
        native: the ``ph_loop``.
        slots: the read slab; a slice of it is a ``bytes`` copy.
        event_view: what a turn reports: fd, result, offset.
        out_view: what a flush is given: fd, nbytes, close; and what became of it.
        deferred: descriptors to receive from without an edge.
        interest: by fd, what a turn may do.
        peers, ports: who was accepted, as bytes and as 16-bit numbers.
    """

    def __init__(self, pool: NullPool, epoll_fd: int) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        size = MAX_TABLE if soft == resource.RLIM_INFINITY else min(soft, MAX_TABLE)
        self._slab = pool.acquire(MAX_EVENTS * SLOT)
        events = array.array("i", bytes(12 * MAX_EVENTS))
        out = array.array("i", bytes(12 * MAX_RUNS))
        peers = bytearray(PEER_SIZE * MAX_EVENTS)
        self.deferred = array.array("i", bytes(4 * MAX_EVENTS))
        self.interest = bytearray(size)
        pointers = {
            "read_slab": ffi.from_buffer("char[]", self._slab),
            "events": ffi.from_buffer("int32_t[]", events),
            "out": ffi.from_buffer("int32_t[]", out),
            "deferred": ffi.from_buffer("int32_t[]", self.deferred),
            "generation": ffi.new("uint32_t[]", size),
            "interest": ffi.from_buffer("uint8_t[]", self.interest),
            "peers": ffi.from_buffer("ph_peer[]", peers),
        }
        # A cffi struct doesn't own what it points to.
        self._owned: dict[str, Any] = pointers
        numbers = {
            "epoll_fd": epoll_fd,
            "max_events": MAX_EVENTS,
            "slot_size": SLOT,
            "table_size": size,
        }
        self.native = ffi.new("ph_loop *", {**numbers, **pointers})
        self.slots = ffi.buffer(pointers["read_slab"])
        self.event_view = memoryview(events)
        self.out_view = memoryview(out)
        self.peers = ffi.buffer(pointers["peers"])
        self.ports = memoryview(peers).cast("H")

    def release(self, pool: NullPool) -> None:
        """Give the slab back; nothing may be used afterwards."""
        del self.native, self.slots
        self._owned.clear()
        pool.release(self._slab)
