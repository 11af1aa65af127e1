"""The application of the stress tests, which notes what must not be.

Lives here: one method for each kind of call. Must not live here: who asks for what (`test_stress`).
"""

from __future__ import annotations

import _thread
import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar

from live import Environ, StartResponse

BIG = 600_000
"""Bytes of a big response; more than a socket takes at once from one that reads late."""

BODY = 40_000
"""Bytes of a big request."""


class App:
    """The application; notes what must not be. It may be asked what it has counted."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.calls: Counter[str] = Counter()
        self.opened = 0
        self.closed = 0
        self.most = 0
        self._under_way = 0
        self._lock = threading.Lock()
        self._request: ContextVar[str] = ContextVar("request")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        _, kind, span, ident = environ["PATH_INFO"].split("/")
        # What earlier calls on this thread have set is not to be seen.
        if self._request.get("") != "":
            self.wrong.append(f"{ident} sees {self._request.get()}")
        self._request.set(ident)
        with self._lock:
            self.calls[ident] += 1
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        try:
            call: Callable[..., Iterable[bytes]] = getattr(self, f"_{kind}")
            return call(environ, start_response, int(span) / 1e6, ident.encode())
        finally:
            with self._lock:
                self._under_way -= 1

    def _plain(
        self, _environ: Environ, start: StartResponse, _span: float, ident: bytes
    ) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", str(len(ident)))])
        return [ident]

    def _sleep(
        self, environ: Environ, start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        time.sleep(span)
        return self._plain(environ, start, span, ident)

    def _compute(
        self, _environ: Environ, start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        end = time.perf_counter() + span
        while time.perf_counter() < end:
            sum(range(50))
        start("200 OK", [])
        return [ident[:2], ident[2:]]

    def _stream(
        self, _environ: Environ, start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        start("200 OK", [])
        return Items(self, self._request, ident, span / 3, 0)

    def _close(
        self, _environ: Environ, start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        start("200 OK", [])
        return Items(self, self._request, ident, 0, span)

    def _cut(
        self, _environ: Environ, start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        start("200 OK", [])
        return Items(self, self._request, ident, span / 3, 0, cut=True)

    def _write(
        self, _environ: Environ, start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        write = start("200 OK", [])
        write(ident[:1])
        time.sleep(span / 2)
        write(ident[1:3])
        time.sleep(span / 2)
        return [ident[3:]]

    def _bigwrite(
        self, _environ: Environ, start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        write = start("200 OK", [("Content-Length", str(BIG))])
        body = big(ident)
        for at in range(0, BIG, BIG // 8):
            write(body[at : at + BIG // 8])
            time.sleep(span / 8)
        return []

    def _hints(
        self, environ: Environ, start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        time.sleep(span)
        environ["wsgi.early_hints"]([("Link", "</x>; rel=preload")])
        return self._plain(environ, start, span, ident)

    def _big(
        self, _environ: Environ, start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        time.sleep(span)
        start("200 OK", [("Content-Length", str(BIG))])
        return [big(ident)]

    def _file(
        self, environ: Environ, start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        time.sleep(span)
        start("200 OK", [("Content-Length", str(BIG))])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(big(ident)), 65536)
        return wrapped

    def _post(
        self, environ: Environ, start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        if body != (ident * BODY)[:BODY]:
            self.wrong.append(f"{ident!r} has a body of others")
        return self._sleep(environ, start, span, ident)

    def _raise(
        self, _environ: Environ, _start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        time.sleep(span)
        raise LookupError(ident)

    def _exit(
        self, _environ: Environ, _start: StartResponse, span: float, ident: bytes
    ) -> Iterable[bytes]:
        time.sleep(span)
        if span * 1e6 % 2:
            _thread.exit()
        raise SystemExit(ident)


class Items:
    """The items of a response; is asked for them, and closed, by one thread in one context."""

    def __init__(
        self,
        app: App,
        request: ContextVar[str],
        ident: bytes,
        pause: float,
        last_pause: float,
        *,
        cut: bool = False,
    ) -> None:
        self._app = app
        self._request = request
        self._ident = ident
        self._pause = pause
        self._last_pause = last_pause
        self._cut = cut
        self._thread = threading.get_ident()
        with app._lock:
            app.opened += 1

    def _check(self) -> None:
        if threading.get_ident() != self._thread:
            self._app.wrong.append(f"{self._ident!r} is passed to another thread")
        if self._request.get("") != self._ident.decode():
            self._app.wrong.append(f"{self._ident!r} loses its context")

    def __iter__(self) -> Iterator[bytes]:
        for at in range(3):
            self._check()
            yield self._ident[at : at + 1] if at < 2 else self._ident[2:]
            time.sleep(self._pause)
            if self._cut and at:
                raise LookupError(self._ident)

    def close(self) -> None:
        self._check()
        time.sleep(self._last_pause)
        with self._app._lock:
            self._app.closed += 1


def big(ident: bytes) -> bytes:
    """A body that proves whose it is, at each place."""
    return (ident * (BIG // len(ident) + 1))[:BIG]
