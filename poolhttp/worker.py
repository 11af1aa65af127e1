"""``EpollWorker``: gunicorn's life cycle onto :class:`poolhttp.server.Server`.

    gunicorn -k poolhttp.worker.EpollWorker app:wsgi
    gunicorn -k egg:poolhttp#epoll app:wsgi

Lives here: what only gunicorn's workers have (heartbeat, hooks, its settings and logger). Must not
live here: serving. What gunicorn expects is in its ``workers/base.py``.

Limits that gunicorn has no setting for are environment variables, ``POOLHTTP_MAX_BODY=10000000``
for the field ``max_body`` of :class:`poolhttp.settings.Settings`, and so on.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from types import FrameType
from typing import Any, ClassVar

from gunicorn.glogging import Logger
from gunicorn.http.wsgi import WSGIErrorsWrapper
from gunicorn.workers.base import Worker

from poolhttp.access import AccessLog, FormatError
from poolhttp.appcontext import AppContext
from poolhttp.gunicorn_views import ErrorStream, RequestView, ResponseView, elapsed
from poolhttp.loop import Loop
from poolhttp.server import Server
from poolhttp.settings import Settings, SettingsError, environment_settings
from poolhttp.wsgi import Response

REFUSED = {
    "permit_obsolete_folding": "folded header lines are not parsed",
    "strip_header_spaces": "a space before a header's colon is never accepted",
    "permit_unconventional_http_method": "only registered methods are parsed",
    "permit_unconventional_http_version": "only HTTP/1.0 and HTTP/1.1 are served",
}
"""gunicorn's settings of dangerous leniency, and why we refuse them."""


def settings_from(cfg: Any, overrides: Mapping[str, Any]) -> Settings:
    """Return our settings for a gunicorn configuration and the environment.

    Args:
        cfg: gunicorn's configuration.
        overrides: fields by name; they win over that, and the environment over them.

    Raises:
        SettingsError: a value is out of range, or a POOLHTTP_ variable names no setting.
    """
    given: dict[str, Any] = {
        "keepalive": float(cfg.keepalive),
        "graceful_timeout": float(cfg.graceful_timeout),
        "limit_request_line": cfg.limit_request_line,
        "limit_request_fields": cfg.limit_request_fields,
        "limit_request_field_size": cfg.limit_request_field_size,
        "worker_connections": cfg.worker_connections,
        "threads": cfg.threads,
        "timeout": float(cfg.timeout),
        "multiprocess": cfg.workers > 1,
        "header_map": cfg.header_map,
        "forwarder_headers": tuple(each.upper() for each in cfg.forwarder_headers),
        "forwarded_allow_ips": tuple(str(each) for each in cfg.forwarded_allow_ips),
        "secure_scheme_headers": dict(cfg.secure_scheme_headers),
        "script_name": os.environ.get("SCRIPT_NAME", ""),
        "proxy_protocol": str(cfg.proxy_protocol),
        "proxy_allow_ips": tuple(str(each) for each in cfg.proxy_allow_ips),
        "body_dir": cfg.tmp_upload_dir,
    }
    unknown = overrides.keys() - {each.name for each in fields(Settings)}
    if unknown:
        raise SettingsError(f"overrides: no such setting: {', '.join(sorted(unknown))}")
    return Settings(**{**given, **overrides, **environment_settings(os.environ)})


class EpollWorker(Worker):  # type: ignore[misc]  # gunicorn is untyped
    """A gunicorn worker whose connections live on one edge-triggered epoll loop.

    Attributes:
        overrides: settings by name, for subclasses; ``POOLHTTP_NAME`` in the environment wins.
    """

    overrides: ClassVar[Mapping[str, Any]] = {}

    server: Server | None = None
    _context: AppContext | None = None
    _access: AccessLog | None = None
    _logs = False
    _notified = 0.0
    _errors: ErrorStream | None = None

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse what can't be honoured; gunicorn prints the message and exits with status 1.

        Raises:
            RuntimeError: says which setting, and what to do.
        """
        for name, reason in REFUSED.items():
            if getattr(cfg, name):
                raise RuntimeError(f"poolhttp refuses {name}: {reason}; unset it")
        if cfg.is_ssl:
            raise RuntimeError(
                "poolhttp has no TLS yet: unset certfile and keyfile, or end TLS in a proxy"
            )
        if str(cfg.protocol) != "http":
            raise RuntimeError(f"poolhttp serves HTTP only: unset protocol = {cfg.protocol!r}")
        if "h1" not in cfg.http_protocols:
            raise RuntimeError("poolhttp serves HTTP/1.1: http_protocols must include h1")
        if cfg.reuse_port and any(isinstance(each, str) for each in cfg.address):
            raise RuntimeError("reuse_port and a unix socket exclude each other: unset reuse_port")
        if list(cfg.http_protocols) != ["h1"]:
            log.warning("poolhttp serves HTTP/1.1 only, out of http_protocols")
        try:
            settings_from(cfg, cls.overrides)
        except (SettingsError, ValueError) as exc:
            raise RuntimeError(str(exc)) from None

    # Life cycle

    def run(self) -> None:
        """Serve until told to stop; returning ends the process with status 0."""
        self.notify()
        limit = self.max_requests
        settings = settings_from(self.cfg, self.overrides)
        # The arbiter kills at graceful_timeout: what is done then should be done by ourselves.
        drain = max(0.9 * settings.graceful_timeout, settings.graceful_timeout - 1.0)
        settings = replace(settings, graceful_timeout=drain)
        self._errors = ErrorStream(WSGIErrorsWrapper(self.cfg))
        self.server = server = Server(
            self.wsgi,
            sockets=[each.sock for each in self.sockets],
            settings=settings,
            log=self.log,
            max_requests=0 if limit == sys.maxsize else limit,
        )
        server.environ = {
            "SERVER_SOFTWARE": os.environ.get("SERVER_SOFTWARE", "poolhttp"),
            "wsgi.errors": self._errors,
        }
        server.on_tick = self._tick
        # gunicorn halves the setting. A request may take all of it, counted from the last beat.
        if self.timeout:
            server.tick = min(server.tick, self.timeout / 4)
        server.on_start = self._on_start
        if settings.threads > 1:
            # The main thread calls no app then, and waits in a lock: gunicorn has system calls
            # restarted after these, and Python would not come to its handlers.
            for number in (signal.SIGTERM, signal.SIGUSR1):
                signal.siginterrupt(number, True)
        if not self.alive:
            server.stop()
        server.run()

    def _on_start(self, context: AppContext, loop: Loop) -> None:
        self._context = context
        loop.add_notifier(self.PIPE[0], self._on_pipe)
        fast = self._access = self._fast_access_log()
        self._logs = fast is None and not _is_stock_silent(self.log)
        debugging = self.log.error_log.isEnabledFor(logging.DEBUG)
        before = self._before_app if debugging or _is_changed(self.cfg.pre_request) else None
        after: Callable[[Response], None] | None = None
        if self._logs or _is_changed(self.cfg.post_request):
            after = self._after_response
        elif fast is not None:
            after = fast.add
        if fast is not None:
            loop.before_wait = fast.flush
        context.observe(before, after)

    def _on_pipe(self) -> None:
        """A signal or the reloader: Python's handler has run by now."""
        with suppress(BlockingIOError):
            while os.read(self.PIPE[0], 4096):
                pass
        self._check_alive()

    def _check_alive(self) -> None:
        if not self.alive and self.server is not None:
            self.server.stopping = True

    def _tick(self) -> None:
        self._notify_unless_stuck()
        self._check_alive()
        if self.ppid != os.getppid() and self.server is not None and not self.server.stopping:
            self.log.info("Parent changed, shutting down: %s", self)
            self.server.stopping = True

    def _notify_unless_stuck(self) -> None:
        """The arbiter kills us ``timeout`` after the last sign of life. That is the loop's, as long
        as an app thread is free; if all are in the app, it is theirs: the call that was begun last,
        or the last bytes sent. So with one thread a request has as long as in the sync worker."""
        server = self.server
        now = time.monotonic()
        if server is None or server.scheduler.stuck.last_progress(now) > self._notified:
            self._notified = now
            self.notify()

    # Signals

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: stop gracefully."""
        super().handle_exit(sig, frame)
        if self.server is not None:
            # The loop may wait on another thread.
            self.server.stop()

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        """SIGUSR1: reopen the logs, also what the app complains to."""
        super().handle_usr1(sig, frame)
        if self._errors is not None:
            self._errors.target = WSGIErrorsWrapper(self.cfg)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGQUIT, SIGINT: stop at once; SystemExit goes through the app's frames."""
        if self._context is not None:
            self._context.exiting = True
        super().handle_quit(sig, frame)

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """SIGABRT: the arbiter has missed our heartbeat; say what everybody is doing."""
        if self.server is not None:
            self.log.critical("Aborted by the arbiter. %s", self.server.describe_calls())
        if self._context is not None:
            self._context.exiting = True
        super().handle_abort(sig, frame)

    # Hooks and access log

    def _before_app(self, response: Response) -> None:
        self.cfg.pre_request(self, RequestView(response))

    def _after_response(self, response: Response) -> None:
        if self._access is not None:
            self._access.add(response)
        try:
            request, answer = RequestView(response), ResponseView(response)
            if self._logs:
                self.log.access(answer, request, response.environ, elapsed(response))
            if _is_changed(self.cfg.post_request):
                self.cfg.post_request(self, request, response.environ, answer)
        except Exception:
            self.log.exception("Exception in post_request hook")

    def _fast_access_log(self) -> AccessLog | None:
        """Return our own access log if gunicorn's would write the very same lines to one stream."""
        log = self.log
        if type(log) is not Logger or _is_stock_silent(log):
            return None
        target: logging.Logger = log.access_log
        handlers = target.handlers
        if len(handlers) != 1 or target.filters or target.propagate:
            return None
        handler = handlers[0]
        formatter = handler.formatter
        if (
            type(handler) not in {logging.StreamHandler, logging.FileHandler}
            or handler.filters
            or handler.level > logging.INFO
            or not target.isEnabledFor(logging.INFO)
            or type(formatter) is not logging.Formatter
            or formatter._fmt != "%(message)s"
        ):
            return None

        def write(text: str) -> None:
            assert isinstance(handler, logging.StreamHandler)
            handler.acquire()
            try:
                handler.stream.write(text)
                handler.flush()
            except (OSError, ValueError) as exc:
                self.log.error("Can't write the access log: %s", exc)
            finally:
                handler.release()

        try:
            return AccessLog(self.cfg.access_log_format, write)
        except FormatError:
            # gunicorn's own formatting takes more: conversions such as %(m)-6s, unknown atoms.
            return None


def _is_changed(hook: Any) -> bool:
    """Whether a hook is the user's, not gunicorn's default."""
    return getattr(hook, "__qualname__", "") not in {
        "PreRequest.pre_request",
        "PostRequest.post_request",
    }


def _is_stock_silent(log: Any) -> bool:
    """Whether calling ``log.access`` would do nothing; a subclass is always called."""
    return type(log).access is Logger.access and not log.access_log_enabled
