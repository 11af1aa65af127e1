"""The end of a server with threads: who was let in is answered, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from corpus.clients import connect
from corpus.serving import Launch, Server
from live import TIMEOUT, LiveServer, exchange, message, read_response, read_to_eof

from .gated import Gated, scheduler_of, until

HERE = Path(__file__).parent

CLIENTS = 6
REQUESTS = 60


def get(path: str) -> bytes:
    return message(f"GET {path} HTTP/1.1")


def lets_in(port: int) -> bool:
    try:
        connect(port).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True


@pytest.mark.parametrize("threads", ["1", "4"])
def test_sigterm_waits_for_calls_under_way(tmp_path: Path, threads: str) -> None:
    names = ["one"] if threads == "1" else ["one", "two", "three"]
    for name in names:
        os.mkfifo(tmp_path / name)
    env = {"GATES": str(tmp_path), "POOLHTTP_DRAIN_KEEPALIVE": "0.1"}
    launch = Launch("threads_app:app", HERE, None, ("--threads", threads), env)
    with Server(launch) as server, ExitStack() as stack:
        socks: list[socket.socket] = []
        with ExitStack() as gates:
            for name in names:
                socks.append(stack.enter_context(connect(server.port)))
                socks[-1].sendall(get(f"/hold/{name}"))
                # Until the app reads, too.
                gates.enter_context(open(tmp_path / name, "wb"))
            server.send_signal(signal.SIGTERM)
            until(lambda: not lets_in(server.port), "nobody is let in any more")
        for name, sock in zip(names, socks, strict=True):
            response = read_response(sock)
            assert (response.status, response.body) == (200, f"/hold/{name}".encode())
            assert read_to_eof(sock) == b""
        assert server.wait() == 0, server.output()
    assert "graceful_timeout" not in server.output()


@pytest.mark.parametrize("dispatch", ["adaptive", "threads"])
@pytest.mark.parametrize("threads", [2, 4])
def test_stuck_call_does_not_keep_a_server(dispatch: str, threads: int) -> None:
    app = Gated()
    with LiveServer(app, threads=threads, dispatch=dispatch, graceful_timeout=0.2) as live:
        with live.connect() as sock:
            sock.sendall(get("/hold"))
            app.wait_for("/hold")
            live.server.stop()
            live.thread.join(TIMEOUT)
            ended = not live.thread.is_alive()
            app.let_go()
            assert ended
            assert read_to_eof(sock) == b""
        assert "graceful_timeout" in live.log_text()
    until(lambda: not our_threads(), "the thread ends with its call")


def our_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("poolhttp")]


@pytest.mark.parametrize("dispatch", ["adaptive", "threads", "inline"])
@pytest.mark.parametrize("threads", [1, 4])
def test_nothing_is_left_behind(threads: int, dispatch: str) -> None:
    """Neither a thread nor, as any LiveServer checks, a descriptor."""
    app = Gated()
    app.let_go("/hold/1")
    with (
        LiveServer(app, threads=threads, dispatch=dispatch) as live,
        live.connect() as sock,
        live.connect(rcvbuf=4096) as slow,
    ):
        slow.sendall(get("/large"))
        for path in ("/quick", "/stream/1", "/hold/1", "/large/2"):
            assert exchange(sock, get(path)).status == 200
        if dispatch != "inline":
            sock.sendall(get("/hold/2"))
            app.wait_for("/hold/2")
            assert our_threads()
            app.let_go()
            assert read_response(sock).body == b"/hold/2"
            assert len(scheduler_of(live).crew.members) <= threads
    assert our_threads() == []


def test_stop_while_all_threads_work_and_others_wait() -> None:
    """What waits was let in."""
    app = Gated()
    with LiveServer(app, threads=2, drain_keepalive=0.1) as live, ExitStack() as stack:
        socks = [stack.enter_context(live.connect()) for _ in range(6)]
        for number, sock in enumerate(socks):
            sock.sendall(get(f"/hold/{number}"))
        crew = scheduler_of(live).crew
        until(lambda: crew.waiting() == 4, "four wait")
        live.server.stop()
        app.let_go()
        for number, sock in enumerate(socks):
            assert read_response(sock).body == f"/hold/{number}".encode()
            assert read_to_eof(sock) == b""
        live.thread.join(TIMEOUT)
        assert not live.thread.is_alive()
        assert "graceful_timeout" not in live.log_text()
    assert our_threads() == []


@pytest.mark.parametrize("dispatch", ["adaptive", "threads"])
def test_access_log_has_a_line_for_each_request(tmp_path: Path, dispatch: str) -> None:
    file = tmp_path / "access"
    options = ("--threads", "4", "--dispatch", dispatch, "--access-log", str(file))
    launch = Launch("threads_app:app", HERE, None, options, {"GATES": str(tmp_path)})
    with Server(launch) as server:
        port = server.port
        failures: list[str] = []

        def ask(client: int) -> None:
            with connect(port) as sock:
                for number in range(REQUESTS):
                    kind = ("quick", "nap", "where")[(client + number) % 3]
                    response = exchange(sock, get(f"/{kind}/{client}/{number}"))
                    if response.status != 200:
                        failures.append(f"{kind} {client} {number}: {response.status}")

        clients = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(6 * TIMEOUT)
        assert failures == []
        assert server.stop() == 0
    lines = file.read_text().splitlines()
    asked = Counter(re.findall(r'"GET (/\S+) HTTP/1.1" 200 ', "\n".join(lines)))
    assert len(lines) == CLIENTS * REQUESTS
    assert set(asked.values()) == {1}
    assert len(asked) == CLIENTS * REQUESTS
