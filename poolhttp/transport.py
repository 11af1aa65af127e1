"""One client's socket: its state, the bytes on their way to it, and its end.

Lives here: the only place that changes a connection's state, writing with back-pressure, lingering,
closing. Must not live here: requests and the app (``connection``), system calls (``loop``,
``sendfile``).

Beside the state there are exactly these memories: ``keep_alive`` (only ever switched off),
``peer_eof`` (set once), and the kernel's readiness, which the loop's table holds.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from poolhttp.detached import Detached
from poolhttp.loop import READY
from poolhttp.outbox import Outbox
from poolhttp.response import error_response
from poolhttp.sendfile import IOV_MAX, Buffer, unacknowledged, write
from poolhttp.service import Profile, Service
from poolhttp.states import TRANSITIONS, Event, State
from poolhttp.timers import DeadlineQueue

if TYPE_CHECKING:
    from poolhttp.parser import RequestParser
    from poolhttp.wsgi import Response

LINGER_BYTES = 256 * 1024
"""Bytes discarded in LINGERING before the connection is cut all the same; arbitrary."""


# Looking up a member of an Enum costs more than a connection can spend on it.
_READING_HEAD = State.READING_HEAD
_CLOSED = State.CLOSED


class Transport(ABC):
    """What a connection is apart from its requests.

    Args:
        fd: the accepted descriptor, registered with the loop.
        service: what all connections share.
        profile: what the listener and the trust in this peer decide.
        address: the peer's address as text, '' for a unix socket.
        port: the peer's port as text.

    Attributes:
        parser: the parser of a request that has begun, if it needs one of its own.
        response: the response under way, unless it is just being made on the thread of the loop.
        detached: the response whose app runs apart from the loop, or waits for a thread.
        counted: bytes discarded in LINGERING; in WRITING, bytes that the peer had not acknowledged
            when the write timeout last looked.
    """

    __slots__ = (
        "address",
        "counted",
        "deadline",
        "detached",
        "fd",
        "input",
        "keep_alive",
        "outbox",
        "parser",
        "peer_eof",
        "port",
        "profile",
        "queue",
        "response",
        "service",
        "state",
    )

    def __init__(
        self, fd: int, service: Service, profile: Profile, address: str, port: str
    ) -> None:
        self.fd = fd
        self.service = service
        self.profile = profile
        self.address = address
        self.port = port
        self.state = _READING_HEAD
        self.queue: DeadlineQueue | None = None
        self.deadline = 0.0
        self.input = b""
        self.outbox: Outbox | None = None
        self.detached: Detached | None = None
        self.counted = 0
        self.keep_alive = True
        self.peer_eof = False
        # Those of the classes built on this one are set here: making a connection is a good part of
        # a request that has one for itself.
        self.parser: RequestParser | None = None
        self.response: Response | None = None

    def __repr__(self) -> str:
        peer = f"{self.address}:{self.port}" if self.address else "unix"
        return f"<Connection {self.fd} from {peer}, {self.state.name}>"

    # State

    def _enter(self, event: Event) -> None:
        following = TRANSITIONS[self.state].get(event)
        assert following is not None, f"BUG: {event.name} in {self!r}"
        self.state = following
        self._wait()

    def _wait(self) -> None:
        """Begin the deadline of the state."""
        if self.queue is not None:
            self.queue.leave(self)
        self.queue = self.service.queues[self.state]
        if self.queue is not None:
            self.service.loop.wait_in(self.queue, self)

    def _progress(self) -> None:
        """The peer did something: its deadline starts anew."""
        if self.queue is not None:
            self.deadline = self.service.loop.clock.now + self.queue.timeout

    # Writing

    def send(self, buffers: list[Buffer], nbytes: int) -> None:
        """Write now what the socket takes and keep the rest.

        Raises:
            ConnectionError: the peer is gone; the connection is closed.
        """
        if self.state is _CLOSED:
            raise ConnectionResetError(errno.ECONNRESET, "the client has left")
        loop = self.service.loop
        if loop.out_runs:
            # What was collected for this connection must not be overtaken.
            loop.flush()
        if self.outbox is not None:
            self.outbox.extend(buffers)
            return
        try:
            taken = write(self.fd, buffers)
        except OSError:
            self._lose()
            raise
        if taken < nbytes:
            self._keep(buffers, taken)
            if len(buffers) > IOV_MAX:
                # Perhaps the call was full and not the socket: then no edge would come.
                try:
                    self._write_out()
                except OSError:
                    self._lose()
                    raise

    def _keep(self, buffers: list[Buffer], taken: int) -> None:
        """Keep what the socket did not take and wait for the next edge."""
        loop = self.service.loop
        if self.outbox is None:
            self.outbox = Outbox()
            loop.watch_writable(self.fd, True)
        self.outbox.extend(buffers, taken)
        if self.state > State.READING_BODY:
            loop.pause(self.fd)

    def on_unsent(self, rest: bytes, error: int) -> None:
        """A collected response was not taken whole."""
        if error:
            self.on_error(error)
            return
        if self.state is _CLOSED:
            return
        self._keep([rest], 0)
        if self.state is State.IDLE:
            self._enter(Event.UNSENT)
            self.service.loop.pause(self.fd)
        elif self.state is State.WRITING:
            self._wait()

    def on_writable(self) -> None:
        """The socket has room again."""
        if self.detached is not None:
            self._write_detached(self.detached)
            return
        try:
            self._write_out()
        except OSError as exc:
            self.on_error(exc.errno or errno.EIO)
            return
        if self.outbox is None:
            self._on_room()

    def _write_out(self) -> None:
        """Write what is kept until it is gone or the socket is full."""
        outbox = self.outbox
        while outbox is not None and outbox.nbytes:
            if not outbox.write_to(self.fd):
                return
            self._progress()
            self.counted = 0
        self.outbox = None
        self.service.loop.watch_writable(self.fd, False)

    def _write_detached(self, detached: Detached) -> None:
        if self.state is _CLOSED:
            return
        try:
            if detached.write_out():
                self.service.loop.watch_writable(self.fd, False)
        except OSError as exc:
            self.on_error(exc.errno or errno.EIO)

    @property
    def backlog(self) -> int:
        """Bytes that wait for the socket."""
        return self.outbox.nbytes if self.outbox is not None else 0

    @property
    def broken(self) -> bool:
        """The peer is gone."""
        return self.state is State.CLOSED

    def _lose(self) -> None:
        """Close under a response that is just sending: it gets the error, and ends itself."""
        self._forget_response()
        self.close()

    @abstractmethod
    def _forget_response(self) -> None:
        """The response under way will end itself."""

    def drain(self, _limit: int) -> None:
        """The thread of the loop never waits for one peer."""
        raise AssertionError("BUG: the loop would block")

    # Closing

    def _flushed(self, *, lingering: bool) -> None:
        """All of the response is with the kernel or collected: what becomes of the connection?"""
        if self.keep_alive and not (self.peer_eof and not self.input):
            self._enter(Event.FLUSHED_KEEP)
            self.service.loop.resume(self.fd)
        elif self.peer_eof or not (lingering or self.input or self._unread()):
            self.service.loop.close_when_sent(self.fd)
        else:
            self._linger()

    def _close_idle(self) -> None:
        """Close between requests, behind a response that may only be collected yet."""
        self._enter(Event.UNSENT)
        self.keep_alive = False
        self.service.loop.close_when_sent(self.fd)

    def _unread(self) -> bool:
        return bool(self.service.loop.interest[self.fd] & READY)

    def _linger(self) -> None:
        """Shut our side and discard what comes, or a reset would destroy the response."""
        loop = self.service.loop
        loop.flush()
        if self.outbox is not None or self.state is _CLOSED:
            return
        loop.shutdown_write(self.fd)
        self.input = b""
        self._enter(Event.FLUSHED_LINGER)
        loop.resume(self.fd)

    def _send_error(self, status: int, reason: str, *, head_only: bool = False) -> None:
        self.keep_alive = False
        page = error_response(status, reason, self.service.loop.clock.date, head_only=head_only)
        try:
            self.send([page], len(page))
        except OSError:
            return
        if self.outbox is None:
            self._flushed(lingering=True)

    def on_error(self, error: int) -> None:
        """A system call says that the connection is broken."""
        self.service.log.debug("%r: %s", self, errno.errorcode.get(error, error))
        self.close()

    def _check_stalled(self) -> None:
        """No edge came, but the kernel's own buffer is large: has the peer taken of that since the
        last look?"""
        left = unacknowledged(self.fd)
        # Without an outbox nothing waits for the peer: the app is still at work.
        if self.outbox is None or left != self.counted:
            self.counted = left
            self._wait()
        else:
            self.service.log.warning("Client %s takes nothing of its response", self.address)
            self.close()

    def on_closed(self) -> None:
        """The last response was sent whole, and the descriptor closed behind it."""
        self.state = _CLOSED
        if self.queue is not None:
            self.queue.leave(self)
        self.service.on_closed(self)

    def close(self) -> None:
        """Give everything back; the descriptor is closed at the end of the turn."""
        if self.state is _CLOSED:
            return
        if self.detached is not None:
            self._abandon(self.detached)
        self._enter(Event.CLOSE)
        self.input = b""
        self.outbox = None
        self.service.loop.close(self.fd)
        self.service.on_closed(self)
        self._release()

    @abstractmethod
    def _abandon(self, detached: Detached) -> None:
        """The response that is made, or waits to be, apart from the loop has no taker any more."""

    @abstractmethod
    def on_timeout(self) -> None:
        """The state's deadline has passed."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of the request that was under way."""

    @abstractmethod
    def _on_room(self) -> None:
        """All that was kept has been written."""
