"""PEP 3333: calls the app, and turns what it returns into framed bytes.

Lives here: start_response, write, iterating and closing the app's iterable. Must not live here:
sockets and connection states; a :class:`~poolhttp.appcontext.Sink` takes the bytes.

Guarantees: one app call, its iteration and its ``close()`` run on one thread; ``close()`` is called
exactly once, whatever happens; no byte beyond Content-Length goes out, and a response that ends
before it closes the connection.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from poolhttp.appcontext import AppContext, Sink
from poolhttp.request import Request
from poolhttp.response import (
    LAST_CHUNK,
    Framing,
    Head,
    HeadError,
    choose_framing,
    connection_line,
    encode_fields,
)
from poolhttp.sendfile import Buffer, as_buffer

ENDED: dict[str, Any] = {
    "REQUEST_METHOD": "ended",
    "RAW_URI": "request",
    "SERVER_PROTOCOL": "",
    "QUERY_STRING": "",
    "wsgi.url_scheme": "",
}
"""The environ of a response that has ended: the real one refers to the response, by
wsgi.early_hints, and a reference cycle would be left to the garbage collector."""

PUMP_BYTES = 256 * 1024
"""Bytes that one iterable may produce in one turn, so that an endless one can't hold the loop."""

PUMP_ITEMS = 64
"""Items likewise; arbitrary."""


class Response:
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
    """

    # Class attributes are what nearly every response has; an instance holds what differs.
    head: Head | None = None
    head_sent = False
    sent = 0
    keep_alive = True
    failed = False
    finished = False
    started = 0.0
    _framing = Framing.NONE
    _left = 0
    _iterable: Any = None
    _iterator: Iterator[Any] | None = None
    _known_single = False
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

    # The app's side

    def start_response(self, status: Any, headers: Any, exc_info: Any = None) -> Any:
        """PEP 3333's start_response; returns ``write``.

        Raises:
            HeadError: the app's status or headers must not be sent.
            AssertionError: called again without exc_info.
        """
        if self.head is not None or exc_info is not None:
            self._check_restart(exc_info)
        heads = self.context.heads
        last = heads.last
        if headers == last.headers and status == last.status:
            self.head = last
        else:
            self.head = heads.find(status, headers)
        return self.write

    def _check_restart(self, exc_info: Any) -> None:
        if exc_info is not None:
            try:
                if self.head_sent or self.finished:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.head is not None:
            raise AssertionError("start_response was called twice without exc_info")

    def write(self, data: bytes) -> None:
        """PEP 3333's write; blocks while the peer is slow and ``output_limit`` bytes wait.

        Raises:
            TypeError: not bytes.
            OSError: the peer is gone.
        """
        if self.finished:
            raise ValueError("write was called after the response had ended")
        self._send_item(as_buffer(data), None)
        if self.sink.backlog > self.context.output_limit:
            self.sink.drain(self.context.output_limit)

    def early_hints(self, headers: Any) -> None:
        """Send ``103 Early Hints`` (RFC 8297); nothing for HTTP/1.0 or behind the final head.

        Args:
            headers: (name, value) pairs of str or bytes.

        Raises:
            HeadError: a field must not be sent.
        """
        if self.head_sent or self.finished or not self.request.http11:
            return
        block = b"HTTP/1.1 103 Early Hints\r\n" + encode_fields(headers) + b"\r\n"
        self.sink.send([block], len(block))

    # Running

    def run(self) -> tuple[bytes, bytes] | None:
        """Call the app, and hand over as much of its response as there is room for.

        Returns:
            Head and body of a response that is complete, small and not handed over: the caller
            sends it together with others. None for all the rest, which has gone to the sink.
        """
        environ = self.environ
        environ["wsgi.input"] = self.request.body or BytesIO()
        environ["wsgi.early_hints"] = self.early_hints
        context = self.context
        try:
            if context.observed:
                self._note_start()
            iterable = context.app(environ, self.start_response)
            if type(iterable) is list and len(iterable) == 1:
                item = iterable[0]
                head = self.head
                if (
                    head is not None
                    and type(item) is bytes
                    and self.request.simple
                    and not self.head_sent
                    and (len(item) == head.whole_length or head.takes_length(len(item)))
                ):
                    self.finished = True
                    if head.date is not context.clock.date:
                        head.encode_whole(context.clock.date)
                    if self.request.body is not None:
                        self.request.body.close()
                    if context.observed:
                        self._note_end(len(item))
                    self.environ = ENDED
                    whole = head.keeping if self.request.keep_alive else head.closing
                    if head.whole_length < 0:
                        whole = b"%bContent-Length: %d\r\n\r\n" % (whole[:-2], len(item))
                    return whole, item
            self._iterable = iterable
            if type(iterable) is list or type(iterable) is tuple:
                self._send_all(iterable)
                self._end()
            else:
                self._start_iterating(iterable)
                self._pump()
        except BaseException as exc:
            self._fail(exc)
        return None

    def _note_start(self) -> None:
        context = self.context
        if context.after_response is not None:
            self.started = time.monotonic()
        if context.before_app is not None:
            context.before_app(self)

    def _note_end(self, sent: int) -> None:
        self.sent = sent
        if self.context.after_response is not None:
            try:
                self.context.after_response(self)
            except Exception:
                self.context.log.exception("Can't log or report a response (%s)", self)

    def _start_iterating(self, iterable: Any) -> None:
        self._iterator = iter(iterable)
        try:
            self._known_single = len(iterable) == 1
        except Exception:
            # No length, or an object that only has the name of one.
            self._known_single = False

    def pump(self) -> None:
        """Take items from the app while there is room; at its end, finish."""
        try:
            self._pump()
        except BaseException as exc:
            self._fail(exc)

    def _pump(self) -> None:
        iterator = self._iterator
        assert iterator is not None
        sink = self.sink
        produced = 0
        for _ in range(PUMP_ITEMS):
            if sink.backlog or produced >= PUMP_BYTES:
                break
            try:
                item = next(iterator)
            except StopIteration:
                self._end()
                return
            item = as_buffer(item)
            self._send_item(item, len(item) if self._known_single else None)
            produced += len(item)
            if self.head_sent and not self._left and self._framing <= Framing.LENGTH:
                # PEP 3333: stop iterating when enough has been sent. HEAD needs nothing at all.
                self._end()
                return
        sink.pump_later()

    # Framing

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

    # The end

    def _end(self) -> None:
        """All items are handed over: end the framing, then close the iterable."""
        if not self.head_sent:
            head = self._begin(0)
            self.sink.send([head], len(head))
        if self._framing is Framing.LENGTH and self._left:
            self.failed = True
            self.context.log.error(
                "the app's response is %d bytes shorter than its Content-Length; "
                "the connection is closed (%s)",
                self._left,
                self,
            )
        elif self._framing is Framing.CHUNKED:
            self.sink.send([LAST_CHUNK], len(LAST_CHUNK))
        self._close()

    def _fail(self, exc: BaseException) -> None:
        """The app raised, or its client is gone."""
        log = self.context.log
        if self.context.exiting or isinstance(exc, KeyboardInterrupt):
            self.abort()
            raise exc
        if isinstance(exc, OSError) and self.sink.broken:
            log.debug("client left during the response (%s)", self)
        else:
            log.error("Error handling request (%s)", self, exc_info=exc)
        self.failed = True
        self._close()

    def abort(self) -> None:
        """The response won't be sent to its end: close the app's iterable if that is still due."""
        if not self.finished:
            self.failed = True
            self._close()

    def _close(self) -> None:
        """Close the iterable (PEP 3333) and the request's body."""
        self.finished = True
        iterable, self._iterable, self._iterator = self._iterable, None, None
        close = getattr(iterable, "close", None)
        if close is not None:
            try:
                close()
            except BaseException as exc:
                if self.context.exiting or isinstance(exc, KeyboardInterrupt):
                    raise
                self.context.log.error("Error in close() (%s)", self, exc_info=exc)
        if self.request.body is not None:
            self.request.body.close()
        if self.context.observed:
            self._note_end(self.sent)
        self.environ = ENDED
