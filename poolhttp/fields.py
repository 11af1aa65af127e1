"""Header fields of a request: names to CGI variables, repetition, and whom to believe.

Lives here: RFC 9110 section 5 as far as one field at a time goes, and the policy about fields that
claim something about the client (forwarded scheme, underscores). Must not live here: framing.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from poolhttp.errors import RequestError
from poolhttp.settings import Settings

_KNOWN_LIMIT = 1024
_KNOWN_SIZE = 64
# Names as sent to environ keys; bounded in number and in size, since peers choose them.
KNOWN_KEYS: dict[bytes, str] = {}

# RFC 9110 section 6.5.1: these frame, route or authorise, so they can't come late.
_FORBIDDEN_TRAILERS = frozenset(
    ("host", "content-length", "transfer-encoding", "trailer", "authorization", "te")
)


# Fields that we act on: a second spelling of them must never get near the first.
_OURS = frozenset(("TRANSFER_ENCODING", "HOST", "EXPECT", "CONNECTION", "UPGRADE"))


def field_key(name: bytes) -> str:
    """Return the environ key of a field name, or '' if the name has an underscore."""
    key = KNOWN_KEYS.get(name)
    if key is None:
        if b"_" in name:
            return ""
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = "HTTP_" + key
        if len(name) <= _KNOWN_SIZE:
            if len(KNOWN_KEYS) >= _KNOWN_LIMIT:
                KNOWN_KEYS.clear()
            KNOWN_KEYS[name] = key
    return key


def join_repeated(key: str, first: str, second: str) -> str:
    """Return the value of a field that came twice (RFC 9110 section 5.3, RFC 6265 section 5.4).

    Raises:
        RequestError: 400 for a field of which there can be only one.
    """
    if key in {"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE"}:
        raise RequestError(400, f"repeated header field {key.removeprefix('HTTP_')}")
    return f"{first}{'; ' if key == 'HTTP_COOKIE' else ','}{second}"


def check_trailer(name: bytes) -> None:
    """Raise RequestError for a trailer field that must not be one; all others are dropped."""
    if name.decode("latin-1").lower() in _FORBIDDEN_TRAILERS:
        raise RequestError(400, f"forbidden trailer field {name.decode('latin-1')}")


class PeerList:
    """Addresses and networks; ``*`` holds everybody.

    Args:
        entries: such as ``127.0.0.1``, ``10.0.0.0/8``, ``::1`` or ``*``.

    Raises:
        ValueError: an entry is neither.
    """

    def __init__(self, entries: tuple[str, ...]) -> None:
        self._all = "*" in entries
        self._networks = [ipaddress.ip_network(each) for each in entries if each != "*"]

    def __contains__(self, address: str) -> bool:
        """Whether the address is listed; '' is a unix socket's peer, which always is."""
        if self._all or not address:
            return True
        ip = ipaddress.ip_address(address)
        return any(ip in network for network in self._networks)


class FieldPolicy:
    """What is believed of one kind of peer.

    Args:
        settings: header_map, forwarder_headers, secure_scheme_headers, script_name.
        trusted: whether the peer is one of forwarded_allow_ips.
    """

    def __init__(self, settings: Settings, *, trusted: bool) -> None:
        self.trusted = trusted
        self._header_map = settings.header_map
        self._forwarder = settings.forwarder_headers if trusted else ()
        self._schemes: dict[str, str] = (
            {
                "HTTP_" + name.upper().replace("-", "_"): value
                for name, value in settings.secure_scheme_headers.items()
            }
            if trusted
            else {}
        )
        self._script_name = settings.script_name
        self._static = not (self._script_name or self._forwarder)

    def underscored_key(self, name: bytes) -> str:
        """Return the environ key of a name with an underscore, or '' to drop the field.

        Raises:
            RequestError: 400 if such names are to be refused.
        """
        text = name.decode("latin-1").upper()
        believed = "*" in self._forwarder or text in self._forwarder
        if (believed or self._header_map == "dangerous") and text in _OURS:
            raise RequestError(400, f"header field name {text} has an underscore")
        if believed or self._header_map == "dangerous":
            return "HTTP_" + text.replace("-", "_")
        if self._header_map == "refuse":
            raise RequestError(400, f"header field name {text} has an underscore")
        return ""

    def apply(self, environ: dict[str, Any]) -> None:
        """Set wsgi.url_scheme and SCRIPT_NAME from what the peer may say.

        Raises:
            RequestError: 400 if two scheme fields disagree; 500 if the path isn't below
                SCRIPT_NAME.
        """
        if not environ.keys().isdisjoint(self._schemes):
            self._apply_scheme(environ)
        if self._static:
            return
        script_name = self._script_name
        if self._forwarder and "HTTP_SCRIPT_NAME" in environ:
            script_name = environ["HTTP_SCRIPT_NAME"]
        if script_name:
            path = environ["PATH_INFO"]
            if not path.startswith(script_name):
                raise RequestError(500, f"path {path!r} is not below SCRIPT_NAME {script_name!r}")
            environ["SCRIPT_NAME"] = script_name
            environ["PATH_INFO"] = path[len(script_name) :]

    def _apply_scheme(self, environ: dict[str, Any]) -> None:
        scheme = ""
        for key, secure in self._schemes.items():
            value = environ.get(key)
            if value is not None:
                said = "https" if value == secure else "http"
                if scheme and said != scheme:
                    raise RequestError(400, "header fields disagree about the scheme")
                scheme = said
        if scheme:
            environ["wsgi.url_scheme"] = scheme
