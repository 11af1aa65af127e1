"""Every limit and timeout of the server, in one frozen dataclass.

Each field has its unit, its default and the reason for it. Nothing else lives here: no parsing of
command lines (``cli``), no gunicorn (``worker``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

# RFC 9110 section 5.1 allows any token; gunicorn's parser has the same ceiling on their number.
MAX_FIELDS = 32768
# gunicorn clamps limit_request_line to this and reads 0 as this for a field's size.
MAX_LINE = 8190

DEFAULT_SCHEME_HEADERS = {
    "X-FORWARDED-PROTOCOL": "ssl",
    "X-FORWARDED-PROTO": "https",
    "X-FORWARDED-SSL": "on",
}


class SettingsError(ValueError):
    """A setting has a value that the server can't honour; the message names it."""


@dataclass(frozen=True)
class Settings:
    """Limits and timeouts. Times are in seconds, sizes in bytes; what 0 means stands with each.

    Raises:
        SettingsError: a value is out of range; the message starts with the field's name.
    """

    keepalive: float = 2.0
    """How long a connection may wait for its next request; 0 closes after each response."""

    head_timeout: float = 30.0
    """From a request's first byte, or from accept, to the end of its head; more bytes don't
    extend it (slowloris). 408 when over, or a silent close if nothing was sent. 0: no limit."""

    body_timeout: float = 30.0
    """The longest pause while a request body arrives; each byte extends it. 408 when over. 0: no
    limit."""

    write_timeout: float = 30.0
    """The longest time in which a peer takes nothing of a response; the connection is cut, at the
    latest after twice this time. 0: no limit."""

    linger_timeout: float = 2.0
    """How long to discard what the peer still sends after a closing response, so that a reset
    doesn't destroy it on its way (RFC 9112 section 9.6). Apache and nginx use 2 to 5. 0: don't."""

    graceful_timeout: float = 30.0
    """How long a graceful stop waits for requests that are under way."""

    drain_keepalive: float = 2.0
    """On a graceful stop, how long an idle connection may still send a request (answered with
    ``Connection: close``) before it is closed. gunicorn's gthread has the same 2 seconds."""

    limit_request_line: int = 4094
    """Bytes of the request line without its CRLF; 414 beyond. 0 and values above 8190: 8190."""

    limit_request_fields: int = 100
    """Header fields in a request; 431 beyond. 0: 32768."""

    limit_request_field_size: int = 8190
    """Bytes of one field's line with its CRLF; 431 beyond. 0: 8190."""

    max_body: int = 1 << 30
    """Bytes of a decoded request body; 413 beyond. 0: no limit. 1 GiB is waitress's default."""

    body_memory: int = 1 << 20
    """Bytes of a request body kept in memory; a longer one goes to an unlinked temporary file."""

    body_dir: str | None = None
    """Directory of those files; None: the system's (tempfile.gettempdir)."""

    output_limit: int = 256 * 1024
    """Bytes that may wait for a slow reader before the app's next item is asked for."""

    worker_connections: int = 1000
    """Open client connections; at the limit the listeners rest until one closes."""

    threads: int = 1
    """The most threads that call the app. With 1 it is called on the main thread only, one request
    at a time, and a slow request holds up the others' app calls but nothing else."""

    dispatch: str = "adaptive"
    """Where the app is called. adaptive: on the thread of the loop as long as calls are quick, on
    an app thread if one is expected to be slow; the loop is taken from a call that overstays.
    inline: on the thread of the loop, come what may. threads: always on an app thread."""

    predict: bool = True
    """Whether adaptive dispatch learns which routes are slow. Without it each slow call has to be
    noticed."""

    inline_budget: float = 0.001
    """How long an app call may keep the loop. An app thread costs a request 20 to 50 us more, so a
    budget far below a millisecond costs more than it saves."""

    queue_limit: int = 1000
    """Requests that may wait for an app thread; 503 beyond. 0: as many as there are connections."""

    queue_target: float = 10.0
    """How long requests may wait for an app thread when all have waited that long for that long:
    who has waited longer gets a 503. 0: for ever. Clients and proxies rarely wait for more than 10
    to 30 seconds; an app that is quick can have far less."""

    shed_exempt: tuple[str, ...] = ()
    """Paths that are never shed and wait behind no other, such as that of a health check."""

    abandon_after: float = 0.1
    """When a client ends its sending side so long after its request, and that still waits for a
    thread, the client has left and the app isn't called. One that half-closes on purpose does it
    with the request."""

    timeout: float = 30.0
    """How long an app call may take before the log says so, with the stack of its thread. Under
    gunicorn its ``timeout``, by which a worker is killed all of whose threads take that long. 0:
    for ever."""

    handler_timeout: float = 0.0
    """How long an app call may take before its client gets a 504 and another thread takes the place
    of the one that is stuck in it; for several threads only. 0: for ever."""

    switch_interval: float = 0.0002
    """While an app call is under way that is known to compute: how long it may do so when the loop
    waits for the GIL (sys.setswitchinterval). 0: leave it alone; Python's own default is 0.005."""

    multiprocess: bool = False
    """What the environ says as wsgi.multiprocess (PEP 3333)."""

    require_host: bool = True
    """Whether an HTTP/1.1 request without Host is a 400 (RFC 9112 section 3.2)."""

    header_map: str = "drop"
    """Fate of header names with an underscore, which would collide with the hyphenated name in
    the environ: drop, refuse (400) or dangerous (let through)."""

    forwarder_headers: tuple[str, ...] = ("SCRIPT_NAME", "PATH_INFO")
    """Upper-case names with underscores that a trusted peer may send all the same; ``*``: all."""

    forwarded_allow_ips: tuple[str, ...] = ("127.0.0.1", "::1")
    """Peers whose forwarding headers are believed: addresses, networks or ``*``. A unix socket's
    peer always is."""

    secure_scheme_headers: dict[str, str] = field(
        default_factory=lambda: dict(DEFAULT_SCHEME_HEADERS)
    )
    """Headers by which a trusted peer says that its client came over https."""

    script_name: str = ""
    """Path prefix at which the app is mounted; becomes SCRIPT_NAME."""

    proxy_protocol: str = "off"
    """PROXY protocol in front of the first request: off, v1, v2 or auto."""

    proxy_allow_ips: tuple[str, ...] = ("127.0.0.1", "::1")
    """Peers that may send a PROXY header; others are refused with 403."""

    server_header: str = "poolhttp"
    """Value of the Server field; empty: none is sent."""

    defer_accept: bool = True
    """TCP_DEFER_ACCEPT on TCP listeners: the kernel hands a connection over when its first bytes
    are there. Saves a third of the work of a one-request connection (tcp(7))."""

    backlog: int = 2048
    """Length of a listener's accept queue (listen(2)); gunicorn's default."""

    buffers: str = "pooled"
    """pooled, or unpooled for comparison: the same code with a pool that keeps nothing."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type in {"int", "float"} and not (value >= 0 and math.isfinite(value)):
                raise SettingsError(f"{each.name}: must be a number from 0 on, got {value}")
        choices = {
            "header_map": ("drop", "refuse", "dangerous"),
            "proxy_protocol": ("off", "v1", "v2", "auto"),
            "buffers": ("pooled", "unpooled"),
            "dispatch": ("adaptive", "inline", "threads"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise SettingsError(
                    f"{name}: {getattr(self, name)!r} is none of {', '.join(allowed)}"
                )
        if self.worker_connections < 1:
            raise SettingsError("worker_connections: must be at least 1")
        if self.threads < 1:
            raise SettingsError("threads: must be at least 1")
        if self.handler_timeout and self.threads == 1:
            raise SettingsError(
                "handler_timeout: needs threads of at least 2, since nobody takes the place of the "
                "only one"
            )

    @property
    def max_line(self) -> int:
        """Effective limit of the request line in bytes, without CRLF."""
        return min(self.limit_request_line or MAX_LINE, MAX_LINE)

    @property
    def max_fields(self) -> int:
        """Effective limit of the number of fields."""
        return min(self.limit_request_fields or MAX_FIELDS, MAX_FIELDS)

    @property
    def max_field_size(self) -> int:
        """Effective limit of one field's line in bytes."""
        return self.limit_request_field_size or MAX_LINE

    @property
    def max_head(self) -> int:
        """Bytes of a whole head: a value without end makes no parser callback, so the bytes
        themselves are counted."""
        return self.max_line + 2 + self.max_fields * (self.max_field_size + 2) + 4


PREFIX = "POOLHTTP_"
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))


def parse_setting(name: str, text: str) -> Any:
    """Return the value of one setting given as text, for command lines and environments.

    Raises:
        SettingsError: no such setting, or not a value of its type.
    """
    kinds = {each.name: str(each.type) for each in fields(Settings)}
    kind = kinds.get(name)
    if kind is None or kind.startswith("dict"):
        raise SettingsError(f"{name}: no such setting")
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
    except ValueError:
        raise SettingsError(f"{name}: {text!r} is not a number") from None
    if kind == "bool":
        if text.lower() not in _TRUE | _FALSE:
            raise SettingsError(f"{name}: {text!r} is neither 1 nor 0")
        return text.lower() in _TRUE
    if kind.startswith("tuple"):
        return tuple(each.strip() for each in text.split(",") if each.strip())
    return text


def environment_settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings given as ``POOLHTTP_NAME`` variables.

    Raises:
        SettingsError: a variable names no setting (a typing error would otherwise go unnoticed), or
            has a wrong value.
    """
    given = {}
    for variable, text in environ.items():
        if variable.startswith(PREFIX):
            try:
                name = variable.removeprefix(PREFIX).lower()
                given[name] = parse_setting(name, text)
            except SettingsError as exc:
                raise SettingsError(f"{variable}: {str(exc).partition(': ')[2]}") from None
    return given
