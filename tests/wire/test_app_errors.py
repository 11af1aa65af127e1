"""Apps that fail: before their head, after it, in their iterable, or by what they return.

PEP 3333 ("Error Handling"); RFC 9112 section 8 (incomplete messages). A response that was begun can
only be ended so that the client notices; one that was not is a 500.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from live import (
    App,
    Environ,
    Serve,
    StartResponse,
    TruncatedError,
    exchange,
    message,
    read_response,
    read_to_eof,
)

from .apps import Closable, hello

GET = message("GET / HTTP/1.1")


def raises_at_once(_environ: Environ, _start_response: StartResponse) -> Iterable[bytes]:
    raise ZeroDivisionError("in the app")


def raises_after_start_response(
    _environ: Environ, start_response: StartResponse
) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    raise ZeroDivisionError("in the app")


def raises_at_the_first_item(_environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    if _environ:
        raise ZeroDivisionError("in the app")
    yield b""


def raises_after_an_empty_item(_environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b""
    raise ZeroDivisionError("in the app")


def exits(_environ: Environ, _start_response: StartResponse) -> Iterable[bytes]:
    raise SystemExit("the app wants to end the server")


def returns(value: Any) -> App:
    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        result: Iterable[bytes] = value
        return result

    return app


def never_starts(_environ: Environ, _start_response: StartResponse) -> Iterable[bytes]:
    return [b"body"]


def never_starts_and_is_empty(_environ: Environ, _start_response: StartResponse) -> Iterable[bytes]:
    return []


FAILURES: dict[str, tuple[App, str]] = {
    "raises at once": (raises_at_once, "ZeroDivisionError: in the app"),
    "raises after start_response": (raises_after_start_response, "ZeroDivisionError: in the app"),
    "raises at the first item": (raises_at_the_first_item, "ZeroDivisionError: in the app"),
    "raises after an empty item": (raises_after_an_empty_item, "ZeroDivisionError: in the app"),
    "SystemExit": (exits, "SystemExit"),
    "returns None": (returns(None), "TypeError"),
    "returns int": (returns(7), "TypeError"),
    "returns list of str": (returns(["text"]), "TypeError"),
    "returns str": (returns("text"), "TypeError"),
    "returns list of None": (returns([None]), "TypeError"),
    "yields str": (returns(iter(["text"])), "TypeError"),
    "never calls start_response": (never_starts, "start_response"),
    "never calls start_response, empty": (never_starts_and_is_empty, "start_response"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_failure_before_the_first_byte_is_a_500(serve: Serve, failure: str) -> None:
    """With a page that shows nothing of the app, and the traceback in the log."""
    app, logged = FAILURES[failure]
    server = serve(app)
    with server.connect() as sock:
        response = exchange(sock, GET)
        assert response.status == 500
        assert response.one(b"content-length") is not None
        assert response.body
        assert b"in the app" not in response.body
        assert b"Traceback" not in response.body
        if response.closes:
            assert read_to_eof(sock) == b""
    text = server.wait_for_log(logged)
    assert "Traceback" in text or "start_response" in text


def test_server_goes_on_after_failures(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/bad":
            raise ZeroDivisionError
        return hello(environ, start_response)

    server = serve(app)
    for _ in range(5):
        assert server.ask(message("GET /bad HTTP/1.1")).status == 500
        assert server.ask(message("GET /good HTTP/1.1")).body == b"hello /good"
    assert server.log_text().count("ZeroDivisionError") >= 5


def test_failure_of_a_head_request_has_no_body(serve: Serve) -> None:
    """RFC 9110 section 9.3.2: HEAD is answered without content, whatever the status."""
    server = serve(raises_at_once)
    with server.connect() as sock:
        assert exchange(sock, message("HEAD / HTTP/1.1"), "HEAD").status == 500
        assert read_to_eof(sock) == b""
    server.wait_for_log("ZeroDivisionError")


@pytest.mark.parametrize(
    ("framing", "version"),
    [("chunked", "1.1"), ("length", "1.1"), ("length", "1.0"), ("close", "1.0")],
)
def test_exception_in_the_middle_is_visible(serve: Serve, framing: str, version: str) -> None:
    """No final chunk, less than Content-Length, or a reset: never a response that looks whole."""

    def app(_environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "100")] if framing == "length" else [])
        yield b"begun"
        raise ZeroDivisionError("in the app")

    server = serve(app)
    with server.connect() as sock:
        sock.sendall(message(f"GET / HTTP/{version}"))
        with pytest.raises((TruncatedError, ConnectionResetError)) as caught:
            read_response(sock)
    if isinstance(caught.value, TruncatedError):
        assert framing != "close"
        assert caught.value.partial is not None
        assert caught.value.partial.body == b"begun"
    server.wait_for_log("ZeroDivisionError: in the app")


def test_nothing_is_served_behind_a_truncated_response(serve: Serve) -> None:
    """A pipelined request behind it must not be answered into its body."""
    iterable = Closable([b"begun", ZeroDivisionError("in the app")])

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/next":
            return hello(environ, start_response)
        start_response("200 OK", [("Content-Length", "100")])
        return iterable

    server = serve(app)
    with server.connect() as sock:
        sock.sendall(GET + message("GET /next HTTP/1.1"))
        assert b"/next" not in read_to_eof(sock)
    server.wait_for_log("ZeroDivisionError")
    server.stop()
    assert iterable.closed == 1


def test_exception_in_close_is_logged(serve: Serve) -> None:
    """The response is complete; its client has no part in the failure."""

    class Failing(Closable):
        def close(self) -> None:
            super().close()
            raise ZeroDivisionError("in close")

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        return Failing([b"body"])

    server = serve(app)
    assert server.ask(GET).body == b"body"
    server.wait_for_log("ZeroDivisionError: in close")
