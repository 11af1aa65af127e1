"""What a turn is to send and to close, collected for one native call.

Lives here: the runs of output by descriptor, and what became of them. Must not live here: waiting
and receiving (``loop``), writing at once (``sendfile``).
"""

from __future__ import annotations

import array

from poolhttp._native import lib
from poolhttp.handler import Handler
from poolhttp.turnmemory import MAX_EVENTS, TurnMemory

BLOCKED = lib.PH_BLOCKED
_CLOSE_SENT = lib.PH_CLOSE_SENT
_CLOSED = lib.PH_CLOSED
_OPEN = lib.PH_OPEN
_CLOSE_NOW = lib.PH_CLOSE_NOW

COLLECT_LIMIT = 2 * MAX_EVENTS
"""Pieces collected before an early flush, so that pipelining can't make the list long."""


class Collector:
    """The sending side of a loop.

    Args:
        memory: the turn's.

    Attributes:
        handlers: who has a descriptor, by fd.
        interest: the table of what a turn may do, by fd.
        out_bytes, out_runs: collected for the next flush: the bytes, and fd, nbytes, close for each
            run of them.
    """

    def __init__(self, memory: TurnMemory) -> None:
        self._native = memory.native
        self._out = memory.out_view
        self.interest = memory.interest
        self.handlers: list[Handler | None] = [None] * 64
        self.out_bytes: list[bytes] = []
        self.out_runs: list[int] = []
        self._closing: list[int] = []

    def collect(self, fd: int, pair: tuple[bytes, bytes]) -> None:
        """Send head and body with the next flush; what follows for the same descriptor joins them.
        The handler hears of it only if the socket does not take all: ``on_unsent``."""
        out = self.out_bytes
        out.extend(pair)
        nbytes = len(pair[0]) + len(pair[1])
        runs = self.out_runs
        if runs and runs[-3] == fd and not runs[-1]:
            runs[-2] += nbytes
        else:
            runs.extend((fd, nbytes, 0))
        if len(out) >= COLLECT_LIMIT:
            self.flush()

    def collect_last(self, fd: int, pair: tuple[bytes, bytes]) -> None:
        """The same, and close the descriptor behind it; see ``close_when_sent``."""
        out = self.out_bytes
        out.extend(pair)
        nbytes = len(pair[0]) + len(pair[1])
        runs = self.out_runs
        if runs and runs[-3] == fd and not runs[-1]:
            runs[-2] += nbytes
            runs[-1] = _CLOSE_SENT
        else:
            runs.extend((fd, nbytes, _CLOSE_SENT))
        self._closing.append(len(runs) - 3)
        if len(out) >= COLLECT_LIMIT:
            self.flush()

    def flush(self) -> None:
        """Send what was collected, now."""
        runs, data = self._take_out()
        lib.ph_flush(self._native, data, len(runs) // 3)
        self._after_flush(runs, data)

    def close_when_sent(self, fd: int) -> None:
        """Close a client's descriptor when what is collected for it has been sent whole: the
        handler hears ``on_closed``. Otherwise ``on_unsent``, and it stays open."""
        runs = self.out_runs
        if runs and runs[-3] == fd:
            runs[-1] = _CLOSE_SENT
        else:
            if len(runs) >= 3 * MAX_EVENTS:
                self.flush()
                runs = self.out_runs
            runs.extend((fd, 0, _CLOSE_SENT))
        self._closing.append(len(runs) - 3)

    def close(self, fd: int) -> None:
        """Close a client's descriptor at the next flush, whatever is left of its output."""
        self.interest[fd] &= _OPEN
        self.handlers[fd] = None
        self.out_runs.extend((fd, 0, _CLOSE_NOW))
        if len(self.out_runs) >= 3 * MAX_EVENTS:
            self.flush()

    def close_unowned(self, fd: int) -> None:
        """Close an accepted descriptor that got no handler."""
        self.out_runs.extend((fd, 0, _CLOSE_NOW))

    def _take_out(self) -> tuple[list[int], bytes]:
        runs = self.out_runs
        self._out[: len(runs)] = array.array("i", runs)
        data = b"".join(self.out_bytes)
        self.out_runs = []
        self.out_bytes.clear()
        return runs, data

    def _after_flush(self, runs: list[int], data: bytes) -> None:
        if self._closing:
            closing, self._closing = self._closing, []
            for i in closing:
                handler = self.handlers[runs[i]]
                if handler is not None and self._out[i + 2] == _CLOSED:
                    self.handlers[runs[i]] = None
                    handler.on_closed()
        if self._native.unsent:
            self._report_unsent(runs, self._out[: len(runs)].tolist(), data)

    def _report_unsent(self, runs: list[int], results: list[int], data: bytes) -> None:
        position = 0
        for i in range(0, len(runs), 3):
            fd, nbytes = runs[i : i + 2]
            sent = results[i + 1]
            handler = self.handlers[fd]
            if sent != nbytes and handler is not None:
                self.interest[fd] &= ~BLOCKED
                rest = data[position + max(sent, 0) : position + nbytes]
                handler.on_unsent(rest, max(-sent, 0))
            position += nbytes
