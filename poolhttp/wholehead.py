"""A quicker way through regular heads: those that arrive whole and announce no body.

Lives here: :class:`WholeHeadParser`, which makes :class:`poolhttp.parser.RequestParser` quicker and
nothing else. Must not live here: a decision. Whatever is not regular is left to the general parser,
which alone says what is wrong with it; a test feeds both the same and compares.

httptools' callbacks are methods that CPython has in C (``list.append``, ``dict.setdefault``), so a
header field costs no Python frame (docs/decisions/0004).
"""

from __future__ import annotations

from typing import Any

import httptools

from poolhttp.errors import RequestError
from poolhttp.fields import KNOWN_KEYS, FieldPolicy, field_key
from poolhttp.request import LINE_REST, Request, build_request
from poolhttp.settings import Settings

_EMPTY_LINE = b"\r\n\r\n"
_CR = 13
_TAB = 9


class WholeHeadParser:
    """Parses heads that are whole; one for all connections, as it keeps nothing between calls.

    Args:
        settings: limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._max_head = min(settings.max_line, settings.max_field_size)
        self._max_lines = settings.max_fields + 2
        self._fields: dict[bytes, bytes] = {}
        self._targets: list[bytes] = []
        self._versions = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}
        # What httptools calls; ``setdefault`` keeps the first of two fields of one name, and their
        # number tells that there were two.
        self.on_url = self._targets.append
        self.on_header = self._fields.setdefault
        self._http = httptools.HttpRequestParser(self)

    def parse(self, head: bytes, base: dict[str, Any], policy: FieldPolicy) -> Request | None:
        """Return the request if ``head`` is exactly one regular head.

        None: the general parser is to look at it.
        """
        if head[-4:] != _EMPTY_LINE or len(head) > self._max_head or head[0] <= _CR:
            return None
        try:
            self._http.feed_data(head)
            request = self._build(head, base.copy(), policy)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, RequestError):
            request = None
        self._fields.clear()
        self._targets.clear()
        if request is None or not request.keep_alive:
            # Brings httptools to a message's start; after Connection: close it would refuse more.
            self._http.__init__(self)  # type: ignore[misc]  # its only way
        return request

    def _build(self, head: bytes, environ: dict[str, Any], policy: FieldPolicy) -> Request | None:
        fields = self._fields
        lines = head.count(b"\n")
        size = len(environ) + len(fields)
        for name, value in fields.items():
            key = KNOWN_KEYS.get(name) or field_key(name)
            environ[key] = value.decode("latin-1")
        if (
            len(self._targets) != 1
            or lines != len(fields) + 2
            or lines > self._max_lines
            or len(environ) != size
            or "" in environ
            or "HTTP_PROXY_CONNECTION" in environ
            or "CONTENT_LENGTH" in environ
            or "HTTP_TRANSFER_ENCODING" in environ
        ):
            return None
        method = self._http.get_method()
        target = self._targets[0]
        end = len(method) + len(target) + LINE_REST
        version = self._versions.get(head[end - 10 : end - 2])
        if head.find(b"\n") + 1 != end or version is None:
            return None
        # httptools leaves white space behind values, which is as rare as tabs are.
        if _TAB in head or b" \r" in head:
            return None
        request = build_request(environ, method.decode("ascii"), target, version, self._settings)
        policy.apply(environ)
        return request
