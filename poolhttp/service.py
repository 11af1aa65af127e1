"""What connections share: one :class:`Service` per server, one :class:`Profile` per kind of peer.

Lives here: the free list of parsers, the deadlines by state, and the memory of request heads. Must
not live here: what a connection does with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from poolhttp.fields import FieldPolicy, PeerList
from poolhttp.parser import RequestParser
from poolhttp.request import CLOSING, PLAIN, Request
from poolhttp.scheduler import Scheduler
from poolhttp.states import State
from poolhttp.timers import DeadlineQueue
from poolhttp.wholehead import WholeHeadParser

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


PATIENCE = 64
"""Unknown heads in a row after which remembering rests, since this traffic repeats nothing."""

PAUSE = 448
"""Heads for which it rests: seven of eight are then parsed at no extra cost."""


Remembered: TypeAlias = tuple[Request, dict[str, Any]]
"""PLAIN or CLOSING, and an environ without what the connection adds."""


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

    Attributes:
        heads: whole heads of two known halves, seen again, with an environ to be copied.
    """

    def __init__(self, base: dict[str, Any], policy: FieldPolicy) -> None:
        self.base = base
        self.policy = policy
        self._lines: dict[bytes, tuple[str, str, str]] = {}
        self._sections: dict[bytes, Remembered] = {}
        self.heads: dict[bytes, Remembered] = {}
        self._seen: set[int] = set()
        self._misses = 0
        self._pause = 0
        self._closed = False

    def recall(self, data: bytes) -> Remembered | None:
        """Return the request and a new environ if ``data`` is one head of two known halves."""
        if self._pause:
            self._pause -= 1
            return None
        end = data.find(b"\r\n")
        line = self._lines.get(data[:end])
        section = self._sections.get(data[end:]) if line is not None else None
        if line is None or section is None:
            self._misses += 1
            if self._misses == PATIENCE:
                self._misses = 0
                self._pause = PAUSE
            return None
        self._misses = 0
        request, fields = section
        environ = fields.copy()
        environ["RAW_URI"], environ["PATH_INFO"], environ["QUERY_STRING"] = line
        if self._seen_before(data):
            if len(self.heads) >= SECTIONS:
                self.heads.clear()
            self.heads[data] = request, environ.copy()
        return request, environ

    def remember(self, head: bytes, request: Request) -> None:
        """Keep the halves of a head that was parsed, if they are worth it.

        Args:
            head: all bytes of the request.
            request: what they were parsed into (``memorable``), before the connection adds to it.
        """
        if self._pause or self._closed:
            return
        environ = request.environ
        if not environ.keys().isdisjoint(_UNREMEMBERED):
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
            kind = PLAIN if request.keep_alive else CLOSING
            self._sections[section] = kind, environ.copy()

    def _seen_before(self, half: bytes) -> bool:
        key = hash(half)
        if key in self._seen:
            self._seen.discard(key)
            return True
        if len(self._seen) >= LINES:
            self._seen.clear()
        self._seen.add(key)
        return False

    def forget(self) -> None:
        """Drop what is remembered and remember no more; each head is then parsed."""
        self._closed = True
        self._pause = 0
        self._lines.clear()
        self._sections.clear()
        self.heads.clear()


_UNREMEMBERED = frozenset(
    ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_UPGRADE", "HTTP_SCRIPT_NAME")
)


def name_server(environ: dict[str, Any]) -> None:
    """Set SERVER_NAME and SERVER_PORT from Host, for a listener without either (RFC 3875
    section 4.1.14)."""
    host = environ.get("HTTP_HOST", "")
    name, colon, port = host.rpartition(":")
    if not colon or "]" in port:
        name, port = host, ""
    if name:
        environ["SERVER_NAME"] = name
        environ["SERVER_PORT"] = port or ("443" if environ["wsgi.url_scheme"] == "https" else "80")


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
        self.log = log
        self.on_closed = on_closed
        self.proxies = PeerList(settings.proxy_allow_ips)
        self.keepalive = settings.keepalive
        self.write_timeout = settings.write_timeout or None
        self.left = float("inf")
        """Requests until connections are no longer kept alive."""
        self.scheduler = scheduler
        self.run = scheduler.run
        self.whole_heads = WholeHeadParser(settings)
        self._parsers: list[RequestParser] = []
        self.idle_queue = DeadlineQueue(settings.keepalive)
        self.queues: dict[State, DeadlineQueue | None] = {
            State.IDLE: self.idle_queue,
            State.READING_HEAD: DeadlineQueue(settings.head_timeout),
            State.READING_BODY: DeadlineQueue(settings.body_timeout),
            State.QUEUED: None,
            State.RUNNING: None,
            State.WRITING: DeadlineQueue(settings.write_timeout),
            # A queue takes 0 for "never"; here it means "at once".
            State.LINGERING: DeadlineQueue(settings.linger_timeout or 1e-3),
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
