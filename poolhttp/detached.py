"""A response whose app runs apart from the loop: what its thread and the loop both touch.

Lives here: the only lock between an app thread and a connection. Must not live here: threads and
who gets one (``crew``), states (``transport``).

The descriptor is used under the lock, and not at all once :meth:`Detached.lose` has been called, so
the loop may close it then.

The thread writes itself, once and without blocking, as long as nothing waits for the socket; what
the socket does not take is the loop's to write, in the order in which it was sent.
"""

from __future__ import annotations

import errno
import threading
import time
from enum import IntEnum
from typing import Any, Protocol

from poolhttp.inbox import Inbox
from poolhttp.outbox import Outbox
from poolhttp.sendfile import Buffer, unacknowledged, write


class Phase(IntEnum):
    """Who is at it."""

    WAITING = 0
    """It waits for a thread."""
    RUNNING = 1
    """A thread calls the app."""
    RETURNED = 2
    """The thread has done its part, and the loop hasn't taken notice."""


class Owner(Protocol):
    """The connection, seen from here."""

    fd: int

    @property
    def inbox(self) -> Inbox:
        """The way into the loop."""

    @property
    def loop_waits(self) -> bool:
        """Whether the loop must be woken to see what is posted."""

    def on_claimed(self) -> None:
        """The app is about to be called; on its thread, under the lock."""

    def on_backlog(self) -> None:
        """Bytes wait for the socket; on the thread of the loop."""

    def on_reply(self) -> None:
        """The thread has done its part; on the thread of the loop."""

    def wants_reply(self) -> bool:
        """Whether the loop must come to the reply at once."""

    def shed(self) -> None:
        """Refuse the request."""

    def recall(self) -> None:
        """Call the app on the thread of the loop after all."""

    def give_up(self) -> bool:
        """Answer without the app; False: it is just done."""


class Detached:
    """A job for an app thread, and the sink of its response.

    Args:
        owner: the connection.
        response: whose app is to be called.
        outbox: bytes of earlier responses that wait for the socket.
        write_timeout: seconds in which the peer must take something, None: any time.

    Attributes:
        arrived: when it began to wait for a thread (monotonic seconds).
        exempt, quick: how it waits; see :class:`poolhttp.admission.Waiting`.
        slot: the predictor's slot of its route.
        active: when its thread last made progress (monotonic seconds).
        phase: who is at it.
        small: head and body of a response that the loop is to send, with others.
    """

    def __init__(
        self, owner: Owner, response: Any, outbox: Outbox | None, write_timeout: float | None
    ) -> None:
        self.owner = owner
        self.response = response
        self.outbox = outbox
        self.arrived = self.active = 0.0
        self.exempt = self.quick = False
        self.phase = Phase.WAITING
        self.small: tuple[bytes, bytes] | None = None
        self.slot = 0
        self._fd = owner.fd
        self._timeout = write_timeout
        self._lost = False
        self._lost_to_loop = False
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)

    @classmethod
    def of_nobody(cls, owner: Owner, response: Any) -> None:
        """Give a response whose connection is closed a sink that takes nothing."""
        response.sink = nobody = cls(owner, response, None, None)
        nobody.phase = Phase.RUNNING
        nobody._lost = nobody._lost_to_loop = True

    # The thread's side

    def claim(self) -> bool:
        """Take it as a job; False if nobody waits for the response any more."""
        with self._lock:
            if self._lost:
                return False
            self.owner.on_claimed()
            self.phase = Phase.RUNNING
        return True

    @property
    def backlog(self) -> int:
        """Bytes that wait for the socket."""
        outbox = self.outbox
        return outbox.nbytes if outbox is not None else 0

    @property
    def broken(self) -> bool:
        """The peer is gone."""
        return self._lost

    def send(self, buffers: list[Buffer], nbytes: int) -> None:
        """Write now what the socket takes and keep the rest.

        Raises:
            OSError: the peer is gone.
        """
        self.active = time.monotonic()
        with self._lock:
            if self._lost:
                raise ConnectionResetError(errno.ECONNRESET, "the client has left")
            if self.outbox is not None and self.outbox.nbytes:
                self.outbox.extend(buffers)
                return
            try:
                taken = write(self._fd, buffers)
            except OSError:
                self._lost = True
                raise
            if taken == nbytes:
                return
            if self.outbox is None:
                self.outbox = Outbox()
            self.outbox.extend(buffers, taken)
        self.owner.inbox.post(self.owner.on_backlog, wake=True)

    def drain(self, limit: int) -> None:
        """Block until at most ``limit`` bytes wait for the socket.

        Raises:
            TimeoutError: the peer takes nothing for ``write_timeout``.
            ConnectionError: the peer is gone.
        """
        left = -1
        with self._lock:
            while not self._lost and self.backlog > limit:
                if self._room.wait(self._timeout):
                    continue
                if self.broken:
                    break
                # Nothing was written, but the kernel's own buffer is large: did that shrink?
                before, left = left, unacknowledged(self._fd)
                if left == before:
                    self._lost = True
                    raise TimeoutError("a client takes nothing of its response")
            if self._lost:
                raise ConnectionResetError(errno.ECONNRESET, "the client has left")
        self.active = time.monotonic()

    def pump_later(self) -> None:
        """Only the loop pumps."""
        raise AssertionError("BUG: pumped apart from the loop")

    def finish(self, small: tuple[bytes, bytes] | None = None) -> bool:
        """The thread's part is done: the response, and the descriptor, are the loop's again.

        Args:
            small: head and body of a response of which nothing has been sent. While the loop waits
                it is sent from here, which takes no wake-up; if it doesn't, the loop will send it
                with others before it waits, which takes this thread no system call.

        Returns:
            False if nobody takes the response any more; what is left of it is the caller's to end.
        """
        owner = self.owner
        inbox = owner.inbox
        if small is not None:
            if owner.loop_waits:
                self._send_small(small)
            else:
                self.small = small
        with self._lock:
            self.phase = Phase.RETURNED
            if self._lost_to_loop:
                return False
        # Posted first: what the loop hears of the client from now on, it handles behind the reply.
        if inbox.post(owner.on_reply, wake=False) and (
            owner.wants_reply() or (self.small is not None and owner.loop_waits)
        ):
            inbox.wake()
        return True

    def _send_small(self, small: tuple[bytes, bytes]) -> None:
        try:
            self.send([*small], len(small[0]) + len(small[1]))
        except OSError:
            # The client has left; the loop will hear of it, too.
            self.response.failed = True

    # The loop's side

    def write_out(self) -> bool:
        """Write what waits as far as the socket takes it; return whether nothing is left.

        Raises:
            OSError: the peer is gone.
        """
        with self._lock:
            outbox = self.outbox
            while outbox is not None and outbox.nbytes:
                if not outbox.write_to(self._fd):
                    return False
                self._room.notify_all()
            return True

    def lose(self) -> Phase:
        """Nobody wants the response any more: its next byte is an error for the app, and the
        descriptor is the loop's alone.

        Returns:
            Who was at it.
        """
        with self._lock:
            self._lost = self._lost_to_loop = True
            self._room.notify_all()
            return self.phase
