"""The bytes of a response that the socket did not take yet.

Lives here: a queue of the app's own objects and a cursor into the first; nothing is joined or
copied but what the app could still change. Must not live here: when to write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from poolhttp.sendfile import IOV_MAX, Buffer, write


class Outbox:
    """Buffers that wait for a socket, in order.

    Attributes:
        nbytes: bytes that wait.
    """

    __slots__ = ("_buffers", "nbytes")

    def __init__(self) -> None:
        self._buffers: deque[Buffer] = deque()
        self.nbytes = 0

    def extend(self, buffers: Iterable[Buffer], taken: int = 0) -> None:
        """Append buffers of which the socket has already taken the first ``taken`` bytes."""
        for buffer in buffers:
            size = len(buffer)
            if size <= taken:
                taken -= size
                continue
            if taken:
                buffer = memoryview(buffer)[taken:]
                taken = 0
            # The app may go on and change a bytearray; bytes are safe, and views of bytes.
            kept = buffer if type(buffer) is bytes or _is_view_of_bytes(buffer) else bytes(buffer)
            self._buffers.append(kept)
            self.nbytes += len(kept)

    def write_to(self, fd: int) -> int:
        """Write once what the socket takes; return the bytes taken.

        Raises:
            OSError: the connection is broken.
        """
        buffers = self._buffers
        first = list(buffers) if len(buffers) <= IOV_MAX else [buffers[i] for i in range(IOV_MAX)]
        taken = write(fd, first)
        self._consume(taken)
        return taken

    def _consume(self, taken: int) -> None:
        self.nbytes -= taken
        buffers = self._buffers
        while taken:
            first = buffers[0]
            if taken < len(first):
                buffers[0] = memoryview(first)[taken:]
                return
            taken -= len(first)
            buffers.popleft()


def _is_view_of_bytes(buffer: Buffer) -> bool:
    return type(buffer) is memoryview and type(buffer.obj) is bytes
