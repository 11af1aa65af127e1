"""pre_request and post_request see what they see in gunicorn's own workers, or fail alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from corpus.clients import connect, wait_until
from live import TIMEOUT, exchange, message

from .asking import ask, pid_of, wait_for_line

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Start

NOTE = """
import json, os

def note(hook, req, environ=None, resp=None):
    seen = {"hook": hook, "method": req.method, "uri": req.uri, "path": req.path,
            "query": req.query, "version": list(req.version), "headers": list(req.headers)}
    if environ is not None:
        keys = ("REQUEST_METHOD", "RAW_URI", "PATH_INFO", "HTTP_X_ONE", "REMOTE_ADDR")
        seen["environ"] = {key: environ.get(key) for key in keys}
    if resp is not None:
        seen["resp"] = [resp.status, resp.status_code, resp.sent, list(resp.headers),
                        resp.response_length, resp.headers_sent]
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(json.dumps(seen) + "\\n")

def pre_request(worker, req):
    note("pre", req)
"""

POST_REQUEST = {
    2: "def post_request(worker, req):\n    note('post', req)\n",
    3: "def post_request(worker, req, environ):\n    note('post', req, environ)\n",
    4: "def post_request(worker, req, environ, resp):\n    note('post', req, environ, resp)\n",
}


def read_notes(notes: Path, count: int) -> list[dict[str, Any]]:
    """What the hooks have seen, once there is that much of it."""
    wait_until(lambda: notes.read_text().count("\n") >= count, "the hooks are called", TIMEOUT)
    lines = notes.read_text().splitlines()
    assert len(lines) == count
    return [json.loads(line) for line in lines]


REQUESTS = (
    message("GET /pieces?a=b&c HTTP/1.1", "X-One: 1", "x-two: zwei"),
    message("POST /read?n HTTP/1.1", "X-One: 1", "Content-Type: a/b", body=b"body"),
    message("GET http://test/%7Euser;p?q=%20 HTTP/1.1", "X-One: a", "X-One: b"),
    message("GET /empty HTTP/1.0"),
)


@pytest.mark.parametrize("arity", POST_REQUEST)
def test_hooks_see_what_gthread_shows_them(start: Start, notes: Path, arity: int) -> None:
    conf = NOTE + POST_REQUEST[arity]
    seen = []
    for worker_class in ("poolhttp.worker.EpollWorker", "gthread"):
        server = start(conf=conf, worker_class=worker_class)
        for request in REQUESTS:
            with connect(server.port) as sock:
                exchange(sock, request)
        seen.append(read_notes(notes, 2 * len(REQUESTS)))
        notes.write_text("")
        assert server.stop() == 0
    ours, theirs = seen
    for one, other in zip(ours, theirs, strict=True):
        # RFC 9110 section 5.3: a list of values in one field is the same as several fields.
        assert _joined(one.pop("headers")) == _joined(other.pop("headers"))
        assert one == other


def _joined(headers: list[list[str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def test_what_post_request_sees(start: Start, notes: Path) -> None:
    server = start(conf=NOTE + POST_REQUEST[4])
    ask(server.port, "/empty?x=1", "X-One: 1")
    pre, post = read_notes(notes, 2)
    assert (pre["hook"], post["hook"]) == ("pre", "post")
    for each in (pre, post):
        assert (each["method"], each["uri"], each["path"]) == ("GET", "/empty?x=1", "/empty")
        assert (each["query"], each["version"]) == ("x=1", [1, 1])
        assert ["X-ONE", "1"] in each["headers"]
        assert ["HOST", "test"] in each["headers"]
    assert post["environ"]["HTTP_X_ONE"] == "1"
    status, code, sent, headers, length, headers_sent = post["resp"]
    assert (status, code, sent, length, headers_sent) == ("200 OK", 200, 0, 0, True)
    assert ["Content-Type", "text/plain"] in headers


def test_failing_pre_request_makes_an_error_response(start: Start) -> None:
    conf = """
def pre_request(worker, req):
    if req.path == "/refused":
        raise RuntimeError("pre_request says no")
"""
    server = start(conf=conf)
    worker = pid_of(server.port)
    assert ask(server.port, "/refused").status == 500
    wait_for_line(server, "RuntimeError: pre_request says no")
    assert pid_of(server.port) == worker


def test_failing_post_request_is_logged_and_swallowed(start: Start) -> None:
    conf = """
def post_request(worker, req, environ, resp):
    raise RuntimeError("post_request has a mistake")
"""
    server = start(conf=conf)
    with connect(server.port) as sock:
        for _ in range(2):
            response = exchange(sock, message("GET /pieces HTTP/1.1"))
            assert (response.status, response.body, response.closes) == (200, b"onetwo", False)
    wait_for_line(server, "Exception in post_request hook")
    wait_for_line(server, "RuntimeError: post_request has a mistake")


def test_post_request_sees_the_error_of_the_app(start: Start, notes: Path) -> None:
    server = start(conf=NOTE + POST_REQUEST[4])
    assert ask(server.port, "/raise").status == 500
    _, post = read_notes(notes, 2)
    assert post["path"] == "/raise"


def test_stock_pre_request_logs_at_debug(start: Start) -> None:
    server = start("--log-level", "debug")
    ask(server.port, "/pid?x")
    wait_for_line(server, "[DEBUG] GET /pid")
