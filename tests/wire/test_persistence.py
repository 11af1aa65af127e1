"""When a connection lives on, and that what the response says about it is what happens.

RFC 9112 section 9.3: HTTP/1.1 unless `close`, HTTP/1.0 only with `keep-alive`; RFC 9110 section
7.6.1: Connection is a list of case-insensitive tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from live import Environ, Serve, StartResponse, exchange, message, read_response, read_to_eof

from .apps import Recorder, answer, hello


@pytest.mark.parametrize(
    ("version", "fields", "lives"),
    [
        ("1.1", [], True),
        ("1.1", ["Connection: keep-alive"], True),
        ("1.1", ["Connection: foo"], True),
        ("1.1", ["Connection: closed"], True),
        ("1.1", ["Connection: not-close"], True),
        ("1.1", ["Connection:"], True),
        ("1.1", ["Connection: close"], False),
        ("1.1", ["Connection: Close"], False),
        ("1.1", ["Connection: close, foo"], False),
        ("1.1", ["Connection: foo ,\tclose"], False),
        ("1.1", ["Connection: foo", "Connection: close"], False),
        ("1.1", ["Connection: close", "Connection: foo"], False),
        ("1.1", ["Connection: keep-alive, close"], False),
        ("1.1", ["Connection: close "], False),
        ("1.0", [], False),
        ("1.0", ["Connection: close"], False),
        ("1.0", ["Connection: foo"], False),
        ("1.0", ["Connection: keep-alive"], True),
        ("1.0", ["Connection: Keep-Alive"], True),
        ("1.0", ["Connection: keep-alive, foo"], True),
        ("1.0", ["Connection: keep-alive, close"], False),
    ],
)
def test_persistence(serve: Serve, version: str, fields: list[str], lives: bool) -> None:
    """Asked three times: what is remembered of a head must not change what it means."""
    app = Recorder()
    data = message(f"GET / HTTP/{version}", *fields)
    server = serve(app)
    for _ in range(3):
        with server.connect() as sock:
            response = exchange(sock, data)
            assert response.closes is not lives
            if lives:
                assert exchange(sock, data).status == 200
                sock.sendall(message("GET / HTTP/1.1", "Connection: close"))
                assert read_response(sock).closes
            assert read_to_eof(sock) == b""


def test_answer_to_http_1_0_has_no_chunks(serve: Serve) -> None:
    """RFC 9112 section 6.1; the end of the body is the end of the connection."""

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return iter([b"bo", b"", b"dy"])

    server = serve(app)
    for fields in ([], ["Connection: keep-alive"]):
        with server.connect() as sock:
            response = exchange(sock, message("GET / HTTP/1.0", *fields))
            assert (response.body, response.closes) == (b"body", True)
            assert not response.all(b"transfer-encoding")
            assert read_to_eof(sock) == b""


def test_answer_to_http_1_0_may_say_1_1_but_not_more(serve: Serve) -> None:
    response = serve(hello).ask(message("GET / HTTP/1.0", host=None))
    assert response.version in {b"1.0", b"1.1"}
    assert response.closes


def test_http_1_0_keep_alive_is_said(serve: Serve) -> None:
    """An HTTP/1.0 client takes silence for close."""
    with serve(hello).connect() as sock:
        response = exchange(sock, message("GET / HTTP/1.0", "Connection: keep-alive"))
        assert b"keep-alive" in (response.one(b"connection") or b"").lower()
        assert exchange(sock, message("GET / HTTP/1.1")).status == 200


def test_versions_may_change_on_a_connection(serve: Serve) -> None:
    app = Recorder()
    with serve(app).connect() as sock:
        for version in ("1.1", "1.0", "1.1", "1.0"):
            exchange(sock, message(f"GET / HTTP/{version}", "Connection: keep-alive"))
    protocols = [call.environ["SERVER_PROTOCOL"] for call in app.calls]
    assert protocols == ["HTTP/1.1", "HTTP/1.0", "HTTP/1.1", "HTTP/1.0"]


def test_no_keep_alive_setting(serve: Serve) -> None:
    """keepalive=0 closes after each response, and says so."""
    server = serve(hello, keepalive=0.0)
    for line in ("GET / HTTP/1.1", "GET / HTTP/1.0", "GET / HTTP/1.1"):
        with server.connect() as sock:
            assert exchange(sock, message(line, "Connection: keep-alive")).closes
            assert read_to_eof(sock) == b""


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "500 Oops", "503 Busy"])
def test_error_statuses_of_the_app_do_not_close(serve: Serve, status: str) -> None:
    with serve(answer(b"x", status=status)).connect() as sock:
        for _ in range(3):
            assert not exchange(sock, message("GET / HTTP/1.1")).closes


def test_many_requests_on_one_connection(serve: Serve) -> None:
    app = Recorder()
    with serve(app).connect() as sock:
        for i in range(1, 301):
            body = exchange(sock, message(f"GET /{i % 7} HTTP/1.1", f"X: {i % 3}")).body
            assert body == f"{i} /{i % 7}".encode()
