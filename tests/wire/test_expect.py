"""Expect: 100-continue.

RFC 9110 section 10.1.1. The client waits for the interim response, for a while; so it has to be
sent, once, before the body is there, and never to a client that can't know it.
"""

from __future__ import annotations

import pytest
from live import Serve, chunked, exchange, message, read_response, read_to_eof, read_until

from .apps import Recorder

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("value", ["100-continue", "100-Continue"])
@pytest.mark.parametrize("way", ["length", "chunked"])
def test_100_is_sent_before_the_body(serve: Serve, way: str, value: str) -> None:
    app = Recorder()
    framing = "Content-Length: 4" if way == "length" else "Transfer-Encoding: chunked"
    body = b"body" if way == "length" else chunked(b"bo", b"dy")
    with serve(app).connect() as sock:
        for number in (1, 2):
            sock.sendall(message("POST / HTTP/1.1", f"Expect: {value}", framing))
            assert read_until(sock, CONTINUE) == CONTINUE
            assert len(app.calls) == number - 1
            assert exchange(sock, body).status == 200
            assert app.calls[-1].body == b"body"


def test_100_is_sent_once(serve: Serve) -> None:
    """Also when the body comes in pieces behind it."""
    with serve(Recorder()).connect() as sock:
        sock.sendall(message("POST / HTTP/1.1", "Expect: 100-continue", "Content-Length: 4"))
        read_until(sock, CONTINUE)
        for byte in (b"b", b"o", b"d"):
            sock.sendall(byte)
        response = exchange(sock, b"y")
    assert (response.status, response.interim) == (200, [])


@pytest.mark.parametrize("way", ["length", "chunked"])
def test_final_response_when_the_body_is_there_already(serve: Serve, way: str) -> None:
    """100 may be left out then; what matters is that the answer and the next one are right."""
    app = Recorder()
    if way == "length":
        data = message("POST / HTTP/1.1", "Expect: 100-continue", body=b"body")
    else:
        data = message("POST / HTTP/1.1", "Expect: 100-continue", "Transfer-Encoding: chunked")
        data += chunked(b"body")
    with serve(app).connect() as sock:
        for _ in range(2):
            response = exchange(sock, data)
            assert response.status == 200
            assert response.interim in ([], [100])
    assert [call.body for call in app.calls] == [b"body"] * 2


def test_no_100_for_http_1_0(serve: Serve) -> None:
    """ "A server MUST ignore it": an HTTP/1.0 client would take it for the answer."""
    app = Recorder()
    server = serve(app)
    with server.connect() as sock:
        sock.sendall(message("POST / HTTP/1.0", "Expect: 100-continue", "Content-Length: 4"))
        assert server.ask(message("GET /barrier HTTP/1.1")).status == 200
        response = exchange(sock, b"body")
    assert (response.status, response.interim) == (200, [])
    assert app.calls[-1].body == b"body"


@pytest.mark.parametrize("length", [None, "0"])
def test_no_100_without_a_body(serve: Serve, length: str | None) -> None:
    fields = ["Expect: 100-continue"] + ([f"Content-Length: {length}"] if length else [])
    with serve(Recorder()).connect() as sock:
        response = exchange(sock, message("GET / HTTP/1.1", *fields))
    assert (response.status, response.interim) == (200, [])


@pytest.mark.parametrize("value", ["200-ok", "100-continue-or-not", "100-continue, x"])
def test_unknown_expectation_is_417(serve: Serve, value: str) -> None:
    """And whoever waits for a 100 doesn't send the body, so the connection can't live on."""
    app = Recorder()
    with serve(app).connect() as sock:
        sock.sendall(message("POST / HTTP/1.1", f"Expect: {value}", "Content-Length: 4"))
        response = read_response(sock)
        assert (response.status, response.interim) == (417, [])
        assert read_to_eof(sock) == b""
    assert app.calls == []


def test_refused_body_gets_no_100(serve: Serve) -> None:
    """The expectation's purpose: to learn of a refusal before the body is sent."""
    app = Recorder()
    with serve(app, max_body=100).connect() as sock:
        sock.sendall(message("POST / HTTP/1.1", "Expect: 100-continue", "Content-Length: 101"))
        response = read_response(sock)
        assert (response.status, response.interim, response.closes) == (413, [], True)
        assert read_to_eof(sock) == b""
    assert app.calls == []
