"""Runs the command to its end, and asks over sockets.

Lives here: what the tests of the command share. Must not live here: servers that keep running,
which `corpus.serving` starts.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from corpus.clients import connect
from corpus.serving import STOP_TIMEOUT, Launch
from live import TIMEOUT, Response, exchange, message

HERE = Path(__file__).parent


def run(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path = HERE
) -> subprocess.CompletedProcess[str]:
    """What `poolhttp ARGUMENTS` says and how it ends."""
    launch = Launch("", cwd, None, (), env or {})
    return subprocess.run(
        [sys.executable, "-m", "poolhttp", *arguments],
        cwd=cwd,
        env=launch.environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def refusal(status: int, *arguments: str, env: dict[str, str] | None = None) -> str:
    """The one line that is all that a command says which ends with `status`."""
    ended = run(*arguments, env=env)
    assert ended.returncode == status, ended.stderr
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert line.startswith("poolhttp")
    return line


def ask(port: int, target: str, *fields: str, method: str = "GET", body: bytes = b"") -> Response:
    """The answer to one request on a connection of its own."""
    with connect(port) as sock:
        return exchange(sock, message(f"{method} {target} HTTP/1.1", *fields, body=body), method)


def unix_connect(path: Path) -> socket.socket:
    """A connection to a unix socket whose every step has a limit."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(STOP_TIMEOUT)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def answers(path: Path) -> bool:
    """Whether somebody serves a unix socket."""
    try:
        unix_connect(path).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it hasn't ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
