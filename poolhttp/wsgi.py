"""PEP 3333: calls the app, and turns what it returns into framed bytes.

Lives here: start_response, write, iterating and closing the app's iterable. Must not live here:
sockets and connection states; a :class:`~poolhttp.appcontext.Sink` takes the bytes. Who calls,
and on which thread (``scheduler``).

Guarantees: one app call, its iteration and its ``close()`` run on one thread; ``close()`` is called
exactly once, whatever happens; no byte beyond Content-Length goes out, and a response that ends
before it closes the connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextvars import Context
from io import BytesIO
from typing import Any

from poolhttp.filewrapper import FileWrapper
from poolhttp.framedbody import FramedBody
from poolhttp.response import LAST_CHUNK, Framing, encode_fields
from poolhttp.sendfile import as_buffer

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


class Response(FramedBody):
    """One request's way through the app and back; see :class:`poolhttp.framedbody.FramedBody`."""

    _iterable: Any = None
    _iterator: Iterator[Any] | None = None
    _known_single = False
    _variables: Context | None = None

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
        self._regain()
        try:
            self._send_item(as_buffer(data), None)
            self._wait_for_room()
        finally:
            self._lend()

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
        self._regain()
        try:
            self.sink.send([block], len(block))
        finally:
            self._lend()

    # Running

    def run(self, variables: Context) -> tuple[bytes, bytes] | None:
        """Call the app, and hand over its response.

        Args:
            variables: the context variables of this thread, for the app alone.

        Returns:
            Head and body of a response that is complete, small and not handed over: the caller
            sends it together with others. None for all the rest, which has gone to the sink. If
            ``inline`` has become False, the loop now runs on another thread.
        """
        environ = self.environ
        environ["wsgi.input"] = self.request.body or BytesIO()
        environ["wsgi.early_hints"] = self.early_hints
        context = self.context
        inline = self.inline
        running, mark, number = context.token
        try:
            if inline:
                running[self] = None
                mark[0] = number()
            try:
                if context.observed:
                    self._note_start()
                iterable = variables.run(context.app, environ, self.start_response)
            except BaseException:
                self._regain()
                raise
            if inline and running.pop(self, True):
                self._settle()
            elif type(iterable) is list and len(iterable) == 1:
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
            self._variables = variables
            self._take(iterable)
        except BaseException as exc:
            self._fail(exc)
        return None

    def _take(self, iterable: Any) -> None:
        """Hand over what the app has returned."""
        self._iterable = iterable
        if type(iterable) is list or type(iterable) is tuple:
            self._send_all(iterable)
            self._end()
        elif type(iterable) is FileWrapper and iterable.is_plain:
            self._iterator = iter(iterable)
            # The loop reads and closes it, perhaps while this thread is in the app again.
            self._variables = None
            if self.inline:
                self._pump()
        else:
            self._call(self._start_iterating, iterable)
            self._iterate()

    # The loop is lent while the app's code runs

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call code of the app."""
        if self._variables is None:
            return function(*args)
        self._lend()
        try:
            return self._variables.run(function, *args)
        finally:
            self._regain()

    def _lend(self) -> None:
        if self.inline:
            baton = self.context.baton
            baton.running[self] = None
            baton.mark[0] = baton.number()

    def _regain(self) -> None:
        """Have the loop again, or learn that it runs on another thread."""
        if self.inline and self.context.baton.running.pop(self, True):
            self._settle()

    def _settle(self) -> None:
        self.inline = False
        self.context.baton.settle(self)

    def _wait_for_room(self) -> None:
        """Block while the peer is slow, without the loop."""
        limit = self.context.output_limit
        if self.sink.backlog > limit:
            if self.inline:
                self.inline = False
                self.context.baton.leave(self)
            self.sink.drain(limit)

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

    def _iterate(self) -> None:
        """Take items from the app, as far ahead of the peer as ``output_limit`` allows.

        One that is endless, or whose peer is slow, gives the loop away; its thread waits.
        """
        iterator = self._iterator
        produced = items = 0
        while True:
            try:
                item = as_buffer(self._call(next, iterator))
            except StopIteration:
                break
            self._send_item(item, len(item) if self._known_single else None)
            if self._complete():
                break
            produced += len(item)
            items += 1
            if self.inline and (produced >= PUMP_BYTES or items >= PUMP_ITEMS):
                self.inline = False
                self.context.baton.leave(self)
            self._wait_for_room()
        self._end()

    def _complete(self) -> bool:
        """PEP 3333: stop iterating when enough has been sent. HEAD needs nothing at all."""
        return self.head_sent and not self._left and self._framing <= Framing.LENGTH

    def pump(self) -> None:
        """On the thread of the loop: send more of a file while there is room; finish at its end."""
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
            self._send_item(item, None)
            produced += len(item)
            if self._complete():
                self._end()
                return
        sink.pump_later()

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
        if self.context.ends_server(exc):
            self.abort()
            raise exc
        if isinstance(exc, TimeoutError) and self.sink.broken:
            log.warning("%s (%s)", exc, self)
        elif isinstance(exc, OSError) and self.sink.broken:
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

    def discard(self) -> None:
        """The app won't be called: give back what came with the request."""
        self.finished = self.failed = True
        if self.request.body is not None:
            self.request.body.close()
        self.environ = ENDED

    def _close(self) -> None:
        """Close the iterable (PEP 3333) and the request's body."""
        self.finished = True
        iterable, self._iterable, self._iterator = self._iterable, None, None
        close = getattr(iterable, "close", None)
        if close is not None:
            try:
                self._call(close)
            except BaseException as exc:
                if self.context.ends_server(exc):
                    raise
                self.context.log.error("Error in close() (%s)", self, exc_info=exc)
        if self.request.body is not None:
            self.request.body.close()
        if self.context.observed:
            self._note_end(self.sent)
        self.environ = ENDED
