"""What a keep-alive request costs the kernel: one receive, one send, one wait for each turn, and
nothing else (``epoll_ctl`` once in a connection's life). Counted by the loop and by strace."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Serve, exchange, read_response

REQUESTS = 200
WARM_UP = 20
GET = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
ODD_TURNS = 5
"""Turns without a request that a stalled machine may add (the longest wait is a second)."""

PROGRAM = """
import os
from poolhttp import Server, Settings

def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/mark"):
        os.access(environ["PATH_INFO"], os.F_OK)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

server = Server(app, bind=["127.0.0.1:0"], settings=Settings(keepalive=600))
print(server.addresses[0][1], flush=True)
server.run()
"""


@pytest.fixture
def count(serve: Serve) -> Iterator[Callable[[bytes, int], dict[str, int]]]:
    """Gives `count(data, times)`: what the loop spends on ``data`` sent so often, with the answer
    before it and the question behind it (the app asks, on the loop's own thread)."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = b"ok"
        if environ["PATH_INFO"] == "/stats":
            body = json.dumps(server.server.loop.stats()).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    server = serve(app)
    with server.connect() as sock:

        def stats() -> dict[str, int]:
            found: dict[str, int] = json.loads(exchange(sock, GET % b"/stats").body)
            return found

        def spend(data: bytes, times: int) -> dict[str, int]:
            for _ in range(WARM_UP):
                stats()
            before = stats()
            for _ in range(times):
                sock.sendall(data)
                for _ in range(data.count(b"\r\n\r\n")):
                    read_response(sock)
            after = stats()
            return {name: after[name] - before[name] for name in before}

        yield spend


def test_by_the_counters_of_the_loop(count: Callable[[bytes, int], dict[str, int]]) -> None:
    spent = count(GET % b"/", REQUESTS)
    assert spent["recv_calls"] == REQUESTS + 1
    assert spent["send_calls"] == REQUESTS + 1
    assert spent["wait_calls"] == spent["turns"]
    assert REQUESTS + 1 <= spent["turns"] <= REQUESTS + 1 + ODD_TURNS
    for name in ("ctl_calls", "accept_calls", "close_calls", "stale_events"):
        assert spent[name] == 0, name


def test_a_pipeline_is_one_receive_and_one_send(
    count: Callable[[bytes, int], dict[str, int]],
) -> None:
    spent = count((GET % b"/") * 10, 1)
    assert spent["recv_calls"] == 1 + 1
    assert spent["send_calls"] == 1 + 1


def _answer(sock: socket.socket, data: bytes) -> bytes:
    sock.sendall(data)
    answer = b""
    while not answer.endswith(b"\r\n\r\nok"):
        answer += sock.recv(4096)
    return answer


def _strace_works() -> bool:
    """Whether it is there and may trace (containers often forbid ptrace)."""
    path = shutil.which("strace")
    if path is None:
        return False
    return subprocess.run([path, "-c", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _strace_works(), reason="strace is missing or ptrace is not allowed")
def test_by_strace(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-o", str(trace), sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), 30) as sock:
                for _ in range(WARM_UP):
                    _answer(sock, GET % b"/")
                _answer(sock, GET % b"/mark-begin")
                for _ in range(REQUESTS):
                    _answer(sock, GET % b"/")
                _answer(sock, GET % b"/mark-end")
        finally:
            # strace passes the signal of its own end on to nobody: end the server itself.
            for child in _children(process.pid):
                os.kill(child, 15)
            process.wait(30)
    calls = _between_marks(trace.read_text())
    assert calls.pop("recvfrom") == REQUESTS + 1
    assert calls.pop("sendto") == REQUESTS + 1
    waits = calls.pop("epoll_wait", 0) + calls.pop("epoll_pwait", 0)
    assert REQUESTS + 1 <= waits <= REQUESTS + 1 + ODD_TURNS
    # The memory of the interpreter is its own affair, and the watch over app calls sleeps in a
    # thread of its own, whose looks don't grow with the requests.
    own = {"mmap", "munmap", "brk", "futex"}
    others = {name: n for name, n in calls.items() if name not in own}
    assert others == {}


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def _between_marks(trace: str) -> Counter[str]:
    """The system calls between the two marks, by name."""
    begin = re.search(r"^.*/mark-begin.*F_OK.*\n", trace, re.MULTILINE)
    end = re.search(r"^.*/mark-end.*F_OK.*\n", trace, re.MULTILINE)
    assert begin is not None
    assert end is not None
    lines = trace[begin.end() : end.start()].splitlines()
    names = [re.match(r"\d+ +(\w+)\(", line) for line in lines]
    return Counter(each[1] for each in names if each is not None)
