"""What surrounds an app: the environ that all requests share, and who takes its responses.

Lives here: what is fixed when the server starts. Must not live here: anything of one request.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from logging import Logger
from threading import current_thread, main_thread
from typing import Any, Protocol, TypeAlias

from poolhttp.baton import Baton
from poolhttp.filewrapper import FileWrapper
from poolhttp.response import HeadCache
from poolhttp.sendfile import Buffer
from poolhttp.settings import Settings
from poolhttp.timers import Clock

App: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Any]


class Sink(Protocol):
    """Where a response's bytes go."""

    @property
    def backlog(self) -> int:
        """Bytes that wait for the socket."""

    @property
    def broken(self) -> bool:
        """The peer is gone."""

    def send(self, buffers: list[Buffer], nbytes: int) -> None:
        """Write now what the socket takes and keep the rest."""

    def drain(self, limit: int) -> None:
        """Block until at most ``limit`` bytes are kept; OSError if the peer takes nothing. Never
        called on the thread of the loop."""

    def pump_later(self) -> None:
        """Have ``pump`` called again when there is room or in the next turn. Only called on the
        thread of the loop."""


class AppContext:
    """What all responses of a server share.

    Args:
        app: the WSGI application.
        settings: limits.
        log: for errors; anything with Logger's methods.
        clock: gives the Date line.
        baton: lent while the app is called on the thread of the loop.
    """

    def __init__(
        self, app: App, settings: Settings, log: Logger, clock: Clock, baton: Baton | None = None
    ) -> None:
        self.app = app
        self.log = log
        self.clock = clock
        self.heads = HeadCache(settings.server_header)
        self.output_limit = settings.output_limit
        self.baton = baton or Baton()
        self.token = self.baton.running, self.baton.mark, self.baton.number
        self.before_app: Callable[[Any], None] | None = None
        self.after_response: Callable[[Any], None] | None = None
        self.observed = False
        self.exiting = False
        """A signal handler raises SystemExit: it must not be taken for the app's."""

    def ends_server(self, exc: BaseException) -> bool:
        """Whether an exception that came through the app is not the app's affair."""
        interrupted = isinstance(exc, KeyboardInterrupt) and current_thread() is main_thread()
        return self.exiting or interrupted

    def observe(
        self,
        before_app: Callable[[Any], None] | None = None,
        after_response: Callable[[Any], None] | None = None,
    ) -> None:
        """Have each :class:`~poolhttp.wsgi.Response` shown to somebody.

        Args:
            before_app: called before the app is; what it raises is answered as the app's.
            after_response: called once, after the iterable's ``close()``.
        """
        self.before_app = before_app
        self.after_response = after_response
        self.observed = before_app is not None or after_response is not None


def base_environ(settings: Settings, scheme: str = "http") -> dict[str, Any]:
    """Return the environ entries that don't depend on connection and request (PEP 3333)."""
    return {
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "poolhttp",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": settings.threads > 1,
        "wsgi.multiprocess": settings.multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
    }


def roomy(environ: dict[str, Any]) -> dict[str, Any]:
    """Return the environ as a dict whose copies take a request's entries without growing.

    A copy has the size of its original's table, and growing one costs as much as a third of parsing
    a head. The entries that each request sets itself stand in it already.
    """
    own = ("REQUEST_METHOD", "RAW_URI", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR")
    room = {**environ, **dict.fromkeys(own, ""), "wsgi.input": None, "wsgi.early_hints": None}
    # CPython's table for more than 21 entries takes 42; what it has once, it keeps.
    fillers = [f" {i}" for i in range(22 - len(room))]
    for key in fillers:
        room[key] = None
    for key in fillers:
        del room[key]
    return room
