"""A loop with real clients for the tests of `loop`, and turns that are counted, not timed.

Lives here: `Recorder`, a handler that notes what it is told; `Stage`, a loop with a listener.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from poolhttp.bufpool import BufferPool
from poolhttp.loop import READ, Loop

from .sockets import TIMEOUT

TURNS = 200
"""Turns that anything may take; each waits for at most a second."""


class Recorder:
    """Notes what the loop tells it, in order."""

    deadline = 0.0

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.data = b""
        self.calls: list[tuple[str, object]] = []
        self.on_piece: Callable[[bytes], None] | None = None

    def on_data(self, data: bytes, /) -> None:
        self.data += data
        self.calls.append(("data", data))
        if self.on_piece is not None:
            self.on_piece(data)

    def on_eof(self) -> None:
        self.calls.append(("eof", None))

    def on_error(self, error: int, /) -> None:
        self.calls.append(("error", error))

    def on_writable(self) -> None:
        self.calls.append(("writable", None))

    def on_unsent(self, rest: bytes, error: int, /) -> None:
        self.calls.append(("unsent", error or rest))

    def on_closed(self) -> None:
        self.calls.append(("closed", None))

    def on_timeout(self) -> None:
        self.calls.append(("timeout", None))

    def names(self) -> list[str]:
        """What happened, without details."""
        return [name for name, _ in self.calls]

    def unsent(self) -> bytes:
        """All that was given back."""
        return b"".join(
            bytes(each) for name, each in self.calls if name == "unsent" and isinstance(each, bytes)
        )


class Stage:
    """A loop, a listener on loopback, and the handlers of what it accepts."""

    def __init__(self, *, unix: bool = False) -> None:
        self.pool = BufferPool(guard=True)
        self.loop = Loop(self.pool)
        self.loop.on_accepted = self._on_accepted
        self.loop.accept_room = 1000
        if unix:
            # An empty name: the kernel finds an abstract one (unix(7)).
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind("")
            self.listener.listen(100)
        else:
            self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.listener.setblocking(False)
        self.accepted: list[Recorder] = []
        self.peers: list[tuple[bytes, int]] = []
        self.errors = 0
        self.clients: list[socket.socket] = []
        self.loop.add_listener(self.listener.fileno(), self._on_error)

    def _on_accepted(self, fd: int, index: int) -> None:
        handler = Recorder(fd)
        self.peers.append(self.loop.peer(index))
        self.accepted.append(handler)
        self.loop.add_client(fd, handler)

    def _on_error(self) -> None:
        self.errors += 1

    def dial(self, sent: bytes = b"") -> socket.socket:
        """A client that nobody has accepted yet."""
        client = socket.socket(self.listener.family)
        client.settimeout(TIMEOUT)
        client.connect(self.listener.getsockname())
        client.sendall(sent)
        self.clients.append(client)
        return client

    def connect(self, sent: bytes = b"", sndbuf: int = 0) -> tuple[socket.socket, Recorder]:
        """A client and its handler."""
        before = len(self.accepted)
        client = self.dial(sent)
        self.until(lambda: len(self.accepted) > before)
        handler = self.accepted[-1]
        if sndbuf:
            with socket.socket(fileno=handler.fd) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
                sock.detach()
        return client, handler

    def choke(self, handler: Recorder) -> bytes:
        """Fill the kernel's buffer until it takes no byte; return what it took."""
        taken = b""
        for nbytes in (1 << 16, 1):
            while True:
                block = os.urandom(nbytes)
                before = len(handler.calls)
                self.loop.collect(handler.fd, (b"", block))
                self.loop.flush()
                (name, rest), *_ = handler.calls[before:] or [("", b"")]
                assert isinstance(rest, bytes)
                taken += block[: nbytes - len(rest)]
                if name == "unsent" and len(rest) == nbytes:
                    break
        handler.calls.clear()
        return taken

    def until(self, reached: Callable[[], object]) -> int:
        """Turn until it is so; return the number of turns."""
        for turns in range(TURNS):
            if reached():
                return turns
            self.loop.turn(1.0)
        raise AssertionError(f"not reached in {TURNS} turns")

    def paused(self, handler: Recorder) -> bool:
        """Whether nothing is received for it."""
        return not self.loop.interest[handler.fd] & READ

    def end(self) -> None:
        """Close everything."""
        for handler in self.accepted:
            if self.loop.handlers[handler.fd] is handler:
                self.loop.close(handler.fd)
        self.loop.shut()
        self.listener.close()
        for client in self.clients:
            client.close()


@contextmanager
def staged(*, unix: bool = False) -> Iterator[Stage]:
    """A stage that is cleared afterwards; over unix sockets nothing is on its way unseen."""
    stage = Stage(unix=unix)
    try:
        yield stage
    finally:
        stage.end()
