"""Sends a case's bytes over TCP, in pieces, and reads everything that comes back.

Lives here: the ways to cut a stream, one conversation (connect, send, half-close, read to the end),
reading responses, and comparing them with a case. Must not live here: which answers are acceptable
beyond what the corpus says (see `differences.py`).

Guarantees: `conversation` ends: each wait has a limit, and a server that keeps the connection open
after our half-close is an error, not a hang.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cases import Case

TIMEOUT = 15.0
"""Seconds for each connect, send and receive; far above any wait that gunicorn's workers have."""

LINE = re.compile(rb".+?\r\n|.+\Z", re.DOTALL)

MODES = ("whole", "lines", "bytes", "random")


@dataclass(frozen=True)
class Response:
    """One final response; interim ones (1xx) are not kept."""

    status: int
    body: bytes


class UnreadableError(Exception):
    """What came back is not a sequence of complete responses."""


def split(data: bytes, mode: str, seed: str) -> Iterator[bytes]:
    """The pieces to send `data` in; `seed` decides the cuts of mode `random`."""
    if mode == "whole":
        yield data
    elif mode == "lines":
        yield from LINE.findall(data)
    elif mode == "bytes":
        yield from (data[at : at + 1] for at in range(len(data)))
    else:
        cuts = random.Random(seed)
        at = 0
        while at < len(data):
            size = cuts.randint(1, max(1, len(data) // 10))
            yield data[at : at + size]
            at += size


def conversation(port: int, pieces: Iterator[bytes]) -> bytes:
    """Send the pieces, end our side, and give back all that was received until the other end.

    A server may answer and close before it has everything; what it said until then counts.
    """
    received: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                sock.sendall(piece)
                os.sched_yield()
            sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except OSError as error:
            # ENOTCONN: what the half-close says after the reset of a connection.
            if error.errno != errno.ENOTCONN:
                raise UnreadableError(f"while sending: {error!r}") from error
        try:
            while data := sock.recv(65536):
                received.append(data)
        except ConnectionResetError:
            pass
        except TimeoutError:
            so_far = b"".join(received)
            raise UnreadableError(f"open after {TIMEOUT:.0f} s, received {so_far!r}") from None
    return b"".join(received)


def read_responses(stream: bytes) -> list[Response]:
    """All final responses in `stream`, each of which has to state its length."""
    responses = []
    rest = stream
    while rest:
        head, blank, rest = rest.partition(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        words = status_line.split(b" ", 2)
        if not blank or len(words) < 2 or not words[0].startswith(b"HTTP/1."):
            raise UnreadableError(f"no complete response head in {head[:200]!r}")
        status = int(words[1])
        if 100 <= status < 200:
            continue
        length = _content_length(lines)
        if len(rest) < length:
            raise UnreadableError(f"{status} with {len(rest)} of {length} body bytes")
        responses.append(Response(status, rest[:length]))
        rest = rest[length:]
    return responses


def _content_length(lines: list[bytes]) -> int:
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise UnreadableError(f"a response without Content-Length: {lines!r}")


def mismatch(case: Case, responses: list[Response]) -> str | None:
    """How the responses differ from what the corpus expects; None when they don't."""
    statuses = tuple(response.status for response in responses)
    if statuses != case.statuses:
        return f"expected statuses {case.statuses}, observed {statuses}"
    for number, (expected, response) in enumerate(zip(case.seen, responses, strict=False)):
        seen = json.loads(response.body)
        if seen["body"] != expected.body:
            return f"request {number}: expected body {expected.body!r}, observed {seen['body']!r}"
        keys = expected.environ.keys() | seen["environ"].keys()
        for key in sorted(keys):
            wanted, got = expected.environ.get(key), seen["environ"].get(key)
            if wanted != got:
                return f"request {number}: expected {key}={wanted!r}, observed {got!r}"
    return None
