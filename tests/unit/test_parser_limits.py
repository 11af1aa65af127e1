"""Every limit holds at exactly n and refuses n + 1, however the bytes arrive; each refusal has its
status (RFC 9110 sections 15.5.14, 15.5.15, RFC 6585 section 5)."""

from __future__ import annotations

from typing import Any

import pytest

from .parsing import INVALID, Parsed, outcomes, status

HOST = b"Host: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def _line(nbytes: int) -> bytes:
    """A request whose line has that many bytes without its CRLF."""
    return b"GET /" + b"x" * (nbytes - len("GET / HTTP/1.1")) + b" HTTP/1.1\r\n" + HOST + b"\r\n"


def _fields(count: int) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * (count - 1) + b"\r\n"


def _field(nbytes: int) -> bytes:
    """A request with a field whose line has that many bytes with its CRLF."""
    return b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * (nbytes - 5) + b"\r\n\r\n"


def _body(nbytes: int) -> bytes:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % nbytes
    return head + b"x" * nbytes


def _chunks(nbytes: int) -> bytes:
    coded = b"".join(b"1\r\nx\r\n" for _ in range(nbytes))
    return b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n" + coded + b"0\r\n\r\n"


LIMITS = (
    (_line, {"limit_request_line": 40}, 40, 414),
    (_line, {"limit_request_line": 0}, 8190, 414),
    (_line, {"limit_request_line": 100_000}, 8190, 414),
    (_fields, {"limit_request_fields": 7}, 7, 431),
    (_fields, {"limit_request_fields": 1}, 1, 431),
    (_field, {"limit_request_field_size": 50}, 50, 431),
    (_field, {"limit_request_field_size": 0}, 8190, 431),
    (_body, {"max_body": 10}, 10, 413),
    (_chunks, {"max_body": 10}, 10, 413),
)


@pytest.mark.parametrize(("build", "settings", "limit", "refusal"), LIMITS)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_limit_is_exact(
    build: Any, settings: dict[str, Any], limit: int, refusal: int, step: int
) -> None:
    for nbytes, expected in ((limit - 1, 200), (limit, 200), (limit + 1, refusal)):
        if nbytes < 1:
            continue
        data = build(nbytes)
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        assert status(*pieces, **settings) == expected, nbytes


def test_no_limit_of_fields_is_the_ceiling() -> None:
    assert status(_fields(32768), limit_request_fields=0) == 200
    assert status(_fields(32769), limit_request_fields=0) == 431


def test_no_limit_of_the_body() -> None:
    assert status(_body(5000), max_body=0) == 200
    assert status(_chunks(500), max_body=0) == 200
    huge = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9223372036854775807\r\n\r\n"
    assert outcomes(huge, max_body=0) == []


@pytest.mark.parametrize(
    ("start", "refusal"),
    [(b"GET /", 414), (b"GET / HTTP/1.1\r\nX: ", 431), (b"GET / HTTP/1.1\r\nX", 431)],
)
def test_what_never_ends_is_refused_at_a_bound(start: bytes, refusal: int) -> None:
    """An endless value makes no callback, so the bytes themselves are counted."""
    settings = {
        "limit_request_line": 100,
        "limit_request_fields": 3,
        "limit_request_field_size": 100,
    }
    bound = 102 + 3 * 102 + 4
    endless = [b"A" * 10] * (bound // 10 + 2)
    assert status(start, *endless, **settings) == refusal


@pytest.mark.parametrize("extension", [b";" + b"a" * 5000, b";a" * 2500])
def test_chunk_extensions_are_bounded(extension: bytes) -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n"
    assert status(head, b"1" + extension + b"\r\n", limit_request_field_size=1000) == 400


def test_many_small_extensions_are_bounded() -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n"
    chunk = b"1;" + b"a" * 100 + b"\r\nx\r\n"
    assert status(head, *[chunk] * 1000) == 400


def test_trailers_are_bounded() -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n"
    assert status(head, b"0\r\n", *[b"X: y\r\n"] * 10_000) == 400


def test_many_small_chunks_are_no_attack() -> None:
    """RFC 9112 section 7.1 allows chunks of one byte."""
    head = b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n"
    (found,) = outcomes(head, *[b"1\r\nx\r\n"] * 20_000, b"0\r\n\r\n")
    assert isinstance(found, Parsed)
    assert found.body == b"x" * 20_000


def test_the_statuses_are_these() -> None:
    """All that the parser can answer, 500 aside, is in the literal lists."""
    assert {each for each, _ in INVALID} | {each[3] for each in LIMITS} == {
        400,
        413,
        414,
        417,
        431,
        501,
    }


def test_a_path_outside_script_name_is_the_operators_fault() -> None:
    data = b"GET /b HTTP/1.1\r\n" + HOST + b"\r\n"
    assert status(data, script_name="/a") == 500
    assert status(data, script_name="/b") == 200
