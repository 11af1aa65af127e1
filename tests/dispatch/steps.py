"""Holds the threads of a server where a test wants.

Lives here: `HandWatch`, which finds a call too long when it is told to; `Steps`, which holds one
thread of the server at one line of its way; `Gate`, at which an app call waits. Must not live here:
the server (`stage`), assertions about one order of events.

Nothing sleeps: a thread is held until it is let go, and what a test waits for is an event that must
come. `TIMEOUT` bounds each wait, so that a hand-over that is lost fails the test and hangs nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from live import TIMEOUT

import poolhttp
from poolhttp.callwatch import CallWatch

PACKAGE = Path(poolhttp.__file__).parent
STEPPED = {
    str(PACKAGE / f"{name}.py")
    for name in ("connection", "crew", "detached", "framedbody", "loop", "member", "offloop",
                 "scheduler", "wsgi")
}  # fmt: skip
"""Where threads can be held."""

WATCH = "poolhttp watch"


class HandWatch(CallWatch):
    """The real watch but for its clock: the call under way has overstayed when a test says so."""

    def __init__(self, native: Any, on_wait: Callable[[], None]) -> None:
        super().__init__(native)
        self._on_wait = on_wait
        self._orders = threading.Semaphore(0)
        self._news = threading.Condition()
        self._waits = 0
        self._stopped = False

    def wait(self, budget: float) -> bool:
        with self._news:
            self._waits += 1
            self._news.notify_all()
        self._on_wait()
        self._orders.acquire()
        return not self._stopped

    @property
    def is_current(self) -> bool:
        return True

    def stop(self) -> None:
        self._stopped = True
        self._orders.release()
        super().stop()

    def order(self) -> None:
        """Let the watch look, whatever comes of it."""
        self._orders.release()

    def fire(self) -> None:
        """The same; return when the watch has done what it wants to."""
        with self._news:
            assert self._news.wait_for(lambda: self._waits, TIMEOUT)
            target = self._waits + 1
            self._orders.release()
            assert self._news.wait_for(lambda: self._waits >= target, TIMEOUT), "the watch hangs"


class Steps:
    """Holds one thread at one line.

    A *way* is what a thread of one role does from the moment at which it is armed until it rests
    (waits for an order) or begins a turn. Roles: ``slow`` is the thread in the gated call,
    ``watch`` is the watch, ``successor`` any other thread of the server.
    """

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._role = ""
        self._left = -1
        self._function = ""
        self._held = False
        self.slow = 0
        """Identity of the thread in the gated call; 0: it has not left the gate."""
        self.ended: set[str] = set()
        """Roles that have come to the end of their way."""
        self.at_told = False
        """The slow thread is about to wait for its successor."""
        self.place = ""
        """Where a thread is, or was, held."""

    def trace(self, frame: FrameType, _event: str, _arg: object) -> Any:
        """For threading.settrace."""
        code = frame.f_code
        # A thread that logs holds the lock of the log.
        if code.co_filename not in STEPPED or code.co_name.startswith("__"):
            return None
        if code.co_name in {"wait", "turn"}:
            self._end(self._role_here())
        return self._on_event

    def _on_event(self, frame: FrameType, event: str, _arg: object) -> Any:
        if event == "line":
            self._step(frame)
        return self._on_event

    def _role_here(self) -> str:
        if threading.get_ident() == self.slow:
            return "slow"
        if threading.current_thread().name == WATCH:
            return "watch"
        return "successor" if self.slow or self._role in {"successor", "watch"} else ""

    def _step(self, frame: FrameType) -> None:
        role = self._role_here()
        if not role:
            return
        name = frame.f_code.co_name
        with self._news:
            if name == "_on_lost" and role == "slow":
                self.at_told = True
                self._news.notify_all()
            if role != self._role or not self._is_there(role, name):
                return
            self._role = ""
            self._held = True
            self.place = f"{role} at {Path(frame.f_code.co_filename).name}:{frame.f_lineno} {name}"
            self._news.notify_all()
            assert self._news.wait_for(lambda: not self._held, 3 * TIMEOUT), self.place

    def _is_there(self, role: str, name: str) -> bool:
        if self._function:
            return name == self._function
        self._left -= role not in self.ended
        return self._left < 0

    def arm(self, role: str, index: int = 0, function: str = "") -> None:
        """Hold the thread of a role at step ``index`` of its way, or in front of a function.

        Without a role, nobody; but from now on it is noted who comes to an end.
        """
        with self._news:
            self._role, self._left, self._function = role, index, function
            self._held = False
            self.ended.clear()
            self.at_told = False
            self.place = ""

    def wait(self, role: str) -> bool:
        """Wait until the armed thread is held; False: its way had no more steps."""
        self.until(lambda: self._held or (role in self.ended and not self._function))
        return self._held

    def until(self, reached: Callable[[], object]) -> None:
        """Wait until it is so."""
        with self._news:
            assert self._news.wait_for(reached, TIMEOUT), f"never came to it ({self.place})"

    def end_watch(self) -> None:
        """Called by the watch when it has done what it wants to."""
        self._end("watch")

    def _end(self, role: str) -> None:
        with self._news:
            self.ended.add(role)
            self._news.notify_all()

    def leave_gate(self) -> None:
        """Called by the app as its gate opens."""
        with self._news:
            self.slow = threading.get_ident()

    def let_go(self) -> None:
        """Hold nobody."""
        with self._news:
            self._role = ""
            self._held = False
            self._news.notify_all()


class Gate:
    """Where an app call waits for its test."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.reached = threading.Semaphore(0)
        self.opened = threading.Semaphore(0)

    def pass_through(self) -> None:
        """For the app."""
        self.reached.release()
        assert self.opened.acquire(timeout=3 * TIMEOUT), "the test never opened the gate"
        self._steps.leave_gate()

    def wait_reached(self) -> None:
        """For the test."""
        assert self.reached.acquire(timeout=TIMEOUT), "the app was not called"
