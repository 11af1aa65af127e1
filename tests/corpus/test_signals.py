"""What a server does at TERM, INT and HUP, by both ways in: as gunicorn does, and losing nothing.

In the spirit of gunicorn's test_signal_integration.py and test_gthread_keepalive_shutdown.py,
written anew. A request that the app has seen has to be answered in full, whatever signal comes
meanwhile, and so has one on a connection that the last response left open (RFC 9112 section 9.6).
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from .clients import Client, connect, get, receive, send, wait_until
from .conftest import WAYS_IN, Release, Start
from .replay import Response
from .serving import STOP_TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS_OF_A_KIND = 3
"""Threads of each kind of client: together more than the two cores of a CI machine."""

REFUSAL_TIMEOUT = 10.0
"""Seconds until a server that was told to stop accepts no more; well below head_timeout (30)."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("way_in", WAYS_IN)
def test_term_and_int_end_with_status_0(start: Start, way_in: str, number: int) -> None:
    server = start(way_in)
    assert get(server.port, "/one") == b"/one"
    assert server.stop(number) == 0


def test_hup_replaces_the_worker_and_drops_nothing(start: Start) -> None:
    server = start("gunicorn")
    old = get(server.port, "/pid")
    clients = start_clients(server.port)
    server.send_signal(signal.SIGHUP)
    wait_until(lambda: get(server.port, "/pid") != old, "another process answers")
    for client in clients:
        client.stop_asked.set()
        client.join(STOP_TIMEOUT)
    assert [client.outcome.unanswered for client in clients] == [{}] * len(clients)
    assert server.stop() == 0


@pytest.mark.parametrize("way_in", WAYS_IN)
def test_term_during_load_answers_all_that_was_accepted(
    start: Start, record: Path, way_in: str
) -> None:
    server = start(way_in)
    clients = start_clients(server.port)
    assert server.stop() == 0
    for client in clients:
        client.join(STOP_TIMEOUT)
    assert not any(client.is_alive() for client in clients)
    outcomes = [client.outcome for client in clients]
    assert [each.broken_promises for each in outcomes] == [[]] * len(outcomes)
    answered = set().union(*(each.answered for each in outcomes))
    unanswered = {path: why for each in outcomes for path, why in each.unanswered.items()}
    accepted = set(record.read_text().splitlines())
    assert {path: unanswered.get(path) for path in accepted - answered} == {}
    assert all(each.answered for each in outcomes)


@pytest.mark.parametrize("way_in", WAYS_IN)
def test_term_answers_the_request_under_way(
    start: Start, record: Path, release: Release, way_in: str
) -> None:
    """The handler is still running when the signal comes."""
    server = start(way_in)
    with connect(server.port) as held:
        send(held, "/hold")
        wait_until(lambda: "/hold" in record.read_text(), "the app is called")
        server.send_signal(signal.SIGTERM)
        release()
        assert receive(held) == [Response(200, b"/hold")]
    assert server.wait() == 0


@pytest.mark.parametrize("way_in", WAYS_IN)
def test_term_serves_those_who_wait_in_the_accept_queue(
    start: Start, record: Path, release: Release, way_in: str
) -> None:
    """Their requests were sent before the signal, while the one app thread was busy."""
    server = start(way_in)
    with ExitStack() as stack:
        held = stack.enter_context(connect(server.port))
        send(held, "/hold")
        wait_until(lambda: "/hold" in record.read_text(), "the app is called")
        queued = [stack.enter_context(connect(server.port)) for _ in range(10)]
        for number, sock in enumerate(queued):
            send(sock, f"/{number}")
        server.send_signal(signal.SIGTERM)
        release()
        expected = [[Response(200, f"/{number}".encode())] for number in range(len(queued))]
        assert [receive(sock) for sock in queued] == expected
        assert receive(held) == [Response(200, b"/hold")]
    assert server.wait() == 0


@pytest.mark.parametrize("way_in", WAYS_IN)
def test_term_refuses_new_connections_while_it_finishes_the_old(start: Start, way_in: str) -> None:
    """A connection that nobody is going to serve would be reset in the end; a refusal is honest."""
    server = start(way_in)
    assert get(server.port, "/one") == b"/one"
    with connect(server.port) as slow:
        slow.sendall(b"GET /slow HTTP/1.1\r\nHo")
        wait_until(lambda: get(server.port, "/two") == b"/two", "the first bytes are received")
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(server.port), "a new connection is refused", REFUSAL_TIMEOUT)
        slow.sendall(b"st: a\r\n\r\n")
        assert receive(slow) == [Response(200, b"/slow")]
    assert server.wait() == 0


def refuses(port: int) -> bool:
    """Whether the kernel has nobody to hand a connection to."""
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


def start_clients(port: int) -> list[Client]:
    """Keep-alive and one-shot clients, each of which has had its first answer."""
    kinds = [("kept", True), ("once", False)]
    clients = [
        Client(f"{kind}{number}", port, keep_alive=keep_alive)
        for kind, keep_alive in kinds
        for number in range(CLIENTS_OF_A_KIND)
    ]
    for client in clients:
        client.start()
    for client in clients:
        assert client.warm.wait(STOP_TIMEOUT)
    return clients
