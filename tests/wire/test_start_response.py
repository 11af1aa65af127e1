"""start_response and write: what an app may say in its head, when, and how often.

PEP 3333 ("The start_response() Callable", "The write() Callable", "Error Handling"); RFC 9110
sections 5.1, 5.5 and 15 for what names, values and statuses are.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from live import (
    Environ,
    Serve,
    StartResponse,
    TruncatedError,
    exchange,
    message,
    read_to_eof,
    read_until,
)

from .apps import BODY_WAIT, answer

GET = message("GET / HTTP/1.1")


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ("200 OK", 200, b"OK"),
        ("404 Nothing here, sorry", 404, b"Nothing here, sorry"),
        ("299 Caf\xe9", 299, b"Caf\xe9"),
        ("599 ", 599, b""),
    ],
)
def test_status_and_reason_are_kept(serve: Serve, status: str, code: int, reason: bytes) -> None:
    response = serve(answer(b"x", status=status)).ask(GET)
    assert (response.status, response.reason, response.body) == (code, reason, b"x")


def test_response_fields_are_latin1_and_in_order(serve: Serve) -> None:
    headers = [
        ("X-Text", "caf\xe9 \xff"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("x-CASE", "kept"),
        ("X-Empty", ""),
    ]
    response = serve(answer(b"x", headers=headers)).ask(GET)
    fields = [pair for pair in response.headers if pair[0].lower()[:1] in {b"x", b"s"}]
    fields = [pair for pair in fields if pair[0] != b"Server"]
    assert fields == [(name.encode(), value.encode("latin-1")) for name, value in headers]


BAD_HEADS: dict[str, tuple[Any, Any]] = {
    "CRLF in value": ("200 OK", [("X-A", "1\r\nX-Injected: 1")]),
    "LF in value": ("200 OK", [("X-A", "1\nX-Injected: 1")]),
    "CR in value": ("200 OK", [("X-A", "1\rX-Injected: 1")]),
    "NUL in value": ("200 OK", [("X-A", "1\x00X-Injected")]),
    "DEL in value": ("200 OK", [("X-A", "X-Injected\x7f")]),
    "value ends in LF": ("200 OK", [("X-A", "X-Injected\n")]),
    "beyond latin-1 in value": ("200 OK", [("X-A", "X-Injected \u20ac")]),
    "CRLF in name": ("200 OK", [("X-A: 1\r\nX-Injected", "1")]),
    "NUL in name": ("200 OK", [("X-Injected\x00", "1")]),
    "space in name": ("200 OK", [("X-Injected ", "1")]),
    "colon in name": ("200 OK", [("X-Injected:", "1")]),
    "empty name": ("200 OK", [("", "X-Injected")]),
    "beyond ASCII in name": ("200 OK", [("X-Injected-\xe9", "1")]),
    "CRLF in status": ("200 OK\r\nX-Injected: 1", []),
    "LF in status": ("200 OK\nX-Injected: 1", []),
    "NUL in status": ("200 X-Injected\x00", []),
    "status without code": ("X-Injected", []),
    "status of four digits": ("2000 X-Injected", []),
    "code without a space": ("200X-Injected", []),
    "status not str": (b"200 X-Injected", []),
    "status an int": (200, []),
    "value not str": ("200 OK", [("X-Injected", 1)]),
    "value bytes": ("200 OK", [("X-A", b"X-Injected")]),
    "name bytes": ("200 OK", [(b"X-Injected", "1")]),
    "headers not a list": ("200 OK", (("X-Injected", "1"),)),
    "header not a pair": ("200 OK", [("X-Injected",)]),
    "Content-Length not a number": ("200 OK", [("Content-Length", "X-Injected")]),
    "Content-Length negative": ("200 OK", [("Content-Length", "-1"), ("X-Injected", "")]),
    "two Content-Lengths": ("200 OK", [("Content-Length", "1"), ("Content-Length", "7")]),
}


@pytest.mark.parametrize("case", BAD_HEADS)
def test_bad_head_is_a_500(serve: Serve, case: str) -> None:
    """Nothing of it reaches the client (response splitting), and the log names the cause."""
    status, headers = BAD_HEADS[case]

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, headers)
        return [b"x"]

    server = serve(app)
    with server.connect() as sock:
        response = exchange(sock, GET)
        assert response.status == 500
        assert read_to_eof(sock) == b""
    everything = repr((response.headers, response.body))
    assert "Injected" not in everything
    assert "Traceback" in server.wait_for_log("Traceback")


@pytest.mark.parametrize(
    "name",
    ["Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Upgrade", "Trailers"],
)
def test_hop_by_hop_fields_of_the_app_do_not_break_framing(serve: Serve, name: str) -> None:
    """PEP 3333 ("Other HTTP Features") forbids them to apps; they are the server's."""
    value = {"Transfer-Encoding": "chunked", "Connection": "keep-alive"}.get(name, "x")
    with serve(answer(b"whole body", headers=[(name, value)])).connect() as sock:
        for _ in range(2):
            assert exchange(sock, GET).body == b"whole body"


def test_connection_close_of_the_app_is_honoured(serve: Serve) -> None:
    with serve(answer(b"x", headers=[("Connection", "close")])).connect() as sock:
        assert exchange(sock, GET).closes
        assert read_to_eof(sock) == b""


def test_write_before_the_iterable(serve: Serve) -> None:
    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"written, ")
        write(b"")
        write(b"again, ")
        return [b"returned"]

    with serve(app).connect() as sock:
        for _ in range(2):
            assert exchange(sock, GET).body == b"written, again, returned"


def test_write_is_sent_when_it_is_called(serve: Serve) -> None:
    """The client has the first part before the app goes on."""
    seen = threading.Event()

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Length", "10")])
        write(b"early")
        assert seen.wait(BODY_WAIT)
        return [b" late"]

    with serve(app).connect() as sock:
        sock.sendall(GET)
        read_until(sock, b"\r\n\r\nearly")
        seen.set()
        read_until(sock, b" late")


def test_write_of_no_bytes_is_a_500(serve: Serve) -> None:
    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])("text")  # type: ignore[arg-type]
        return []

    server = serve(app)
    assert server.ask(GET).status == 500
    assert "TypeError" in server.wait_for_log("Traceback")


def test_exc_info_replaces_the_head(serve: Serve) -> None:
    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("X-Old", "1"), ("Content-Length", "999")])
        try:
            raise ValueError("changed its mind")
        except ValueError:
            start_response("503 Sorry", [("X-New", "1")], sys.exc_info())
        return [b"sorry"]

    response = serve(app).ask(GET)
    assert (response.status, response.reason, response.body) == (503, b"Sorry", b"sorry")
    assert response.one(b"x-old") is None
    assert response.one(b"x-new") == b"1"


def test_exc_info_after_the_head_raises_it_again(serve: Serve) -> None:
    """The client sees a truncated response, and the app's exception is in the log."""

    def app(_environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        try:
            raise ValueError("too late")
        except ValueError:
            start_response("500 Oops", [], sys.exc_info())
        yield b"never"

    server = serve(app)
    with server.connect() as sock, pytest.raises(TruncatedError) as caught:
        exchange(sock, GET)
    assert caught.value.partial is not None
    assert caught.value.partial.body == b"begun"
    assert "ValueError: too late" in server.wait_for_log("Traceback")


def test_second_start_response_without_exc_info_is_a_500(serve: Serve) -> None:
    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        start_response("201 Again", [])
        return [b"x"]

    server = serve(app)
    assert server.ask(GET).status == 500
    assert "AssertionError" in server.wait_for_log("Traceback")


def test_start_response_called_at_the_first_item(serve: Serve) -> None:
    """PEP 3333: "before the iterable yields its first body bytestring" is early enough."""

    def app(_environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        yield b""
        start_response("202 Late", [("X-Late", "1")])
        yield b"body"

    response = serve(app).ask(GET)
    assert (response.status, response.one(b"x-late"), response.body) == (202, b"1", b"body")
