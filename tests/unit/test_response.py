"""A response head holds nothing that could end a line, and says exactly one thing about where the
body ends (RFC 9112 sections 6 and 7, RFC 9110 sections 5.5 and 8.6)."""

from __future__ import annotations

from typing import Any

import pytest

from poolhttp.response import (
    HOP_BY_HOP,
    Framing,
    Head,
    HeadCache,
    HeadError,
    check_field,
    check_status,
    choose_framing,
    connection_line,
    error_response,
)

DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
TOKEN = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
CHARS = [chr(code) for code in (*range(0x120), 0x2028, 0x1F600)]
TEXT = {"\t", *map(chr, range(0x20, 0x7F)), *map(chr, range(0x80, 0x100))}


def _head(status: str = "200 OK", *headers: tuple[str, str]) -> Head:
    return Head(status, list(headers), b"Server: s\r\n")


def _fields(head: Head) -> list[bytes]:
    return head.fields.split(b"\r\n")[:-1]


# What may be in a head


@pytest.mark.parametrize("char", CHARS)
def test_each_character_of_a_name(char: str) -> None:
    name = f"X{char}Y"
    if char in TOKEN:
        assert check_field(name, "v") == name
    else:
        with pytest.raises(HeadError):
            check_field(name, "v")


@pytest.mark.parametrize("char", CHARS)
def test_each_character_of_a_value(char: str) -> None:
    if char in TEXT:
        assert check_field("X", f"a{char}b") == "X"
    else:
        with pytest.raises(HeadError) as caught:
            check_field("X", f"secret{char}b")
        assert "secret" not in str(caught.value), "the value is not for the log"


@pytest.mark.parametrize("char", CHARS)
def test_each_character_of_a_status(char: str) -> None:
    status = f"200 a{char}b"
    if char in TEXT:
        assert check_status(status) == status
    else:
        with pytest.raises(HeadError):
            check_status(status)


@pytest.mark.parametrize(
    "status", ["", "200OK", "20 OK", "2000 OK", "OK", " 200 OK", "200\tOK", "-20 OK", "099 OK",
               "٢٠٠ OK", "200 OK\r\nX: y", b"200 OK", 200, None]
)  # fmt: skip
def test_a_malformed_status_is_refused(status: Any) -> None:
    with pytest.raises(HeadError):
        check_status(status)


@pytest.mark.parametrize("status", ["200 OK", "204 ", "200", "999 Odd reason", "404 Pas trouv\xe9"])
def test_a_status_is_three_digits_and_a_reason(status: str) -> None:
    encoded = _head(status).encode(True, b"", b"", DATE)
    assert encoded.startswith(b"HTTP/1.1 " + status[:3].encode() + b" ")


@pytest.mark.parametrize(
    ("name", "value"), [("", "v"), (b"X", "v"), ("X", b"v"), ("X", 1), (None, "v"), ("X", None)]
)
def test_a_field_is_two_strings(name: Any, value: Any) -> None:
    with pytest.raises(HeadError):
        check_field(name, value)


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP - {"connection", "upgrade"}))
def test_hop_by_hop_fields_are_ours(name: str) -> None:
    assert _fields(_head("200 OK", (name.title(), "x"), ("X", "y"))) == [b"X: y"]


def test_only_one_server_and_one_date() -> None:
    head = _head("200 OK", ("server", "mine"), ("DATE", "never"))
    encoded = head.encode(True, b"", b"", DATE)
    assert encoded == b"HTTP/1.1 200 OK\r\n" + DATE + b"server: mine\r\n\r\n"


def test_a_head_is_encoded_in_this_order() -> None:
    encoded = _head("200 OK", ("X", " y ")).encode(False, b"C: c\r\n", b"F: f\r\n", DATE)
    assert encoded == b"HTTP/1.0 200 OK\r\nServer: s\r\n" + DATE + b"C: c\r\nF: f\r\nX: y\r\n\r\n"


@pytest.mark.parametrize("length", ["0", "5", " 5 ", "007"])
def test_a_content_length(length: str) -> None:
    head = _head("200 OK", ("Content-Length", length))
    assert head.content_length == int(length)
    assert _fields(head) == [b"Content-Length: %d" % int(length)]


@pytest.mark.parametrize("length", ["", "-1", "+1", "1.0", "1,1", "a", "٣", "1" * 20, "1_0"])
def test_a_malformed_content_length_is_refused(length: str) -> None:
    with pytest.raises(HeadError):
        _head("200 OK", ("Content-Length", length))


def test_two_content_lengths_are_refused() -> None:
    with pytest.raises(HeadError):
        _head("200 OK", ("Content-Length", "1"), ("content-length", "1"))


@pytest.mark.parametrize("status", ["101 Switching", "204 No Content"])
def test_without_a_body_there_is_no_length(status: str) -> None:
    """RFC 9110 section 8.6: MUST NOT in 1xx and 204."""
    assert _fields(_head(status, ("Content-Length", "5"))) == []


def test_a_304_keeps_its_length() -> None:
    """RFC 9110 section 8.6: it may say what a 200 would have had."""
    assert _fields(_head("304 Not Modified", ("Content-Length", "5"))) == [b"Content-Length: 5"]


@pytest.mark.parametrize("value", ["close", "Close", "keep-alive, close", "close , x"])
def test_the_app_may_close(value: str) -> None:
    head = _head("200 OK", ("Connection", value))
    assert head.close
    assert _fields(head) == []


def test_the_app_may_upgrade() -> None:
    head = _head("101 Switching Protocols", ("Connection", "Upgrade"), ("Upgrade", "x"))
    assert head.upgrade
    assert _fields(head) == [b"Upgrade: x"]
    assert _fields(_head("200 OK", ("Upgrade", "x"))) == []


# Framing: every combination of method, status class, declared length, known length and version

N, L, H, C = Framing.NONE, Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: 7\r\n"
ZERO = b"Content-Length: 0\r\n"

FRAMING: dict[tuple[str, str, str, str, str], tuple[Framing, int, bytes]] = {
    # method, status, declared, known, version
    ("GET", "with body", "declared", "known", "1.1"): (L, 5, b""),
    ("GET", "with body", "declared", "known", "1.0"): (L, 5, b""),
    ("GET", "with body", "declared", "empty", "1.1"): (L, 5, b""),
    ("GET", "with body", "declared", "empty", "1.0"): (L, 5, b""),
    ("GET", "with body", "declared", "unknown", "1.1"): (L, 5, b""),
    ("GET", "with body", "declared", "unknown", "1.0"): (L, 5, b""),
    ("GET", "with body", "undeclared", "known", "1.1"): (L, 7, LENGTH),
    ("GET", "with body", "undeclared", "known", "1.0"): (L, 7, LENGTH),
    ("GET", "with body", "undeclared", "empty", "1.1"): (L, 0, ZERO),
    ("GET", "with body", "undeclared", "empty", "1.0"): (L, 0, ZERO),
    ("GET", "with body", "undeclared", "unknown", "1.1"): (H, 0, CHUNKED),
    ("GET", "with body", "undeclared", "unknown", "1.0"): (C, 0, b""),
    ("HEAD", "with body", "declared", "known", "1.1"): (N, 0, b""),
    ("HEAD", "with body", "declared", "known", "1.0"): (N, 0, b""),
    ("HEAD", "with body", "declared", "empty", "1.1"): (N, 0, b""),
    ("HEAD", "with body", "declared", "empty", "1.0"): (N, 0, b""),
    ("HEAD", "with body", "declared", "unknown", "1.1"): (N, 0, b""),
    ("HEAD", "with body", "declared", "unknown", "1.0"): (N, 0, b""),
    ("HEAD", "with body", "undeclared", "known", "1.1"): (N, 0, LENGTH),
    ("HEAD", "with body", "undeclared", "known", "1.0"): (N, 0, LENGTH),
    ("HEAD", "with body", "undeclared", "empty", "1.1"): (N, 0, b""),
    ("HEAD", "with body", "undeclared", "empty", "1.0"): (N, 0, b""),
    ("HEAD", "with body", "undeclared", "unknown", "1.1"): (N, 0, CHUNKED),
    ("HEAD", "with body", "undeclared", "unknown", "1.0"): (N, 0, b""),
    **{
        (method, "bodiless", declared, known, version): (N, 0, b"")
        for method in ("GET", "HEAD")
        for declared in ("declared", "undeclared")
        for known in ("known", "empty", "unknown")
        for version in ("1.1", "1.0")
    },
}
STATUSES = {"with body": ("200 OK", "404 Not Found", "500 Oops", "206 Partial", "205 Reset"),
            "bodiless": ("101 Switching", "204 No Content", "304 Not Modified")}  # fmt: skip
KNOWN = {"known": 7, "empty": 0, "unknown": None}


def test_the_table_is_complete() -> None:
    assert len(FRAMING) == 2 * 2 * 2 * 3 * 2


@pytest.mark.parametrize(("case", "expected"), FRAMING.items())
def test_the_framing_is_what_the_table_says(
    case: tuple[str, str, str, str, str], expected: tuple[Framing, int, bytes]
) -> None:
    method, kind, declared, known, version = case
    headers = [("Content-Length", "5")] if declared == "declared" else []
    for status in STATUSES[kind]:
        found = choose_framing(_head(status, *headers), method, version == "1.1", KNOWN[known])
        assert found == expected, status


@pytest.mark.parametrize(
    ("http11", "keep_alive", "upgrade", "expected"),
    [
        (True, True, False, b""),
        (True, False, False, b"Connection: close\r\n"),
        (False, True, False, b"Connection: keep-alive\r\n"),
        (False, False, False, b"Connection: close\r\n"),
        (True, False, True, b"Connection: upgrade\r\n"),
        (True, True, True, b"Connection: upgrade\r\n"),
    ],
)
def test_the_connection_line(
    http11: bool, keep_alive: bool, upgrade: bool, expected: bytes
) -> None:
    assert connection_line(http11, keep_alive, upgrade) == expected


# The server's own answers


@pytest.mark.parametrize("code", [400, 403, 408, 413, 414, 417, 431, 500, 501, 503, 507])
def test_an_error_response_is_whole(code: int) -> None:
    answer = error_response(code, "details", DATE)
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 %d " % code)
    assert b"Connection: close" in lines
    assert b"Content-Length: %d" % len(body) in lines
    assert DATE.rstrip() in lines
    assert b"details" in body
    assert error_response(code, "details", DATE, head_only=True) == head + b"\r\n\r\n"


@pytest.mark.parametrize("char", ["<", ">", "&", '"', "'"])
def test_an_error_response_escapes(char: str) -> None:
    """The detail may quote the request (CWE-79)."""
    body = error_response(400, f"<b>{char}\ud800é", b"").partition(b"\r\n\r\n")[2]
    detail = body.partition(b"<p>")[2].partition(b"</p>")[0]
    assert b"<" not in detail
    assert char == "&" or char.encode() not in detail
    assert "é".encode() in detail


# The cache


def test_a_known_head_is_found_again_and_stays_as_it_was() -> None:
    cache = HeadCache("s")
    headers = [("X", "1")]
    first = cache.find("200 OK", headers)
    headers.append(("X", "2"))
    assert cache.find("200 OK", [("X", "1")]) is first
    assert first.headers == [("X", "1")]
    assert cache.find("200 OK", headers) is not first


def test_the_cache_is_bounded() -> None:
    cache = HeadCache("", limit=8)
    for i in range(100):
        cache.find("200 OK", [("X", str(i))])
    sizes = [len(each) for each in vars(cache).values() if isinstance(each, dict)]
    assert sizes
    assert max(sizes) <= 8


@pytest.mark.parametrize("headers", [[("Set-Cookie", "a")], [("X", "y" * 2000)]])
def test_what_is_another_each_time_is_not_kept(headers: list[tuple[str, str]]) -> None:
    cache = HeadCache("")
    assert cache.find("200 OK", headers) is not cache.find("200 OK", headers)


@pytest.mark.parametrize(
    "headers", [(("X", "1"),), iter([("X", "1")]), [["X", "1"]], [("X",)], ["XY"], None, {"X": "1"}]
)
def test_headers_are_a_list_of_pairs(headers: Any) -> None:
    """PEP 3333, also if an equal list was seen before."""
    cache = HeadCache("")
    cache.find("200 OK", [("X", "1")])
    with pytest.raises(HeadError):
        cache.find("200 OK", headers)
