"""Requests that ask for another protocol.

RFC 9110 section 7.8: a server may ignore Upgrade, and a WSGI server does. The message is then an
ordinary one: its body is a body, whatever its bytes look like.
"""

from __future__ import annotations

import pytest
from live import Serve, chunked, exchange, message, read_response, read_to_eof

from .apps import Recorder

HIDDEN = message("GET /smuggled HTTP/1.1")
NEXT = message("GET /next HTTP/1.1")

ASKS: dict[str, tuple[str, ...]] = {
    "unknown": ("Connection: upgrade", "Upgrade: x"),
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    "websocket": ("Connection: keep-alive, Upgrade", "Upgrade: websocket"),
    "TLS": ("Connection: Upgrade", "Upgrade: TLS/1.0"),
}


def deliver(data: bytes, way: str) -> list[bytes]:
    """The same bytes at once, in three parts, or one by one."""
    if way == "whole":
        return [data]
    if way == "behind the head":
        end = data.index(b"\r\n\r\n") + 4
        return [data[:end], data[end : end + 5], data[end + 5 :]]
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("way", ["whole", "behind the head", "bytes"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("asked", ASKS)
def test_body_is_a_body(serve: Serve, asked: str, framing: str, way: str) -> None:
    app = Recorder()
    if framing == "length":
        data = message("POST / HTTP/1.1", *ASKS[asked], body=HIDDEN)
    else:
        data = message("POST / HTTP/1.1", *ASKS[asked], "Transfer-Encoding: chunked")
        data += chunked(HIDDEN[:7], HIDDEN[7:])
    with serve(app).connect() as sock:
        for piece in deliver(data + NEXT, way):
            sock.sendall(piece)
        assert read_response(sock).body == b"1 /"
        assert read_response(sock).body == b"2 /next"
    assert app.lines == [("POST", "/"), ("GET", "/next")]
    assert app.calls[0].body == HIDDEN


@pytest.mark.parametrize("way", ["whole", "behind the head", "bytes"])
@pytest.mark.parametrize("asked", ASKS)
def test_without_body_the_next_request_is_one(serve: Serve, asked: str, way: str) -> None:
    app = Recorder()
    with serve(app).connect() as sock:
        for piece in deliver(message("GET / HTTP/1.1", *ASKS[asked]) + NEXT, way):
            sock.sendall(piece)
        response = read_response(sock)
        assert (response.status, response.version) == (200, b"1.1")
        assert read_response(sock).body == b"2 /next"
    assert app.lines == [("GET", "/"), ("GET", "/next")]


def test_h2c_stays_http_1_1(serve: Serve) -> None:
    """As `curl --http2` asks."""
    with serve(Recorder()).connect() as sock:
        response = exchange(sock, message("GET / HTTP/1.1", *ASKS["h2c"]))
        assert (response.status, response.version, response.interim) == (200, b"1.1", [])
        assert response.one(b"upgrade") is None


def test_upgrade_with_close(serve: Serve) -> None:
    app = Recorder()
    fields = ("Connection: upgrade, close", "Upgrade: x")
    with serve(app).connect() as sock:
        sock.sendall(message("POST / HTTP/1.1", *fields, body=HIDDEN) + NEXT)
        assert read_response(sock).closes
        assert read_to_eof(sock) == b""
    assert app.lines == [("POST", "/")]


@pytest.mark.parametrize("framing", ["Content-Length: 4", "Transfer-Encoding: chunked"])
def test_rules_of_framing_hold_all_the_same(serve: Serve, framing: str) -> None:
    """Both framings at once stay 400, and so does a bad chunk."""
    app = Recorder()
    fields = (*ASKS["unknown"], framing, "Transfer-Encoding: chunked")
    with serve(app).connect() as sock:
        sock.sendall(message("POST / HTTP/1.1", *fields) + b"zz\r\n" + HIDDEN)
        assert read_response(sock).status == 400
        assert read_to_eof(sock) == b""
    assert app.calls == []
