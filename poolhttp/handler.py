"""What the loop calls.

Lives here: the interface between the loop, which knows descriptors and time, and whoever has a
descriptor.
"""

from __future__ import annotations

from typing import Protocol

from poolhttp.timers import Waiter


class Handler(Waiter, Protocol):
    """What the loop calls for a client's descriptor."""

    def on_data(self, data: bytes, /) -> None: ...
    def on_eof(self) -> None: ...
    def on_error(self, error: int, /) -> None: ...
    def on_writable(self) -> None: ...
    def on_unsent(self, rest: bytes, error: int, /) -> None: ...
    def on_closed(self) -> None: ...
