"""Without a free descriptor accepting rests: nothing spins, nobody who is connected notices, and as
soon as there is room the rest is served (RLIMIT_NOFILE in a process of its own)."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

PROGRAM = """
import logging, os, resource, sys
from poolhttp import Server, Settings

logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING)
used = max(map(int, os.listdir("/proc/self/fd")))

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

# A long keep-alive: nobody but the test closes anything.
settings = Settings(keepalive=600, defer_accept=False, graceful_timeout=0, drain_keepalive=0)
server = Server(app, bind=["127.0.0.1:0"], settings=settings)

def on_tick():
    print("turns", server.loop.stats()["turns"], flush=True)

server.on_tick = on_tick
server.on_start = lambda context, loop: resource.setrlimit(
    resource.RLIMIT_NOFILE, (used + 16, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
)
print("port", server.addresses[0][1], flush=True)
sys.stdin = None
server.run()
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TIMEOUT = 10.0


class Child:
    """The server's process, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port = int(self.expect(r"port (\d+)"))

    def expect(self, pattern: str) -> str:
        """Read lines until one matches; return its first group."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            match = re.search(pattern, line)
            if match:
                return match[1]
        raise AssertionError(f"the server ended before it said {pattern!r}")

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), TIMEOUT)
        sock.sendall(REQUEST)
        return sock


@pytest.fixture
def child() -> Iterator[Child]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield Child(process)
        finally:
            process.kill()


def test_accepting_rests_and_recovers(child: Child) -> None:
    clients = [child.connect() for _ in range(40)]
    try:
        child.expect("(Can't accept connections)")
        # Two ticks are about a second apart: a spinning loop makes 100,000 turns in it.
        before = int(child.expect(r"turns (\d+)"))
        assert int(child.expect(r"turns (\d+)")) - before < 200

        served = clients[0]
        assert b"200 OK" in served.recv(1000)
        served.sendall(REQUEST)
        assert b"200 OK" in served.recv(1000), "who is connected notices nothing"

        # Each that leaves makes room for one that waits, in the order in which they came.
        for client in clients[1:]:
            assert b"200 OK" in client.recv(1000)
            client.close()
    finally:
        for client in clients:
            client.close()
