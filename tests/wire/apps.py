"""Applications that several of the wire tests serve.

Lives here: apps that say what they were given, and iterables that say what became of them.
Must not live here: assertions.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from live import App, Environ, StartResponse

BODY_WAIT = 10.0
"""Seconds for which an app waits for its test; only a failing test lets them pass."""


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The simplest app: 200 and its path."""
    body = f"hello {environ['PATH_INFO']}".encode("latin-1")
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def answer(
    *body: bytes,
    status: str = "200 OK",
    headers: list[tuple[str, str]] | None = None,
) -> App:
    """An app that always answers the same: a list of items."""

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, list(headers or []))
        return list(body)

    return app


@dataclass
class Call:
    """One request as the app saw it."""

    environ: Environ
    """Without the wsgi.* entries."""
    body: bytes

    @property
    def line(self) -> tuple[str, str]:
        """Method and path."""
        return self.environ["REQUEST_METHOD"], self.environ["PATH_INFO"]


@dataclass
class Recorder:
    """An app that keeps each request it gets and answers with its number and path."""

    calls: list[Call] = field(default_factory=list)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        cgi = {name: value for name, value in environ.items() if not name.startswith("wsgi.")}
        self.calls.append(Call(cgi, body))
        text = f"{len(self.calls)} {environ['PATH_INFO']}".encode("latin-1")
        start_response("200 OK", [("Content-Length", str(len(text)))])
        return [text]

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Method and path of all requests, in the order in which they came."""
        return [call.line for call in self.calls]


def mirror(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answers with all that a request says, as JSON; nothing in it differs between connections."""
    cgi: dict[str, Any] = {
        name: value
        for name, value in environ.items()
        if not name.startswith("wsgi.") and name not in {"REMOTE_PORT", "SERVER_PORT"}
    }
    cgi["body"] = environ["wsgi.input"].read().decode("latin-1")
    text = json.dumps(cgi, sort_keys=True).encode()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text]


class Closable:
    """An iterable that counts what is asked of it.

    Args:
        items: what it yields; an exception among them is raised.
    """

    def __init__(self, items: Iterable[bytes | Exception]) -> None:
        self._items = items
        self.produced = 0
        self.closed = 0
        self.ended = threading.Event()
        """Set at the first close()."""

    def __iter__(self) -> Iterator[bytes]:
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            self.produced += 1
            yield item

    def close(self) -> None:
        self.closed += 1
        self.ended.set()
