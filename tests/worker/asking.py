"""Asks a gunicorn and looks at its processes.

Lives here: single requests over TCP, IPv6 and unix sockets, and what /proc says of a process. Must
not live here: how gunicorn is started (`conftest`).
"""

from __future__ import annotations

import json
import os
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from corpus.clients import connect, wait_until
from corpus.serving import STOP_TIMEOUT, Server
from live import Response, exchange, message

BOOTED = re.compile(r"Booting worker with pid: (\d+)")


def unix_connect(path: Path) -> socket.socket:
    """A connection to a unix socket whose every step has a limit."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(STOP_TIMEOUT)
    sock.connect(str(path))
    return sock


def ask(port: int, target: str, *fields: str, method: str = "GET", body: bytes = b"") -> Response:
    """The answer to one request on a connection of its own."""
    with connect(port) as sock:
        line = f"{method} {target} HTTP/1.1"
        return exchange(sock, message(line, "Connection: close", *fields, body=body), method)


def environ_of(sock: socket.socket, *fields: str, host: str | None = "test") -> dict[str, Any]:
    """What the app sees of a request for /environ."""
    version = "1.1" if host is not None else "1.0"
    with sock:
        response = exchange(sock, message(f"GET /environ HTTP/{version}", *fields, host=host))
    environ: dict[str, Any] = json.loads(response.body)
    return environ


def pid_of(port: int) -> int:
    """The worker that answers."""
    return int(ask(port, "/pid").body)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it hasn't ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pid: int) -> None:
    """Wait for a process' end; whose child it is doesn't matter."""
    wait_until(lambda: not is_running(pid), f"process {pid} ends")


def workers(server: Server) -> set[int]:
    """The workers that run, by what the master says of those it started."""
    started = {int(found) for found in BOOTED.findall(server.output())}
    return {pid for pid in started if is_running(pid)}


def wait_for_line(server: Server, text: str) -> None:
    """Wait until the server has printed `text`."""
    server.wait_for(re.compile(re.escape(text)), STOP_TIMEOUT)


def last_heartbeat(pid: int) -> float | None:
    """When the worker has last touched the file by which the master sees that it is alive.

    None when it ends, or has ended.
    """
    with suppress(FileNotFoundError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            descriptor = f"/proc/{pid}/fd/{name}"
            if "wgunicorn-" in os.readlink(descriptor):
                return os.stat(descriptor).st_mtime
    return None
