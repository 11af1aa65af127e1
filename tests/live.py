"""A server on a real socket, and a raw client that believes nothing.

Lives here: :class:`LiveServer`, which runs a Server in a thread and records what it logs; building
requests (`message`, `chunked`) and reading responses (`exchange`, `read_response`, `read_until`,
`read_to_eof`).
Must not live here: apps, and assertions about one behaviour.

Guarantees: `read_response` takes exactly one final response, parsed by h11 and checked against
RFC 9112 beyond what h11 checks (`_check_head`, `_check_fields`); bytes behind it stay for the next
call. Every client socket has a time limit, so that a server that keeps silent fails the test
instead of hanging it. A LiveServer leaves no thread and no descriptor behind, or its end fails.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import h11

from poolhttp import Server, Settings

if TYPE_CHECKING:
    from types import TracebackType

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

TIMEOUT = 10.0
"""Seconds for each step of a client, and for a server's end; never a part of an expectation."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]"
_HEAD = re.compile(
    rb"HTTP/1\.[01] [1-9][0-9]{2} "
    + _TEXT
    + rb"*\r\n(?:"
    + _TOKEN
    + rb": "
    + _TEXT
    + rb"*\r\n)*\r\n"
)

_unread: WeakKeyDictionary[socket.socket, bytes] = WeakKeyDictionary()
"""Bytes received behind a response, for the next one."""


class TruncatedError(Exception):
    """The connection ended before the response did; `partial` is what came of it."""

    def __init__(self, partial: Response | None) -> None:
        super().__init__("the connection ended before the response did")
        self.partial = partial


@dataclass
class Response:
    """One final response, and the codes of the interim ones before it."""

    status: int
    reason: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    """Names as they were sent."""
    body: bytes = b""
    interim: list[int] = field(default_factory=list)

    def all(self, name: bytes) -> list[bytes]:
        """The values of all fields of that name."""
        return [value for each, value in self.headers if each.lower() == name.lower()]

    def one(self, name: bytes) -> bytes | None:
        """The value of the only field of that name, None if there is none."""
        values = self.all(name)
        assert len(values) < 2, f"{name!r} came {len(values)} times"
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this response (RFC 9112 section 9.3)."""
        tokens = {
            token.strip().lower()
            for value in self.all(b"connection")
            for token in value.split(b",")
        }
        return b"close" in tokens or (self.version == b"1.0" and b"keep-alive" not in tokens)

    @property
    def without_date(self) -> tuple[int, bytes, bytes, list[tuple[bytes, bytes]], bytes]:
        """Everything but the Date, for comparing two answers."""
        others = [pair for pair in self.headers if pair[0].lower() != b"date"]
        return self.status, self.reason, self.version, others, self.body


# Requests


def message(line: str, *fields: str, host: str | None = "test", body: bytes = b"") -> bytes:
    """A request: its line, a Host unless None, the fields, Content-Length if there is a body."""
    lines = [line, *fields]
    if host is not None:
        lines.insert(1, f"Host: {host}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*chunks: bytes, trailers: str = "") -> bytes:
    """A body in chunked coding, its last chunk included (RFC 9112 section 7.1)."""
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return coded + b"0\r\n" + trailers.encode("latin-1") + b"\r\n"


# Responses


def exchange(sock: socket.socket, data: bytes, method: str = "GET") -> Response:
    """Send `data` and read one response; `method` is that of the request it answers."""
    sock.sendall(data)
    return read_response(sock, method)


def read_response(sock: socket.socket, method: str = "GET") -> Response:
    """Read one final response and leave what follows it for the next call.

    Raises:
        TruncatedError: the connection ended first.
        h11.RemoteProtocolError: the bytes are no response to `method`.
        AssertionError: they are one for h11, but not for RFC 9112.
    """
    reader = _Reader(sock, method)
    response = reader.head()
    try:
        reader.body(response)
    except TruncatedError:
        raise TruncatedError(response) from None
    return response


class _Reader:
    """h11 as the client of one exchange, fed from a socket."""

    def __init__(self, sock: socket.socket, method: str) -> None:
        self._sock = sock
        self._oracle = h11.Connection(h11.CLIENT)
        self._oracle.send(h11.Request(method=method, target="/", headers=[("Host", "test")]))
        self._oracle.send(h11.EndOfMessage())
        self._received = _unread.pop(sock, b"")
        """What was received and not yet checked; only heads are."""
        if self._received:
            self._oracle.receive_data(self._received)
        self._head_done = False

    def head(self) -> Response:
        """The final head."""
        interim: list[int] = []
        while True:
            event = self._next()
            if not isinstance(event, (h11.InformationalResponse, h11.Response)):
                raise TruncatedError(None)
            self._received = _check_head(self._received)
            if event.status_code >= 200:
                break
            interim.append(event.status_code)
        self._head_done = True
        fields = [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
        response = Response(
            event.status_code, bytes(event.reason), bytes(event.http_version), fields
        )
        response.interim = interim
        _check_fields(response)
        return response

    def body(self, response: Response) -> None:
        """Read the body into the response; what follows it is left for the next one."""
        pieces: list[bytes] = []
        try:
            while isinstance(event := self._next(), h11.Data):
                pieces.append(bytes(event.data))
        finally:
            response.body = b"".join(pieces)
        if not isinstance(event, h11.EndOfMessage):
            raise TruncatedError(response)
        assert not event.headers, "trailers, which no WSGI app can send"
        trailing, _ = self._oracle.trailing_data
        if trailing:
            _unread[self._sock] = trailing

    def _next(self) -> object:
        """The next event; receives for it if need be."""
        while True:
            try:
                event = self._oracle.next_event()
            except h11.RemoteProtocolError:
                if self._oracle.trailing_data[1]:
                    raise TruncatedError(None) from None
                raise
            if event is not h11.NEED_DATA:
                return event
            data = self._sock.recv(65536)
            self._oracle.receive_data(data)
            if not self._head_done:
                self._received += data


def read_until(sock: socket.socket, ending: bytes) -> bytes:
    """All that comes up to and with `ending`, and not a byte more is looked for.

    Raises:
        TruncatedError: the connection ended first.
    """
    received = _unread.pop(sock, b"")
    while not received.endswith(ending):
        data = sock.recv(65536)
        if not data:
            raise TruncatedError(None)
        received += data
    return received


def read_to_eof(sock: socket.socket) -> bytes:
    """All that still comes until the server's end of the connection."""
    pieces = [_unread.pop(sock, b"")]
    while data := sock.recv(65536):
        pieces.append(data)
    return b"".join(pieces)


def _check_head(received: bytes) -> bytes:
    """Check the first head to the byte; return what follows it.

    h11 forgives a bare LF, and makes one of two equal Content-Lengths.
    """
    end = received.find(b"\r\n\r\n") + 4
    head = received[:end]
    assert _HEAD.fullmatch(head), f"malformed response head {head!r}"
    assert head.lower().count(b"\r\ncontent-length:") < 2, "two Content-Lengths"
    return received[end:]


def _check_fields(response: Response) -> None:
    """The rules that go across fields (RFC 9112 section 6, RFC 9110 section 6.6.1)."""
    lengths, codings = response.all(b"content-length"), response.all(b"transfer-encoding")
    assert len(lengths) + len(codings) < 2, "two framings"
    if response.status == 204:
        assert not lengths, "Content-Length with 204"
        assert not codings, "Transfer-Encoding with 204"
    if response.version == b"1.0":
        assert not codings, "Transfer-Encoding in HTTP/1.0"
    dates = len(response.all(b"date"))
    assert dates == 1 or (dates == 0 and response.status >= 500), "not one Date"


# The server


class _Records(logging.Handler):
    """Keeps what is logged, and wakes whoever waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self.news = threading.Condition()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        with self.news:
            self.lines.append(text)
            self.news.notify_all()


class LiveServer:
    """A server that runs in a thread; a context manager that ends it and checks how it ended.

    Args:
        app: the application.
        settings: fields of poolhttp.Settings. A long keep-alive is the default here, so that a
            stalled machine can't end a connection under a test that doesn't care.
    """

    def __init__(self, app: App, **settings: Any) -> None:
        self._before = _open_descriptors()
        self._records = _Records()
        log = logging.Logger("poolhttp.live", logging.DEBUG)
        log.addHandler(self._records)
        self._log_was_read = False
        chosen = {"keepalive": 3 * TIMEOUT, "graceful_timeout": TIMEOUT / 2, **settings}
        self.server = Server(app, bind=["127.0.0.1:0"], settings=Settings(**chosen), log=log)
        self.address: tuple[str, int] = self.server.addresses[0]
        self.url = f"http://{self.address[0]}:{self.address[1]}"
        self._clients: list[socket.socket] = []
        self._error: BaseException | None = None
        self._stopped = False
        self.thread = threading.Thread(target=self._run, name="live server", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.server.run()
        except BaseException as error:
            self._error = error

    def connect(self, *, rcvbuf: int = 0) -> socket.socket:
        """A new connection, closed at the latest with the server.

        Args:
            rcvbuf: bytes that the kernel may keep for a client that doesn't read; 0: its choice.
        """
        sock = socket.socket()
        self._clients.append(sock)
        sock.settimeout(TIMEOUT)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.connect(self.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def ask(self, data: bytes, method: str = "GET") -> Response:
        """One exchange over a connection of its own."""
        with self.connect() as sock:
            return exchange(sock, data, method)

    def log_text(self) -> str:
        """What was logged so far, tracebacks included. Whoever looks expects errors there."""
        self._log_was_read = True
        with self._records.news:
            return "\n".join(self._records.lines)

    def wait_for_log(self, text: str) -> str:
        """The log as soon as `text` is in it."""
        with self._records.news:
            found = self._records.news.wait_for(
                lambda: any(text in line for line in self._records.lines), TIMEOUT
            )
        logged = self.log_text()
        assert found, f"{text!r} was never logged, but:\n{logged}"
        return logged

    def stop(self) -> None:
        """Close the clients, stop, and check that nothing is left and nothing went wrong unseen."""
        if self._stopped:
            return
        self._stopped = True
        for sock in self._clients:
            sock.close()
        if self.thread.is_alive():
            self.server.stop()
            self.thread.join(TIMEOUT)
        assert not self.thread.is_alive(), "the server did not stop"
        if self._error is not None:
            raise self._error
        leaked = _open_descriptors() - self._before
        if leaked:
            # Files of a test that a dead frame holds aren't the server's, whose fds are numbers.
            gc.collect()
            leaked = _open_descriptors() - self._before
        assert not leaked, f"left open: {dict(leaked)}"
        if not self._log_was_read:
            errors = [line for line in self._records.lines if line.startswith(("ERROR", "CRIT"))]
            assert not errors, "\n".join(errors)

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class Serve(Protocol):
    """The fixture `serve`: starts a server that is stopped, and checked, at the fixture's end."""

    def __call__(self, app: App, **settings: Any) -> LiveServer: ...


def _open_descriptors() -> Counter[str]:
    """What this process has open of the kinds that a server makes."""
    targets: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if target.startswith(("socket:", "pipe:", "anon_inode:")) or target.endswith("(deleted)"):
            targets[target] += 1
    return targets
