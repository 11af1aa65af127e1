"""Listening sockets: from ``--bind`` texts to sockets that accept.

Lives here: names, options and errors of listeners. Must not live here: accepting (``server``).
"""

from __future__ import annotations

import os
import re
import socket
import stat
from contextlib import suppress

_TCP = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]]*)):(?P<port>\d{1,5})")
_FD = re.compile(r"fd://(\d+)")


class BindError(Exception):
    """A listener can't be made; the message is one line for the person who asked for it."""


def open_listener(bind: str, backlog: int) -> socket.socket:
    """Return a listening, non-blocking, close-on-exec socket.

    Args:
        bind: ``HOST:PORT`` (an empty host: all), ``[IPv6]:PORT``, ``unix:PATH`` or ``fd://N``.
        backlog: length of the accept queue.

    Raises:
        BindError: the text has another form, or the system refuses.
    """
    try:
        if bind.startswith("unix:"):
            listener = _unix_listener(bind.removeprefix("unix:"))
        elif match := _FD.fullmatch(bind):
            listener = socket.socket(fileno=int(match[1]))
        elif match := _TCP.fullmatch(bind.removeprefix("tcp://")):
            listener = _tcp_listener(match["v6"] or match["host"] or "0.0.0.0", int(match["port"]))
        else:
            raise BindError(
                f"can't bind to {bind!r}: give HOST:PORT, [IPv6]:PORT, unix:PATH, fd://N"
            )
        listener.listen(backlog)
    except (OSError, OverflowError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise BindError(f"can't listen on {bind}: {reason}") from exc
    listener.setblocking(False)
    os.set_inheritable(listener.fileno(), False)
    return listener


def check_bind(bind: str) -> None:
    """Find out whether a listener can be made, without keeping it.

    Raises:
        BindError: it can't.
    """
    if _FD.fullmatch(bind):
        try:
            os.fstat(int(bind.removeprefix("fd://")))
        except OSError as exc:
            raise BindError(f"can't listen on {bind}: {exc.strerror}") from None
        return
    open_listener(bind, 1).close()
    if bind.startswith("unix:"):
        with suppress(FileNotFoundError):
            os.unlink(bind.removeprefix("unix:"))


def _tcp_listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    return listener


def _unix_listener(path: str) -> socket.socket:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            _refuse_live_socket(path)
            os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
    except BaseException:
        listener.close()
        raise
    return listener


def _refuse_live_socket(path: str) -> None:
    """A socket file that nobody listens on is left over; one that answers is somebody's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return
    raise BindError(f"can't listen on unix:{path}: another server listens there")


def prepare(listener: socket.socket, *, defer_accept: bool) -> None:
    """Set what accepted connections inherit: TCP_NODELAY; and TCP_DEFER_ACCEPT (tcp(7))."""
    listener.setblocking(False)
    if listener.family in {socket.AF_INET, socket.AF_INET6}:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # One second: the kernel hands a silent connection over after the next retransmission.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(defer_accept))


def describe(listener: socket.socket) -> str:
    """Return a URL-like text of where it listens."""
    name = listener.getsockname()
    if isinstance(name, tuple):
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"http://{host}:{name[1]}"
    text = os.fsdecode(name)
    return f"unix:{text}"


def server_name(listener: socket.socket) -> tuple[str, str]:
    """Return SERVER_NAME and SERVER_PORT of a listener (RFC 3875 section 4.1.14)."""
    name = listener.getsockname()
    if isinstance(name, tuple):
        return str(name[0]), str(name[1])
    return os.fsdecode(name).lstrip("\0"), ""
