"""The access log: Apache-style lines, made of what the format asks for and written once per turn.

Lives here: gunicorn's ``access_log_format`` language. Must not live here: where the lines go (a
``write`` function is given), log levels.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from poolhttp.wsgi import Response

DEFAULT_FORMAT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'

Atom: TypeAlias = Callable[[Response, float], str]

_ATOM = re.compile(r"%\((\{[^}]+\}[ioe]|[a-zA-Z])\)s")


class FormatError(ValueError):
    """The format has something that isn't an atom."""


@lru_cache(maxsize=1024)
def _safe(value: str) -> str:
    """Escape what would end a quoted field or a line: the values are the client's."""
    if value.isprintable() and '"' not in value and "\\" not in value:
        return value
    return "".join(_escape(char) for char in value)


def _escape(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def _variable(key: str, missing: str = "-") -> Atom:
    def atom(response: Response, _seconds: float) -> str:
        value = response.environ.get(key, missing)
        return _safe(value if type(value) is str else str(value))

    return atom


def _any_variable(name: str) -> Atom:
    """An environ entry, named in any case as gunicorn allows."""
    exact, upper = _variable(name), _variable(name.upper())
    return lambda response, seconds: (
        exact(response, seconds) if name in response.environ else upper(response, seconds)
    )


def _request_field(name: str) -> Atom:
    key = name.upper().replace("-", "_")
    return _variable(key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else "HTTP_" + key)


def _response_field(name: str) -> Atom:
    lower = name.lower()

    def atom(response: Response, _seconds: float) -> str:
        headers = response.head.headers if response.head is not None else []
        return next((_safe(value) for key, value in headers if key.lower() == lower), "-")

    return atom


def _user(response: Response, _seconds: float) -> str:
    given = response.environ.get("HTTP_AUTHORIZATION")
    if given is None:
        return "-"
    scheme, _, credentials = given.partition(" ")
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(credentials.strip()).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return "-"
        return _safe(decoded.partition(":")[0]) or "-"
    return "-"


class _Stamp:
    """The time of the request in Apache's form, made anew with each Date line."""

    def __init__(self) -> None:
        self._date = b""
        self._text = ""

    def __call__(self, response: Response, _seconds: float) -> str:
        date = response.context.clock.date
        if date is not self._date:
            self._date = date
            self._text = time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime())
        return self._text


def _status(response: Response, _seconds: float) -> str:
    if response.head is None or (response.failed and not response.head_sent):
        return "500"
    return response.head.status[:3]


def _line(response: Response, _seconds: float) -> str:
    environ = response.environ
    # The app may have emptied its environ.
    return _request_line(
        environ.get("REQUEST_METHOD"), environ.get("RAW_URI"), environ.get("SERVER_PROTOCOL")
    )


@lru_cache(maxsize=1024)
def _request_line(method: object, target: object, protocol: object) -> str:
    return _safe(f"{method} {target} {protocol}")


_ATOMS: dict[str, Atom] = {
    "h": _variable("REMOTE_ADDR"),
    "u": _user,
    "r": _line,
    "m": _variable("REQUEST_METHOD"),
    "U": _variable("PATH_INFO"),
    "q": _variable("QUERY_STRING", ""),
    "H": _variable("SERVER_PROTOCOL"),
    "s": _status,
    "B": lambda response, seconds: str(response.sent),
    "b": lambda response, seconds: str(response.sent),
    "f": _variable("HTTP_REFERER"),
    "a": _variable("HTTP_USER_AGENT"),
    "T": lambda response, seconds: str(int(seconds)),
    "D": lambda response, seconds: str(int(seconds * 1e6)),
    "M": lambda response, seconds: str(int(seconds * 1e3)),
    "L": lambda response, seconds: f"{seconds:.6f}",
    "p": lambda response, seconds: f"<{os.getpid()}>",
}


def _atom(name: str) -> Atom:
    if name == "t":
        return _Stamp()
    if name.startswith("{"):
        inner = name[1:-2]
        if name.endswith("i"):
            return _request_field(inner)
        return _response_field(inner) if name.endswith("o") else _any_variable(inner)
    try:
        return _ATOMS[name]
    except KeyError:
        raise FormatError(f"unknown atom %({name})s") from None


class AccessLog:
    """Collects lines and writes them together.

    Args:
        line_format: gunicorn's access_log_format.
        write: takes a text of one or more whole lines.

    Raises:
        FormatError: the format has something that isn't an atom.
    """

    def __init__(self, line_format: str, write: Callable[[str], None]) -> None:
        pieces = _ATOM.split(line_format)
        literal = "".join(pieces[::2]).replace("%%", "")
        if "%" in literal:
            raise FormatError(f"access log format has a % that begins no atom: {line_format!r}")
        # The remote logname (RFC 1413) is never known.
        texts = ["-" if name == "l" else "%s" for name in pieces[1::2]]
        literals = pieces[::2]
        self._template = "".join(
            literal + text for literal, text in zip(literals, [*texts, "\n"], strict=True)
        )
        self._atoms = [_atom(name) for name in pieces[1::2] if name != "l"]
        self._write = write
        self._lines: list[str] = []

    def add(self, response: Response) -> None:
        """Note a finished response."""
        seconds = time.monotonic() - response.started
        self._lines.append(
            self._template % tuple([atom(response, seconds) for atom in self._atoms])
        )

    def flush(self) -> None:
        """Write what was noted."""
        if self._lines:
            lines, self._lines = self._lines, []
            try:
                self._write("".join(lines))
            except (OSError, ValueError) as exc:
                # A full disk or a closed stream: no reason to answer nobody.
                logging.getLogger("poolhttp").error("Can't write the access log: %s", exc)
