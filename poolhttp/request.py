"""A request, and the checks that make one of a parsed head.

Lives here: what RFC 9112 says of a head as a whole: version, Host, target, framing, expectation.
Must not live here: the grammar of its parts (``target``, ``fields``), bytes as they arrive
(``parser``).
"""

from __future__ import annotations

import re
from typing import IO, Any

from poolhttp.errors import RequestError
from poolhttp.settings import Settings
from poolhttp.target import KNOWN_HOSTS, check_host, split_target

LINE_REST = len("  HTTP/1.1\r\n")
"""Bytes of a request line besides method and target, which httptools would let be more."""

_SLASH = 47
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KNOWN_CODINGS = frozenset(("", "gzip", "x-gzip", "deflate", "compress", "x-compress", "identity"))


class Request:
    """One complete request.

    Attributes:
        environ: the base environ with this request's CGI variables added (RFC 3875), without body.
        method: as sent.
        http11: False for HTTP/1.0.
        keep_alive: whether the client lets the connection live on.
        body: the decoded body at its beginning, or None if there is none.
        nbytes: size of the decoded body.
        content_length: what the head announces, 0 if nothing.
        chunked: the body comes in chunked coding.
        simple: HTTP/1.1 and not HEAD: the answer needs no special head.
        memorable: a GET in origin form with no body that asks for nothing unusual.
        expect_continue: the client waits for ``100 Continue`` before it sends the body.
    """

    # Class attributes are what nearly every request has; an instance holds what differs.
    method = "GET"
    http11 = True
    keep_alive = True
    simple = True
    memorable = False
    body: IO[bytes] | None = None
    nbytes = 0
    expect_continue = False
    content_length = 0
    chunked = False

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ

    def __str__(self) -> str:
        return f"{self.method} {self.environ['RAW_URI']}"

    def closing(self) -> Request:
        """Return a copy behind which the connection closes, whatever the client wants."""
        copy = Request(self.environ)
        copy.__dict__.update(self.__dict__)
        copy.keep_alive = False
        return copy


PLAIN = Request({})
"""Stands for every remembered request that keeps its connection: only environs differ."""

CLOSING = PLAIN.closing()
"""The same with ``Connection: close``."""


def build_request(
    environ: dict[str, Any],
    method: str,
    target: bytes,
    version: str,
    settings: Settings,
) -> Request:
    """Make a request of a head that httptools has parsed.

    Args:
        environ: a new environ with the header fields; the request's own entries are added.
        method: as sent.
        target: the request target as sent.
        version: such as ``1.1``.
        settings: limits.

    Raises:
        RequestError: the request must not be served.
    """
    request = Request(environ)
    if version != "1.1":
        if version != "1.0":
            raise RequestError(400, f"HTTP version {version} is not served")
        request.http11 = request.simple = False
        environ["SERVER_PROTOCOL"] = "HTTP/1.0"
    host = environ.get("HTTP_HOST")
    if host not in KNOWN_HOSTS:
        _check_host(host, request.http11 and settings.require_host)
    environ["REQUEST_METHOD"] = method
    split_target(method, target, environ)
    connection = environ.get("HTTP_CONNECTION")
    if connection is not None or not request.http11:
        request.keep_alive = _persists(request.http11, connection or "")
    if method == "GET":
        request.memorable = (
            request.http11
            and target[0] == _SLASH
            and (connection is None or connection.lower() in {"keep-alive", "close"})
        )
    else:
        request.method = method
        if method == "PRI":
            raise RequestError(400, "HTTP/2 is not served")
        if method == "HEAD":
            request.simple = False
        elif method == "CONNECT":
            raise RequestError(501, "CONNECT is for proxies")
    if "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ:
        _choose_framing(request, settings.max_body)
    if "HTTP_EXPECT" in environ and request.http11:
        if environ["HTTP_EXPECT"].lower() != "100-continue":
            raise RequestError(417, "unknown expectation")
        request.expect_continue = True
    return request


def _persists(http11: bool, connection: str) -> bool:
    """Whether the client lets the connection live (RFC 9112 section 9.3).

    Not asked of httptools, which believes Proxy-Connection too.
    """
    options = {each.strip(" \t").lower() for each in connection.split(",")}
    return "close" not in options and (http11 or "keep-alive" in options)


def _check_host(host: str | None, required: bool) -> None:
    if host is None:
        if required:
            raise RequestError(400, "no Host header field")
    elif not check_host(host):
        raise RequestError(400, "malformed Host header field")


def _choose_framing(request: Request, max_body: int) -> None:
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
            # A known coding without chunked behind it leaves the body's end unknown: 400.
            wrong = codings[-1] in _KNOWN_CODINGS or not all(map(_TOKEN.fullmatch, codings))
            raise RequestError(400 if wrong else 501, "transfer coding is not served")
        request.chunked = True
        return
    length = environ["CONTENT_LENGTH"]
    # 19 digits hold 2**63 - 1; more can only be leading zeros or nonsense.
    if not (length.isascii() and length.isdigit() and len(length) <= 19):
        raise RequestError(400, "malformed Content-Length")
    request.content_length = int(length)
    if max_body and request.content_length > max_body:
        raise RequestError(413, f"request body of {length} bytes is too large")
