"""Every kind of address that gunicorn can listen on, and what the environ says of it."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from corpus.clients import connect, wait_until
from corpus.serving import STOP_TIMEOUT
from live import exchange, message

from .asking import environ_of, pid_of, unix_connect, workers

if TYPE_CHECKING:
    from pathlib import Path

    from corpus.serving import Server

    from .conftest import Start


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")


def connect6(server: Server) -> socket.socket:
    """A connection to the address in brackets that the server says it listens on."""
    found = server.wait_for(re.compile(r"http://\[::1\]:(\d+)"), STOP_TIMEOUT)
    return socket.create_connection(("::1", int(found[1])), STOP_TIMEOUT)


def test_tcp(start: Start) -> None:
    server = start()
    sock = connect(server.port)
    own_port = sock.getsockname()[1]
    environ = environ_of(sock, host="example.org:81")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", str(server.port))
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("127.0.0.1", str(own_port))


@needs_ipv6
def test_tcp6(start: Start) -> None:
    server = start("-b", "[::1]:0")
    sock = connect6(server)
    own_port, server_port = sock.getsockname()[1], sock.getpeername()[1]
    environ = environ_of(sock)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("::1", str(server_port))
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("::1", str(own_port))


@pytest.mark.parametrize(
    ("host", "fields", "expected"),
    [
        ("example.org:8080", (), ("example.org", "8080")),
        ("example.org", (), ("example.org", "80")),
        ("example.org", ("X-Forwarded-Proto: https",), ("example.org", "443")),
    ],
)
def test_unix_socket_is_named_by_host(
    start: Start, tmp_path: Path, host: str, fields: tuple[str, ...], expected: tuple[str, str]
) -> None:
    """PEP 3333 demands a name, and only the client knows by which one it got here."""
    server = start("-b", f"unix:{tmp_path / 'sock'}")
    server.wait_until_listening()
    environ = environ_of(unix_connect(tmp_path / "sock"), *fields, host=host)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == expected
    assert environ["REMOTE_ADDR"] == ""
    assert "REMOTE_PORT" not in environ


def test_unix_socket_without_host(start: Start, tmp_path: Path) -> None:
    server = start("-b", f"unix:{tmp_path / 'sock'}")
    server.wait_until_listening()
    environ = environ_of(unix_connect(tmp_path / "sock"), host=None)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (str(tmp_path / "sock"), "")


@needs_ipv6
def test_several_binds_are_served_by_one_worker(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "sock"
    server = start("-b", "[::1]:0", "-b", f"unix:{path}")
    worker = pid_of(server.port)
    for sock in (connect6(server), unix_connect(path), connect(server.port)):
        with sock:
            assert int(exchange(sock, message("GET /pid HTTP/1.1")).body) == worker
    assert server.stop() == 0
    assert not path.exists()


def test_reuse_port(start: Start) -> None:
    """Each worker has a listener of its own, and all of them are served."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Bound but not listening: the port stays ours, and connections go to the workers.
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        server = start("--reuse-port", "-w", "2", "-b", f"127.0.0.1:{port}")
        seen: set[int] = set()

        def have_seen_both() -> bool:
            with suppress(ConnectionRefusedError):
                seen.add(pid_of(port))
            return len(seen) == 2

        wait_until(have_seen_both, "both workers answer")
        assert seen == workers(server)
        assert server.stop() == 0


def test_entry_point(start: Start) -> None:
    server = start(worker_class="egg:poolhttp#epoll")
    assert pid_of(server.port) in workers(server)
    assert "Using worker: egg:poolhttp#epoll" in server.output()
