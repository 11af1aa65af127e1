"""The quick parser of whole heads decides nothing: what it takes, the general parser takes alike,
and what that refuses, it leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhttp.fields import FieldPolicy
from poolhttp.settings import Settings
from poolhttp.wholehead import WholeHeadParser

from .parsing import BASE, INVALID, VALID, Parsed, Refused, detach, feed_all, new_parser

SETTINGS = Settings(limit_request_line=60, limit_request_fields=6, limit_request_field_size=200)
POLICIES = {trusted: FieldPolicy(SETTINGS, trusted=trusted) for trusted in (True, False)}
QUICK = WholeHeadParser(SETTINGS)
"""One for all examples, so that something left of one shows in the next."""

LINES = (
    "GET / HTTP/1.1", "GET /a?b HTTP/1.0", "HEAD /%41 HTTP/1.1", "POST / HTTP/1.1",
    "GET * HTTP/1.1", "OPTIONS * HTTP/1.1", "GET http://h/ HTTP/1.1", "CONNECT h:1 HTTP/1.1",
    "GET  / HTTP/1.1", "GET / HTTP/1.2", "GET / HTTP/2.0", "GET / RTSP/1.1", "SOURCE  / ICE/1.1",
    "get / HTTP/1.1", "GET /#f HTTP/1.1", "GET / HTTP/1.1 ", "GET /\xe4 HTTP/1.1",
    "DELETE /" + "x" * 60 + " HTTP/1.1",
)  # fmt: skip
FIELDS = (
    "Host: h", "Host: i", "host:h", "Host: h h", "Host:", "X: 1", "X: 2", "x: 3", "X:  1 ",
    "X: 1\t", "X:", "X_A: 1", "X-A: 1", "SCRIPT_NAME: /", "Script-Name: /s", "Cookie: a",
    "cookie: b", "Connection: close", "Connection: keep-alive", "Connection: Keep-Alive",
    "Connection: upgrade", "Connection: x, close", "Connection:", "Connection: close ",
    "Proxy-Connection: close", "Proxy-Connection: keep-alive", "Upgrade: x",
    "Expect: 100-continue", "Expect: x", "Content-Length: 0", "Content-Length: 2",
    "Transfer-Encoding: chunked", "Transfer-Encoding: x", "Content-Type: a",
    "X-Forwarded-Proto: https", "X-Forwarded-Ssl: off", "X: \xe4", "X: a\x00", "X : 1", " X: 1",
    "X", ": x", "X: " + "y" * 190, "TE: x",
)  # fmt: skip

heads = st.tuples(
    st.sampled_from(("", "", "", "\r\n", "\n")),
    st.sampled_from(LINES),
    st.lists(st.sampled_from(FIELDS), max_size=8),
    st.sampled_from(("\r\n", "\r\n", "\r\n", "\n")),
    st.sampled_from(("", "", "GET /2 HTTP/1.1\r\n", "ab", "0\r\n\r\n")),
).map(lambda drawn: _head(*drawn))


def _head(start: str, line: str, fields: list[str], ending: str, rest: str) -> bytes:
    lines = "".join(each + ending for each in (line, *fields))
    return (start + lines + "\r\n" + rest).encode("latin-1")


def _compare(data: bytes, trusted: bool) -> bool:
    """Whether the quick parser took it; then it must be what the general parser finds."""
    found = QUICK.parse(data, BASE, POLICIES[trusted])
    general = new_parser(SETTINGS, trusted=trusted)
    if found is None:
        return False
    expected, rest = general.feed(data)
    assert expected is not None
    assert rest == b""
    for name in ("method", "simple", "memorable", "content_length", "chunked"):
        assert getattr(found, name) == getattr(expected, name)
    assert detach(found) == detach(expected)
    return True


@given(heads, st.booleans())
def test_both_parsers_agree(data: bytes, trusted: bool) -> None:
    _compare(data, trusted)


@given(st.lists(heads, min_size=2, max_size=4))
def test_nothing_is_left_for_the_next_head(stream: list[bytes]) -> None:
    for data in stream:
        _compare(data, False)


@given(st.binary(max_size=80))
def test_any_bytes_are_decided_alike(data: bytes) -> None:
    _compare(data, False)
    _compare(data + b"\r\n\r\n", False)


@pytest.mark.parametrize(("status", "data"), INVALID)
def test_what_is_refused_is_left_alone(status: int, data: bytes) -> None:
    """At least in the first message; a fault in a body comes later."""
    assert feed_all(new_parser(SETTINGS), [data]) == [Refused(status)]
    assert QUICK.parse(data, BASE, POLICIES[False]) is None


@pytest.mark.parametrize("data", VALID)
def test_valid_messages(data: bytes) -> None:
    (first, *_) = feed_all(new_parser(SETTINGS), [data])
    assert isinstance(first, Parsed)
    _compare(data, False)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HEAD / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"DELETE /a?b HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n",
    ],
)
def test_a_regular_head_is_taken(data: bytes) -> None:
    assert _compare(data, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 2,
    ],
)
def test_what_is_not_one_head_is_left_alone(data: bytes) -> None:
    assert QUICK.parse(data, BASE, POLICIES[False]) is None
    assert _compare(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", False)
