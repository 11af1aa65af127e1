"""Sends bytes cut at chosen places, so that the server receives them in exactly these pieces.

Lives here: `deliver`, and the requests that the delivery tests send.

A server with one loop receives in the order in which things arrive. So a whole exchange on another
connection between two pieces proves that the first one was received; were it not so on some kernel,
a test would see fewer cuts, and never fail for it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from itertools import pairwise

from live import chunked, exchange, message

BARRIER = message("GET /barrier HTTP/1.1")

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n"

REQUESTS: dict[str, bytes] = {
    "GET": message("GET /a%20b?c=d HTTP/1.1", "X-A: 1", "X-A: 2"),
    "GET after an empty line": b"\r\n" + message("GET / HTTP/1.1"),
    "absolute target": message("GET http://test/x?y HTTP/1.1"),
    "POST with length": message("POST / HTTP/1.1", body=b"body\r\n\r\nbody"),
    "POST of no bytes": message("POST / HTTP/1.1", "Content-Length: 0"),
    "POST chunked": message("POST / HTTP/1.1", "Transfer-Encoding: chunked")
    + chunked(b"body", b"\r\n\r\n", b"x" * 20),
    "POST chunked with extras": message("POST / HTTP/1.1", "Transfer-Encoding: chunked")
    + b"4;a=b\r\nbody\r\n0\r\nX-T: 1\r\n\r\n",
    "upgrade with a body": message(
        "POST / HTTP/1.1", "Connection: upgrade", "Upgrade: x", body=HIDDEN
    ),
    "upgrade with chunks": message(
        "POST / HTTP/1.1", "Connection: upgrade", "Upgrade: x", "Transfer-Encoding: chunked"
    )
    + chunked(HIDDEN),
    "HTTP/1.0 keep-alive": message("GET / HTTP/1.0", "Connection: keep-alive"),
    "latin-1 and underscore": message(
        "GET / HTTP/1.1", "X-L: \xe9", "X_U: 1", "Cookie: a", "Cookie: b"
    ),
}

LAST: dict[str, bytes] = {
    "close": message("GET /last HTTP/1.1", "Connection: close"),
    "close with more behind it": message("GET /last HTTP/1.1", "Connection: close") + HIDDEN,
    "HTTP/1.0": message("GET /last HTTP/1.0"),
    "no Host": message("GET / HTTP/1.1", host=None),
    "bad name": message("GET / HTTP/1.1", "Name : v") + HIDDEN,
    "bare LF": b"GET / HTTP/1.1\nHost: test\n\n",
    "two framings": message("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 4")
    + b"0\r\n\r\n",
    "bad chunk": message("POST / HTTP/1.1", "Transfer-Encoding: chunked") + b"4\r\nbodyx\r\n",
    "bad trailer": message("POST / HTTP/1.1", "Transfer-Encoding: chunked")
    + b"0\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
"""Requests with which a connection ends."""

_DATE = re.compile(rb"\r\nDate: [^\r]*")


def deliver(sock: socket.socket, barrier: socket.socket, pieces: Iterable[bytes]) -> None:
    """Send each piece when the one before it has been received."""
    first = True
    for piece in pieces:
        if not first:
            exchange(barrier, BARRIER)
        first = False
        try:
            sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            # It has refused what came so far; its answer is there to be read.
            return


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The pieces between the places."""
    bounds = [0, *sorted(set(places) - {0, len(data)}), len(data)]
    return [data[a:b] for a, b in pairwise(bounds)]


def without_dates(data: bytes) -> bytes:
    """Raw responses, comparable between two runs."""
    return _DATE.sub(b"", data)
