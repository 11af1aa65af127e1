"""Sans-I/O request parser: bytes in, complete requests out, or :class:`RequestError`.

Lives here: everything that RFC 9112 lets a client get wrong, and the only use of httptools. Must
not live here: sockets, time, the app; callbacks only build, the connection acts when ``feed`` has
returned.

Input is always cut after an empty line. An empty line ends each head and each chunked body, so a
message's end is always an input's end: httptools never sees two messages in one feed, nothing of a
following request is parsed early, and every limit counts bytes that are really the message's. A
Content-Length body doesn't pass through httptools at all.

What httptools (llhttp) lets through and is checked here or in ``request``: several spaces or empty
lines before the request line's parts, RTSP and ICE, limits, versions other than 1.0 and 1.1, Host,
transfer codings but chunked, chunked in HTTP/1.0, target forms, expectations, forbidden trailers.
"""

from __future__ import annotations

from typing import Any

import httptools

from poolhttp.errors import RequestError
from poolhttp.fields import KNOWN_KEYS, FieldPolicy, check_trailer, field_key, join_repeated
from poolhttp.request import LINE_REST, Request, build_request
from poolhttp.settings import Settings
from poolhttp.spool import Spool

EMPTY_LINE = b"\r\n\r\n"
_CR, _LF = 13, 10
_VERSION_SIZE = len("HTTP/1.1\r\n")


class RequestParser:
    """Parses one message at a time; pooled, and attached to a connection only while one is
    incomplete.

    Args:
        settings: limits.
    """

    __slots__ = (
        "_base",
        "_blank",
        "_body_left",
        "_chunked",
        "_complete",
        "_environ",
        "_fed",
        "_http",
        "_in_line",
        "_line_end",
        "_line_size",
        "_lines",
        "_max_field_size",
        "_max_fields",
        "_max_head",
        "_max_line",
        "_measuring",
        "_open",
        "_overhead",
        "_policy",
        "_request",
        "_resuming",
        "_settings",
        "_spool",
        "_tail",
        "_target",
    )

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._max_head = settings.max_head
        self._max_line = settings.max_line
        self._max_fields = settings.max_fields
        self._max_field_size = settings.max_field_size
        self._http = httptools.HttpRequestParser(self)
        self._base: dict[str, Any] = {}
        self._policy = FieldPolicy(settings, trusted=False)
        self.reset()

    def reset(self) -> None:
        """Forget everything about the message; the next byte fed begins a new one."""
        self._environ: dict[str, Any] = {}
        self._request: Request | None = None
        self._target = b""
        self._fed = 0
        self._line_size = 0
        self._line_end = b""
        self._in_line = True
        self._lines = 0
        self._open = 0
        self._measuring = False
        self._tail = b""
        self._blank = 0
        self._spool: Spool | None = None
        self._body_left = 0
        self._chunked = False
        self._overhead = 0
        self._resuming = False
        self._complete = False

    def begin(self, base: dict[str, Any], policy: FieldPolicy) -> None:
        """Set what all requests of a connection share.

        Args:
            base: environ of the connection, copied for each request.
            policy: which header fields of this peer are believed.
        """
        self._base = base
        self._policy = policy

    def abort(self) -> None:
        """Drop an incomplete message and make the parser usable again."""
        if self._spool is not None:
            self._spool.close()
        self._rearm()
        self.reset()

    def _rearm(self) -> None:
        """Bring httptools' parser to the start of a message, also after an error."""
        self._http.__init__(self)  # type: ignore[misc]  # its only way, and cheap

    @property
    def at_start(self) -> bool:
        """No byte of a message has been seen, but perhaps of the empty line before it."""
        return not self._fed

    @property
    def is_head(self) -> bool:
        """The method is HEAD, as far as it is known: an error's answer then has no body."""
        if self._request is not None:
            return self._request.method == "HEAD"
        return bool(self._fed) and self._http.get_method() == b"HEAD"

    @property
    def in_body(self) -> bool:
        """The head is complete, the body isn't."""
        return self._request is not None

    @property
    def wants_continue(self) -> bool:
        """The client waits for ``100 Continue``: it asked for it and sent no byte of its body."""
        request, spool = self._request, self._spool
        return (
            request is not None
            and request.expect_continue
            and spool is not None
            and spool.nbytes == 0
        )

    def feed(self, data: bytes) -> tuple[Request | None, bytes]:
        """Take in bytes up to the end of the current message.

        Args:
            data: what was received, not empty.

        Returns:
            The request, if it is complete, and the bytes behind it, which are the next one's.

        Raises:
            RequestError: the parser is then of no use until ``abort``.
            OSError: a temporary file for the body can't be written; likewise.
        """
        while data:
            if self._body_left:
                data = self._take_length_body(data)
            else:
                piece, data = self._cut(data)
                if self._request is not None:
                    self._feed_chunks(piece)
                elif piece:
                    self._feed_head(piece)
            if self._complete:
                return self._finish(), data
        return None, b""

    def _finish(self) -> Request:
        request = self._request
        assert request is not None
        if self._spool is not None:
            request.nbytes = self._spool.nbytes
            request.body = self._spool.finish()
        # httptools refuses whatever follows a message that it takes for the last one.
        self._rearm()
        self.reset()
        return request

    # Cutting the input

    def _cut(self, data: bytes) -> tuple[bytes, bytes]:
        """Split ``data`` behind the first empty line, which may have begun in earlier input."""
        if not self._fed and (self._blank or data[0] <= _CR):
            data = self._skip_empty_line(data)
        tail = self._tail
        end = (tail + data).find(EMPTY_LINE) if tail else data.find(EMPTY_LINE)
        if end < 0:
            self._tail = (tail + data)[-3:]
            return data, b""
        end += 4 - len(tail)
        self._tail = b""
        return (data, b"") if end == len(data) else (data[:end], data[end:])

    def _skip_empty_line(self, data: bytes) -> bytes:
        """RFC 9112 section 2.2: ignore at least one empty line before the request line."""
        for i, byte in enumerate(data):
            if self._blank < 2 and byte == (_CR, _LF)[self._blank]:
                self._blank += 1
            elif byte in (_CR, _LF) or self._blank == 1:
                raise RequestError(400, "more than one empty line before the request line")
            else:
                return data[i:]
        return b""

    # The head

    def _feed_head(self, piece: bytes) -> None:
        if not self._fed:
            self._environ = self._base.copy()
        self._fed += len(piece)
        if self._in_line:
            self._measure_line(piece)
        # Folded lines are refused, so each line is a field; the request line and the empty one not.
        self._lines += piece.count(b"\n")
        if self._lines > self._max_fields + 2:
            raise RequestError(431, "too many header fields")
        end = piece.rfind(b"\n")
        self._open = self._open + len(piece) if end < 0 else len(piece) - end - 1
        if self._open > self._max_field_size and not self._in_line:
            raise RequestError(431, "header field is too large")
        if self._fed > self._max_field_size:
            self._measuring = True
            if self._fed > self._max_head:
                raise RequestError(431, "request head is too large")
        self._feed_http(piece)
        # An empty line was found exactly if there is no tail to remember.
        if (self._request is None) is not bool(self._tail):
            raise RequestError(400, "request head does not end in an empty line")
        if self._request is not None:
            self._begin_body()

    def _measure_line(self, piece: bytes) -> None:
        end = piece.find(b"\n")
        if end >= 0:
            self._in_line = False
            piece = piece[: end + 1]
        self._line_size += len(piece)
        self._line_end = (self._line_end + piece)[-_VERSION_SIZE:]
        if self._line_size - 2 > self._max_line:
            raise RequestError(414, "request line is too long")

    def _feed_http(self, piece: bytes) -> None:
        try:
            self._http.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._after_upgrade()
        except httptools.HttpParserCallbackError as exc:
            raise (exc.__context__ or exc) from None
        except httptools.HttpParserError as exc:
            raise RequestError(400, str(exc)) from None

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._request is not None or self._resuming:
            self._on_late_header(name)
            return
        if self._measuring and len(name) + len(value) + 4 > self._max_field_size:
            raise RequestError(431, f"header field {name[:40]!r} is too large")
        key = KNOWN_KEYS.get(name) or field_key(name) or self._policy.underscored_key(name)
        if not key:
            return
        environ = self._environ
        # httptools leaves the white space behind a value (RFC 9110 section 5.5).
        text = value.decode("latin-1").rstrip(" \t")
        environ[key] = join_repeated(key, environ[key], text) if key in environ else text

    def _on_late_header(self, name: bytes) -> None:
        if not self._resuming:
            check_trailer(name)

    def on_headers_complete(self) -> None:
        if self._resuming:
            return
        method = self._http.get_method().decode("ascii")
        if (
            self._line_size != len(method) + len(self._target) + LINE_REST
            or self._line_end[:5] != b"HTTP/"
        ):
            raise RequestError(400, "malformed request line")
        request = build_request(
            self._environ,
            method,
            self._target,
            self._http.get_http_version(),
            self._settings,
        )
        self._policy.apply(self._environ)
        self._chunked = request.chunked
        self._body_left = request.content_length
        self._request = request

    # The body

    def _begin_body(self) -> None:
        if self._body_left:
            # httptools waits for the body now, but it comes past it.
            self._rearm()
        if self._body_left or self._chunked:
            self._spool = Spool(self._settings.body_memory, self._settings.body_dir)
        else:
            self._complete = True

    def _take_length_body(self, data: bytes) -> bytes:
        spool = self._spool
        assert spool is not None
        taken = min(self._body_left, len(data))
        spool.write(data if taken == len(data) else data[:taken])
        self._body_left -= taken
        self._complete = self._body_left == 0
        return data[taken:]

    def _feed_chunks(self, piece: bytes) -> None:
        self._feed_http(piece)
        # Chunk extensions and trailers have no limit in httptools.
        self._overhead = max(0, self._overhead + len(piece))
        if self._overhead > self._max_field_size:
            raise RequestError(400, "chunk extensions or trailers are too large")

    def on_chunk_header(self) -> None:
        # "1a\r\n" and the CRLF behind the data: what a chunk may cost without being suspicious.
        self._overhead -= 16

    def on_body(self, data: bytes) -> None:
        spool = self._spool
        if spool is None:
            raise RequestError(400, "body data inside the head")
        self._overhead -= len(data)
        spool.write(data)
        if self._settings.max_body and spool.nbytes > self._settings.max_body:
            raise RequestError(413, "chunked request body is too large")

    def on_message_complete(self) -> None:
        # Also called at the end of the head, where ``_begin_body`` knows better.
        self._complete = self._spool is not None

    def _after_upgrade(self) -> None:
        """``Connection: upgrade`` made httptools end the message at its head, body or not.

        We don't upgrade, so the message goes on: a parser that begins anew is brought to the same
        place with a head of our own, or it would take the body for the next request.
        """
        self._rearm()
        if self._chunked:
            self._resuming = True
            self._http.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            self._resuming = False
