"""A live server whose watch has no clock, and whose threads stop where a test wants (`steps`).

Lives here: `Stage`, and the app that it serves. Must not live here: assertions about one order of
events.
"""

from __future__ import annotations

import io
import logging
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from live import (
    TIMEOUT,
    Environ,
    Response,
    StartResponse,
    exchange,
    message,
)

from poolhttp import Server, Settings
from poolhttp.appcontext import AppContext
from poolhttp.crew import Crew
from poolhttp.loop import Loop
from poolhttp.wsgi import PUMP_ITEMS

from .steps import Gate, HandWatch, Steps

ROUNDS = 5000
"""Exchanges in which a crew must come to rest."""

MOMENT = 0.05
"""Seconds: nobody who isn't held has the mutex for so long."""


class Slow:
    """An iterable whose gate is in front of item ``at``, or in close() if there is none such."""

    def __init__(self, gate: Gate, items: list[bytes], at: int) -> None:
        self._gate = gate
        self._items = items
        self._at = at

    def __iter__(self) -> Iterator[bytes]:
        for i, item in enumerate(self._items):
            if i == self._at:
                self._gate.pass_through()
            yield item

    def close(self) -> None:
        if self._at >= len(self._items):
            self._gate.pass_through()


class Raw(io.RawIOBase):
    """A source of zeros that is code of the app, as a response of another server would be."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._left = FILE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._left)
        buffer[:count] = bytes(count)
        self._left -= count
        return count

    def close(self) -> None:
        if not self.closed and not self._left:
            self._gate.pass_through()
        super().close()


FILE = 16 << 20
BODY = b"slow body"
PIECES = {
    "stream": ([b"slow ", b"body"], 1),
    "leave": ([b"", *[b"x"] * (PUMP_ITEMS - 1), *BODY.split(b"&")], PUMP_ITEMS - 1),
    "close": ([b"slow ", b"body"], 2),
}
SHAPES = ("whole", "list", "write", "hints", "raise", "exit", *PIECES)
"""What a gated call does when its gate opens, and where that stands."""


def body_of(shape: str) -> bytes | None:
    """What a client gets; None: an error."""
    if shape in {"raise", "exit"}:
        return None
    return b"".join(PIECES[shape][0]) if shape in PIECES else BODY


class Stage:
    """A server in a thread of its own, and an app whose paths say what happens:

    - ``/quick/...``: answers with the path;
    - ``/file/...``: a file of zeros that no socket takes at once; ``/file/raw/...`` is one whose
      close() waits at its gate;
    - ``/SHAPE/...``: waits at its gate, once, and then does as ``SHAPES`` says.

    Attributes:
        live: address and settings of the server.
        callers: path and thread of each app call, in order.
    """

    def __init__(self, **settings: Any) -> None:
        self.steps = Steps()
        self.callers: list[tuple[str, int]] = []
        self.failure: BaseException | None = None
        self._gates: dict[str, Gate] = {}
        self._lock = threading.Lock()
        self._clients: list[socket.socket] = []
        self._lines = Lines()
        log = logging.Logger("poolhttp.stage", logging.WARNING)
        log.addHandler(self._lines)
        chosen = {"keepalive": 3 * TIMEOUT, "predict": False, **settings}
        self.server = Server(self._app, bind=["127.0.0.1:0"], settings=Settings(**chosen), log=log)
        self.server.on_start = self._on_start
        self._started = threading.Event()
        before = threading.gettrace()
        threading.settrace(self.steps.trace)
        self.thread = threading.Thread(target=self._run, name="stage", daemon=True)
        self.thread.start()
        assert self._started.wait(TIMEOUT)
        # The threads of the crew are started by now but for those that growth adds.
        self._before = before
        self.rest()

    def _on_start(self, _context: AppContext, loop: Loop) -> None:
        self.watch = loop.calls = HandWatch(loop._native, self.steps.end_watch)
        self._started.set()

    def _run(self) -> None:
        try:
            self.server.run()
        except BaseException as error:
            self.failure = error

    @property
    def crew(self) -> Crew:
        """The server's threads."""
        return self.server.scheduler.crew

    # The app

    def gate(self, path: str) -> Gate:
        """Where the call of that path waits."""
        with self._lock:
            return self._gates.setdefault(path, Gate(self.steps))

    def _app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.callers.append((path, threading.get_ident()))
        shape = path.split("/")[1]
        if shape == "quick":
            start_response("200 OK", [])
            return [path.encode()]
        if shape == "file":
            start_response("200 OK", [("Content-Length", str(FILE))])
            raw = Raw(self.gate(path))
            source = io.BufferedReader(raw) if "raw" in path else io.BytesIO(bytes(FILE))
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](source, 65536)
            return wrapped
        gate = self.gate(path)
        if shape in PIECES:
            start_response("200 OK", [])
            return Slow(gate, *PIECES[shape])
        if shape == "write":
            write = start_response("200 OK", [])
            gate.pass_through()
            write(BODY[:3])
            write(BODY[3:])
            return []
        gate.pass_through()
        if shape == "hints":
            environ["wsgi.early_hints"]([("Link", "</x>; rel=preload")])
        if shape == "raise":
            raise RuntimeError("as it was told to")
        if shape == "exit":
            raise SystemExit
        start_response("200 OK", [])
        return [BODY] if shape != "list" else [BODY[:3], BODY[3:]]

    # The clients

    def connect(self) -> socket.socket:
        """A new connection, closed with the stage."""
        sock = socket.create_connection(self.server.addresses[0], TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients.append(sock)
        return sock

    def ask(self, path: str) -> Response:
        """One exchange over a connection of its own."""
        with self.connect() as sock:
            return exchange(sock, get(path))

    def call(self, sock: socket.socket, path: str) -> Gate:
        """Send a request, and wait until its call is at its gate."""
        sock.sendall(get(path))
        gate = self.gate(path)
        gate.wait_reached()
        return gate

    def loop_turns(self) -> None:
        """Whoever has the loop answers, without the app."""
        with self.connect() as sock:
            assert exchange(sock, message("GET / HTTP/1.1", host=None)).status == 400

    def in_the_way(self) -> bool:
        """Whether nobody else can run the loop while the thread of the gated call is held: it has
        a lock, or is to have the loop. A wrong yes, of a stalled machine, only spares a check.
        """
        crew = self.crew
        if self.steps.place.endswith(" _on_lost") or "detached.py" in self.steps.place:
            # It may have a lock that its successor needs.
            return True
        if not crew.mutex.acquire(timeout=MOMENT):
            return True
        try:
            chosen = crew._claimant, crew.leader
        finally:
            crew.mutex.release()
        return any(each is not None and each.ident == self.steps.slow for each in chosen)

    def rest(self) -> None:
        """Turn until an app thread leads, and all others have nothing to do."""
        crew = self.crew
        for _ in range(ROUNDS):
            with crew.mutex:
                leader = crew.leader
                if leader is not None and leader.runs_apps and crew.idle == len(crew.members) - 1:
                    self.steps.slow = 0
                    return
            self.loop_turns()
        raise AssertionError("the crew never came to rest")

    def end(self) -> None:
        """Stop, and check that nothing went wrong and no thread is left."""
        threading.settrace(self._before)
        self.steps.let_go()
        for sock in self._clients:
            sock.close()
        crew = self.crew
        self.server.stop()
        self.thread.join(TIMEOUT)
        for thread in [self.thread, *crew._threads.values()]:
            thread.join(TIMEOUT)
            assert not thread.is_alive(), f"{thread.name} is left, {self.steps.place}"
        if self.failure is not None:
            raise self.failure
        bugs = [line for line in self._lines.lines if "BUG" in line]
        assert not bugs, bugs


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def get(path: str) -> bytes:
    """A request."""
    return message(f"GET {path} HTTP/1.1")


@contextmanager
def staged(**settings: Any) -> Iterator[Stage]:
    """A stage that is ended and checked."""
    stage = Stage(**settings)
    try:
        yield stage
    except BaseException:
        print(f"held: {stage.steps.place}; failed: {stage.failure!r}")
        # What failed says more than what is left of it.
        with suppress(BaseException):
            stage.end()
        raise
    stage.end()
