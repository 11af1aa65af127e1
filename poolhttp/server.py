"""The server: listeners, loop and live connections, from start over drain to stop.

Lives here: accepting, and the life cycle. Must not live here: signals and processes (``worker``,
``cli``), one connection's affairs (``connection``).
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from poolhttp.appcontext import App, AppContext, base_environ
from poolhttp.baton import Baton
from poolhttp.bufpool import make_pool
from poolhttp.connection import Connection
from poolhttp.listeners import describe, open_listener, prepare
from poolhttp.loop import ACCEPT_BATCH, Loop
from poolhttp.peers import Peers
from poolhttp.proxied import ProxiedConnection
from poolhttp.scheduler import Scheduler
from poolhttp.service import Service
from poolhttp.settings import Settings
from poolhttp.states import State

ACCEPT_PAUSE = 1.0
"""Seconds for which accepting rests when no descriptor is left, unless a connection closes."""

DEFER_GRACE = 0.02
"""Seconds: at a stop, how long to wait for the first bytes of connections that TCP_DEFER_ACCEPT
holds back. They are on their way; loopback and LAN need less."""

TICK = 1.0
"""Seconds between calls of ``on_tick``, and the longest sleep."""


# Looking up a member of an Enum costs more than comparing it.
_READING_HEAD = State.READING_HEAD


class Server:
    """Serves a WSGI app.

    Args:
        app: the application.
        bind: where to listen: ``HOST:PORT``, ``[IPv6]:PORT``, ``unix:PATH``, ``fd://N``; port 0
            takes a free one.
        sockets: sockets that listen already, besides those of ``bind``; closed at the stop.
        settings: limits and timeouts.
        log: anything with the methods of logging.Logger.
        max_requests: requests after which the server stops gracefully, to be replaced; 0: never.

    Attributes:
        addresses: what ``getsockname`` says of each listener.
        on_tick: called every ``tick`` seconds, also during the drain; before the app is called,
            never after it in the same turn.
        tick: see ``on_tick``.

    Raises:
        BindError: a listener can't be made.
    """

    def __init__(
        self,
        app: App,
        *,
        bind: Sequence[str] = (),
        sockets: Sequence[socket.socket] = (),
        settings: Settings | None = None,
        log: Any = None,
        max_requests: int = 0,
    ) -> None:
        self.settings = settings or Settings()
        self.log: Any = log or logging.getLogger("poolhttp")
        self.app = app
        self.on_tick: Callable[[], None] | None = None
        self.environ: dict[str, Any] = {}
        """Environ entries that override the server's own, such as wsgi.errors."""
        self.on_start: Callable[[AppContext, Loop], None] | None = None
        """Called with the app's context and the loop before the first request."""
        self.tick = TICK
        self.nconnections = 0
        self._max_requests = max_requests
        self.stopping = False
        self._sockets = list(sockets)
        self._owned: list[socket.socket] = []
        try:
            for text in bind:
                self._owned.append(open_listener(text, self.settings.backlog))
        except BaseException:
            self._close_listeners()
            raise
        self._sockets += self._owned
        for sock in self._sockets:
            prepare(sock, defer_accept=self.settings.defer_accept)
        self.addresses = [sock.getsockname() for sock in self._sockets]
        # Re-entrant, since a signal handler may stop the server that is just closing.
        self._wake_lock = threading.RLock()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.loop: Loop
        self.service: Service
        self.scheduler: Scheduler
        self._peers: Peers
        self._fresh: list[Connection] = []
        self._connection = (
            Connection if self.settings.proxy_protocol == "off" else ProxiedConnection
        )
        self._accepting = False
        self._next_tick = 0.0
        self._retry_accept = float("inf")

    def describe(self) -> str:
        """Return where the server listens, for people."""
        return ", ".join(describe(sock) for sock in self._sockets)

    def describe_calls(self) -> str:
        """Return the requests under way, and what each thread is doing, for people."""
        return self.scheduler.stuck.describe() if hasattr(self, "scheduler") else ""

    @property
    def wake_fd(self) -> int:
        """Write a byte to wake the loop; for signal.set_wakeup_fd."""
        return self._wake_write

    def stop(self) -> None:
        """Begin a graceful stop; may be called from any thread or signal handler, repeatedly."""
        self.stopping = True
        if hasattr(self, "service"):
            self.service.left = 0
        with self._wake_lock, suppress(BlockingIOError):  # The pipe is full of wake-ups.
            if self._wake_write >= 0:
                os.write(self._wake_write, b"\0")

    # Running

    def run(self) -> None:
        """Serve in the calling thread; return after a graceful stop."""
        try:
            self._start()
            self.scheduler.serve()
        finally:
            self._shut()

    def _start(self) -> None:
        settings = self.settings
        self.loop = loop = Loop(make_pool(settings.buffers))
        baton = Baton(loop.calls.mark)
        context = AppContext(self.app, settings, self.log, loop.clock, baton)
        self.scheduler = scheduler = Scheduler(settings, loop, context)
        self._living = self._live()
        scheduler.crew.step = self._step
        self._heavy = scheduler.gil.running
        self.service = Service(settings, loop, context, scheduler, self.log, self._on_closed)
        if self.on_start is not None:
            self.on_start(context, loop)
        base = {**base_environ(settings), **self.environ}
        self._peers = Peers(self._sockets, settings, base)
        if self._max_requests:
            self.service.left = self._max_requests
        loop.on_accepted = self._on_accepted
        loop.after_wait = self._after_wait
        loop.on_failure = self._on_failure
        loop.accept_room = settings.worker_connections
        loop.add_notifier(self._wake_read, self._on_wake)
        self._resume_accepting()

    def _step(self) -> bool:
        """Run the next turn, by whichever thread has the loop now; False: there are no more."""
        wait = next(self._living, None)
        if wait is None:
            return False
        if self._heavy:
            self.scheduler.gil.loop_waits()
        self.loop.turn(wait)
        return True

    def _live(self) -> Iterator[float]:
        """The life of the server; yields before each turn how long that may wait (seconds).

        A turn may begin on one thread and end on another. What is between turns may not: so no
        code of the app is called here.
        """
        while not self.stopping:
            yield min(self.tick, self.scheduler.wait_limit)
            self._after_turn()
        yield from self._drain()

    def _after_turn(self) -> None:
        if self._fresh:
            self._settle_fresh()
        if self.loop.clock.now >= self.scheduler.next_look:
            self.scheduler.look()
        if self._max_requests and self.service.left <= 0 and not self.stopping:
            self.log.info("Autorestarting worker after current request.")
            self.stopping = True

    def _after_wait(self) -> None:
        """Before handlers may call the app: how long that takes is not known."""
        if self._heavy:
            self.scheduler.gil.loop_runs()
        now = self.loop.clock.now
        if now >= self._next_tick:
            self._next_tick = now + self.tick
            if self.on_tick is not None:
                self.on_tick()
            if now >= self._retry_accept:
                self._resume_accepting()

    def _on_failure(self, handler: object) -> None:
        """Our own fault, in one connection: it must not be the others'."""
        self.log.exception("BUG: %r failed and is closed", handler)
        if isinstance(handler, Connection):
            handler.close()

    def _on_wake(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass

    # Accepting

    def _resume_accepting(self) -> None:
        self._retry_accept = float("inf")
        if not self._accepting and not self.stopping:
            self._accepting = True
            for fd in self._peers.listeners:
                self.loop.add_listener(fd, self._on_accept_error)

    def _pause_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            for fd in self._peers.listeners:
                self.loop.remove(fd)

    def _on_accepted(self, fd: int, index: int) -> None:
        loop = self.loop
        key, port = loop.peer(index)
        known = self._peers.known.get(key) or self._peers.identify(key)
        address, profile = known
        connection = self._connection(
            fd, self.service, profile, address, str(port) if address else ""
        )
        loop.add_client(fd, connection)
        self._fresh.append(connection)
        self.nconnections += 1
        loop.accept_room -= 1
        if not loop.accept_room:
            self._pause_accepting()

    def _settle_fresh(self) -> None:
        """Most have sent their first request with the connection, and some are closed by now."""
        for connection in self._fresh:
            if connection.state is _READING_HEAD:
                connection.expect_head()
        self._fresh.clear()

    def _on_closed(self, _connection: Connection) -> None:
        self.nconnections -= 1
        self.loop.accept_room += 1
        if not self._accepting:
            self._resume_accepting()

    def _on_accept_error(self) -> None:
        """Rest for a while: there may be no descriptors, or the network is down (accept(2) lists
        what can pass), and nothing must spin meanwhile."""
        error = self.loop.accept_error
        self.log.warning("Can't accept connections: %s; waiting", os.strerror(error))
        self._pause_accepting()
        self._retry_accept = self.loop.clock.now + ACCEPT_PAUSE

    # Stopping

    def _drain(self) -> Iterator[float]:
        """Serve what was accepted or waits to be, then end (RFC 9112 section 9.6).

        Idle connections may still send a request for ``drain_keepalive`` seconds, since it may be
        on its way; its answer says ``Connection: close``.
        """
        settings = self.settings
        loop = self.loop
        self.service.left = 0
        yield from self._empty_accept_queues()
        self._peers.forget_heads()
        self._pause_accepting()
        self._close_listeners()
        # Negative until the last connection has closed: nothing waits for an event to hear of it.
        loop.accept_room = -self.nconnections
        loop.clock.tick()
        end = loop.clock.now + settings.graceful_timeout
        self._shorten_idle(loop.clock.now + settings.drain_keepalive)
        while self.nconnections and loop.clock.now < end:
            yield min(self.tick, self.scheduler.wait_limit, end - loop.clock.now)
            self._after_turn()
        if self.nconnections:
            self.log.warning("Closing %d connections after graceful_timeout", self.nconnections)
            # Also under app threads that wait for their clients.
            self._close_connections()

    def _empty_accept_queues(self) -> Iterator[float]:
        """Whoever the kernel has let in gets an answer."""
        for sock in self._owned:
            # Others may still accept from sockets that were given to us.
            prepare(sock, defer_accept=False)
        if not self._accepting:
            return
        before = -1
        wait = 0.0
        for _ in range(self.settings.backlog // ACCEPT_BATCH + 2):
            accepted = self.loop.stats()["accept_calls"]
            if accepted == before and wait:
                break
            # The first turn without a new connection waits for those that are on their way.
            wait = DEFER_GRACE if accepted == before else 0.0
            before = accepted
            yield wait
            self._after_turn()

    def _shorten_idle(self, latest: float) -> None:
        """Connections without a request are due at ``latest`` at the latest, and those whose
        response has promised to keep them alive wait no longer either."""
        service = self.service
        service.keepalive = min(service.keepalive, self.settings.drain_keepalive)
        service.idle_queue.timeout = service.keepalive
        for state in (State.IDLE, State.READING_HEAD):
            queue = self.service.queues[state]
            if queue is not None:
                queue.shorten(latest, _has_no_request)
        self.loop.next_deadline = min(self.loop.next_deadline, latest)

    def _close_connections(self) -> None:
        with ExitStack() as stack:
            for handler in self.loop.handlers:
                if isinstance(handler, Connection):
                    stack.callback(handler.close)

    def _shut(self) -> None:
        self._close_listeners()
        if hasattr(self, "loop"):
            with ExitStack() as stack:
                stack.callback(self._close_wake)
                stack.callback(self.loop.shut)
                stack.callback(self._close_connections)
        else:
            self._close_wake()

    def _close_wake(self) -> None:
        with self._wake_lock:
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_read = self._wake_write = -1

    def _close_listeners(self) -> None:
        for sock in [*self._sockets, *self._owned]:
            open_unix = sock.fileno() >= 0 and sock.family == socket.AF_UNIX
            path = sock.getsockname() if open_unix and sock in self._owned else ""
            sock.close()
            if path and not path.startswith("\0"):
                with suppress(OSError):
                    os.unlink(path)


def _has_no_request(waiter: object) -> bool:
    return isinstance(waiter, Connection) and waiter.parser is None
