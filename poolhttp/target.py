"""Request target and Host: their grammar, and what they become in the environ.

Lives here: RFC 9112 section 3 and RFC 9110 section 7.2 as functions of bytes and strings. Must not
live here: state.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from poolhttp.errors import RequestError

_REG_NAME = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"
_IP_LITERAL = r"\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[\w.~!$&'()*+,;=:-]+\]"
_HOST = re.compile(rf"(?:{_REG_NAME}|{_IP_LITERAL})(?::[0-9]*)?", re.ASCII)
_AUTHORITY = re.compile(r"[^/?#@\s]+:[0-9]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

# Hosts already found well-formed, and targets already split, as a server has few of the former and
# hot ones of the latter; emptied when full, so that nobody can make them grow.
_KNOWN_LIMIT = 512
KNOWN_HOSTS: set[str | None] = set()


def check_host(host: str) -> bool:
    """Whether a Host value is uri-host [":" port], possibly empty (RFC 9110 section 7.2)."""
    if host in KNOWN_HOSTS:
        return True
    if _HOST.fullmatch(host) is None:
        return False
    if len(KNOWN_HOSTS) >= _KNOWN_LIMIT:
        KNOWN_HOSTS.clear()
    KNOWN_HOSTS.add(host)
    return True


def split_target(method: str, target: bytes, environ: dict[str, Any]) -> None:
    """Set RAW_URI, PATH_INFO and QUERY_STRING (RFC 9112 section 3.2, PEP 3333).

    Raises:
        RequestError: 400 for a form that doesn't go with the method, or for bytes outside ASCII.
    """
    try:
        raw = target.decode("ascii")
    except UnicodeDecodeError:
        raise RequestError(400, "request target is not ASCII") from None
    environ["RAW_URI"] = path = raw
    query = ""
    if target[:1] != b"/" or method == "CONNECT":
        path, query = _split_other_form(method, raw, environ)
    else:
        if "#" in path:
            path = path.partition("#")[0]
        if "?" in path:
            path, _, query = path.partition("?")
    if "%" in path:
        path = unquote_to_bytes(path).decode("latin-1")
    environ["PATH_INFO"] = path
    environ["QUERY_STRING"] = query


def _split_other_form(method: str, raw: str, environ: dict[str, Any]) -> tuple[str, str]:
    """Return path and query of a target in absolute, authority or asterisk form."""
    if method == "CONNECT":
        if _AUTHORITY.fullmatch(raw) is None:
            raise RequestError(400, "CONNECT needs host:port")
        return "", ""
    if raw == "*":
        if method != "OPTIONS":
            raise RequestError(400, "target * is for OPTIONS only")
        return "*", ""
    if _SCHEME.match(raw) is None:
        raise RequestError(400, "malformed request target")
    try:
        parts = urlsplit(raw)
    except ValueError:
        raise RequestError(400, "malformed request target") from None
    authority = parts.netloc.rpartition("@")[2]
    if not authority or not check_host(authority):
        raise RequestError(400, "malformed authority in the request target")
    # RFC 9112 section 3.2.2: what the Host field says must be ignored.
    environ["HTTP_HOST"] = authority
    return parts.path, parts.query
