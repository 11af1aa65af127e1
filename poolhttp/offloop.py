"""The walk of a request whose app runs apart from the loop.

Lives here: queueing, a call that has lost the loop, the reply, shedding. Must not live here:
threads (``crew``), what is shared with them (``detached``), requests that run on the thread of the
loop (``connection``).
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import Any

from poolhttp.detached import Detached, Phase
from poolhttp.inbox import Inbox
from poolhttp.request import Request
from poolhttp.response import unavailable
from poolhttp.states import Event, State, walk
from poolhttp.transport import Transport
from poolhttp.wsgi import Response

_IDLE = State.IDLE
_QUEUED = State.QUEUED
_RUNNING = walk(State.QUEUED, Event.APP_CALLED)
_CLOSED = State.CLOSED


class OffLoop(Transport):
    """A connection with a response that may be made by another thread."""

    __slots__ = ()

    @property
    def inbox(self) -> Inbox:
        """The way into the loop."""
        return self.service.loop.inbox

    def _queue(self, response: Response) -> None:
        """Have the app called by another thread, as soon as there is one."""
        service = self.service
        self.state = State.QUEUED
        self._wait()
        if service.loop.out_runs:
            # What was collected for this connection must not be overtaken by that thread.
            service.loop.flush()
            if self.state is _CLOSED:
                return
        detached = self._detach(response)
        if not service.scheduler.submit(detached):
            self.shed()

    def _detach(self, response: Response) -> Detached:
        detached = Detached(self, response, self.outbox, self.service.write_timeout)
        self.outbox = None
        self.detached = response.sink = detached
        return detached

    def detach(self, response: Response) -> None:
        """The thread that just calls the app has lost the loop: let it go on apart from it.

        By the thread that has the loop now, while the other waits to be told.
        """
        if self.state is _CLOSED:
            # It never had a chance to see that.
            Detached.of_nobody(self, response)
            return
        self.response = response
        self._wait()
        detached = self._detach(response)
        detached.phase = Phase.RUNNING
        if self.service.loop.out_runs:
            self.service.loop.flush()
        if self.outbox is not None:
            detached.outbox, self.outbox = self.outbox, None

    @property
    def loop_waits(self) -> bool:
        """Whether the loop must be woken to see what is posted."""
        return bool(self.service.loop.calls.in_turn[0])

    def on_claimed(self) -> None:
        """A thread is about to call the app."""
        self.state = _RUNNING

    def on_backlog(self) -> None:
        """The thread has more for the peer than the socket took."""
        if self.detached is not None and self.state is not _CLOSED:
            self.service.loop.watch_writable(self.fd, True)
            # There may have been an edge that nobody waited for.
            self._write_detached(self.detached)

    def wants_reply(self) -> bool:
        """Whether the loop must come to the reply at once, not when it wakes up anyway."""
        response = self.response
        return (
            response is None
            or not (response.finished and response.keep_alive and self.keep_alive)
            or response.failed
            or bool(self.input)
            or self.peer_eof
            or self.state is not _RUNNING
            or self.service.left <= 0
        )

    def on_reply(self) -> None:
        """The thread has done its part."""
        detached, self.detached = self.detached, None
        response = self.response
        if detached is None or response is None or self.state is _CLOSED:
            return
        response.sink = self
        response.inline = True
        if detached.backlog:
            self.outbox = detached.outbox
        small = detached.small
        if small is not None:
            if (
                self.outbox is None
                and self.keep_alive
                and response.keep_alive
                and not self.peer_eof
            ):
                self._collect_reply(small)
                return
            with suppress(OSError):
                self.send([*small], len(small[0]) + len(small[1]))
        if not response.finished and self.outbox is None:
            response.pump()
        self._settle(response)
        self._read_ahead()

    def _collect_reply(self, small: tuple[bytes, bytes]) -> None:
        """As for a response that was made here: it is sent with those of others."""
        self.response = None
        self._enter(Event.RESPONSE_STARTED)
        self._flushed(lingering=False)
        if self.state is not _CLOSED:
            self.service.loop.collect(self.fd, small)
            self._read_ahead()

    def recall(self) -> None:
        """The loop runs on an app thread again, and the request may run there after all."""
        detached, response = self.detached, self.response
        if self.state is not _QUEUED or detached is None or response is None:
            return
        detached.lose()
        self.detached = self.response = None
        self.outbox = detached.outbox if detached.backlog else None
        # It is not a further request.
        self.service.left += 1
        self._walk(response.request, response.environ)
        if self.peer_eof and not self.input and self.state is _IDLE:
            self._close_idle()
        self._read_ahead()

    def shed(self) -> None:
        """Refuse a request that has waited too long, or that there is no room for to wait."""
        detached, response = self.detached, self.response
        if detached is None or response is None or detached.lose() is not Phase.WAITING:
            return
        self.detached = self.response = None
        self.outbox = detached.outbox if detached.backlog else None
        request = response.request
        response.discard()
        self._enter(Event.REJECTED)
        self.keep_alive = self.keep_alive and request.keep_alive and request.http11
        page = unavailable(
            self.service.loop.clock.date,
            close=not self.keep_alive,
            head_only=request.method == "HEAD",
        )
        with suppress(OSError):  # The peer is gone, and so is the connection.
            self.send([page], len(page))
            if self.outbox is None:
                self._flushed(lingering=request.keep_alive)
                self._read_ahead()

    def give_up(self) -> bool:
        """The app takes too long: answer without it. Its thread finds that nobody listens.

        Returns:
            False if it is just done.
        """
        detached, response = self.detached, self.response
        if detached is None or response is None or detached.phase is not Phase.RUNNING:
            return False
        if detached.lose() is Phase.RETURNED:
            # It has returned in this very moment, and nothing can be sent for it any more.
            self.close()
            return False
        self.detached = self.response = None
        self.outbox = detached.outbox if detached.backlog else None
        if response.head_sent:
            self.service.loop.reset_on_close(self.fd)
            self.close()
            return True
        self._enter(Event.RESPONSE_STARTED)
        head_only = response.request.method == "HEAD"
        self._send_error(504, "the application took too long", head_only=head_only)
        return True

    def _abandon(self, detached: Detached) -> None:
        self.detached = None
        response, self.response = self.response, None
        phase = detached.lose()
        if phase is Phase.WAITING:
            self.service.scheduler.discard(detached)
            if response is not None:
                response.discard()
        elif phase is Phase.RETURNED and response is not None:
            response.abort()

    def _read_ahead(self) -> None:
        """Go on with what has come behind a request that was answered apart."""
        if self.state is _IDLE and self.input:
            self.service.loop.call_soon(self._go_on)

    def _has_left(self) -> bool:
        """An end that comes long after the request is that of a client who has waited and given
        up; one that half-closes does so with the request."""
        assert self.detached is not None
        service = self.service
        return service.loop.clock.now - self.detached.arrived > service.settings.abandon_after

    @abstractmethod
    def _settle(self, response: Response) -> None:
        """The response has its end, or the loop has the rest of it."""

    @abstractmethod
    def _walk(self, request: Request, environ: dict[str, Any]) -> None:
        """Run the app for a complete request and answer it."""

    @abstractmethod
    def pump_later(self) -> None:
        """Have the response pumped again when there is room or in the next turn."""

    @abstractmethod
    def _go_on(self) -> None:
        """Continue with input that was left for another turn."""
