"""One header field at a time: its CGI name, what repetition means, and whom to believe
(RFC 9110 sections 5.3 and 6.5.1, RFC 3875 section 4.1.18)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhttp import fields
from poolhttp.errors import RequestError
from poolhttp.fields import FieldPolicy, PeerList, check_trailer, field_key, join_repeated
from poolhttp.settings import Settings

from .parsing import one, status

NAMES = (
    (b"Host", "HTTP_HOST"),
    (b"x-a", "HTTP_X_A"),
    (b"X-A", "HTTP_X_A"),
    (b"Content-Type", "CONTENT_TYPE"),
    (b"content-length", "CONTENT_LENGTH"),
    (b"Content-MD5", "HTTP_CONTENT_MD5"),
    (b"X_A", ""),
    (b"_", ""),
    (b"Content_Length", ""),
)


@pytest.mark.parametrize(("name", "key"), NAMES)
def test_a_name_becomes_a_variable(name: bytes, key: str) -> None:
    assert field_key(name) == key
    assert field_key(name) == key


def test_what_is_known_of_names_is_bounded() -> None:
    """Peers choose them: neither number nor size may grow."""
    for i in range(3000):
        assert field_key(b"X-Flood-%d" % i) == f"HTTP_X_FLOOD_{i}"
        field_key(b"X-" + b"a" * 100 + b"%d" % i)
    field_key(b"x-a")
    tables = [each for each in vars(fields).values() if isinstance(each, dict) and b"x-a" in each]
    assert tables, "also when the table was full, a new name is remembered"
    assert all(len(each) <= 1024 for each in tables)
    assert all(len(name) <= 64 for each in tables for name in each)


@pytest.mark.parametrize("key", ["HTTP_X", "HTTP_ACCEPT", "HTTP_X_FORWARDED_FOR"])
def test_a_repeated_field_is_a_list(key: str) -> None:
    assert join_repeated(key, "a", "b") == "a,b"


def test_cookies_are_joined_as_cookies() -> None:
    """RFC 6265 section 5.4."""
    assert join_repeated("HTTP_COOKIE", "a=1", "b=2") == "a=1; b=2"


@pytest.mark.parametrize("key", ["HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE"])
def test_of_some_fields_there_is_one(key: str) -> None:
    with pytest.raises(RequestError, match="repeated") as caught:
        join_repeated(key, "a", "a")
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "TE", "Trailer"])
def test_a_trailer_cannot_frame_or_route(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_trailer(name.encode())
    assert caught.value.status == 400


def test_any_other_trailer_is_let_be() -> None:
    check_trailer(b"X-Checksum")


@pytest.mark.parametrize(
    ("entries", "inside", "outside"),
    [
        (("127.0.0.1",), "127.0.0.1", "127.0.0.2"),
        (("10.0.0.0/8", "::1"), "10.255.0.1", "11.0.0.1"),
        (("10.0.0.0/8", "::1"), "::1", "::2"),
        (("2001:db8::/32",), "2001:db8::5", "2001:db9::5"),
    ],
)
def test_a_peer_is_listed_or_not(entries: tuple[str, ...], inside: str, outside: str) -> None:
    peers = PeerList(entries)
    assert inside in peers
    assert outside not in peers
    assert "" in peers


def test_everybody_and_nobody() -> None:
    assert "203.0.113.9" in PeerList(("*",))
    assert "127.0.0.1" not in PeerList(())
    with pytest.raises(ValueError, match="nonsense"):
        PeerList(("nonsense",))


@given(st.ip_addresses())
def test_any_address_is_in_its_own_list(address: object) -> None:
    assert str(address) in PeerList((str(address),))


def _policy(*, trusted: bool, **settings: object) -> FieldPolicy:
    return FieldPolicy(Settings(**settings), trusted=trusted)  # type: ignore[arg-type]


def test_underscores_are_dropped_by_default() -> None:
    """``X_A`` and ``X-A`` are the same variable: a peer could overwrite what a proxy has set."""
    policy = _policy(trusted=False)
    assert policy.underscored_key(b"X_A") == ""
    assert policy.underscored_key(b"SCRIPT_NAME") == ""


def test_underscores_can_be_refused_or_let_through() -> None:
    with pytest.raises(RequestError) as caught:
        _policy(trusted=True, header_map="refuse").underscored_key(b"X_A")
    assert caught.value.status == 400
    assert _policy(trusted=False, header_map="dangerous").underscored_key(b"x_a") == "HTTP_X_A"


def test_a_trusted_peer_may_forward_listed_names() -> None:
    policy = _policy(trusted=True, header_map="refuse")
    assert policy.underscored_key(b"script_name") == "HTTP_SCRIPT_NAME"
    anything = _policy(trusted=True, forwarder_headers=("*",))
    assert anything.underscored_key(b"X_A") == "HTTP_X_A"
    assert _policy(trusted=False, forwarder_headers=("*",)).underscored_key(b"X_A") == ""


@pytest.mark.parametrize(
    ("given_fields", "trusted", "scheme"),
    [
        ({}, True, "http"),
        ({"HTTP_X_FORWARDED_PROTO": "https"}, True, "https"),
        ({"HTTP_X_FORWARDED_PROTO": "https"}, False, "http"),
        ({"HTTP_X_FORWARDED_PROTO": "http"}, True, "http"),
        ({"HTTP_X_FORWARDED_SSL": "on", "HTTP_X_FORWARDED_PROTO": "https"}, True, "https"),
    ],
)
def test_the_scheme_is_what_a_trusted_peer_says(
    given_fields: dict[str, str], trusted: bool, scheme: str
) -> None:
    environ = {"wsgi.url_scheme": "http", "PATH_INFO": "/", "SCRIPT_NAME": "", **given_fields}
    _policy(trusted=trusted).apply(environ)
    assert environ["wsgi.url_scheme"] == scheme


def test_schemes_that_disagree_are_refused() -> None:
    environ = {"HTTP_X_FORWARDED_SSL": "on", "HTTP_X_FORWARDED_PROTO": "http"}
    with pytest.raises(RequestError) as caught:
        _policy(trusted=True).apply(environ)
    assert caught.value.status == 400


def test_script_name_is_cut_off_the_path() -> None:
    data = b"GET /app/x?q HTTP/1.1\r\nHost: a\r\n\r\n"
    environ = one(data, script_name="/app").environ
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/app", "/x")
    assert environ["RAW_URI"] == "/app/x?q"


def test_refused_names_are_refused_in_a_request() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX_A: 1\r\n\r\n"
    assert status(data, header_map="refuse") == 400
    assert "HTTP_X_A" not in one(data).environ
    assert one(data, header_map="dangerous").environ["HTTP_X_A"] == "1"
