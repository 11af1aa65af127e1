"""Very many requests whose calls are about as long as the loop may be kept.

Lives here: clients that each follow a plan made of a seed, and know what must come of each request.
Must not live here: one order of events (`test_handover`).

Each request's path says which call it wants, for how long, and who asks: ``/KIND/MICROSECONDS/ID``.
The answer must have the ID, on the connection that asked, in the order in which it asked.
``DISPATCH_STRESS`` is the share of ``REQUESTS`` that each case makes, ``DISPATCH_STRESS_SEED``
repeats a run's plans.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from live import TIMEOUT, Serve, message

from .stress_app import BODY, App, big

REQUESTS = 100_000
SHARE = float(os.environ.get("DISPATCH_STRESS", "0.08"))
SEED = os.environ.get("DISPATCH_STRESS_SEED") or str(random.randrange(1 << 32))
CLIENTS = {1: 2, 8: 12}
LONG = {1: 0.1, 8: 0.4}
"""Clients, and the share of calls that last, by threads. A single thread with more to do never has
nothing to do; then it leaves the loop to others, and nothing can be taken from it."""

LONGEST = 5000
"""Microseconds of the longest call: five times what it may keep the loop."""

KINDS = {
    "plain": 30,
    "sleep": 8,
    "compute": 6,
    "stream": 6,
    "close": 4,
    "write": 5,
    "hints": 3,
    "big": 2,
    "bigwrite": 1,
    "file": 2,
    "post": 4,
    "raise": 2,
    "exit": 2,
    "cut": 2,
}
"""Kinds of calls, and how often each is asked for."""

LAST = {"raise", "exit", "cut"}
"""Kinds that end the connection."""


@dataclass
class Asked:
    """One request of a plan."""

    kind: str
    ident: bytes
    data: bytes
    closes: bool


class LeftError(Exception):
    """The connection ended."""


class Client:
    """Follows its own plan, over one connection after the other."""

    def __init__(self, address: tuple[str, int], number: int, count: int, long: float) -> None:
        self._random = random.Random(f"{SEED}/{number}")
        self._address = address
        self._number = number
        self._left = count
        self._long = long
        self.left_early = 0
        self.answered: list[str] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name=f"client {number}", daemon=True)
        self._received = b""
        self._plan = ""

    def _run(self) -> None:
        try:
            while self._left > 0:
                self._connection()
        except BaseException as error:
            error.args = (*error.args, self._plan)
            self.error = error

    def _ask(self, last: bool) -> Asked:
        choose = self._random
        self._left -= 1
        kinds = [kind for kind in KINDS if last or kind not in LAST]
        (kind,) = choose.choices(kinds, [KINDS[each] for each in kinds])
        ident = f"{self._number}-{self._left}-{choose.randrange(1000)}".encode()
        span = choose.randrange(LONGEST) if choose.random() < self._long else 0
        line = f"/{kind}/{span}/{ident.decode()}"
        closes = last and choose.random() < 0.5
        fields = ["Connection: close"] if closes else []
        if kind == "post":
            data = message(f"POST {line} HTTP/1.1", *fields, body=(ident * BODY)[:BODY])
        else:
            data = message(f"GET {line} HTTP/1.1", *fields)
        return Asked(kind, ident, data, closes or kind in LAST)

    def _connection(self) -> None:
        choose = self._random
        rounds = choose.choice((1, 1, 5, 30))
        leaves = choose.random() < 0.04
        with socket.socket() as sock:
            sock.settimeout(TIMEOUT)
            if choose.random() < 0.1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(self._address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._received = b""
            for number in range(rounds):
                last = number == rounds - 1 or self._left < 20
                depth = choose.choice((1, 1, 1, 2, 8))
                asked = [self._ask(last and at == depth - 1) for at in range(depth)]
                self._plan = " ".join(f"{each.kind}:{each.ident!r}" for each in asked)
                self._send(sock, b"".join(each.data for each in asked))
                if last and leaves:
                    self._leave(sock)
                    return
                if last and choose.random() < 0.1:
                    sock.shutdown(socket.SHUT_WR)
                for each in asked:
                    self._check(sock, each)
                if last:
                    return

    def _send(self, sock: socket.socket, data: bytes) -> None:
        if self._random.random() < 0.1:
            at = self._random.randrange(len(data))
            sock.sendall(data[:at])
            data = data[at:]
        sock.sendall(data)

    def _leave(self, sock: socket.socket) -> None:
        """Go in the middle: with a reset or without, before or behind the first bytes."""
        self.left_early += 1
        if self._random.random() < 0.5:
            sock.recv(1)
        if self._random.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # Reading

    def _check(self, sock: socket.socket, asked: Asked) -> None:
        if asked.kind in {"big", "bigwrite", "file"} and self._random.random() < 0.5:
            time.sleep(self._random.random() * 0.003)
        status, fields, body = self._response(sock, cut=asked.kind == "cut")
        ident = asked.ident
        if asked.kind in {"raise", "exit"}:
            assert status == 500, (status, asked)
        else:
            assert status == 200, (status, asked)
            big_one = asked.kind in {"big", "bigwrite", "file"}
            expected = big(ident) if big_one else ident[:2] if asked.kind == "cut" else ident
            assert body == expected, (body[:80], asked)
        if asked.closes:
            assert fields.get(b"connection") == b"close" or asked.kind == "cut", asked
            more = self._received or sock.recv(1)
            assert not more, f"more behind {asked}"
        self.answered.append(ident.decode())

    def _response(self, sock: socket.socket, *, cut: bool) -> tuple[int, dict[bytes, bytes], bytes]:
        status = 100
        lines: list[bytes] = []
        while status < 200:
            self._fill(sock, lambda received: b"\r\n\r\n" in received)
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            assert first.startswith(b"HTTP/1.1 "), first
            status = int(first[9:12])
        pairs = (line.partition(b": ") for line in lines)
        fields = {name.lower(): value for name, _, value in pairs}
        if b"content-length" in fields:
            length = int(fields[b"content-length"])
            self._fill(sock, lambda received: len(received) >= length)
            body, self._received = self._received[:length], self._received[length:]
            return status, fields, body
        assert fields[b"transfer-encoding"] == b"chunked", fields
        return status, fields, self._chunks(sock, cut=cut)

    def _chunks(self, sock: socket.socket, *, cut: bool) -> bytes:
        body = b""
        while True:
            try:
                self._fill(sock, lambda received: b"\r\n" in received)
            except LeftError:
                assert cut
                return body
            size, _, self._received = self._received.partition(b"\r\n")
            length = int(size, 16)
            self._fill(sock, _holds(length + 2))
            body += self._received[:length]
            assert self._received[length : length + 2] == b"\r\n"
            self._received = self._received[length + 2 :]
            if not length:
                assert not cut, "what was cut has an end"
                return body

    def _fill(self, sock: socket.socket, enough: Callable[[bytes], bool]) -> None:
        while not enough(self._received):
            data = sock.recv(1 << 20)
            if not data:
                raise LeftError
            self._received += data


CASES: dict[str, tuple[float, dict[str, Any]]] = {
    "one thread": (1.0, {"threads": 1}),
    "eight threads": (1.0, {"threads": 8}),
    "one thread, nothing predicted": (0.25, {"threads": 1, "predict": False}),
    "eight threads, nothing predicted": (0.25, {"threads": 8, "predict": False}),
    "one thread, never inline": (0.25, {"threads": 1, "dispatch": "threads"}),
    "eight threads, never inline": (0.25, {"threads": 8, "dispatch": "threads"}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_response_is_right(serve: Serve, case: str) -> None:
    print(f"DISPATCH_STRESS_SEED={SEED}")
    share, settings = CASES[case]
    threads = settings["threads"]
    before = set(threading.enumerate())
    app = App()
    # Nobody is shed, and a client that half-closes is never taken for one that has left.
    live = serve(app, queue_limit=0, queue_target=0, abandon_after=TIMEOUT, **settings)
    count = int(REQUESTS * SHARE * share)
    clients = [
        Client(live.address, number, count // CLIENTS[threads], LONG[threads])
        for number in range(CLIENTS[threads])
    ]
    for client in clients:
        client.thread.start()
    for client in clients:
        client.thread.join()
    errors = [client.error for client in clients if client.error is not None]
    logged = live.log_text()
    assert not errors, f"{errors[0]!r}; {len(errors)} clients failed"
    live.stop()
    for thread in set(threading.enumerate()) - before:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), f"{thread.name} is left"
    assert "BUG:" not in logged
    assert "Error in close()" not in logged
    assert not app.wrong, app.wrong[:3]
    answered = [ident for client in clients for ident in client.answered]
    assert sum(client.left_early for client in clients) > 0
    assert all(app.calls[ident] == 1 for ident in answered)
    assert max(app.calls.values()) == 1
    assert app.opened == app.closed
    assert app.most <= threads
    scheduler = live.server.scheduler
    crew = scheduler.crew
    assert len(app.calls) >= len(answered)
    if settings.get("dispatch") == "threads":
        assert crew.displaced == crew.left == 0
        assert len(app.calls) <= scheduler.apart
    else:
        assert 0 < crew.displaced < len(app.calls)
        assert scheduler.apart - scheduler.skipped < len(app.calls)
    print(
        f"{case}: {count} asked, {len(answered)} answered, {len(app.calls)} calls, "
        f"{scheduler.apart} apart, {crew.displaced} displaced, {crew.left} left"
    )


def _holds(nbytes: int) -> Callable[[bytes], bool]:
    return lambda received: len(received) >= nbytes
