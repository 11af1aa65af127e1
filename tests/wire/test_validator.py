"""wsgiref.validate finds nothing to say about the server.

PEP 3333 as its reference implementation checks it: types of the environ and its streams, order of
calls, iteration, close(). Its complaints are AssertionErrors in the app, which make a 500, and
warnings, which are errors in these tests.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import cast
from wsgiref.validate import validator

import pytest
from live import App, Environ, Serve, StartResponse, chunked, exchange, message

PLAIN = [("Content-Type", "text/plain")]


def as_list(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*PLAIN, ("Content-Length", "4")])
    return [b"body"]


def as_generator(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(PLAIN))
    return iter([b"bo", b"dy"])


def by_write(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(PLAIN))(b"bo")
    return [b"dy"]


def no_content(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(PLAIN))
    return cast("Iterable[bytes]", environ["wsgi.file_wrapper"](io.BytesIO(b"body"), 2))


def reads_input(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"]
    first = body.readline()
    rest = b"".join(body) + b"".join(body.readlines()) + body.read(10)
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].writelines([])
    environ["wsgi.errors"].flush()
    start_response("200 OK", list(PLAIN))
    return [first + rest]


APPS: list[App] = [as_list, as_generator, by_write, no_content, file, reads_input]


@pytest.mark.parametrize("app", APPS)
def test_validator_is_silent(serve: Serve, app: App, capfd: pytest.CaptureFixture[str]) -> None:
    server = serve(validator(app))
    body = b"first\nsecond\n"
    requests = [
        ("GET", message("GET /path?query HTTP/1.1", "X: y")),
        ("POST", message("POST / HTTP/1.1", "Content-Type: text/plain", body=body)),
        ("POST", message("POST / HTTP/1.1", "Transfer-Encoding: chunked") + chunked(body)),
        ("HEAD", message("HEAD / HTTP/1.1")),
        ("GET", message("GET / HTTP/1.1")),
    ]
    with server.connect() as sock:
        for method, data in requests:
            response = exchange(sock, data, method)
            assert response.status in {200, 204}, server.log_text()
            if method == "POST" and app is reads_input:
                assert response.body == body
    server.stop()
    assert "Traceback" not in server.log_text()
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
