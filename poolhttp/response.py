"""Sans-I/O response side: validates and encodes a head once, and decides the framing once.

Lives here: RFC 9112 sections 4 to 7 for responses, and the only code that writes a head. Must not
live here: the app, sockets.
"""

from __future__ import annotations

import html
import re
from contextlib import suppress
from enum import IntEnum
from http import HTTPStatus
from typing import Any

_STATUS = re.compile(r"[1-9][0-9]{2}(?: [ \t\x21-\x7e\x80-\xff]*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[ \t\x21-\x7e\x80-\xff]*")

# RFC 9110 section 7.6.1: between us and our peer, so ours to write. PEP 3333 forbids the app to.
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
    )
)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CLOSE_LINE = b"Connection: close\r\n"

SMALL = 4 * 1024
"""Bytes of a body that are copied for the turn's send instead of written by a call of their own
(docs/decisions/0001)."""


class Framing(IntEnum):
    """How the peer knows where the response's body ends (RFC 9112 section 6.3)."""

    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    CLOSE = 3


class HeadError(ValueError):
    """The app gave a status or header that must not be sent; the app is at fault."""


class Head:
    """Status and header fields as the app gave them, checked and encoded.

    Attributes:
        status: as given, such as ``404 Not Found``.
        code: the status code.
        fields: the encoded lines of the app's fields, each with its CRLF.
        content_length: value of the app's Content-Length, or None.
        upgrade: the app answers 101 or asks for ``Connection: upgrade``.
        close: the app asks for ``Connection: close``.
        whole_length: the length of a body that may follow ``keeping`` or ``closing``; -1: none.
        keeping: the whole head for HTTP/1.1, as long as ``date`` is the date.
        closing: the same with ``Connection: close``.
        bodiless: the status allows no body (RFC 9110 sections 15.2, 15.3.5, 15.4.5).
    """

    __slots__ = (
        "_server",
        "bodiless",
        "close",
        "closing",
        "code",
        "content_length",
        "date",
        "fields",
        "headers",
        "keeping",
        "status",
        "upgrade",
        "whole_length",
    )

    def __init__(self, status: str, headers: list[tuple[str, str]], server: bytes) -> None:
        self.status = check_status(status)
        self.code = int(status[:3])
        if self.code < 200 and self.code != 101:
            raise HeadError(f"status {status!r} can't be final (RFC 9110 section 15.2)")
        self.content_length: int | None = None
        self.close = False
        self.upgrade = False
        self.headers = headers
        self._server = server
        self.bodiless = self.code < 200 or self.code in {204, 304}
        self.fields = self._encode(headers)
        self.date = b""
        self.keeping = b""
        self.closing = b""
        self.whole_length = self._plain_length()

    def _encode(self, headers: list[tuple[str, str]]) -> bytes:
        lines = []
        upgrade = ""
        for name, value in headers:
            lower = check_field(name, value).lower()
            if lower == "connection":
                self._note_connection(value)
            elif lower == "upgrade":
                upgrade = f"Upgrade: {value}\r\n"
            elif lower in HOP_BY_HOP:
                continue
            elif lower == "content-length":
                self._set_length(value)
                if self.code >= 200 and self.code != 204:
                    lines.append(f"{name}: {self.content_length}\r\n")
            elif lower == "date":
                continue
            else:
                if lower == "server":
                    self._server = b""
                stripped = value.strip(" \t")
                lines.append(f"{name}: {stripped}\r\n")
        if self.upgrade:
            lines.append(upgrade)
        return "".join(lines).encode("latin-1")

    def _plain_length(self) -> int:
        length = self.content_length
        special = self.bodiless or self.close or self.upgrade
        return -1 if special or length is None or length > SMALL else length

    def takes_length(self, length: int) -> bool:
        """Whether a Content-Length of this body may be put before the head's empty line."""
        special = self.bodiless or self.close or self.upgrade
        return self.content_length is None and length <= SMALL and not special

    def _note_connection(self, value: str) -> None:
        tokens = {each.strip().lower() for each in value.split(",")}
        self.close = self.close or "close" in tokens
        self.upgrade = self.upgrade or "upgrade" in tokens

    def _set_length(self, value: str) -> None:
        stripped = value.strip(" \t")
        if not (stripped.isascii() and stripped.isdigit() and len(stripped) < 20):
            raise HeadError(f"malformed Content-Length {value!r}")
        if self.content_length is not None:
            raise HeadError("repeated Content-Length header")
        self.content_length = int(stripped)

    def encode_whole(self, date: bytes) -> None:
        """Make ``keeping`` and ``closing`` for another Date line."""
        self.keeping = self.encode(True, b"", b"", date)
        self.closing = self.encode(True, CLOSE_LINE, b"", date)
        self.date = date

    def encode(self, http11: bool, connection: bytes, framing: bytes, date: bytes) -> bytes:
        """Return the head, up to and with its empty line.

        Args:
            http11: whether the request was HTTP/1.1; the answer has the same version.
            connection: an encoded Connection line or b"".
            framing: an encoded Transfer-Encoding or Content-Length line or b"".
            date: an encoded Date line.
        """
        version = b"HTTP/1.1 " if http11 else b"HTTP/1.0 "
        status = self.status if len(self.status) > 3 else self.status + " "
        return b"".join(
            (
                version,
                status.encode("latin-1"),
                b"\r\n",
                self._server,
                date,
                connection,
                framing,
                self.fields,
                b"\r\n",
            )
        )


def check_status(status: Any) -> str:
    """Return the status if it may be sent.

    Raises:
        HeadError: not a ``str`` or not three digits, a space and a reason.
    """
    if type(status) is not str and not isinstance(status, str):
        raise HeadError(f"status must be str, not {type(status).__name__}")
    if _STATUS.fullmatch(status) is None:
        raise HeadError(f"malformed status {status!r}")
    return status


def check_field(name: Any, value: Any) -> str:
    """Return the name if the field may be sent (RFC 9110 section 5.1 and 5.5).

    Raises:
        HeadError: a part isn't ``str`` or has characters that could end the line.
    """
    if not isinstance(name, str) or not isinstance(value, str):
        raise HeadError(f"header name and value must be str: {name!r}: {type(value).__name__}")
    if _NAME.fullmatch(name) is None:
        raise HeadError(f"malformed header name {name!r}")
    if _VALUE.fullmatch(value) is None:
        # The value itself may be a secret or an attack, and is not for the log.
        raise HeadError(f"header {name} has a character that must not be sent")
    return name


def encode_fields(headers: Any) -> bytes:
    """Encode the lines of (name, value) pairs of str or bytes, checked.

    Raises:
        HeadError: a field must not be sent.
    """
    lines = []
    for pair in headers:
        name, value = (part.decode("latin-1") if isinstance(part, bytes) else part for part in pair)
        lines.append(f"{check_field(name, value)}: {value}\r\n")
    return "".join(lines).encode("latin-1")


class HeadCache:
    """Heads already checked and encoded, by status and headers; emptied when full.

    An app repeats few heads very often. Those with cookies aren't kept: they are another for each
    client.

    Args:
        server: value of the Server field, or ''.
        limit: heads kept.
    """

    def __init__(self, server: str, limit: int = 256) -> None:
        self._server = f"Server: {server}\r\n".encode("latin-1") if server else b""
        self._limit = limit
        self._known: dict[tuple[Any, ...], Head] = {}
        self.last = Head("200 OK", [], self._server)
        """The head used last; an app tends to use it again."""

    def find(self, status: Any, headers: Any) -> Head:
        """Return the head for what the app gave to start_response.

        Raises:
            HeadError: it must not be sent.
        """
        head = None
        if isinstance(headers, list):
            # Something in it may not be hashable; what is wrong with it is said below.
            with suppress(TypeError):
                head = self._known.get((status, *headers))
        if head is None:
            return self._make(status, headers)
        self.last = head
        return head

    def _make(self, status: Any, headers: Any) -> Head:
        if not isinstance(headers, list):
            raise HeadError(f"headers must be a list, not {type(headers).__name__}")
        for each in headers:
            if not isinstance(each, tuple) or len(each) != 2:
                raise HeadError(f"headers must be a list of (name, value), got {each!r}")
        head = Head(status, list(headers), self._server)
        if len(head.fields) <= 1024 and not any(n.lower() == "set-cookie" for n, _ in headers):
            if len(self._known) >= self._limit:
                self._known.clear()
            self._known[(status, *headers)] = head
        return head


def choose_framing(
    head: Head, method: str, http11: bool, length: int | None
) -> tuple[Framing, int, bytes]:
    """Decide once how the body's end is known.

    Args:
        head: what the app declared.
        method: the request's method.
        http11: whether the peer knows chunked.
        length: the body's length if the server knows it before the first byte, else None.

    Returns:
        The framing, the number of body bytes (for LENGTH), and the line to add to the head.
    """
    if head.bodiless:
        return Framing.NONE, 0, b""
    if head.content_length is not None:
        framing, left, line = Framing.LENGTH, head.content_length, b""
    elif length is not None:
        framing, left, line = Framing.LENGTH, length, b"Content-Length: %d\r\n" % length
    elif http11:
        framing, left, line = Framing.CHUNKED, 0, b"Transfer-Encoding: chunked\r\n"
    else:
        framing, left, line = Framing.CLOSE, 0, b""
    if method == "HEAD":
        # The head of GET, and no body (RFC 9110 section 9.3.2). A length of 0 that the server found
        # itself says nothing: apps leave the body out.
        return Framing.NONE, 0, line if length or framing is not Framing.LENGTH else b""
    return framing, left, line


def connection_line(http11: bool, keep_alive: bool, upgrade: bool) -> bytes:
    """Return the Connection line that says what will happen (RFC 9112 section 9.3)."""
    if upgrade:
        return b"Connection: upgrade\r\n"
    if not keep_alive:
        return CLOSE_LINE
    return b"" if http11 else b"Connection: keep-alive\r\n"


def error_response(code: int, detail: str, date: bytes, *, head_only: bool = False) -> bytes:
    """Return a whole closing response for an error that the server itself answers.

    Args:
        code: the status code.
        detail: a sentence for the person who reads the page; escaped here.
        date: an encoded Date line.
        head_only: the request was HEAD.
    """
    reason = HTTPStatus(code).phrase
    page = (
        f"<!doctype html>\n<title>{code} {reason}</title>\n"
        f"<h1>{code} {reason}</h1>\n<p>{html.escape(detail)}</p>\n"
    ).encode("utf-8", "replace")
    head = (
        f"HTTP/1.1 {code} {reason}\r\nConnection: close\r\nContent-Type: text/html; charset=utf-8"
        f"\r\nContent-Length: {len(page)}\r\n"
    ).encode("latin-1")
    return head + date + b"\r\n" + (b"" if head_only else page)


RETRY_AFTER = 1
"""Seconds that a shed client is asked to wait; arbitrary."""


def unavailable(date: bytes, *, close: bool, head_only: bool) -> bytes:
    """Return a whole 503 for a request that is shed; the connection may live on.

    Args:
        date: an encoded Date line.
        close: whether it says that the connection ends.
        head_only: the request was HEAD.
    """
    page = b"The server is overloaded; try again.\n"
    return b"".join(
        (
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\n" % RETRY_AFTER,
            date,
            CLOSE_LINE if close else b"",
            b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(page),
            b"" if head_only else page,
        )
    )
