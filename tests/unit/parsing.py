"""What the tests of the parser share: feeding pieces, and messages worth feeding.

Lives here: `outcomes`, which feeds pieces as a connection does and says what came out, and two
literal lists of messages. Must not live here: assertions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from poolhttp.errors import RequestError
from poolhttp.fields import FieldPolicy
from poolhttp.parser import RequestParser
from poolhttp.request import Request
from poolhttp.settings import Settings

BASE: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "wsgi.url_scheme": "http",
}


class Parsed(NamedTuple):
    """A request, detached from the parser."""

    environ: dict[str, Any]
    http11: bool
    keep_alive: bool
    expect_continue: bool
    body: bytes | None


class Refused(NamedTuple):
    """The end of a connection: the status of its last answer."""

    status: int


Outcome = Parsed | Refused


def detach(request: Request) -> Parsed:
    """Read a request's body and keep what it says."""
    body = None
    if request.body is not None:
        with request.body:
            body = request.body.read()
        assert len(body) == request.nbytes
    return Parsed(
        request.environ, request.http11, request.keep_alive, request.expect_continue, body
    )


def new_parser(settings: Settings | None = None, *, trusted: bool = False) -> RequestParser:
    """A parser at the start of a message."""
    settings = settings or Settings()
    parser = RequestParser(settings)
    parser.begin(BASE, FieldPolicy(settings, trusted=trusted))
    return parser


def feed_all(parser: RequestParser, pieces: Iterable[bytes]) -> list[Outcome]:
    """Feed pieces as a connection does; an error ends it."""
    found: list[Outcome] = []
    try:
        for piece in pieces:
            data = piece
            while data:
                request, data = parser.feed(data)
                if request is None:
                    break
                found.append(detach(request))
    except RequestError as error:
        found.append(Refused(error.status))
    return found


def outcomes(*pieces: bytes, **settings: Any) -> list[Outcome]:
    """What a new parser makes of the pieces."""
    parser = new_parser(Settings(**settings))
    try:
        return feed_all(parser, pieces)
    finally:
        parser.abort()


def one(*pieces: bytes, **settings: Any) -> Parsed:
    """The only outcome, a request."""
    (found,) = outcomes(*pieces, **settings)
    assert isinstance(found, Parsed), found
    return found


def status(*pieces: bytes, **settings: Any) -> int:
    """The status with which the message is refused, 200 if it isn't."""
    last = outcomes(*pieces, **settings)[-1]
    return last.status if isinstance(last, Refused) else 200


_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_UPGRADE = b"Connection: upgrade\r\nUpgrade: x\r\n"

VALID: tuple[bytes, ...] = (
    b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nX: 1.1a\r\nConnection: keep-alive\r\n\r\n",
    b"\r\nHEAD /%7Eu HTTP/1.1\r\nhost:h:1\r\nX-A: 1\r\nx-a:\t 2 \t\r\nCookie: a\r\n"
    b"cookie: b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab\r\n\r\ncd\r",
    b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\n" + _CHUNKED + b'\r\n3;e="f"\r\nabc\r\nA\r\n\r\n\r\n345678\r\n'
    b"0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\n" + _UPGRADE + b"Content-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: h\r\n" + _UPGRADE + _CHUNKED + b"\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n" + _UPGRADE + b"\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET http://h/p?q HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n",
    b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"
    b"POST /3 HTTP/1.1\r\nHost: h\r\n"
    + _CHUNKED
    + b"\r\n1\r\na\r\n0\r\n\r\n\r\nGET /4 HTTP/1.1\r\n"
    b"Host: h\r\nConnection: close\r\n\r\n",
)
"""Complete messages, alone or pipelined."""

INVALID: tuple[tuple[int, bytes], ...] = (
    (400, b"GET / HTTP/1.1\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    (400, b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    (400, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    (400, b"GET  / HTTP/1.1\nHost: a\r\n\r\n"),
    (400, b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET\r\n\r\n"),
    (400, b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET /\t HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    (400, b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,1\r\n\r\na"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00000000000000000001\r\n\r\na"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n" + _CHUNKED + b"\r\n"),
    (400, b"POST / HTTP/1.0\r\nHost: a\r\n" + _CHUNKED + b"\r\n0\r\n\r\n"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\n" + _CHUNKED + _CHUNKED + b"\r\n0\r\n\r\n"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\n" + _CHUNKED + b"\r\nx\r\n\r\n"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\n" + _CHUNKED + b"\r\n1 \r\na\r\n0\r\n\r\n"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\n" + _CHUNKED + b"\r\n1\nab\r\n0\r\n\r\n"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\n" + _CHUNKED + b"\r\n1\r\nab0\r\n\r\n"),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\n" + _CHUNKED + b"\r\n-1\r\na\r\n0\r\n\r\n"),
    (501, b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n"),
    (417, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n"),
)
"""Messages with one fault, and the status with which they are refused."""
