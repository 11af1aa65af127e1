"""Host and request target: RFC 9110 section 7.2 and RFC 9112 section 3.2, and their variables."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhttp import target
from poolhttp.errors import RequestError
from poolhttp.target import check_host, split_target

GOOD_HOSTS = (
    "", "a", "example.com", "EXAMPLE.com:80", "a:", ":80", "127.0.0.1:65535", "[::1]",
    "[::1]:8000", "[2001:db8::1]:", "[::ffff:1.2.3.4]", "[v1.fe80::a+en1]", "a%20b",
    "xn--bcher-kva.example", "a_b", "!$&'()*+,;=",
)  # fmt: skip
BAD_HOSTS = (
    " a", "a ", "a b", "a/b", "a?b", "a#b", "user@a", "a:b", "a:80:80", "[::1", "::1", "[::1]a",
    "[g]", "a\x00", "a\nb", "a\n", "a%2", "a%zz", "ä", "a:٣", "[]", "a\\b", '"a"', "<a>", "[v.x]",
)  # fmt: skip

FORMS: tuple[tuple[str, bytes, str, str], ...] = (
    ("GET", b"/", "/", ""),
    ("GET", b"/a/b?c=d&e", "/a/b", "c=d&e"),
    ("GET", b"/a?b?c", "/a", "b?c"),
    ("GET", b"/?", "/", ""),
    ("GET", b"/a%20b%2Fc?d%20e", "/a b/c", "d%20e"),
    ("GET", b"/%C3%A4", "/\xc3\xa4", ""),
    ("GET", b"/%zz%", "/%zz%", ""),
    ("GET", b"//a//b", "//a//b", ""),
    ("GET", b"/a#b?c", "/a", ""),
    ("GET", b"/a?b#c", "/a", "b"),
    ("GET", b"http://h/a?b", "/a", "b"),
    ("GET", b"http://h:80/a%20b", "/a b", ""),
    ("GET", b"HTTPS://h/", "/", ""),
    ("OPTIONS", b"*", "*", ""),
    ("OPTIONS", b"/", "/", ""),
    ("CONNECT", b"h:443", "", ""),
    ("CONNECT", b"[::1]:443", "", ""),
)
BAD_FORMS = (
    ("GET", b"*"), ("GET", b"a"), ("GET", b"a:1"), ("GET", b"?a"), ("GET", b"/\xc3\xa4"),
    ("GET", b""), ("CONNECT", b"/"), ("CONNECT", b"h"), ("CONNECT", b"h:"),
    ("CONNECT", b"http://h/"), ("CONNECT", b"h:1/a"), ("CONNECT", b"u@h:1"),
    ("GET", b"http://[::1/"), ("GET", b"1http://h/"),
)  # fmt: skip


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_a_good_host(host: str) -> None:
    assert check_host(host)
    assert check_host(host), "also when it is known"


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_a_bad_host(host: str) -> None:
    assert not check_host(host)
    assert not check_host(host)


def test_known_hosts_are_bounded() -> None:
    for i in range(3000):
        assert check_host(f"host{i}.example")
    tables = [each for each in vars(target).values() if isinstance(each, set)]
    assert tables
    assert all(len(each) <= 512 for each in tables)


@pytest.mark.parametrize(("method", "raw", "path", "query"), FORMS)
def test_a_target_in_a_good_form(method: str, raw: bytes, path: str, query: str) -> None:
    environ: dict[str, Any] = {}
    split_target(method, raw, environ)
    host = environ.pop("HTTP_HOST", None)
    assert (host is not None) is (b"://" in raw), "absolute form names the host, no other does"
    assert environ == {"RAW_URI": raw.decode(), "PATH_INFO": path, "QUERY_STRING": query}


@pytest.mark.parametrize(("method", "raw"), BAD_FORMS)
def test_a_target_in_a_bad_form(method: str, raw: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        split_target(method, raw, {})
    assert caught.value.status == 400


@given(st.binary(max_size=40))
def test_a_quoted_path_comes_back(path: bytes) -> None:
    """PEP 3333: PATH_INFO is the decoded bytes as latin-1."""
    environ: dict[str, Any] = {}
    split_target("GET", b"/" + quote_from_bytes(path, safe="/").encode(), environ)
    assert environ["PATH_INFO"].encode("latin-1") == b"/" + path


@given(st.text([chr(code) for code in range(0x21, 0x7F) if chr(code) not in "?#"], max_size=40))
def test_any_path_is_unquoted_once(text: str) -> None:
    environ: dict[str, Any] = {}
    split_target("GET", b"/" + text.encode(), environ)
    assert environ["PATH_INFO"].encode("latin-1") == b"/" + unquote_to_bytes(text)


@given(st.sampled_from(("GET", "CONNECT", "OPTIONS")), st.binary(max_size=40))
def test_any_bytes_are_a_target_or_refused(method: str, raw: bytes) -> None:
    environ: dict[str, Any] = {}
    with suppress(RequestError):
        split_target(method, raw, environ)
        assert environ["RAW_URI"].encode() == raw
        assert environ.keys() == {"RAW_URI", "PATH_INFO", "QUERY_STRING"}
