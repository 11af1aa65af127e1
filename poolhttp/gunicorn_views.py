"""Requests and responses as gunicorn's hooks and loggers know them.

Lives here: read-only views with the attributes of gunicorn's own objects. Must not live here:
gunicorn itself.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from poolhttp.wsgi import Response


class ErrorStream:
    """``wsgi.errors``: passes everything on to a stream that can be replaced.

    One object for all requests, since environs are copied from one that lasts.
    """

    def __init__(self, target: Any) -> None:
        self.target = target

    def write(self, text: str) -> None:
        """Write ``text``."""
        self.target.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of ``lines``."""
        for line in lines:
            self.target.write(line)

    def flush(self) -> None:
        """Flush the stream."""
        self.target.flush()


class RequestView:
    """What ``gunicorn.http.message.Request`` has for hooks and loggers."""

    def __init__(self, response: Response) -> None:
        request, environ = response.request, response.environ
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        path = self.uri if self.uri.startswith("/") else urlsplit(self.uri).path
        self.path: str = path.partition("?")[0].partition("#")[0]
        self.query: str = environ["QUERY_STRING"]
        self.fragment = self.uri.partition("#")[2]
        self.version = (1, 1) if request.http11 else (1, 0)
        self.scheme: str = environ["wsgi.url_scheme"]
        self.body = environ.get("wsgi.input")
        self.trailers: list[tuple[str, str]] = []
        self.remote_addr = (environ.get("REMOTE_ADDR"), environ.get("REMOTE_PORT"))
        self.peer_addr = self.remote_addr
        self.proxy_protocol_info = _proxy_info(environ)
        self._keep_alive = request.keep_alive
        self.headers = [
            (key.removeprefix("HTTP_").replace("_", "-"), value)
            for key, value in environ.items()
            if key.startswith("HTTP_") or key in {"CONTENT_TYPE", "CONTENT_LENGTH"}
        ]

    def should_close(self) -> bool:
        """Whether the client wants the connection closed."""
        return not self._keep_alive


class ResponseView:
    """What ``gunicorn.http.wsgi.Response`` has for hooks and loggers."""

    def __init__(self, response: Response) -> None:
        head = response.head
        failed = head is None or (response.failed and not response.head_sent)
        self.status = "500 Internal Server Error" if failed or head is None else head.status
        self.status_code = int(self.status[:3])
        self.headers: list[tuple[str, str]] = [] if head is None else list(head.headers)
        self.sent = response.sent
        self.response_length = None if head is None else head.content_length
        self.chunked = response.chunked
        self.headers_sent = response.head_sent or not failed
        self.must_close = not response.keep_alive

    def should_close(self) -> bool:
        """Whether the connection is closed behind the response."""
        return self.must_close


def elapsed(response: Response) -> Any:
    """Return the time since the app was called, as a timedelta."""
    return datetime.timedelta(seconds=time.monotonic() - response.started)


def _proxy_info(environ: dict[str, Any]) -> dict[str, Any] | None:
    if "PROXY_PROTOCOL" not in environ:
        return None
    return {
        "proxy_protocol": environ["PROXY_PROTOCOL"],
        "client_addr": environ["REMOTE_ADDR"],
        "client_port": int(environ["REMOTE_PORT"]),
        "proxy_addr": environ["PROXY_ADDR"],
        "proxy_port": int(environ["PROXY_PORT"]),
    }
