"""One client connection: walks each request from bytes to bytes.

Lives here: the only module that joins parser, app and loop, and the only place that changes a
connection's state. Must not live here: parsing, framing, system calls.

The methods stand in the order in which a request passes them. Beside the state there are exactly
these memories: ``keep_alive`` (only ever switched off), ``peer_eof`` (set once), and the kernel's
readiness, which the loop's table holds.
"""

from __future__ import annotations

import errno
import select
from typing import Any

from poolhttp.errors import RequestError
from poolhttp.loop import READY
from poolhttp.outbox import Outbox
from poolhttp.parser import RequestParser
from poolhttp.request import Request
from poolhttp.response import CONTINUE, error_response
from poolhttp.sendfile import IOV_MAX, Buffer, unacknowledged, write
from poolhttp.service import Profile, Service, name_server
from poolhttp.states import TRANSITIONS, Event, State, walk
from poolhttp.timers import DeadlineQueue
from poolhttp.wsgi import Response

REQUESTS_PER_TURN = 16
"""Pipelined requests of one connection in one turn; hyper has the same 16."""

COLLECT_MAX = 8 * 1024
"""Bytes of a response that are copied for the turn's send instead of written by a call of their
own; measured by ``bench`` (docs/decisions/0001)."""

LINGER_BYTES = 256 * 1024
"""Bytes counted in LINGERING before the connection is cut all the same; arbitrary."""

# The hot walk takes two steps in one and doesn't change its deadline queue; the table allows it.
_IDLE = State.IDLE
_RUNNING = walk(State.IDLE, Event.FIRST_BYTE, Event.REQUEST_DONE, Event.APP_CALLED)
assert walk(State.READING_HEAD, Event.REQUEST_DONE, Event.APP_CALLED) is _RUNNING
assert walk(State.READING_BODY, Event.REQUEST_DONE, Event.APP_CALLED) is _RUNNING
assert walk(_RUNNING, Event.RESPONSE_STARTED) is State.WRITING
assert walk(_RUNNING, Event.RESPONSE_STARTED, Event.FLUSHED_KEEP) is _IDLE


class Connection:
    """A client's connection, from accept to close.

    Args:
        fd: the accepted descriptor, registered with the loop.
        service: what all connections share.
        profile: what the listener and the trust in this peer decide.
        address: the peer's address as text, '' for a unix socket.
        port: the peer's port as text.

    Attributes:
        counted: bytes discarded in LINGERING; in WRITING, bytes that the peer had not acknowledged
            when the write timeout last looked.
    """

    __slots__ = (
        "address",
        "counted",
        "deadline",
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
        self.state = State.READING_HEAD
        self.queue: DeadlineQueue | None = None
        self.deadline = 0.0
        self.parser: RequestParser | None = None
        self.input = b""
        self.response: Response | None = None
        self.outbox: Outbox | None = None
        self.counted = 0
        self.keep_alive = True
        self.peer_eof = False

    def expect_head(self) -> None:
        """Begin the wait for a first request, unless it came with the connection."""
        if self.queue is None and self.state <= State.READING_BODY:
            self._wait()

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

    # Reading the request

    def on_data(self, data: bytes) -> None:
        """The loop received something."""
        if self.parser is None and not self.input and self.state <= State.READING_HEAD:
            known = self.profile.heads.get(data)
            if known is not None:
                self._walk(known[0], known[1].copy())
                return
            known = self.profile.recall(data)
            if known is not None:
                self._walk(*known)
            else:
                self._advance(data)
        elif self.state is State.LINGERING:
            self.counted += len(data)
            if self.counted > LINGER_BYTES:
                self.close()
        elif self.input:
            data = self.input + data
            self.input = b""
            self._advance(data)
        else:
            self._advance(data)

    def _advance(self, data: bytes) -> None:
        """Parse and answer what has arrived, as far as it goes."""
        budget = REQUESTS_PER_TURN
        while data and self.state <= State.READING_BODY:
            if not budget:
                self.service.loop.pause(self.fd)
                self.service.loop.call_soon(self._go_on)
                break
            budget -= 1
            request, data = self._parse(data)
            # What is behind a last request decides how the connection is closed.
            self.input = data
            if request is None:
                return
            self._walk(request, request.environ)
        if self.state <= State.WRITING:
            self.input = data
            if self.peer_eof and not data and self.state is _IDLE:
                self.close()

    def _go_on(self) -> None:
        """Continue with input that was left for another turn."""
        if self.state <= State.READING_BODY:
            self.service.loop.resume(self.fd)
            data, self.input = self.input, b""
            self._advance(data)

    def _parse(self, data: bytes) -> tuple[Request | None, bytes]:
        service = self.service
        parser = self.parser
        if parser is None:
            profile = self.profile
            regular = service.whole_heads.parse(data, profile.base, profile.policy)
            if regular is not None:
                if regular.memorable:
                    profile.remember(data, regular)
                return regular, b""
            self.parser = parser = service.acquire_parser(profile)
        try:
            request, rest = parser.feed(data)
        except RequestError as exc:
            self._reject(exc.status, exc.reason)
            return None, b""
        except OSError as exc:
            service.log.error("Can't keep a request body: %s", exc)
            full = exc.errno in {errno.ENOSPC, errno.EDQUOT}
            self._reject(507 if full else 500, "the server can't store the request body")
            return None, b""
        if request is None:
            if self.state is _IDLE:
                self._enter(Event.FIRST_BYTE)
            if parser.in_body:
                self._read_body(parser)
            return None, b""
        self.parser = None
        service.release_parser(parser)
        return request, rest

    def _read_body(self, parser: RequestParser) -> None:
        if self.state is State.READING_HEAD:
            self._enter(Event.HEAD_DONE)
            if parser.wants_continue:
                self.send([CONTINUE], len(CONTINUE))
        else:
            self._progress()

    def _reject(self, status: int, reason: str) -> None:
        """Answer what can't be served, and close."""
        service = self.service
        head_only = False
        if self.parser is not None:
            head_only = self.parser.is_head
            self.parser.abort()
            service.release_parser(self.parser)
            self.parser = None
        service.log.warning("Invalid request from ip=%s: %s", self.address, reason)
        if self.state is _IDLE:
            self._enter(Event.FIRST_BYTE)
        self._enter(Event.REJECTED)
        self._send_error(status, reason, head_only=head_only)

    def on_eof(self) -> None:
        """The peer has shut down its sending side."""
        if self.state is State.READING_BODY:
            self.peer_eof = True
            self._reject(400, "the request body ended before its end")
        elif self.state in {State.IDLE, State.READING_HEAD, State.LINGERING}:
            if self.outbox is not None or self.input:
                self.peer_eof = True
            else:
                self.close()
        else:
            # Half-closed clients are answered.
            self.peer_eof = True

    # Running the app

    def _walk(self, request: Request, environ: dict[str, Any]) -> None:
        """Run the app for a complete request and answer it.

        Nearly every request arrives whole and is answered in one small piece; then the state comes
        back to IDLE here, without a wait of its own for each state between.
        """
        service = self.service
        self.state = _RUNNING
        environ["REMOTE_ADDR"] = self.address
        if self.port:
            environ["REMOTE_PORT"] = self.port
        if self.profile.unix:
            name_server(environ)
        service.left -= 1
        if service.left <= 0:
            request = request.closing()
        response = Response(service.context, self, request, environ)
        small = service.run(response)
        if small is None or self.outbox is not None:
            self._walk_on(response, small)
            return
        loop = service.loop
        loop.collect(self.fd, small)
        if request.keep_alive and self.keep_alive:
            self.state = _IDLE
            if self.queue is service.idle_queue:
                self.deadline = loop.clock.now + service.keepalive
            else:
                self._wait()
        else:
            self.state = State.WRITING
            self.keep_alive = False
            self._flushed(lingering=request.keep_alive)

    def _walk_on(self, response: Response, small: tuple[bytes, bytes] | None) -> None:
        """The response is not complete, not small, or there is something before it."""
        self.response = response
        if small is not None:
            self.send([*small], len(small[0]) + len(small[1]))
        self._settle(response)

    def _settle(self, response: Response) -> None:
        """The app has returned control: see what became of its response."""
        if self.state is State.CLOSED:
            return
        if self.state is State.RUNNING:
            self._enter(Event.RESPONSE_STARTED)
        if not response.finished:
            return
        self.response = None
        self.keep_alive = self.keep_alive and response.keep_alive and not response.failed
        if response.failed:
            if response.head_sent:
                if response.close_delimited:
                    # Only a reset tells the peer that this end is not the end.
                    self.service.loop.reset_on_close(self.fd)
                self.close()
            else:
                head_only = response.request.method == "HEAD"
                self._send_error(500, "the application failed to answer", head_only=head_only)
        elif self.outbox is None:
            self._flushed(lingering=response.request.keep_alive)

    # Writing the response

    def send(self, buffers: list[Buffer], nbytes: int) -> None:
        """Write now what the socket takes and keep the rest.

        Raises:
            ConnectionError: the peer is gone; the connection is closed.
        """
        if self.state is State.CLOSED:
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
                self._write_out()

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
        self._keep([rest], 0)
        if self.state is State.IDLE:
            self._enter(Event.UNSENT)
            self.service.loop.pause(self.fd)

    def on_writable(self) -> None:
        """The socket has room again."""
        try:
            self._write_out()
        except OSError as exc:
            self.on_error(exc.errno or errno.EIO)
            return
        if self.outbox is None:
            self._after_flush()

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

    def _after_flush(self) -> None:
        if self.state is not State.WRITING:
            return
        response = self.response
        if response is not None:
            response.pump()
            self._settle(response)
        else:
            self._flushed(lingering=True)
        if self.state is _IDLE and self.input:
            self._go_on()

    def pump_later(self) -> None:
        """Have the response pumped again when there is room or in the next turn."""
        if self.outbox is None:
            self.service.loop.pause(self.fd)
            self.service.loop.call_soon(self._after_turn)

    def _after_turn(self) -> None:
        if self.outbox is None:
            self._after_flush()

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
        self.response = None
        self.close()

    def drain(self, limit: int) -> None:
        """Block until at most ``limit`` bytes are kept.

        Raises:
            TimeoutError: the peer takes nothing for write_timeout.
            ConnectionError: the peer is gone.
        """
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        timeout = self.service.write_timeout_ms
        while self.backlog > limit:
            if not poll.poll(timeout):
                self._lose()
                raise TimeoutError("the client takes nothing of the response")
            try:
                self._write_out()
            except OSError:
                self._lose()
                raise

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

    def _unread(self) -> bool:
        return bool(self.service.loop.interest[self.fd] & READY)

    def _linger(self) -> None:
        """Shut our side and discard what comes, or a reset would destroy the response."""
        loop = self.service.loop
        loop.flush()
        if self.outbox is not None or self.state is State.CLOSED:
            return
        loop.shutdown_write(self.fd)
        self.input = b""
        self._enter(Event.FLUSHED_LINGER)
        loop.resume(self.fd)

    def _send_error(self, status: int, reason: str, *, head_only: bool = False) -> None:
        self.keep_alive = False
        page = error_response(status, reason, self._date(), head_only=head_only)
        try:
            self.send([page], len(page))
        except OSError:
            return
        if self.outbox is None:
            self._flushed(lingering=True)

    def _date(self) -> bytes:
        return self.service.loop.clock.date

    def on_error(self, error: int) -> None:
        """A system call says that the connection is broken."""
        self.service.log.debug("%r: %s", self, errno.errorcode.get(error, error))
        self.close()

    def on_timeout(self) -> None:
        """The state's deadline has passed."""
        self.queue = None
        if self.state is State.READING_HEAD and self.parser is not None:
            self._reject(408, "the request head did not come in time")
        elif self.state is State.READING_BODY:
            self._reject(408, "the request body did not come in time")
        elif self.state is State.WRITING:
            self._check_stalled()
        elif self.state is State.RUNNING:
            self._wait()
        else:
            self.close()

    def _check_stalled(self) -> None:
        """No edge came, but the kernel's own buffer is large: has the peer taken of that since the
        last look?"""
        left = unacknowledged(self.fd)
        if left != self.counted:
            self.counted = left
            self._wait()
        else:
            self.service.log.warning("Client %s takes nothing of its response", self.address)
            self.close()

    def on_closed(self) -> None:
        """The last response was sent whole, and the descriptor closed behind it."""
        self.state = State.CLOSED
        if self.queue is not None:
            self.queue.leave(self)
        self.service.on_closed(self)

    def close(self) -> None:
        """Give everything back; the descriptor is closed at the end of the turn."""
        if self.state is State.CLOSED:
            return
        self._enter(Event.CLOSE)
        if self.parser is not None:
            self.parser.abort()
            self.service.release_parser(self.parser)
            self.parser = None
        self.input = b""
        self.outbox = None
        self.service.loop.close(self.fd)
        response, self.response = self.response, None
        self.service.on_closed(self)
        if response is not None:
            response.abort()
