"""Quick requests that had to wait because the relief ran the loop run on its thread after all, as
soon as that is an app thread again."""

from __future__ import annotations

import socket

import pytest
from live import Serve, exchange, message, read_response, read_to_eof

from .gated import Gated, scheduler_of
from .test_overload import all_blocked, get, wait_for_waiting


@pytest.mark.parametrize("threads", [1, 2])
def test_they_run_on_the_thread_of_the_loop(serve: Serve, gated: Gated, threads: int) -> None:
    live = serve(gated, threads=threads)
    scheduler = scheduler_of(live)
    socks = [live.connect() for _ in range(5)]
    with all_blocked(live, gated):
        for number, sock in enumerate(socks):
            sock.sendall(get(f"/quick/{number}") + get(f"/behind/{number}"))
        wait_for_waiting(live, len(socks))
        apart = scheduler.apart
        gated.let_go()
        for number, sock in enumerate(socks):
            assert read_response(sock).body == f"/quick/{number}".encode()
            assert read_response(sock).body == f"/behind/{number}".encode()
    if threads == 1:
        # With more, the thread that doesn't claim the loop takes some of them.
        assert scheduler.recalled == len(socks)
        # Those behind them never waited.
        assert scheduler.apart == apart
        assert set().union(*gated.threads.values()) == {live.thread.ident}


def test_all_forms_of_clients_are_answered(serve: Serve, gated: Gated) -> None:
    """One that half-closed while it waited, one that wants its connection closed, one that left."""
    live = serve(gated, threads=1, abandon_after=60.0)
    half, last, gone = (live.connect() for _ in range(3))
    with all_blocked(live, gated):
        half.sendall(get("/half"))
        last.sendall(get("/last", "Connection: close"))
        gone.sendall(get("/gone"))
        wait_for_waiting(live, 3)
        half.shutdown(socket.SHUT_WR)
        gone.close()
        # The loop has heard of both.
        with live.connect() as other:
            assert exchange(other, b"BAD\r\n\r\n").status == 400
        gated.let_go()
        for sock, body in ((half, b"/half"), (last, b"/last")):
            assert read_response(sock).body == body
            assert read_to_eof(sock) == b""
    assert live.ask(message("GET /next HTTP/1.1")).body == b"/next"
