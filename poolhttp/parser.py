"""Sans-I/O request parser: bytes in, complete requests out, or :class:`RequestError`.

Lives here: everything that RFC 9112 lets a client get wrong, and the only use of httptools. Must
not live here: sockets, time, the app; callbacks only build, the connection acts when ``feed`` has
returned.

Input is always cut after an empty line. An empty line ends each head and each chunked body, so a
message's end is always an input's end: httptools never sees two messages in one feed, nothing of a
following request is parsed early, and every limit counts bytes that are really the message's. A
Content-Length body doesn't pass through httptools at all.

What httptools (llhttp) lets through and is checked here: several spaces or empty lines before the
request line's parts, limits, versions other than 1.0 and 1.1, Host, transfer codings but chunked,
chunked in HTTP/1.0, target forms, expectations, forbidden trailers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import httptools

from poolhttp.errors import RequestError
from poolhttp.fields import FieldPolicy, check_trailer, field_key, join_repeated
from poolhttp.settings import Settings
from poolhttp.spool import Spool
from poolhttp.target import check_host, check_request_line, split_target

EMPTY_LINE = b"\r\n\r\n"
_CR, _LF = 13, 10


class Request:
    """One complete request.

    Attributes:
        environ: the base environ with this request's CGI variables added (RFC 3875), without body.
        method: as sent.
        http11: False for HTTP/1.0.
        keep_alive: whether the client lets the connection live on.
        body: the decoded body at its beginning, or None if there is none.
        nbytes: size of the decoded body.
        plain: HTTP/1.1, kept alive, and not HEAD: the answer needs no special head.
        expect_continue: the client waits for ``100 Continue`` before it sends the body.
    """

    # Class attributes are what nearly every request has; an instance holds what differs.
    method = "GET"
    http11 = True
    keep_alive = True
    plain = True
    body: IO[bytes] | None = None
    nbytes = 0
    expect_continue = False

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ

    def __str__(self) -> str:
        return f"{self.method} {self.environ['RAW_URI']}"


class RequestParser:
    """Parses one message at a time; pooled, and attached to a connection only while one is
    incomplete.

    Args:
        settings: limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._max_head = settings.max_head
        self._max_line = settings.max_line
        self._max_fields = settings.max_fields
        self._max_field_size = settings.max_field_size
        self._http = httptools.HttpRequestParser(self)
        self._base: Mapping[str, Any] = {}
        self._policy = FieldPolicy(settings, trusted=False)
        self.reset()

    def reset(self) -> None:
        """Forget everything about the message; the next byte fed begins a new one."""
        self._environ: dict[str, Any] | None = None
        self._line = b""
        self._line_done = False
        self._blank = 0
        self._tail = b""
        self._target = b""
        self._nfields = 0
        self._fed = 0
        self._request: Request | None = None
        self._spool: Spool | None = None
        self._body_left = 0
        self._chunked = False
        self._overhead = 0
        self._resuming = False
        self._complete = False

    def begin(self, base: Mapping[str, Any], policy: FieldPolicy) -> None:
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
        """No byte of a request line has been seen."""
        return self._fed == 0 and self._request is None

    @property
    def in_body(self) -> bool:
        """The head is complete, the body isn't."""
        return self._request is not None and not self._complete

    @property
    def wants_continue(self) -> bool:
        """The client waits for ``100 Continue``: it asked for it and sent no byte of its body."""
        request = self._request
        return (
            request is not None
            and request.expect_continue
            and not self._complete
            and self._spool is not None
            and self._spool.nbytes == 0
        )

    def feed(self, data: bytes) -> tuple[Request | None, bytes]:
        """Take in bytes up to the end of the current message.

        Args:
            data: what was received, not empty.

        Returns:
            The request, if it is complete, and the bytes behind it, which are the next one's.

        Raises:
            RequestError: the parser is then of no use until ``abort``.
        """
        while data:
            if self._body_left:
                data = self._take_length_body(data)
            else:
                piece, data = self._cut(data)
                if piece:
                    self._parse(piece)
            if self._complete:
                request = self._request
                assert request is not None
                if self._spool is not None:
                    request.nbytes = self._spool.nbytes
                    request.body = self._spool.finish()
                if not request.keep_alive:
                    # httptools refuses whatever follows a message with Connection: close.
                    self._rearm()
                self.reset()
                return request, data
        return None, b""

    # Cutting the input

    def _cut(self, data: bytes) -> tuple[bytes, bytes]:
        """Split ``data`` behind the first empty line, which may have begun in earlier input."""
        if self._fed == 0 and self._request is None and data[0] <= _CR:
            data = self._skip_empty_line(data)
        tail = self._tail
        end = (tail + data).find(EMPTY_LINE) if tail else data.find(EMPTY_LINE)
        if end < 0:
            self._tail = (tail + data)[-3:]
            return data, b""
        self._tail = b""
        end += 4 - len(tail)
        return (data, b"") if end == len(data) else (data[:end], data[end:])

    def _skip_empty_line(self, data: bytes) -> bytes:
        """RFC 9112 section 2.2: ignore at least one empty line before the request line."""
        for i, byte in enumerate(data):
            if byte == (_CR, _LF)[self._blank] if self._blank < 2 else False:
                self._blank += 1
            elif byte in (_CR, _LF):
                raise RequestError(400, "more than one empty line before the request line")
            else:
                return data[i:]
        return b""

    # The head

    def _parse(self, piece: bytes) -> None:
        in_head = self._request is None
        if in_head:
            self._fed += len(piece)
            if not self._line_done:
                self._check_line(piece)
            if self._fed > self._max_head:
                raise RequestError(431, "request head is too large")
        try:
            self._http.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._after_upgrade()
        except httptools.HttpParserCallbackError as exc:
            raise (exc.__context__ or exc) from None
        except httptools.HttpParserError as exc:
            raise RequestError(400, str(exc)) from None
        if in_head:
            # An empty line was found exactly if there is no tail to remember.
            if (self._request is None) is not bool(self._tail):
                raise RequestError(400, "request head does not end in an empty line")
            if self._request is not None:
                self._begin_body()
        elif self._chunked:
            self._limit_overhead(len(piece))

    def _check_line(self, piece: bytes) -> None:
        end = piece.find(b"\n")
        self._line += piece if end < 0 else piece[: end + 1]
        if len(self._line) - 2 > self._max_line:
            raise RequestError(414, "request line is too long")
        if end >= 0:
            self._line_done = True
            if not check_request_line(self._line):
                raise RequestError(400, "malformed request line")

    def on_message_begin(self) -> None:
        if not self._resuming:
            self._environ = dict(self._base)

    def on_url(self, target: bytes) -> None:
        if not self._resuming:
            self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._resuming:
            return
        if self._request is not None:
            check_trailer(name)
            return
        self._nfields += 1
        if self._nfields > self._max_fields:
            raise RequestError(431, "too many header fields")
        if len(name) + len(value) + 4 > self._max_field_size:
            raise RequestError(431, f"header field {name[:40]!r} is too large")
        key = field_key(name) or self._policy.underscored_key(name)
        if not key:
            return
        environ = self._environ
        assert environ is not None
        if key in environ:
            environ[key] = join_repeated(key, environ[key], value.decode("latin-1"))
        else:
            environ[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._resuming:
            return
        environ = self._environ
        assert environ is not None
        http = self._http
        method = http.get_method().decode("ascii")
        request = Request(environ)
        request.method = method
        request.keep_alive = http.should_keep_alive()
        if not request.keep_alive or "HTTP_CONNECTION" in environ:
            self._check_version(request)
        host = environ.get("HTTP_HOST")
        if host is None:
            if request.http11 and self._settings.require_host:
                raise RequestError(400, "no Host header field")
        elif not check_host(host):
            raise RequestError(400, "malformed Host header field")
        environ["REQUEST_METHOD"] = method
        split_target(method, self._target, environ)
        if method == "CONNECT":
            request.keep_alive = False
        if "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ:
            self._choose_framing(request)
        if "HTTP_EXPECT" in environ and request.http11:
            if environ["HTTP_EXPECT"].lower() != "100-continue":
                raise RequestError(417, "unknown expectation")
            request.expect_continue = True
        self._policy.apply(environ)
        request.plain = request.http11 and request.keep_alive and method != "HEAD"
        self._request = request

    def _check_version(self, request: Request) -> None:
        version = self._http.get_http_version()
        if version == "1.0":
            request.http11 = False
            request.environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        elif version != "1.1":
            raise RequestError(400, f"HTTP version {version} is not served")

    def _choose_framing(self, request: Request) -> None:
        """Decide how the body's end is known (RFC 9112 section 6.3)."""
        environ = request.environ
        coding = environ.get("HTTP_TRANSFER_ENCODING")
        if coding is not None:
            if "CONTENT_LENGTH" in environ:
                raise RequestError(400, "both Content-Length and Transfer-Encoding")
            if not request.http11:
                raise RequestError(400, "Transfer-Encoding in an HTTP/1.0 request")
            codings = [each.strip(" \t").lower() for each in coding.split(",")]
            if codings != ["chunked"]:
                unknown = [each for each in codings if each != "chunked"]
                raise RequestError(501 if any(unknown) else 400, "unknown transfer coding")
            self._chunked = True
            return
        length = environ["CONTENT_LENGTH"]
        # 19 digits hold 2**63 - 1; more can only be leading zeros or nonsense.
        if not (length.isascii() and length.isdigit() and len(length) <= 19):
            raise RequestError(400, "malformed Content-Length")
        self._body_left = int(length)
        limit = self._settings.max_body
        if limit and self._body_left > limit:
            raise RequestError(413, f"request body of {length} bytes is too large")

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

    def on_chunk_header(self) -> None:
        # "1a\r\n" and the CRLF behind the data: what a chunk may cost without being suspicious.
        self._overhead -= 16

    def on_body(self, data: bytes) -> None:
        spool = self._spool
        if spool is None:
            # The body's beginning came in the same feed as the head: httptools can't be stopped.
            raise RequestError(400, "body data inside the head")
        self._overhead -= len(data)
        spool.write(data)
        if self._settings.max_body and spool.nbytes > self._settings.max_body:
            raise RequestError(413, "chunked request body is too large")

    def on_message_complete(self) -> None:
        if self._chunked and self._spool is not None:
            self._complete = True

    def _limit_overhead(self, nbytes: int) -> None:
        """Chunk extensions and trailers have no limit in httptools."""
        self._overhead = max(0, self._overhead + nbytes)
        if self._overhead > self._max_field_size:
            raise RequestError(400, "chunk extensions or trailers are too large")

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
