"""The contenders: how each server is started, and what is asked of it to be in the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.programs import Programs, system_program

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"
APP = "bench.app:app"
POOLHTTP = "poolhttp"
C_PARSER = "gunicorn_h1c"

# How many threads a thread-per-request server gets: waitress's own default.
THREADS = 4

# nginx closes a connection after 1,000 requests by default; no other contender does.
NGINX_CONFIGURATION = """\
daemon off;
worker_processes 1;
pid {build}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000000;
    client_body_temp_path {build}/nginx-body;
    proxy_temp_path {build}/nginx-proxy;
    fastcgi_temp_path {build}/nginx-fastcgi;
    uwsgi_temp_path {build}/nginx-uwsgi;
    scgi_temp_path {build}/nginx-scgi;
    server {{
        listen {host}:{port} backlog=1024;
        location / {{ return 200 "Hello, World!"; }}
    }}
}}
"""


@dataclass(frozen=True)
class Start:
    """What a server is to be started with.

    Attributes:
        port: its TCP port.
        access_log: the file for its access log, if it is to write one.
        app: the application as `module:name`.
        options: more options of its own command line, behind those that it gets anyway.
    """

    port: int
    access_log: Path | None = None
    app: str = APP
    options: tuple[str, ...] = ()

    @property
    def bind(self) -> str:
        """Host and port as `host:port`."""
        return f"{HOST}:{self.port}"

    def log_arguments(self, flag: str) -> list[str]:
        """Return what makes a server log whose flag for the file is `flag`."""
        return [] if self.access_log is None else [flag, str(self.access_log)]


Command = Callable[[Programs, Start], list[str]]
Version = Callable[[Programs], str]


@dataclass(frozen=True)
class Contender:
    """One server.

    Attributes:
        name: what `--contender` calls it.
        summary: one line for `--list`.
        command: returns the command line, or raises UnavailableError when it cannot run here.
        version: returns what is installed, for the head of the results.
        writes_access_log: takes part in the access log scenario.
        only_in: the scenarios it takes part in; empty for all.
    """

    name: str
    summary: str
    command: Command
    version: Version
    writes_access_log: bool = False
    only_in: tuple[str, ...] = ()


def _distribution(name: str, *beside: str) -> Version:
    """Return the version text of a distribution, of those used beside it, and of their Python."""

    def version(programs: Programs) -> str:
        own = programs.distribution_version(name)
        parts = [f"{other} {programs.version_beside(name, other)}" for other in beside]
        return ", ".join([own, *parts, programs.python_version(name)])

    return version


def _poolhttp(programs: Programs, start: Start) -> list[str]:
    python = str(programs.python_with(POOLHTTP, "poolhttp.cli"))
    quiet = ["--log-level", "error", "--bind", start.bind]
    log = start.log_arguments("--access-log")
    return [python, "-m", "poolhttp", "serve", start.app, *quiet, *log, *start.options]


def _gunicorn(worker: str, needs: str, *arguments: str) -> Command:
    """Return the command of a gunicorn with one process of a worker class.

    Args:
        worker: gunicorn's name of the class.
        needs: the module that must be importable for it.
        arguments: more arguments.
    """

    def command(programs: Programs, start: Start) -> list[str]:
        python = str(programs.python_with("gunicorn", needs))
        fixed = ["-m", "gunicorn", "-k", worker, "-w", "1", "--no-control-socket"]
        quiet = ["--log-level", "error", "-b", start.bind]
        log = start.log_arguments("--access-logfile")
        return [python, *fixed, *arguments, *quiet, *log, *start.options, start.app]

    return command


def _waitress(programs: Programs, start: Start) -> list[str]:
    script = str(programs.script("waitress", "waitress", "waitress-serve"))
    return [script, f"--listen={start.bind}", f"--threads={THREADS}", *start.options, start.app]


def _embedded(module: str) -> Command:
    """Return the command of a server that has to be started from Python code."""

    def command(programs: Programs, start: Start) -> list[str]:
        python = str(programs.python_with(module, module))
        return [python, "-m", "bench.embedded", module, HOST, str(start.port), start.app]

    return command


def _granian(programs: Programs, start: Start) -> list[str]:
    script = str(programs.script("granian", "granian", "granian"))
    address = ["--host", HOST, "--port", str(start.port)]
    fixed = ["--interface", "wsgi", "--workers", "1", "--log-level", "error"]
    return [script, *fixed, *address, *start.options, start.app]


def _peregrine(programs: Programs, start: Start) -> list[str]:
    script = str(programs.script("peregrine-server", "peregrine", "peregrine"))
    address = ["--host", HOST, "--port", str(start.port)]
    fixed = ["--protocol", "wsgi", "--log-level", "error"]
    return [script, *fixed, *address, *start.options, start.app]


def _weft(programs: Programs, start: Start) -> list[str]:
    script = str(programs.script("weft-server", "weft", "weft"))
    address = ["--host", HOST, "--port", str(start.port)]
    fixed = ["--protocol", "wsgi", "--log-level", "error"]
    return [script, *fixed, *address, *start.options, start.app]


def _go(programs: Programs, start: Start) -> list[str]:
    return [str(programs.go_server()), str(start.port)]


def _nginx(programs: Programs, start: Start) -> list[str]:
    program = str(system_program("nginx"))
    configuration = programs.build / "nginx.conf"
    configuration.write_text(
        NGINX_CONFIGURATION.format(build=programs.build, host=HOST, port=start.port)
    )
    return [program, "-e", "stderr", "-p", str(programs.build), "-c", str(configuration)]


def _floor(*arguments: str) -> Command:
    return lambda programs, start: [str(programs.floor()), str(start.port), *arguments]


def _compiler_version(programs: Programs) -> str:
    return "compiled by " + programs.program_version("cc", "--version")


CONTENDERS = (
    Contender("floor", "canned response from an epoll loop in C", _floor(), _compiler_version),
    Contender(
        "floor-defer",
        "the same with TCP_DEFER_ACCEPT",
        _floor("--defer-accept"),
        _compiler_version,
        only_in=("churn",),
    ),
    Contender(
        "poolhttp",
        "poolhttp on its own",
        _poolhttp,
        _distribution(POOLHTTP),
        writes_access_log=True,
    ),
    Contender(
        "poolhttp-gunicorn",
        "poolhttp as a worker of gunicorn",
        _gunicorn("poolhttp.worker.EpollWorker", "poolhttp.worker"),
        _distribution("gunicorn", POOLHTTP),
        writes_access_log=True,
    ),
    Contender(
        "gunicorn-sync",
        "gunicorn's sync worker, which closes each connection",
        _gunicorn("sync", "gunicorn.workers.sync"),
        _distribution("gunicorn", C_PARSER),
        writes_access_log=True,
    ),
    Contender(
        "gunicorn-gthread",
        f"gunicorn's gthread worker, {THREADS} threads",
        _gunicorn("gthread", "gunicorn.workers.gthread", "--threads", str(THREADS)),
        _distribution("gunicorn", C_PARSER),
        writes_access_log=True,
    ),
    Contender(
        "gunicorn-gevent",
        "gunicorn's gevent worker",
        _gunicorn("gevent", "gunicorn.workers.ggevent"),
        _distribution("gunicorn", C_PARSER, "gevent"),
        writes_access_log=True,
    ),
    Contender("waitress", f"waitress, {THREADS} threads", _waitress, _distribution("waitress")),
    Contender("bjoern", "bjoern (C, libev)", _embedded("bjoern"), _distribution("bjoern")),
    Contender("fastpysgi", "fastpysgi (C)", _embedded("fastpysgi"), _distribution("fastpysgi")),
    Contender("granian", "granian (Rust), WSGI", _granian, _distribution("granian")),
    Contender(
        "peregrine", "peregrine (Swift), WSGI", _peregrine, _distribution("peregrine-server")
    ),
    Contender("weft", "weft (Rust), WSGI", _weft, _distribution("weft-server")),
    Contender(
        "go", "Go net/http, no Python", _go, lambda found: found.program_version("go", "version")
    ),
    Contender(
        "nginx",
        "nginx with `return 200`, no Python",
        _nginx,
        lambda found: found.program_version("nginx", "-v"),
    ),
)
