"""One thread of the crew.

Lives here: its bell, by which it is told what to do, and what it is doing. Must not live here: who
tells it (``crew``).
"""

from __future__ import annotations

import threading
import time
from contextvars import Context
from typing import Any


class Member:
    """A thread of the crew.

    Attributes:
        runs_apps: it may call the app.
        variables: its context variables, for one app call after another.
        job: the response it makes apart from the loop, or None.
        since: when it began with that (monotonic seconds).
        cpu: the CPU seconds of the thread at that time.
        reported: the log knows that it takes long.
        abandoned: it is to end when its app call does.
    """

    def __init__(self, name: str, *, runs_apps: bool) -> None:
        self.name = name
        self.runs_apps = runs_apps
        self.ident = 0
        self.variables = Context()
        self.job: Any = None
        self.since = 0.0
        self.cpu = 0.0
        self.reported = False
        self.abandoned = False
        self._bell = threading.Lock()
        self._bell.acquire()
        self._order: object = None

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def ring(self, order: object) -> None:
        """Give the order that ``wait`` returns; once for each wait."""
        self._order = order
        self._bell.release()

    def wait(self) -> object:
        """Block until there is an order."""
        self._bell.acquire()
        order, self._order = self._order, None
        return order

    def cpu_now(self) -> float:
        """Return the CPU seconds of the thread, from any thread."""
        return time.clock_gettime(time.pthread_getcpuclockid(self.ident))
