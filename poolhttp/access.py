"""The access log: Apache-style lines, made of what the format asks for and written once per turn.

A format becomes two generated functions. One puts the values in as they are, and looks whether the
finished line has a character that might need escaping; if so, the other makes it, escaping each.
A format's text gets into their source as string literals only.

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
from typing import Any

from poolhttp.wsgi import Response

DEFAULT_FORMAT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'

_ATOM = re.compile(r"%\((\{[^}]+\}[ioe]|[a-zA-Z])\)s")

_PLAIN = bytes(range(0x20, 0x7F)).translate(None, b'"\\')
"""What needs no escaping in ASCII."""


class FormatError(ValueError):
    """The format has something that isn't an atom."""


# Escaping


def _safe(value: object) -> str:
    """Escape what would end a quoted field or a line: the values are the client's."""
    return _safe_text(value if type(value) is str else str(value))


@lru_cache(maxsize=1024)
def _safe_text(text: str) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(_escape(char) for char in text)


def _escape(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


# What the generated functions call


def _field(response: Response, lower: str) -> str:
    headers = response.head.headers if response.head is not None else []
    return next((value for key, value in headers if key.lower() == lower), "-")


def _user(authorization: str | None) -> str:
    if authorization is None:
        return "-"
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(credentials.strip()).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return "-"
        return decoded.partition(":")[0] or "-"
    return "-"


@lru_cache(maxsize=1)
def _stamp(_date: bytes) -> str:
    """Return the time in Apache's form, made anew with each Date line."""
    return time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime())


_NAMES: dict[str, Any] = {
    "field": _field,
    "getpid": os.getpid,
    "monotonic": time.monotonic,
    "plain": _PLAIN,
    "safe": _safe,
    "stamp": _stamp,
    "user": _user,
}

_ADD = """
    global clean
    # A line like the last one needs no second look.
    if line != clean:
        # More than the format's own: it is the values'.
        if line.encode("ascii", "backslashreplace").translate(None, plain) == own:
            clean = line
        else:
            line = escaped(response)
    append(line)
"""

# The app may have emptied its environ, hence ``get``.
_OURS = {
    "t": "stamp(response.context.clock.date)",
    "s": "500 if head is None or (response.failed and not response.head_sent) else head.code",
    "B": "response.sent",
    "b": "response.sent",
    "T": "int(seconds)",
    "D": "int(seconds * 1e6)",
    "M": "int(seconds * 1e3)",
    "L": "'%.6f' % seconds",
    "p": "'<%d>' % getpid()",
}
_THEIRS = {
    "h": "get('REMOTE_ADDR', '-')",
    "u": "user(get('HTTP_AUTHORIZATION')) if 'HTTP_AUTHORIZATION' in environ else '-'",
    "m": "get('REQUEST_METHOD', '-')",
    "U": "get('PATH_INFO', '-')",
    "q": "get('QUERY_STRING', '')",
    "H": "get('SERVER_PROTOCOL', '-')",
    "f": "get('HTTP_REFERER', '-')",
    "a": "get('HTTP_USER_AGENT', '-')",
}
_REQUEST_LINE = ("get('REQUEST_METHOD')", "get('RAW_URI')", "get('SERVER_PROTOCOL')")
_TIMED = frozenset("TDML")


def _expression(name: str) -> str:
    """Return the Python expression of an atom that may need escaping; names go in as literals."""
    if not name.startswith("{"):
        try:
            return _THEIRS[name]
        except KeyError:
            raise FormatError(f"unknown atom %({name})s") from None
    inner, kind = name[1:-2], name[-1]
    if kind == "o":
        return f"field(response, {inner.lower()!r})"
    if kind == "e":
        # In any case, as gunicorn allows.
        return f"get({inner!r}, get({inner.upper()!r}, '-'))"
    key = inner.upper().replace("-", "_")
    if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
        key = "HTTP_" + key
    return f"get({key!r}, '-')"


def _compile(values: str, template: str, timed: bool, end: str, names: dict[str, Any]) -> Any:
    """Make a function that has the template, filled with the values, when it comes to its end."""
    source = [
        "def function(response):",
        "    environ = response.environ",
        "    get = environ.get",
        "    head = response.head",
        "    seconds = monotonic() - response.started" if timed else "",
        f"    line = {template!r} % ({values})",
        end,
    ]
    namespace = _NAMES | names
    exec("\n".join(source), namespace)
    return namespace["function"]


def _adder(line_format: str, append: Callable[[str], None]) -> Callable[[Response], None]:
    """Return a function that appends the line of a response."""
    pieces = _ATOM.split(line_format)
    literals, names = pieces[::2], pieces[1::2]
    if "%" in "".join(literals).replace("%%", ""):
        raise FormatError(f"access log format has a % that begins no atom: {line_format!r}")
    template = literals[0]
    plain = escaped = ""
    for name, literal in zip(names, literals[1:], strict=True):
        if name == "l":
            # The remote logname (RFC 1413) is never known.
            template += "-" + literal
        elif name in _OURS:
            template += "%s" + literal
            plain += _OURS[name] + ", "
            escaped += _OURS[name] + ", "
        else:
            parts = _REQUEST_LINE if name == "r" else (_expression(name),)
            template += " ".join(["%s"] * len(parts)) + literal
            plain += "".join(f"{part}, " for part in parts)
            escaped += "".join(f"safe({part}), " for part in parts)
    timed = not _TIMED.isdisjoint(names)
    escaping = _compile(escaped, template, timed, "    return line", {})
    own = "".join(literals).encode("ascii", "backslashreplace").translate(None, _PLAIN)
    state = {"append": append, "clean": None, "escaped": escaping, "own": own}
    adder: Callable[[Response], None] = _compile(plain, template, timed, _ADD, state)
    return adder


class AccessLog:
    """Collects lines and writes them together.

    Any thread may ``add`` at any time, one thread flushes. There is no lock: this relies on a
    list's append, slice and deletion of a slice being atomic, as CPython's are.

    Attributes:
        add: takes a finished response, and notes its line.

    Args:
        line_format: gunicorn's access_log_format.
        write: takes a text of one or more whole lines.

    Raises:
        FormatError: the format has something that isn't an atom.
    """

    def __init__(self, line_format: str, write: Callable[[str], None]) -> None:
        self._lines: list[str] = []
        self._write = write
        self.add = _adder(line_format, self._lines.append)

    def flush(self) -> None:
        """Write what was noted."""
        lines = self._lines
        if lines:
            # Others may append meanwhile, which moves nothing that is counted here.
            count = len(lines)
            text = "\n".join(lines[:count]) + "\n"
            del lines[:count]
            try:
                self._write(text)
            except (OSError, ValueError) as exc:
                # A full disk or a closed stream: no reason to answer nobody.
                logging.getLogger("poolhttp").error("Can't write the access log: %s", exc)
