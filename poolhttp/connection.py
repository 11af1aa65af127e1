"""One client connection: walks each request from bytes to bytes.

Lives here: the only module that joins parser, app and loop. Must not live here: parsing, framing,
and the socket's own affairs (``transport``). The methods stand in the order in which a request
passes them.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import Any

from poolhttp.errors import RequestError
from poolhttp.loop import READY
from poolhttp.offloop import OffLoop
from poolhttp.parser import RequestParser
from poolhttp.request import Request
from poolhttp.response import CONTINUE
from poolhttp.service import name_server
from poolhttp.states import Event, State, walk
from poolhttp.transport import LINGER_BYTES
from poolhttp.wsgi import Response

REQUESTS_PER_TURN = 16
"""Pipelined requests of one connection in one turn; hyper has the same 16."""

_TAKEN: dict[str, Any] = {}

# The hot walk takes two steps in one and doesn't change its deadline queue; the table allows it.
# Names of the module's own, since looking up a member of an Enum costs more than comparing it.
_IDLE = State.IDLE
_READING_HEAD = State.READING_HEAD
_READING_BODY = State.READING_BODY
_WRITING = State.WRITING
_QUEUED = State.QUEUED
_CLOSED = State.CLOSED
_RUNNING = walk(State.IDLE, Event.FIRST_BYTE, Event.REQUEST_DONE, Event.APP_CALLED)
assert walk(State.READING_HEAD, Event.REQUEST_DONE, Event.APP_CALLED) is _RUNNING
assert walk(State.READING_BODY, Event.REQUEST_DONE, Event.APP_CALLED) is _RUNNING
assert walk(_RUNNING, Event.RESPONSE_STARTED) is State.WRITING
assert walk(_RUNNING, Event.RESPONSE_STARTED, Event.FLUSHED_KEEP) is _IDLE


class Connection(OffLoop):
    """A client's connection, from accept to close; see :class:`poolhttp.transport.Transport`."""

    __slots__ = ()

    def expect_head(self) -> None:
        """Begin the wait for a first request, unless it came with the connection."""
        if self.queue is None and self.state <= _READING_BODY:
            self._wait()

    # Reading the request

    def on_data(self, data: bytes) -> None:
        """The loop received something."""
        if self.parser is None and not self.input and self.state <= _READING_HEAD:
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
        while data and self.state <= _READING_BODY:
            if not budget:
                self.service.loop.pause(self.fd)
                self.service.loop.call_soon(self._go_on)
                break
            budget -= 1
            request, data = self._parse(data)
            # What is behind a last request decides how the connection is closed.
            self.input = data
            if request is None:
                if self.peer_eof and self.state <= _READING_BODY:
                    # What is missing can't come any more.
                    self.on_eof()
                return
            # The environ will refer to the response, which refers to the request: no cycle.
            environ, request.environ = request.environ, _TAKEN
            self._walk(request, environ)
        if self.state <= _WRITING:
            self.input = data
            if data and self.state >= _QUEUED:
                # Read ahead, but not without end.
                self.service.loop.pause(self.fd)
            if self.peer_eof and not data and self.state is _IDLE:
                self._close_idle()

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
                if not service.keepalive:
                    regular.keep_alive = False
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
        if not service.keepalive:
            request.keep_alive = False
        return request, rest

    def _read_body(self, parser: RequestParser) -> None:
        if self.state is State.READING_HEAD:
            self._enter(Event.HEAD_DONE)
            if parser.wants_continue:
                with suppress(OSError):  # The peer is gone, and so is the connection.
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
        elif self.state is _QUEUED and self._has_left():
            self.close()
        elif self.outbox or self.input or State.QUEUED <= self.state <= State.WRITING:
            # Half-closed clients are answered.
            self.peer_eof = True
        elif self.state is _IDLE:
            self.peer_eof = True
            self._close_idle()
        else:
            self.close()

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
        else:
            name_server(environ)
        service.left -= 1
        if service.left <= 0:
            request = request.closing()
        response = Response(service.context, self, request, environ)
        small = service.run(response)
        if small is None or self.outbox is not None or self.state is _CLOSED:
            self._walk_on(response, small)
            return
        loop = service.loop
        # The state comes first: collecting may flush, and ``on_unsent`` and ``close`` go by it.
        if request.keep_alive and self.keep_alive:
            self.state = _IDLE
            if self.queue is service.idle_queue:
                self.deadline = loop.clock.now + service.keepalive
            else:
                self._wait()
            loop.collect(self.fd, small)
        else:
            self.state = _WRITING
            self.keep_alive = False
            lingering = request.keep_alive
            if not (lingering or self.input or loop.interest[self.fd] & READY):
                loop.collect_last(self.fd, small)
                return
            loop.collect(self.fd, small)
            self._collected_last(lingering=lingering)

    def _collected_last(self, *, lingering: bool) -> None:
        if self.outbox is None and self.state is _WRITING:
            self._flushed(lingering=lingering)

    def _walk_on(self, response: Response, small: tuple[bytes, bytes] | None) -> None:
        """The response is not complete, not small, or there is something before it."""
        if self.state is _CLOSED:
            return
        self.response = response
        if small is None and not response.inline:
            self._queue(response)
            return
        if small is not None:
            self.send([*small], len(small[0]) + len(small[1]))
        self._settle(response)

    def _settle(self, response: Response) -> None:
        """The app has returned control: see what became of its response."""
        if self.state is _CLOSED:
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

    def _on_room(self) -> None:
        """All that was kept has been written: go on with the response, or with the next request."""
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
            self._on_room()

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

    # Ending

    def _forget_response(self) -> None:
        """The response under way will end itself."""
        self.response = None

    def _release(self) -> None:
        """Let go of the request that was under way."""
        if self.parser is not None:
            self.parser.abort()
            self.service.release_parser(self.parser)
            self.parser = None
        response, self.response = self.response, None
        if response is not None:
            response.abort()
