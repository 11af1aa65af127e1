"""Limits of a request: 414, 431 and 413.

RFC 9110 sections 15.5.14 and 15.5.15, RFC 6585 section 5. What is at the limit passes, one byte
more doesn't, and a head without end is refused before it ends.
"""

from __future__ import annotations

from threading import Thread

import pytest
from live import Serve, chunked, exchange, message, read_response, read_to_eof

from .apps import Recorder

NEXT = message("GET /next HTTP/1.1")


def refused(serve: Serve, data: bytes, status: int, **settings: int) -> None:
    """The server answers `data` so, closes, and calls no app."""
    app = Recorder()
    server = serve(app, **settings)
    with server.connect() as sock:
        sender = Thread(target=lambda: send_what_is_taken(sock.sendall, data))
        sender.start()
        response = read_response(sock)
        assert (response.status, response.closes) == (status, True)
        assert read_to_eof(sock) == b""
        sender.join()
    assert app.calls == []
    server.wait_for_log("Invalid request")


def send_what_is_taken(sendall: object, data: bytes) -> None:
    """A server may stop reading once it has refused."""
    assert callable(sendall)
    try:
        sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return


def passes(serve: Serve, data: bytes, **settings: int) -> None:
    """The server answers `data` and what comes next with 200."""
    with serve(Recorder(), **settings).connect() as sock:
        assert exchange(sock, data).status == 200
        assert exchange(sock, NEXT).status == 200


def line_of(nbytes: int) -> str:
    """A request line of that many bytes, without CRLF."""
    return f"GET /{'a' * (nbytes - len('GET / HTTP/1.1'))} HTTP/1.1"


@pytest.mark.parametrize("limit", [100, 4094])
def test_request_line(serve: Serve, limit: int) -> None:
    passes(serve, message(line_of(limit)), limit_request_line=limit)
    refused(serve, message(line_of(limit + 1)), 414, limit_request_line=limit)


def test_request_line_without_end(serve: Serve) -> None:
    refused(serve, b"GET /" + b"a" * 100_000, 414)


def test_method_without_end(serve: Serve) -> None:
    """Any of the statuses will do, but it has to end."""
    with serve(Recorder()).connect() as sock:
        sock.sendall(b"G" * 20_000)
        assert read_response(sock).status in {400, 414, 501}
        assert read_to_eof(sock) == b""


@pytest.mark.parametrize("limit", [1, 10, 100])
def test_number_of_fields(serve: Serve, limit: int) -> None:
    """Host is one of them."""
    fields = [f"X-{i}: v" for i in range(limit)]
    passes(serve, message("GET / HTTP/1.1", *fields[1:]), limit_request_fields=limit)
    refused(serve, message("GET / HTTP/1.1", *fields), 431, limit_request_fields=limit)


def test_number_of_fields_without_end(serve: Serve) -> None:
    refused(serve, message("GET / HTTP/1.1")[:-2] + b"X: y\r\n" * 50_000, 431)


def test_dropped_fields_count_too(serve: Serve) -> None:
    """Names with an underscore don't reach the app, and are bytes all the same."""
    fields = [f"X_{i}: v" for i in range(200)]
    refused(serve, message("GET / HTTP/1.1", *fields), 431)


@pytest.mark.parametrize("limit", [200, 8190])
def test_size_of_a_field(serve: Serve, limit: int) -> None:
    """The field's line with its CRLF; a few bytes of leeway for how a server counts."""
    value = "v" * (limit - len("X: \r\n"))
    passes(serve, message("GET / HTTP/1.1", f"X: {value}"), limit_request_field_size=limit)
    refused(serve, message("GET / HTTP/1.1", f"X: {value}vvv"), 431, limit_request_field_size=limit)


def test_size_of_a_name(serve: Serve) -> None:
    refused(serve, message("GET / HTTP/1.1", f"{'N' * 9000}: v"), 431)


@pytest.mark.parametrize("start", [b"X: ", b"X"])
def test_field_without_end(serve: Serve, start: bytes) -> None:
    """No end of the field is ever seen, so the bytes themselves have to be counted."""
    refused(serve, message("GET / HTTP/1.1")[:-2] + start + b"v" * 2_000_000, 431)


@pytest.mark.parametrize("limit", [10, 100_000])
def test_content_length(serve: Serve, limit: int) -> None:
    """The number is enough; nobody waits for the body."""
    passes(serve, message("POST / HTTP/1.1", body=b"x" * limit), max_body=limit)
    refused(serve, message("POST / HTTP/1.1", body=b"x" * (limit + 1)), 413, max_body=limit)
    head_only = message("POST / HTTP/1.1", f"Content-Length: {limit + 1}")
    refused(serve, head_only, 413, max_body=limit)


@pytest.mark.parametrize("limit", [10, 100_000])
def test_chunked_body(serve: Serve, limit: int) -> None:
    """The decoded bytes count; that the body is too large shows only while it comes."""
    head = message("POST / HTTP/1.1", "Transfer-Encoding: chunked")
    step = limit // 5
    passes(serve, head + chunked(*[b"x" * step] * 5), max_body=limit)
    refused(serve, head + chunked(*[b"x" * step] * 5, b"y"), 413, max_body=limit)


def test_chunked_body_without_end(serve: Serve) -> None:
    head = message("POST / HTTP/1.1", "Transfer-Encoding: chunked")
    refused(serve, head + (b"3e8\r\n" + b"x" * 1000 + b"\r\n") * 300, 413, max_body=10_000)


def test_no_limit_of_the_body(serve: Serve) -> None:
    passes(serve, message("POST / HTTP/1.1", body=b"x" * 3_000_000), max_body=0)


def test_limits_begin_anew_with_each_request(serve: Serve) -> None:
    """Neither lines nor fields nor bodies of a connection add up."""
    line, fields = line_of(90), [f"X-{i}: {'v' * 50}" for i in range(8)]
    data = message(line, *fields, "Transfer-Encoding: chunked") + chunked(b"x" * 90)
    limits = {"limit_request_line": 100, "limit_request_fields": 10, "max_body": 100}
    with serve(Recorder(), limit_request_field_size=100, **limits).connect() as sock:
        sock.sendall(data * 50)
        for _ in range(50):
            assert read_response(sock).status == 200


def test_connections(serve: Serve) -> None:
    """Beyond worker_connections nobody is served until somebody leaves, and then they are."""
    app = Recorder()
    server = serve(app, worker_connections=2)
    first, second, third = (server.connect() for _ in range(3))
    assert exchange(first, message("GET /1 HTTP/1.1")).body == b"1 /1"
    assert exchange(second, message("GET /2 HTTP/1.1")).body == b"2 /2"
    third.sendall(message("GET /3 HTTP/1.1"))
    assert exchange(first, message("GET /1 HTTP/1.1")).body == b"3 /1"
    assert exchange(second, message("GET /2 HTTP/1.1")).body == b"4 /2"
    first.close()
    assert read_response(third).body == b"5 /3"
