"""Responses without a body: HEAD, 1xx, 204 and 304.

RFC 9112 section 6.3, rule 1, and RFC 9110 sections 6.4.1, 8.6, 9.3.2, 15.3.5 and 15.4.5. One stray
body byte is the beginning of the next response for the client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from live import App, Environ, Serve, StartResponse, exchange, message, read_to_eof

from .apps import hello

NEXT = message("GET /next HTTP/1.1")

Make = Callable[[StartResponse, str, list[tuple[str, str]]], Iterable[bytes]]


def by_write(start: StartResponse, status: str, headers: list[tuple[str, str]]) -> Iterable[bytes]:
    write = start(status, headers)
    write(b"body")
    return []


def as_list(start: StartResponse, status: str, headers: list[tuple[str, str]]) -> Iterable[bytes]:
    start(status, headers)
    return [b"body"]


def as_items(start: StartResponse, status: str, headers: list[tuple[str, str]]) -> Iterable[bytes]:
    start(status, headers)
    return [b"bo", b"dy"]


def as_generator(
    start: StartResponse, status: str, headers: list[tuple[str, str]]
) -> Iterable[bytes]:
    start(status, headers)
    return iter([b"bo", b"dy"])


def as_nothing(
    start: StartResponse, status: str, headers: list[tuple[str, str]]
) -> Iterable[bytes]:
    start(status, headers)
    return []


MAKERS = [as_list, as_items, as_generator, by_write, as_nothing]


def app_of(make: Make, status: str, headers: list[tuple[str, str]]) -> App:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/next":
            return hello(environ, start_response)
        return make(start_response, status, list(headers))

    return app


@pytest.mark.parametrize("length", [None, "4"])
@pytest.mark.parametrize("make", MAKERS)
def test_head(serve: Serve, make: Make, length: str | None) -> None:
    """The head of GET without the body; the app's Content-Length is kept."""
    headers = [("X-A", "1")] + ([("Content-Length", length)] if length else [])
    with serve(app_of(make, "200 OK", headers)).connect() as sock:
        response = exchange(sock, message("HEAD / HTTP/1.1"), "HEAD")
        assert (response.status, response.one(b"x-a")) == (200, b"1")
        if length:
            assert response.one(b"content-length") == b"4"
        assert exchange(sock, NEXT).body == b"hello /next"


@pytest.mark.parametrize("make", [as_list, as_items, as_generator])
@pytest.mark.parametrize("length", [None, "4"])
def test_head_says_what_get_says(serve: Serve, make: Make, length: str | None) -> None:
    """RFC 9110 section 9.3.2: the same fields, but those that need the content may be missing."""
    headers = [("X-A", "1")] + ([("Content-Length", length)] if length else [])
    with serve(app_of(make, "200 OK", headers)).connect() as sock:
        got = exchange(sock, message("GET / HTTP/1.1"))
        head = exchange(sock, message("HEAD / HTTP/1.1"), "HEAD")
    for name, value in head.headers:
        if name.lower() != b"date":
            assert got.one(name) == value


def test_head_of_an_empty_list_claims_no_length(serve: Serve) -> None:
    """Frameworks drop the body of HEAD themselves, so `Content-Length: 0` would be a lie."""
    with serve(app_of(as_nothing, "200 OK", [])).connect() as sock:
        assert exchange(sock, message("HEAD / HTTP/1.1"), "HEAD").one(b"content-length") is None
        assert exchange(sock, NEXT).body == b"hello /next"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("length", [None, "4"])
@pytest.mark.parametrize("make", MAKERS)
def test_204_has_neither_body_nor_framing(
    serve: Serve, make: Make, length: str | None, method: str
) -> None:
    headers = [("Content-Length", length)] if length else []
    with serve(app_of(make, "204 No Content", headers)).connect() as sock:
        response = exchange(sock, message(f"{method} / HTTP/1.1"), method)
        assert response.status == 204
        assert not response.all(b"content-length")
        assert not response.all(b"transfer-encoding")
        assert exchange(sock, NEXT).body == b"hello /next"


@pytest.mark.parametrize("length", [None, "4"])
@pytest.mark.parametrize("make", MAKERS)
def test_304_has_no_body(serve: Serve, make: Make, length: str | None) -> None:
    """Its Content-Length is that of the 200 (RFC 9110 section 8.6); the server adds none."""
    headers = [("ETag", '"1"')] + ([("Content-Length", length)] if length else [])
    with serve(app_of(make, "304 Not Modified", headers)).connect() as sock:
        response = exchange(sock, message("GET / HTTP/1.1"))
        assert (response.status, response.one(b"etag")) == (304, b'"1"')
        assert response.one(b"content-length") == (length.encode() if length else None)
        assert exchange(sock, NEXT).body == b"hello /next"


@pytest.mark.parametrize("make", MAKERS)
def test_101_has_neither_body_nor_framing(serve: Serve, make: Make) -> None:
    """RFC 9112 section 6.3, rule 1, and RFC 9110 section 8.6. Read raw: h11 never asked for it."""
    headers = [("Connection", "upgrade"), ("Upgrade", "x"), ("Content-Length", "4")]
    with serve(app_of(make, "101 Switching Protocols", headers)).connect() as sock:
        sock.sendall(message("GET / HTTP/1.1", "Connection: close, upgrade", "Upgrade: x"))
        data = read_to_eof(sock)
    assert data.startswith(b"HTTP/1.1 101 ")
    assert data.endswith(b"\r\n\r\n")
    assert data.count(b"\r\n\r\n") == 1
    lower = data.lower()
    assert b"content-length" not in lower
    assert b"transfer-encoding" not in lower


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
def test_without_body_the_connection_still_works(serve: Serve, status: str, version: str) -> None:
    """Keep-alive is possible for HTTP/1.0 too, since the end of the response is known."""
    with serve(app_of(as_nothing, status, [])).connect() as sock:
        response = exchange(sock, message(f"GET / HTTP/{version}", "Connection: keep-alive"))
        assert response.body == b""
        if response.closes:
            assert version == "1.0"
            assert read_to_eof(sock) == b""
        else:
            assert exchange(sock, NEXT).body == b"hello /next"
