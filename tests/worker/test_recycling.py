"""max_requests with jitter, and graceful_timeout, which the worker itself has to keep."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from corpus.clients import TIMEOUT, connect
from live import message

from .asking import is_running, pid_of, wait_for_line, wait_until_gone

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .conftest import Start


def requests_until_close(port: int) -> tuple[int, int]:
    """How many responses a connection gets until one closes it, and from which worker."""
    connection = http.client.HTTPConnection("127.0.0.1", port, TIMEOUT)
    try:
        pids = set()
        for number in range(1, 1000):
            connection.request("GET", "/pid")
            response = connection.getresponse()
            pids.add(int(response.read()))
            if response.will_close:
                [pid] = pids
                return number, pid
    finally:
        connection.close()
    raise AssertionError("the connection is never closed")


def test_max_requests_with_jitter(start: Start) -> None:
    server = start("--max-requests", "5", "--max-requests-jitter", "5", "--keep-alive", "30")
    seen = set()
    for _ in range(3):
        served, pid = requests_until_close(server.port)
        assert 5 <= served <= 10
        assert pid not in seen
        seen.add(pid)
        wait_until_gone(pid)
    assert server.output().count("Autorestarting worker after current request.") == 3
    assert server.stop() == 0
    assert "exited with code" not in server.output()


def test_max_requests_without_keepalive(start: Start) -> None:
    server = start("--max-requests", "2", "--keep-alive", "0")
    first = pid_of(server.port)
    assert pid_of(server.port) == first
    wait_until_gone(first)
    assert pid_of(server.port) != first


def test_without_max_requests_no_worker_is_replaced(start: Start) -> None:
    server = start("--keep-alive", "30")
    worker = pid_of(server.port)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, TIMEOUT)
    try:
        for _ in range(300):
            connection.request("GET", "/pid")
            response = connection.getresponse()
            assert int(response.read()) == worker
            assert not response.will_close
    finally:
        connection.close()


PATIENT = {"POOLHTTP_BODY_TIMEOUT": "600", "POOLHTTP_WRITE_TIMEOUT": "600"}
"""So that nothing but graceful_timeout ends the connection."""


def stalled_body(port: int) -> socket.socket:
    """A request whose body never comes; the server has begun to read it."""
    sock = connect(port)
    fields = ("Expect: 100-continue", "Content-Length: 10")
    sock.sendall(message("POST /read HTTP/1.1", *fields))
    assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return sock


def stalled_reader(port: int) -> socket.socket:
    """A response that its client doesn't read to its end, which there isn't."""
    sock = connect(port)
    sock.sendall(message("GET /endless HTTP/1.1"))
    assert sock.recv(15) == b"HTTP/1.1 200 OK"
    return sock


def greedy_reader(port: int) -> socket.socket:
    """A response without end, of which the client takes all that it gets."""
    sock = stalled_reader(port)

    def read() -> None:
        try:
            while sock.recv(1 << 20):
                pass
        except OSError:
            pass

    threading.Thread(target=read, daemon=True).start()
    return sock


@pytest.mark.parametrize("to_master", [True, False])
@pytest.mark.parametrize("occupy", [stalled_body, stalled_reader, greedy_reader])
def test_worker_keeps_graceful_timeout(
    start: Start, *, to_master: bool, occupy: Callable[[int], socket.socket]
) -> None:
    """The master never kills the workers that it replaces at HUP."""
    server = start("--graceful-timeout", "1", "-t", "600", env=PATIENT)
    worker = pid_of(server.port)
    with occupy(server.port):
        if to_master:
            server.send_signal(signal.SIGHUP)
        else:
            os.kill(worker, signal.SIGTERM)
        wait_for_line(server, "after graceful_timeout")
        wait_until_gone(worker)
    assert pid_of(server.port) != worker
    output = server.output()
    assert output.index("Closing 1 connections after") < output.index(f"exiting (pid: {worker})")
    assert "exited with code" not in output
    assert "SIGKILL" not in output


def test_master_stops_although_a_request_never_ends(start: Start) -> None:
    """It kills what isn't gone after graceful_timeout, at the moment at which the worker ends."""
    server = start("--graceful-timeout", "1", "-t", "600", env=PATIENT)
    worker = pid_of(server.port)
    with stalled_body(server.port):
        assert server.stop() == 0
    assert not is_running(worker)
