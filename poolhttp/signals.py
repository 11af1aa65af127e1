"""SIGTERM and SIGINT of a server that runs without gunicorn.

Lives here: handlers, and putting back the ones that were there before.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Stoppable(Protocol):
    """A server."""

    @property
    def wake_fd(self) -> int: ...
    def stop(self) -> None: ...


@contextmanager
def stop_on_signals(server: Stoppable) -> Iterator[None]:
    """Stop the server gracefully on SIGTERM or SIGINT; a second SIGINT interrupts.

    Does nothing in a thread other than the main one, where Python allows no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, _frame: object) -> None:
        server.stop()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)
    }
    wakeup = signal.set_wakeup_fd(server.wake_fd, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
