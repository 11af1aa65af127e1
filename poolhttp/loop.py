"""The edge-triggered loop: knows descriptors, buffers of a turn and time; no HTTP.

A **turn** is one native call without the GIL (send what was collected, close what is done, wait,
receive into the read slab) and then, in Python: sends that came short, clients, new connections,
deferred work, deadlines.

Facts about epoll(7), and what follows:

1. An edge comes once. So readiness is remembered in ``interest`` and only EAGAIN clears it; each
   descriptor is registered once, for everything, and never modified.
2. A short read means "drained", unless the peer has shut down: a FIN behind the data makes no
   second edge. The native side marks such a result PH_MORE, and the descriptor is deferred.
3. One receive per connection and turn is the budget. What is left is deferred by hand, since the
   kernel won't remind us; a turn with deferred work doesn't wait.
4. EPOLLERR and EPOLLHUP mean "try": the system call tells the error, on one path.
5. A closed number may be reused by the next accept while events of its old owner are under way. So
   closing is left to a flush, and each event carries the generation of its descriptor.
6. An epoll object is shared over fork: the loop is made in the process that runs it.
7. A signal ends a turn early, so that Python's handler runs.
8. Listeners are level-triggered and EPOLLEXCLUSIVE: an edge-triggered one would strand connections.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Iterator
from threading import get_ident

from poolhttp._native import lib
from poolhttp.bufpool import NullPool
from poolhttp.callwatch import CallWatch
from poolhttp.collector import Collector
from poolhttp.handler import Handler
from poolhttp.inbox import Inbox
from poolhttp.timers import Clock, DeadlineQueue, Waiter
from poolhttp.turnmemory import COUNTERS, MAX_EVENTS, PEER_KEY, PEER_SIZE, TurnMemory

READ = lib.PH_READ
WRITE = lib.PH_WRITE
READY = lib.PH_READY
_NOTIFY = lib.PH_NOTIFY
_MORE = lib.PH_MORE
_WRITABLE = lib.PH_WRITABLE
_READABLE = lib.PH_READABLE
_ACCEPTED = lib.PH_ACCEPTED
_LISTEN = lib.PH_LISTEN

ACCEPT_BATCH = 64
"""Connections accepted in one turn: a flood of them must not starve those that are open."""

STALL = 0.1
"""Seconds that a turn's handlers may take before the peers' deadlines are moved by them."""

MAX_WAIT = 1.0
"""Seconds: the longest sleep, since a library may have stolen the signal wake-up descriptor."""

_NO_RUNS: list[int] = []


def _raise(_handler: object) -> None:
    raise


class Loop(Collector):
    """One epoll instance, its slabs and the handlers of its descriptors, indexed by fd.

    Args:
        pool: gives the read slab's storage.

    Raises:
        OSError: no descriptor or memory is left.
    """

    def __init__(self, pool: NullPool) -> None:
        self._pool = pool
        self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._memory = memory = TurnMemory(pool, self._epoll.fileno())
        super().__init__(memory)
        self._slots = memory.slots
        self._events = memory.event_view
        self.notifiers: dict[int, Callable[[], None]] = {}
        self.on_accepted: Callable[[int, int], None] = lambda fd, index: self.close(fd)
        """Called with an accepted descriptor and the index for ``peer``; calls ``add_client``."""
        self.accept_room = 0
        """Connections that may still be accepted."""
        self.queues: list[DeadlineQueue] = []
        self.clock = Clock()
        self.calls = CallWatch(self._native)
        self.inbox = Inbox()
        self._watch(self.inbox.fd, select.EPOLLIN | select.EPOLLET, _NOTIFY)
        self.before_wait: Callable[[], None] | None = None
        """Called at the start of each turn, for what is done once for many requests."""
        self.on_failure: Callable[[object], None] = _raise
        """Called in the except clause for an exception of a handler, with the handler or None."""
        self.after_wait: Callable[[], None] | None = None
        """Called when a turn has waited, before any handler is."""
        self.next_deadline = float("inf")
        self.owner = 0
        """Identity of the thread that may run turns; 0: nobody cares."""
        self._pending: Iterator[tuple[int, int, int]] = iter(())
        self._deferred: deque[int] = deque()
        self._soon: deque[Callable[[], None]] = deque()

    # Registering

    def add_client(self, fd: int, handler: Handler) -> None:
        """Let ``handler`` have the events of an accepted descriptor."""
        if fd >= len(self.handlers):
            self.handlers.extend([None] * (fd + 1 - len(self.handlers)))
        self.handlers[fd] = handler

    def add_listener(self, fd: int, on_error: Callable[[], None]) -> None:
        """Accept from ``fd``: ``on_accepted(fd, index)`` is called for each connection, and
        ``on_error()`` if that can't be gone on with (``accept_error`` says why)."""
        self._watch(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE, _LISTEN)
        self.notifiers[fd] = on_error

    def add_notifier(self, fd: int, on_ready: Callable[[], None]) -> None:
        """Call ``on_ready()`` while a pipe or eventfd is readable; it must read it."""
        self._watch(fd, select.EPOLLIN, _NOTIFY)
        self.notifiers[fd] = on_ready

    def remove(self, fd: int) -> None:
        """Forget a listener or notifier."""
        lib.ph_unwatch(self._native, fd)
        self.notifiers.pop(fd, None)

    def _watch(self, fd: int, events: int, interest: int) -> None:
        error = lib.ph_watch(self._native, fd, interest, events)
        if error < 0:
            raise OSError(-error, f"epoll_ctl on descriptor {fd}")

    def peer(self, index: int) -> tuple[bytes, int]:
        """Return who was accepted: a key (listener, address family and address, the first 24 bytes
        of a ``ph_peer``) and the port."""
        memory = self._memory
        at = index * PEER_SIZE
        return memory.peers[at : at + PEER_KEY], memory.ports[(at + PEER_KEY) >> 1]

    # Ending

    def shutdown_write(self, fd: int) -> None:
        """Send FIN; what comes is still received. An error shows at the next receive."""
        lib.ph_shutdown_write(fd)

    def reset_on_close(self, fd: int) -> None:
        """Let the descriptor's close send RST, so that the peer can't take it for an end."""
        lib.ph_reset_on_close(fd)

    # Readiness

    def pause(self, fd: int) -> None:
        """Don't receive for ``fd``; an edge meanwhile is remembered (this is back-pressure)."""
        self.interest[fd] &= ~READ

    def resume(self, fd: int) -> None:
        """Receive for ``fd`` again, at once if an edge was remembered."""
        interest = self.interest[fd]
        if interest & READY:
            self._deferred.append(fd)
        self.interest[fd] = (interest | READ) & ~READY

    def watch_writable(self, fd: int, wanted: bool) -> None:
        """Have ``on_writable`` called at the next edge, or not."""
        if wanted:
            self.interest[fd] |= WRITE
        else:
            self.interest[fd] &= ~WRITE

    def call_soon(self, work: Callable[[], None]) -> None:
        """Call ``work()`` once in the next turn, which then doesn't wait."""
        self._soon.append(work)

    def wait_in(self, queue: DeadlineQueue, handler: Waiter) -> None:
        """Start ``handler``'s wait in one of ``queues``."""
        queue.enter(handler, self.clock.now)
        self.next_deadline = min(self.next_deadline, handler.deadline)

    # The turn

    def turn(self, max_wait: float = MAX_WAIT) -> None:
        """Send, wait at most ``max_wait`` seconds, receive, and call the handlers.

        Raises:
            OSError: epoll_wait failed.
        """
        assert self.owner in (0, get_ident()), "BUG: two threads run the loop"
        if self.before_wait is not None:
            self.before_wait()
        clock = self.clock
        before = clock.now
        clock.tick()
        if clock.now - before > STALL:
            self._forgive(clock.now - before)
        if self.inbox.work:
            self._run(self.inbox.work)
        if self._deferred or self._soon or (self._closing and self.accept_room <= 0):
            # The last: somebody may wait to be accepted in the place of whoever is closed.
            wait_ms = 0
        else:
            # Rounded up, so that nothing spins.
            wait_ms = int(1000 * min(max_wait, self.next_deadline - clock.now)) + 1
        runs, data = self._take_out() if self.out_runs else (_NO_RUNS, b"")
        self.calls.in_turn[0] = 1
        if self.inbox.work:
            # From here on whoever posts wakes the loop; this one may have come just before.
            wait_ms = 0
        count = lib.ph_turn(
            self._native,
            data,
            len(runs) // 3,
            self._take_deferred() if self._deferred else 0,
            wait_ms if wait_ms > 0 else 0,
            self.accept_room if self.accept_room < ACCEPT_BATCH else ACCEPT_BATCH,
        )
        clock.tick()
        if self.after_wait is not None:
            self.after_wait()
        if runs:
            self._after_flush(runs, data)
        if count > 0:
            flat = iter(self._events[: 3 * count].tolist())
            self._pending = zip(flat, flat, flat, strict=False)
        elif count < 0:
            raise OSError(-count, "epoll_wait")
        self.go_on()

    def go_on(self) -> None:
        """Do what is left of the turn; by another thread, if its first one has lost the loop in
        the middle of it."""
        if self.inbox.work:
            # First: a response may have ended, and its connection's next request be here.
            self._run(self.inbox.work)
        self._dispatch()
        if self._soon:
            self._run(self._soon)
        if self.clock.now >= self.next_deadline:
            self._expire(self.clock.now)

    def _forgive(self, stalled: float) -> None:
        """Peers are not to blame for time in which the loop could not hear them."""
        for queue in self.queues:
            queue.postpone(stalled)
        self.next_deadline += stalled

    def _dispatch(self) -> None:
        handlers = self.handlers
        slots = self._slots
        for fd, result, offset in self._pending:
            try:
                if result > 0:
                    handler = handlers[fd]
                    if handler is None:
                        continue
                    if result < _MORE:
                        handler.on_data(slots[offset : offset + result])
                    else:
                        # There is more to receive, which a closing connection must know.
                        self.interest[fd] |= READY
                        handler.on_data(slots[offset : offset + (result - _MORE)])
                        if self.interest[fd] & READ:
                            self.resume(fd)
                elif result == _ACCEPTED:
                    self.on_accepted(fd, offset)
                elif result == _READABLE:
                    self._notify(fd)
                else:
                    self._handle_rest(fd, result)
            except Exception:
                self.on_failure(handlers[fd] if fd < len(handlers) else None)

    def _run(self, due: deque[Callable[[], None]]) -> None:
        for _ in range(len(due)):
            work = due.popleft()
            try:
                work()
            except Exception:
                self.on_failure(getattr(work, "__self__", None))

    def _expire(self, now: float) -> None:
        self.next_deadline = now  # Look again soon if somebody fails, who is out of its queue then.
        try:
            self.next_deadline = min(queue.expire(now) for queue in self.queues)
        except Exception:
            self.on_failure(None)

    def _handle_rest(self, fd: int, result: int) -> None:
        handler = self.handlers[fd]
        if handler is None:
            return
        if result == 0:
            handler.on_eof()
        elif result == _WRITABLE:
            handler.on_writable()
        else:
            handler.on_error(-result)

    def _notify(self, fd: int) -> None:
        on_ready = self.notifiers.get(fd)
        if on_ready is not None:
            on_ready()

    def _take_deferred(self) -> int:
        # Half of the events stay free for what epoll_wait reports, which may be two each.
        count = min(len(self._deferred), MAX_EVENTS // 2)
        for i in range(count):
            self._memory.deferred[i] = self._deferred.popleft()
        return count

    @property
    def accept_error(self) -> int:
        """The errno that ended the last accepting, or 0."""
        error: int = self._native.accept_error
        return error

    def stats(self) -> dict[str, int]:
        """Counters of the native side: turns and system calls since the start."""
        return {name: getattr(self._native, name) for name in COUNTERS}

    def shut(self) -> None:
        """Send and close what is left, and give the loop's own resources back."""
        for fd, result, _ in self._pending:
            if result == _ACCEPTED:
                self.close_unowned(fd)
        for work in self.inbox.shut():
            work()
        self.flush()
        if self.before_wait is not None:
            self.before_wait()
        self._epoll.close()
        self.calls.stop()
        del self._native, self._slots, self._events, self._out
        self._memory.release(self._pool)
