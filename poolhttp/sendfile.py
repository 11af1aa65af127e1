"""Moves bytes to a socket: gathered buffers and file ranges.

Lives here: :func:`write` and :func:`send_file`; each tries once and returns the bytes taken. Must
not live here: what to do with the rest (``connection``), which framing goes around it
(``response``).

The standard library's wrappers are used: they drop the GIL, and build their array of buffers faster
than cffi can (docs/decisions/0002). Python ignores SIGPIPE, so a closed peer is EPIPE.
"""

from __future__ import annotations

import fcntl
import os
import sys
import termios
from collections.abc import Sequence
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

IOV_MAX = os.sysconf("SC_IOV_MAX")
"""Buffers that one writev(2) takes."""

FILE_STEP = 2 * 1024 * 1024
"""Bytes of one sendfile(2), so that one fast reader can't hold the loop (nginx: the same 2 MiB)."""


def as_buffer(item: object) -> Buffer:
    """Return what an app gave as a buffer of which ``len`` is the number of bytes.

    Raises:
        TypeError: it isn't bytes-like (PEP 3333 wants bytes).
    """
    if isinstance(item, (bytes, bytearray)):
        return item
    if isinstance(item, memoryview):
        return item.cast("B") if item.c_contiguous else item.tobytes()
    raise TypeError(f"the app's body must be bytes, not {type(item).__name__}")


def write(fd: int, buffers: Sequence[Buffer]) -> int:
    """Write the buffers, in order, as far as the socket takes them.

    Args:
        fd: a non-blocking socket.
        buffers: any number of bytes-like objects; only the first IOV_MAX are tried.

    Returns:
        Bytes taken; 0 if the socket is full.

    Raises:
        OSError: the connection is broken (EPIPE, ECONNRESET, ...).
    """
    try:
        return os.writev(fd, buffers[:IOV_MAX] if len(buffers) > IOV_MAX else buffers)
    except BlockingIOError:
        return 0


def unacknowledged(fd: int) -> int:
    """Return how many bytes of a socket's output its peer has not acknowledged (tcp(7))."""
    return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def send_file(fd: int, file_fd: int, offset: int, nbytes: int) -> int:
    """Send a range of a regular file; the file's own position is left alone (sendfile(2)).

    Returns:
        Bytes taken, at most FILE_STEP. 0 if the socket is full.

    Raises:
        EOFError: the file ends at or before ``offset``.
        OSError: the connection is broken, or the file can't be sent this way (EINVAL).
    """
    try:
        taken = os.sendfile(fd, file_fd, offset, min(nbytes, FILE_STEP))
    except BlockingIOError:
        return 0
    if taken == 0 and nbytes > 0:
        raise EOFError(f"file ended at {offset}, {nbytes} bytes missing")
    return taken
