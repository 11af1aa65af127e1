"""Real sockets for the tests of whatever writes and reads: pairs, small buffers, reading all.

Lives here: nothing that knows HTTP. Every blocking call has a time limit, so that a test fails
instead of hanging.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT = 10.0


@contextmanager
def socket_pair(sndbuf: int = 0) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours (non-blocking) and theirs (blocking); ``sndbuf``: bytes the kernel keeps for us."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(TIMEOUT)
        if sndbuf:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
        yield ours, theirs


def receive_exactly(sock: socket.socket, nbytes: int) -> bytes:
    """Read that many bytes, or less if the peer ends first."""
    pieces = []
    while nbytes:
        data = sock.recv(min(nbytes, 1 << 16))
        if not data:
            break
        pieces.append(data)
        nbytes -= len(data)
    return b"".join(pieces)


def available(sock: socket.socket) -> bytes:
    """Read what is there now."""
    sock.setblocking(False)
    pieces = []
    try:
        while data := sock.recv(1 << 16):
            pieces.append(data)
    except BlockingIOError:
        pass
    sock.settimeout(TIMEOUT)
    return b"".join(pieces)


def fill(sock: socket.socket) -> int:
    """Send zeros until the kernel takes no more; return how many it took."""
    filled = 0
    try:
        while True:
            filled += sock.send(bytes(1 << 16))
    except BlockingIOError:
        return filled
