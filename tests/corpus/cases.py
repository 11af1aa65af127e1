"""gunicorn's request corpus as data: the bytes to send, and what its sidecars expect.

Lives here: decoding `.http` files, executing `.py` sidecars, and turning what they say about parser
objects into what a client and an app see (status lines, environ). Must not live here: sockets.

Format. `X.http` holds a byte stream: real newlines are layout and do not count; `\\r\\n`, `\\n`,
`\\t`, `\\0` and `\\xHH` are escapes. `X.py` binds `request` (a dict or a list of dicts where the
stream is valid, an exception class where it is not) and maybe `cfg`, and expects a function `uri`
and a default `cfg` in its namespace. Sidecars are code and import gunicorn; they are run as such.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from gunicorn.config import Config
from gunicorn.util import split_request_uri

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ESCAPE = re.compile(rb"\\(?:(r\\n)|(x[0-9A-Fa-f]{2})|([nt0])|(.|$))", re.DOTALL)
SINGLE = {b"n": b"\n", b"t": b"\t", b"0": b"\0"}

STATUS_OF_ERROR = {"LimitRequestLine": (414,), "LimitRequestHeaders": (431,), "NoMoreData": ()}
"""Answers to an invalid stream by exception; 400 for all that are not listed."""

Settings = tuple[tuple[str, object], ...]
"""gunicorn settings that differ from the defaults, sorted by name: the key of a group."""


@dataclass(frozen=True)
class Seen:
    """What the app should see of one request, as `echo_app` reports it."""

    environ: Mapping[str, str]
    body: str


@dataclass(frozen=True)
class Case:
    """One file of the corpus."""

    name: str
    """`valid/001`: the path in `tests/requests` without the suffix."""
    data: bytes
    settings: Settings
    statuses: tuple[int, ...]
    """The status of each response, in order, when the app reads the body."""
    seen: tuple[Seen, ...]
    """What the app sees, one for each 200."""


def load_corpus(requests: Path) -> list[Case]:
    """All files of `requests`, which is a `tests/requests`, by name."""
    return [
        _load(file, f"{folder}/{file.stem}")
        for folder in ("valid", "invalid")
        for file in sorted((requests / folder).glob("*.http"))
    ]


def decode(text: bytes) -> bytes:
    """The bytes that an `.http` file stands for."""

    def replace(escape: re.Match[bytes]) -> bytes:
        crlf, hexadecimal, single, unknown = escape.groups()
        if crlf:
            return b"\r\n"
        if hexadecimal:
            return bytes([int(hexadecimal[1:], 16)])
        if single:
            return SINGLE[single]
        raise ValueError(f"unknown escape before {unknown!r} at byte {escape.start()}")

    return ESCAPE.sub(replace, text.replace(b"\n", b""))


def _load(file: Path, name: str) -> Case:
    sidecar = file.with_suffix(".py")
    scope: dict[str, Any] = {"__name__": "sidecar", "uri": _uri, "cfg": Config()}
    exec(compile(sidecar.read_bytes(), str(sidecar), "exec"), scope)
    expected = scope["request"]
    statuses: tuple[int, ...]
    seen: tuple[Seen, ...] = ()
    if isinstance(expected, type):
        statuses = STATUS_OF_ERROR.get(expected.__name__, (400,))
    else:
        requests = expected if isinstance(expected, list) else [expected]
        seen = tuple(_seen(request) for request in requests)
        statuses = (200,) * len(seen)
    return Case(name, decode(file.read_bytes()), _settings(scope["cfg"]), statuses, seen)


def _settings(cfg: Config) -> Settings:
    """What differs from the defaults, as a conf file would say it (lists as `a,b`)."""
    default = Config()
    values = ((name, setting.get()) for name, setting in sorted(cfg.settings.items()))
    changed = ((name, val) for name, val in values if val != default.settings[name].get())
    return tuple((name, ",".join(val) if isinstance(val, list) else val) for name, val in changed)


def _uri(raw: str) -> dict[str, str]:
    """The part of gunicorn's `uri()` that reaches an environ."""
    parts = split_request_uri(raw)
    return {"raw": raw, "path": parts.path or "", "query": parts.query or ""}


def _seen(request: Mapping[str, Any]) -> Seen:
    major, minor = request["version"]
    uri = request["uri"]
    environ = {
        "REQUEST_METHOD": request["method"],
        "RAW_URI": uri["raw"],
        "PATH_INFO": unquote_to_bytes(uri["path"]).decode("latin-1"),
        "QUERY_STRING": uri["query"],
        "SERVER_PROTOCOL": f"HTTP/{major}.{minor}",
    }
    for name, value in request["headers"]:
        key = _environ_key(name)
        glue = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{glue}{value}" if key in environ else value
    body = request["body"] or b""
    return Seen(environ, body.decode("latin-1"))


def _environ_key(name: str) -> str:
    """CGI's name of a header that gunicorn let through, already in upper case."""
    if name in ("CONTENT-TYPE", "CONTENT-LENGTH"):
        return name.replace("-", "_")
    return "HTTP_" + name.replace("-", "_")
