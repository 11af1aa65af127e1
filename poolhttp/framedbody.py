"""A response's body, framed: from the app's items to buffers for the sink.

Lives here: the state of one response, and how its items go out. Must not live here: calling the
app (``wsgi``), the rules of framing (``response``).

Guarantees: no byte beyond Content-Length goes out; the head goes with the first item.
"""

from __future__ import annotations

from typing import Any

from poolhttp.appcontext import AppContext, Sink
from poolhttp.request import Request
from poolhttp.response import Framing, Head, HeadError, choose_framing, connection_line
from poolhttp.sendfile import Buffer, as_buffer


class FramedBody:
    """One request's way through the app and back.

    Attributes:
        request: what is answered; may be shared by requests that differ in their environ only.
        environ: what the app is given.
        head: what start_response was given, or None.
        head_sent: no other status can be sent.
        sent: body bytes handed over, without chunked framing.
        keep_alive: whether the connection may live on behind this response.
        failed: the response ended before its end; the connection must be cut.
        finished: the iterable is closed and everything is handed over.
        started: monotonic seconds at the app's call, if anybody asks (``after_response``).
        inline: the thread that calls the app runs the loop, or did when it called; the sink is the
            connection itself. Otherwise, once ``moved`` says so, the sink is a
            :class:`poolhttp.detached.Detached`.
    """

    # Class attributes are what nearly every response has; an instance holds what differs.
    head: Head | None = None
    head_sent = False
    sent = 0
    keep_alive = True
    failed = False
    finished = False
    inline = True
    moved = False
    started = 0.0
    _framing = Framing.NONE
    _left = 0
    _warned = False

    def __init__(
        self, context: AppContext, sink: Sink, request: Request, environ: dict[str, Any]
    ) -> None:
        self.context = context
        self.sink = sink
        self.request = request
        self.environ = environ

    def __str__(self) -> str:
        # The app may have emptied its environ.
        return f"{self.environ.get('REQUEST_METHOD')} {self.environ.get('RAW_URI')}"

    @property
    def close_delimited(self) -> bool:
        """Only the connection's end tells the peer that the body is complete."""
        return self._framing is Framing.CLOSE

    @property
    def chunked(self) -> bool:
        """The body goes out in chunked coding."""
        return self._framing is Framing.CHUNKED

    def _send_all(self, items: Any) -> None:
        """Hand over a list or tuple, whose items need no call of the app."""
        if len(items) == 1:
            item = as_buffer(items[0])
            self._send_item(item, len(item) if not self.head_sent else None)
            return
        nbytes = 0
        items = [as_buffer(item) for item in items]
        for item in items:
            nbytes += len(item)
        buffers: list[Buffer] = [] if self.head_sent else [self._begin(nbytes)]
        total = len(buffers[0]) if buffers else 0
        for item in items:
            total += self._frame(item, buffers)
        if buffers:
            self.sink.send(buffers, total)

    def _send_item(self, item: Any, length: int | None) -> None:
        """Frame and hand over one item; the first one takes the head with it."""
        if not item and length is None:
            return
        buffers: list[Buffer] = []
        nbytes = 0
        if not self.head_sent:
            buffers.append(self._begin(length))
            nbytes = len(buffers[0])
        nbytes += self._frame(item, buffers)
        if nbytes:
            self.sink.send(buffers, nbytes)

    def _begin(self, length: int | None) -> bytes:
        """Choose the framing and return the encoded head."""
        head = self.head
        if head is None:
            raise HeadError("the app sent a body before it called start_response")
        request = self.request
        self._framing, self._left, line = choose_framing(
            head, request.method, request.http11, length
        )
        self.keep_alive = (
            request.keep_alive
            and not head.close
            and self._framing is not Framing.CLOSE
            and head.code != 101
        )
        self.head_sent = True
        connection = connection_line(request.http11, self.keep_alive, head.upgrade)
        return head.encode(request.http11, connection, line, self.context.clock.date)

    def _frame(self, item: Any, buffers: list[Buffer]) -> int:
        """Append the item, framed, to ``buffers``; return the bytes appended."""
        nbytes = len(item)
        if self._framing is Framing.LENGTH:
            if nbytes > self._left:
                self._warn("the app's response is longer than its Content-Length; cut")
                item = memoryview(item)[: self._left]
                nbytes = self._left
            self._left -= nbytes
        elif self._framing is Framing.NONE:
            if nbytes and self.request.method != "HEAD":
                self._warn("the app gave a body where the status allows none; dropped")
            return 0
        if not nbytes:
            return 0
        self.sent += nbytes
        if self._framing is Framing.CHUNKED:
            size = b"%X\r\n" % nbytes
            buffers += (size, item, b"\r\n")
            return len(size) + nbytes + 2
        buffers.append(item)
        return nbytes

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            self.context.log.warning("%s (%s)", what, self)
