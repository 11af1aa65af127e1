"""A worker that has served max_requests is replaced, and its clients notice nothing.

In the spirit of gunicorn's test_gthread_keepalive_shutdown.py, written anew. RFC 9112 section 9.6:
a client that was told that the connection stays open may send on it.
"""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

from .clients import TIMEOUT, get, wait_until

if TYPE_CHECKING:
    from .conftest import Start


def test_idle_connection_is_served_by_the_worker_that_stops(start: Start) -> None:
    server = start("gunicorn", "--max-requests", "2", "--keep-alive", "30")
    idle = http.client.HTTPConnection("127.0.0.1", server.port, TIMEOUT)
    try:
        first_pid, closes = ask_for_pid(idle)
        assert not closes
        # The second request is the worker's last; it comes while the first connection is idle.
        assert get(server.port, "/pid") == first_pid
        assert ask_for_pid(idle) == (first_pid, True)
    finally:
        idle.close()
    wait_until(lambda: get(server.port, "/pid") != first_pid, "a new worker answers")
    assert server.stop() == 0


def test_last_response_of_a_worker_says_that_it_closes(start: Start) -> None:
    server = start("gunicorn", "--max-requests", "2", "--keep-alive", "30")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, TIMEOUT)
    try:
        assert [ask_for_pid(connection)[1] for _ in range(2)] == [False, True]
    finally:
        connection.close()
    assert server.stop() == 0


def test_every_request_is_answered_while_workers_come_and_go(start: Start) -> None:
    server = start("gunicorn", "--max-requests", "3")
    pids = set()

    def have_seen_several() -> bool:
        pids.add(get(server.port, "/pid"))
        return len(pids) >= 3

    wait_until(have_seen_several, "three workers answer, one after the other")
    assert server.stop() == 0


def ask_for_pid(connection: http.client.HTTPConnection) -> tuple[bytes, bool]:
    """Who answers on this connection, and whether that closes it."""
    connection.request("GET", "/pid")
    response = connection.getresponse()
    return response.read(), response.will_close
