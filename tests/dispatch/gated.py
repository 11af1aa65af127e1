"""An app whose calls wait until a test lets them go, and what the tests here share.

Lives here: :class:`Gated`, which notes who called it, on which thread and how many at a time;
waiting for something observable (`until`). Must not live here: assertions about one behaviour.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

from corpus.clients import wait_until
from live import TIMEOUT, Environ, LiveServer, StartResponse

from poolhttp.scheduler import Scheduler

APP_WAIT = 2 * TIMEOUT
"""Seconds for which an app waits for its test; only a failing test lets them pass."""

LARGE = 8 << 20
"""Bytes of a response that no socket takes at once."""


def until(true: Callable[[], bool], what: str) -> None:
    """Look again and again until it is so; a bounded number of seconds."""
    wait_until(true, what, TIMEOUT)


def scheduler_of(live: LiveServer) -> Scheduler:
    """The scheduler of a server, which has one when it runs."""
    until(lambda: hasattr(live.server, "scheduler"), "the server starts")
    return live.server.scheduler


class Gated:
    """Answers with the path. A path that begins with /hold waits until it is let go.

    A path that begins with /large has a large body of one item, one with /stream a generator that
    says three pieces and is held before the second if it begins with /stream/hold.

    Attributes:
        paths: of all calls, in the order in which they began.
        threads: identities of the threads that called, iterated or closed, by path.
        most: how many calls were under way at once, at the most.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.threads: dict[str, set[int]] = {}
        self.closed: list[str] = []
        self.most = 0
        self._under_way = 0
        self._news = threading.Condition()
        self._let_go: set[str] = set()
        self._open = False

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        environ["wsgi.input"].read()
        with self._news:
            self.paths.append(path)
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            self._news.notify_all()
        self.note_thread(path)
        try:
            if path.startswith("/hold"):
                self.hold_on(path)
        finally:
            with self._news:
                self._under_way -= 1
        if path.startswith("/stream"):
            start_response("200 OK", [])
            return _Stream(self, path)
        body = b"x" * LARGE if path.startswith("/large") else path.encode("latin-1")
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def hold_on(self, path: str) -> None:
        """Wait until the path is let go."""
        with self._news:
            assert self._news.wait_for(lambda: self._open or path in self._let_go, APP_WAIT)

    def hold_on_for(self, seconds: float) -> None:
        """Let a call last that long at least, for the server's clock to see it; on any thread."""
        end = time.monotonic() + seconds
        until(lambda: time.monotonic() >= end, "time has passed")

    def note_thread(self, path: str) -> None:
        """Whoever calls works on the path."""
        with self._news:
            self.threads.setdefault(path, set()).add(threading.get_ident())

    def note_closed(self, path: str) -> None:
        """The path's iterable was closed."""
        with self._news:
            self.closed.append(path)

    def let_go(self, *paths: str) -> None:
        """Go on with these paths; without any, with all, now and later."""
        with self._news:
            self._let_go.update(paths)
            self._open = self._open or not paths
            self._news.notify_all()

    def wait_for(self, *paths: str) -> None:
        """Wait until these have been called."""
        with self._news:
            called = self._news.wait_for(lambda: set(paths) <= set(self.paths), TIMEOUT)
        assert called, f"{paths} expected, but only {self.paths} were called"


class _Stream:
    """Three pieces, and notes on which thread they were asked for."""

    def __init__(self, app: Gated, path: str) -> None:
        self._app = app
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        for number in range(3):
            self._app.note_thread(self._path)
            if number == 1 and self._path.startswith("/stream/hold"):
                with self._app._news:
                    self._app.paths.append(f"{self._path} begun")
                    self._app._news.notify_all()
                self._app.hold_on(self._path)
            yield b"%d " % number

    def close(self) -> None:
        self._app.note_thread(self._path)
        self._app.note_closed(self._path)
