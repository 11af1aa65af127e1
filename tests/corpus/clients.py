"""Clients of the signal tests: single requests, and threads that keep a server busy.

Lives here: asking once over a connection of one's own; `Client`, keep-alive or one-shot, which asks
until the server goes away and notes what became of each request; waiting for something observable.
Must not live here: which outcomes are acceptable.

Guarantees: bounded. Each step has a time limit, and a `Client` ends at the first connection that is
refused or closed to it, when told to stop, or after `LIMIT` requests.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .replay import Response, read_responses
from .serving import STOP_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 20.0
"""Seconds for each step of a request."""

POLL = 0.005
"""Seconds between two looks at a condition that is waited for."""

LIMIT = 50_000
"""Requests of one client: a bound on a run that nobody stops."""


@dataclass
class Outcome:
    """What one client saw."""

    answered: set[str] = field(default_factory=set)
    """Paths with a complete and right answer."""
    unanswered: dict[str, str] = field(default_factory=dict)
    """Paths that were sent and not answered, or wrongly, with what happened instead."""
    broken_promises: list[str] = field(default_factory=list)
    """Requests that got no answer on a connection which the response before had left open."""


class Client(threading.Thread):
    """Asks for `/NAME-0`, `/NAME-1`, ... one after the other."""

    def __init__(self, name: str, port: int, *, keep_alive: bool) -> None:
        super().__init__(name=name, daemon=True)
        self.outcome = Outcome()
        self.stop_asked = threading.Event()
        self.warm = threading.Event()
        """Set when an answer was seen, or when there will be none."""
        self._port = port
        self._keep_alive = keep_alive

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        number = 0
        try:
            while number < LIMIT and not self.stop_asked.is_set():
                reused = connection is not None
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self._port, TIMEOUT)
                    try:
                        connection.connect()
                    except OSError:
                        return
                path = f"/{self.name}-{number}"
                number += 1
                open_still = self._ask(connection, path, reused=reused)
                if open_still is None:
                    return
                if not open_still:
                    connection.close()
                    connection = None
        finally:
            self.warm.set()
            if connection is not None:
                connection.close()

    def _ask(
        self, connection: http.client.HTTPConnection, path: str, *, reused: bool
    ) -> bool | None:
        """Whether the connection stays open; None when there was no answer."""
        try:
            headers = {} if self._keep_alive else {"Connection": "close"}
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.outcome.unanswered[path] = repr(error)
            if reused:
                self.outcome.broken_promises.append(path)
            return None
        if response.status != 200 or body != path.encode():
            self.outcome.unanswered[path] = f"{response.status} {body!r}"
            return None
        if not self._keep_alive and not response.will_close:
            self.outcome.unanswered[path] = "answered without Connection: close"
            return None
        self.outcome.answered.add(path)
        self.warm.set()
        return not response.will_close


def connect(port: int) -> socket.socket:
    """A connection whose every step has a limit."""
    return socket.create_connection(("127.0.0.1", port), STOP_TIMEOUT)


def send(sock: socket.socket, path: str) -> None:
    """Ask for `path` and for the connection's end."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())


def receive(sock: socket.socket) -> list[Response]:
    """All responses up to the connection's end, which is ours too then."""
    with sock, sock.makefile("rb") as stream:
        return read_responses(stream.read())


def get(port: int, path: str) -> bytes:
    """The body of the one answer, on a connection of its own."""
    with connect(port) as sock:
        send(sock, path)
        [response] = receive(sock)
    assert response.status == 200
    return response.body


def wait_until(true: Callable[[], bool], what: str, timeout: float = STOP_TIMEOUT) -> None:
    """Ask again and again, for a bounded time; each question is a look at something observable."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(POLL)
