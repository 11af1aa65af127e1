"""Whatever logger the user has chosen, it is called with what gunicorn's own workers give it."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
from corpus.clients import wait_until
from live import TIMEOUT

from .asking import ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Start


def test_logger_with_its_own_access_is_always_called(start: Start, notes: Path) -> None:
    """Although no access log is configured."""
    server = start("--logger-class", "worker_loggers.OwnAccess")
    ask(server.port, "/read?x", "X-One: 1", method="POST", body=b"four")
    wait_until(lambda: notes.read_text().endswith("\n"), "the logger is called", TIMEOUT)
    [seen] = [json.loads(line) for line in notes.read_text().splitlines()]
    assert ["X-Answer", 'so "quoted"'] in seen.pop("response_headers")
    headers = seen.pop("request_headers")
    assert ["X-ONE", "1"] in headers
    assert ["CONTENT-LENGTH", "4"] in headers
    assert seen == {
        "status": "200 OK",
        "status_code": 200,
        "sent": 1,
        "response_length": 1,
        "method": "POST",
        "uri": "/read?x",
        "path": "/read",
        "query": "x",
        "version": [1, 1],
        "raw_uri": "/read?x",
        "timed": True,
    }


def test_logger_with_its_own_atoms(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ("--access-logfile", str(log), "--access-logformat", "%(h)s %(U)s %({host}i)s")
    server = start("--logger-class", "worker_loggers.OwnAtoms", *options)
    ask(server.port, "/pid")
    wait_until(lambda: log.read_text().endswith("\n"), "the line is written", TIMEOUT)
    assert log.read_text() == "somewhere /pid test\n"


def test_logger_with_an_atom_of_its_own(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ("--access-logfile", str(log), "--access-logformat", "%(tenant)s %(U)s")
    server = start("--logger-class", "worker_loggers.OwnAtoms", *options)
    ask(server.port, "/pid")
    wait_until(lambda: log.read_text().endswith("\n"), "the line is written", TIMEOUT)
    assert log.read_text() == "acme /pid\n"


def logging_conf(log: Path, formatter: dict[str, str], level: str) -> str:
    """A configuration file with the dictionary of Python's logging."""
    chosen = {
        "version": 1,
        "formatters": {"chosen": formatter, "plain": {"format": "%(message)s"}},
        "handlers": {
            "file": {
                "class": "logging.FileHandler",
                "filename": str(log),
                "formatter": "chosen",
                "level": level,
            },
            "console": {"class": "logging.StreamHandler", "formatter": "plain"},
        },
        "root": {"handlers": ["console"], "level": "INFO"},
        "loggers": {
            "gunicorn.access": {"handlers": ["file"], "level": "INFO", "propagate": False},
            "gunicorn.error": {"handlers": ["console"], "level": "INFO", "propagate": False},
        },
    }
    return f"logconfig_dict = {chosen!r}\n"


def test_json_formatter_reads_the_atoms(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = start(conf=logging_conf(log, {"()": "worker_loggers.JsonFormatter"}, "INFO"))
    ask(server.port, "/pid?x", "Referer: http://a/")
    wait_until(lambda: log.read_text().endswith("\n"), "the line is written", TIMEOUT)
    line = json.loads(log.read_text())
    assert isinstance(line.pop("B"), int)
    assert line == {
        "h": "127.0.0.1",
        "m": "GET",
        "U": "/pid",
        "s": "200",
        "f": "http://a/",
        "a": "-",
    }


def test_format_of_logconfig_dict(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    formatter = {"format": "%(levelname)s %(name)s: %(message)s"}
    conf = logging_conf(log, formatter, "INFO")
    server = start("--access-logformat", "%(U)s", conf=conf)
    ask(server.port, "/pid")
    wait_until(lambda: log.read_text().endswith("\n"), "the line is written", TIMEOUT)
    assert log.read_text() == "INFO gunicorn.access: /pid\n"


def test_handler_that_takes_no_such_lines(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = start(conf=logging_conf(log, {"format": "%(message)s"}, "WARNING"))
    ask(server.port, "/pid")
    assert server.stop() == 0
    assert log.read_text() == ""


@pytest.fixture
def statsd() -> Iterator[socket.socket]:
    """Where statsd would listen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(TIMEOUT)
        yield sock


def test_statsd_gets_its_datagrams(start: Start, statsd: socket.socket) -> None:
    """Also without an access log."""
    port = statsd.getsockname()[1]
    server = start("--statsd-host", f"127.0.0.1:{port}", "--statsd-prefix", "web")
    ask(server.port, "/nowhere")
    received: list[str] = []
    while not any("request.status" in each for each in received):
        received += [
            each for each in statsd.recv(4096).decode().splitlines() if "gunicorn.request" in each
        ]
    duration, count, status = received
    assert duration.startswith("web.gunicorn.request.duration:")
    assert duration.endswith("|ms")
    assert count == "web.gunicorn.requests:1|c|@1.0"
    assert status == "web.gunicorn.request.status.404:1|c|@1.0"
