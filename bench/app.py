"""The WSGI application that every Python contender serves: a fixed 13-byte text response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BODY = b"Hello, World!"
HEADERS = (("Content-Type", "text/plain"), ("Content-Length", str(len(BODY))))


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer any request with `200 OK`, text/plain, 13 bytes."""
    start_response("200 OK", list(HEADERS))
    return [BODY]
