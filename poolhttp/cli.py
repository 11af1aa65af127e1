"""The command ``poolhttp``.

Lives here: the command line, its errors and its first line of output. Must not live here: serving.

Exit status: 0 after a graceful stop, 1 if the server can't start, 2 for a wrong command line, 130
after a second SIGINT.
"""

from __future__ import annotations

import argparse
import io
import logging
import math
import os
import sys
from collections.abc import Sequence
from typing import IO, Any, NoReturn

from poolhttp.access import DEFAULT_FORMAT, AccessLog, FormatError
from poolhttp.appcontext import AppContext
from poolhttp.apploader import AppError, load_app
from poolhttp.flags import LIMITS, THREADS
from poolhttp.listeners import BindError, check_bind
from poolhttp.loop import Loop
from poolhttp.server import Server
from poolhttp.settings import (
    PREFIX,
    Settings,
    SettingsError,
    environment_settings,
    parse_setting,
)
from poolhttp.signals import stop_on_signals
from poolhttp.version import __version__

DESCRIPTION = """\
Serve a WSGI app over HTTP/1.1.

  poolhttp serve myapp                     module myapp, its 'application' or 'app'
  poolhttp serve myapp:wsgi                another name
  poolhttp serve 'myapp:create_app("prod")'  a factory
  poolhttp serve myapp --bind 0.0.0.0:80 --bind unix:/run/myapp.sock --workers 4
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line; usage is what --help is for."""
        self.exit(2, f"{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(prog="poolhttp", description="An HTTP/1.1 WSGI server for Linux.")
    parser.add_argument("--version", action="version", version=f"poolhttp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    serve = commands.add_parser(
        "serve",
        help="serve an app",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Every setting can also be given as {PREFIX}NAME in the environment; flags win.",
    )
    serve.add_argument("app", nargs="?", default="app", metavar="MODULE[:APP]", help="default: app")
    serve.add_argument(
        "--bind",
        "-b",
        action="append",
        metavar="ADDRESS",
        help="HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N; repeatable (default 127.0.0.1:8000)",
    )
    serve.add_argument(
        "--workers", "-w", type=int, default=1, metavar="N",
        help="processes; more than one run under gunicorn's arbiter (default 1)",
    )  # fmt: skip
    serve.add_argument(
        "--access-log", metavar="FILE", help="append a line for each request; - is standard output"
    )
    serve.add_argument(
        "--access-log-format", default=DEFAULT_FORMAT, metavar="FORMAT", help="as gunicorn's"
    )
    serve.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error", "critical"),
        help="of the messages on standard error (default info)",
    )
    serve.add_argument(
        "--no-require-host",
        action="store_true",
        help="serve HTTP/1.1 requests without a Host field",
    )
    threads = serve.add_argument_group("app threads")
    _add_flags(threads, THREADS)
    threads.add_argument(
        "--no-predict", action="store_true", help="don't learn which routes are slow"
    )
    _add_flags(serve.add_argument_group("limits and timeouts (seconds, bytes)"), LIMITS)
    return parser


def _add_flags(group: Any, flags: Sequence[tuple[str, str, str, str]]) -> None:
    for flag, name, metavar, text in flags:
        default = getattr(Settings(), name)
        shown = (",".join(default) or "none") if isinstance(default, tuple) else default
        group.add_argument(
            f"--{flag}", dest=name, metavar=metavar, help=f"{text} (default {shown!s})"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        settings = _settings(options)
        AccessLog(options.access_log_format, lambda _: None)
    except (SettingsError, FormatError) as exc:
        print(f"poolhttp: {exc}", file=sys.stderr)
        return 2
    try:
        if options.workers > 1:
            return _serve_supervised(options)
        return _serve_here(options, settings)
    except (AppError, BindError) as exc:
        print(f"poolhttp: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # The second SIGINT: whoever sent it doesn't want to wait for what is under way.
        return 130


def _settings(options: argparse.Namespace) -> Settings:
    if options.workers < 1:
        raise SettingsError(f"--workers: must be at least 1, got {options.workers}")
    given: dict[str, Any] = environment_settings(os.environ)
    for flag, name, _, _ in (*THREADS, *LIMITS):
        text = getattr(options, name)
        if text is not None:
            try:
                given[name] = parse_setting(name, text)
            except SettingsError as exc:
                raise SettingsError(f"--{flag}: {str(exc).partition(': ')[2]}") from None
    if options.no_predict:
        given["predict"] = False
    if options.no_require_host:
        given["require_host"] = False
    try:
        return Settings(**given)
    except SettingsError as exc:
        name, _, reason = str(exc).partition(": ")
        flags = {setting: f"--{flag}" for flag, setting, _, _ in (*THREADS, *LIMITS)}
        raise SettingsError(f"{flags.get(name, name)}: {reason}") from None


def _serve_here(options: argparse.Namespace, settings: Settings) -> int:
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format="%(asctime)s [%(process)d] [%(levelname)s] %(message)s",
    )
    app = load_app(options.app)
    server = Server(app, bind=options.bind or ["127.0.0.1:8000"], settings=settings)
    if options.access_log:
        access = AccessLog(options.access_log_format, _line_writer(options.access_log))

        def on_start(context: AppContext, loop: Loop) -> None:
            context.observe(after_response=access.add)
            loop.before_wait = access.flush

        server.on_start = on_start
    with stop_on_signals(server):
        print(
            f"poolhttp {__version__}: listening on {server.describe()}, "
            f"1 worker (pid {os.getpid()}), {count_threads(settings.threads)}",
            file=sys.stderr,
            flush=True,
        )
        server.run()
    return 0


def count_threads(threads: int) -> str:
    """Return the number of app threads, for people."""
    return "1 thread" if threads == 1 else f"up to {threads} threads"


def _line_writer(path: str) -> Any:
    if path == "-" and isinstance(sys.stdout, io.TextIOWrapper):
        # Whatever the terminal's encoding, a client's bytes must not be an error.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        stream: IO[str] = (
            sys.stdout
            if path == "-"
            else open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - kept open
        )
    except OSError as exc:
        raise BindError(f"can't write the access log {path}: {exc.strerror}") from None

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    return write


def _serve_supervised(options: argparse.Namespace) -> int:
    from poolhttp.supervised import SupervisedApplication

    load_app(options.app)
    binds = options.bind or ["127.0.0.1:8000"]
    for bind in binds:
        # gunicorn would try five times and say it in ten lines.
        check_bind(bind)
    if options.access_log:
        _line_writer(options.access_log)
    # Workers read their settings from here, and a flag wins over the variable that was there.
    for _, name, _, _ in (*THREADS, *LIMITS):
        text = getattr(options, name)
        if text is not None:
            os.environ[PREFIX + name.upper()] = text
    if options.no_predict:
        os.environ[PREFIX + "PREDICT"] = "0"
    if options.no_require_host:
        os.environ[PREFIX + "REQUIRE_HOST"] = "0"
    settings = Settings(**environment_settings(os.environ))
    chosen: dict[str, Any] = {
        "bind": binds,
        "workers": options.workers,
        "accesslog": options.access_log,
        "access_log_format": options.access_log_format,
        "loglevel": options.log_level,
        "control_socket_disable": True,
        # The arbiter's share of what the workers read themselves.
        "backlog": settings.backlog,
        "graceful_timeout": math.ceil(settings.graceful_timeout),
        "timeout": math.ceil(settings.timeout),
        "threads": settings.threads,
    }
    SupervisedApplication(options.app, chosen).run()
    return 0
