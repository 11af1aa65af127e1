"""What connections share: one :class:`Service` per server, one :class:`Profile` per kind of peer.

Lives here: the free list of parsers, the deadlines by state, and the memory of request heads. Must
not live here: what a connection does with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from poolhttp.fields import FieldPolicy
from poolhttp.parser import Request, RequestParser
from poolhttp.scheduler import Scheduler
from poolhttp.states import State
from poolhttp.timers import DeadlineQueue

if TYPE_CHECKING:
    from logging import Logger

    from poolhttp.appcontext import AppContext
    from poolhttp.loop import Loop
    from poolhttp.settings import Settings

FREE_PARSERS = 64
"""Idle parsers kept; about 1.5 KiB each. More are in use only while requests arrive in pieces."""

SECTION_SIZE = 2048
"""Bytes of the longest field section that is remembered; browsers send 400 to 1,500."""

SECTIONS = 256
"""Field sections remembered by a profile: with the environ made of it about 1 MiB at the most."""

LINES = 1024
"""Request lines remembered by a profile."""

LINE_SIZE = 256
"""Bytes of the longest request line that is remembered."""


class Profile:
    """What the listener and the trust in a peer decide, for all connections of that kind.

    Remembers request heads. A client repeats its field section to the byte, request after request,
    and many clients ask for the same few targets; so both halves of a head that httptools has
    parsed and every check has passed are kept, and a later head made of two known halves is not
    parsed again (docs/decisions/0003). Only what is complete in itself is kept: GET in origin form,
    HTTP/1.1, no body, nothing that changes the connection. A half is kept when it is seen for the
    second time, and all are dropped when the table is full.

    Args:
        base: environ entries of the listener.
        policy: whom to believe.
        unix: the listener is a unix socket, so the server's name comes from Host.
    """

    def __init__(self, base: dict[str, Any], policy: FieldPolicy, *, unix: bool) -> None:
        self.base = base
        self.policy = policy
        self._unix = unix
        self._lines: dict[bytes, tuple[str, str, str]] = {}
        self._sections: dict[bytes, dict[str, Any]] = {}
        self._seen: set[int] = set()
        self._closed = False

    def recall(self, data: bytes) -> Request | None:
        """Return the request if ``data`` is exactly one head made of two known halves."""
        end = data.find(b"\r\n")
        line = self._lines.get(data[:end])
        if line is None:
            return None
        fields = self._sections.get(data[end:])
        if fields is None:
            return None
        environ = fields.copy()
        environ["RAW_URI"], environ["PATH_INFO"], environ["QUERY_STRING"] = line
        return Request(environ)

    def remember(self, head: bytes, request: Request) -> None:
        """Keep the halves of a head that was parsed, if they are worth it.

        Args:
            head: all bytes of the request, which has no body.
            request: what they were parsed into, before the connection adds to it.
        """
        environ = request.environ
        if (
            self._closed
            or not request.plain
            or request.method != "GET"
            or not environ["RAW_URI"].startswith("/")
            or environ.get("HTTP_CONNECTION", "keep-alive") not in {"keep-alive", "Keep-Alive"}
            or not environ.keys().isdisjoint(_UNREMEMBERED)
        ):
            return
        end = head.find(b"\r\n")
        line, section = head[:end], head[end:]
        if len(line) <= LINE_SIZE and line not in self._lines and self._seen_before(line):
            if len(self._lines) >= LINES:
                self._lines.clear()
            self._lines[line] = (
                environ["RAW_URI"],
                environ["PATH_INFO"],
                environ["QUERY_STRING"],
            )
        if (
            len(section) <= SECTION_SIZE
            and section not in self._sections
            and self._seen_before(section)
        ):
            if len(self._sections) >= SECTIONS:
                self._sections.clear()
            self._sections[section] = environ.copy()

    def _seen_before(self, half: bytes) -> bool:
        key = hash(half)
        if key in self._seen:
            self._seen.discard(key)
            return True
        if len(self._seen) >= LINES:
            self._seen.clear()
        self._seen.add(key)
        return False

    def complete(self, environ: dict[str, Any], address: str, port: str) -> None:
        """Add the peer, and for a unix socket the server's name (RFC 3875 section 4.1)."""
        environ["REMOTE_ADDR"] = address
        if port:
            environ["REMOTE_PORT"] = port
        if self._unix:
            host = environ.get("HTTP_HOST", "")
            name, colon, given = host.rpartition(":")
            if not colon or "]" in given:
                name, given = host, ""
            if name:
                environ["SERVER_NAME"] = name
                scheme = environ["wsgi.url_scheme"]
                environ["SERVER_PORT"] = given or ("443" if scheme == "https" else "80")

    def forget(self) -> None:
        """Drop what is remembered and remember no more; each head is then parsed."""
        self._closed = True
        self._lines.clear()
        self._sections.clear()


_UNREMEMBERED = frozenset(
    ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_UPGRADE", "HTTP_SCRIPT_NAME")
)


class Owned(Protocol):
    """A connection, as far as the service knows it."""

    fd: int


class Service:
    """What all connections of a server share.

    Args:
        settings: limits and timeouts.
        loop: the loop that they live on.
        context: the app and its surroundings.
        scheduler: decides who runs the app.
        log: for events of connections.
        on_closed: called with each connection that has closed.
    """

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        context: AppContext,
        scheduler: Scheduler,
        log: Logger,
        on_closed: Callable[[Any], None],
    ) -> None:
        self.settings = settings
        self.loop = loop
        self.context = context
        self.scheduler = scheduler
        self.log = log
        self.on_closed = on_closed
        self.keepalive = settings.keepalive
        self.write_timeout_ms = int(settings.write_timeout * 1000) or None
        self.requests = 0
        self.draining = False
        self._parsers: list[RequestParser] = []
        writing = DeadlineQueue(settings.write_timeout)
        self.queues: dict[State, DeadlineQueue | None] = {
            State.IDLE: DeadlineQueue(settings.keepalive),
            State.READING_HEAD: DeadlineQueue(settings.head_timeout),
            State.READING_BODY: DeadlineQueue(settings.body_timeout),
            State.QUEUED: None,
            State.RUNNING: None,
            State.WRITING: writing,
            State.LINGERING: DeadlineQueue(settings.linger_timeout),
            State.CLOSED: None,
        }
        loop.queues.extend(queue for queue in self.queues.values() if queue is not None)

    def acquire_parser(self, profile: Profile) -> RequestParser:
        """Return a parser at the start of a message, for one of the profile's connections."""
        parser = self._parsers.pop() if self._parsers else RequestParser(self.settings)
        parser.begin(profile.base, profile.policy)
        return parser

    def release_parser(self, parser: RequestParser) -> None:
        """Take back a parser that is at the start of a message."""
        if len(self._parsers) < FREE_PARSERS:
            self._parsers.append(parser)
