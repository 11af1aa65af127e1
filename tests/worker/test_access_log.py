"""The access log has the lines that gunicorn's gthread writes for the same requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from corpus.clients import connect, wait_until
from live import TIMEOUT, exchange, message

from .asking import ask, unix_connect, wait_for_line

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Start

STOCK = ""
FORMATS = {
    "stock": STOCK,
    "every atom that doesn't change": (
        'h=%(h)s l=%(l)s u=%(u)s r="%(r)s" m=%(m)s U=%(U)s q=%(q)s H=%(H)s '
        's=%(s)s B=%(B)s b=%(b)s f="%(f)s" a="%(a)s" 100%%'
    ),
    # Of a repeated field we have all values, gthread the last; so none here is repeated.
    "request fields": '"%({x-one}i)s" "%({Host}i)s" "%({Content-Type}i)s" "%({absent}i)s"',
    "response fields": '"%({x-answer}o)s" "%({Content-Type}o)s" "%({absent}o)s"',
    "environ": "%({wsgi.url_scheme}e)s %({request_method}e)s %({SERVER_PROTOCOL}e)s %({absent}e)s",
    "JSON": '{"host": "%(h)s", "status": %(s)s, "line": "%(r)s", "agent": "%(a)s"}',
    "Python's own conversions": "%(m)-6s|%(h)20s|%(B)08d",
    "unknown atom": "%(s)s %(nothing)s",
}

AGENT = 'User-Agent: agent/1 "quoted"'
REQUESTS = (
    ("GET", message("GET /empty HTTP/1.1")),
    ("GET", message("GET /pid?a=b HTTP/1.0", AGENT, "Referer: http://a/b")),
    ("GET", message("GET /pieces HTTP/1.1", AGENT, "X-One: a", "X-Two: b")),
    ("POST", message("POST /read?q HTTP/1.1", 'X-One: "q"', "Content-Type: a/b", body=b"body")),
    ("HEAD", message("HEAD /pieces HTTP/1.1", AGENT)),
    ("GET", message("GET /nothing%20here;p?%22 HTTP/1.1", "Authorization: Basic bWU6c2VjcmV0")),
    ("GET", message("GET http://test/pieces HTTP/1.1", "Authorization: Bearer abc")),
    ("OPTIONS", message("OPTIONS * HTTP/1.1")),
)

TIME = re.compile(r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]")


def access_lines(start: Start, log: Path, worker_class: str, log_format: str) -> list[str]:
    """The lines that a worker class writes for the requests, one after the other."""
    options = ["--access-logfile", str(log)]
    if log_format:
        options += ["--access-logformat", log_format]
    server = start(*options, worker_class=worker_class)
    for method, request in REQUESTS:
        with connect(server.port) as sock:
            exchange(sock, request, method)
    wait_until(
        lambda: log.read_text().count("\n") >= len(REQUESTS), "the lines are written", TIMEOUT
    )
    assert server.stop() == 0
    return log.read_text().splitlines()


@pytest.mark.parametrize("name", FORMATS)
def test_lines_are_those_of_gthread(start: Start, tmp_path: Path, name: str) -> None:
    ours = access_lines(start, tmp_path / "ours", "poolhttp.worker.EpollWorker", FORMATS[name])
    theirs = access_lines(start, tmp_path / "theirs", "gthread", FORMATS[name])
    # The time is of the same form, in the same place.
    assert [TIME.sub("[TIME]", line) for line in ours] == [
        TIME.sub("[TIME]", line) for line in theirs
    ]
    if FORMATS[name] == STOCK:
        assert all(len(TIME.findall(line)) == 1 for line in ours)


def test_error_of_the_app_is_logged_as_500(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = start("--access-logfile", str(log), "--access-logformat", "%(s)s %(r)s")
    assert ask(server.port, "/raise").status == 500
    wait_until(
        lambda: log.read_text() == "500 GET /raise HTTP/1.1\n", "the line is written", TIMEOUT
    )


def test_peer_of_a_unix_socket(start: Start, tmp_path: Path) -> None:
    """It has no address, which gunicorn's own workers write as nothing or `-`."""
    log, path = tmp_path / "log", tmp_path / "sock"
    options = ("--access-logfile", str(log), "--access-logformat", "<%(h)s> %(U)s")
    server = start("-b", f"unix:{path}", *options)
    server.wait_until_listening()
    with unix_connect(path) as sock:
        exchange(sock, message("GET /pid HTTP/1.1"))
    wait_until(
        lambda: log.read_text() in {"<> /pid\n", "<-> /pid\n"}, "the line is written", TIMEOUT
    )


def test_access_log_on_standard_output(start: Start) -> None:
    server = start("--access-logfile", "-", "--access-logformat", "%(m)s of %(U)s")
    ask(server.port, "/pid")
    wait_for_line(server, "GET of /pid")


def test_pid_and_durations(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log_format = "%(p)s %(T)s %(M)s %(D)s %(L)s"
    server = start("--access-logfile", str(log), "--access-logformat", log_format)
    worker = ask(server.port, "/pid").body.decode()
    wait_until(lambda: log.read_text().endswith("\n"), "the line is written", TIMEOUT)
    assert re.fullmatch(rf"<{worker}> \d+ \d+ \d+ \d+\.\d{{6}}\n", log.read_text())
