"""A remembered head is what a fresh parser makes of it: never somebody else's values, nothing that
changes a connection, bounded however many different heads come."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import LiveServer, Serve, exchange

from poolhttp.fields import FieldPolicy
from poolhttp.request import Request
from poolhttp.service import LINE_SIZE, LINES, SECTION_SIZE, SECTIONS, Profile
from poolhttp.settings import Settings

from .parsing import BASE, Parsed, new_parser, one, outcomes

STRANGE = ("REMOTE_PORT", "REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT")


def _profile() -> Profile:
    return Profile(BASE, FieldPolicy(Settings(), trusted=False))


def _recall(profile: Profile, data: bytes) -> Parsed | None:
    """What a connection asks: the whole head, then its halves."""
    known = profile.heads.get(data)
    if known is None:
        known = profile.recall(data)
        return None if known is None else _detach(known[0], known[1])
    return _detach(known[0], known[1].copy())


def _detach(request: Request, environ: dict[str, Any]) -> Parsed:
    assert request.body is None
    assert request.simple
    return Parsed(environ, request.http11, request.keep_alive, request.expect_continue, None)


def _remember(profile: Profile, data: bytes) -> None:
    request, rest = new_parser().feed(data)
    assert request is not None
    assert not rest
    if request.memorable:
        profile.remember(data, request)


def _head(line: str = "GET / HTTP/1.1", *fields: str) -> bytes:
    return "\r\n".join([line, "Host: h", *fields, "", ""]).encode("latin-1")


def _sizes(profile: Profile) -> dict[str, int]:
    return {
        name: len(value) for name, value in vars(profile).items() if isinstance(value, (dict, set))
    }


# Through a server: the app sees what a fresh parser sees

lines = st.sampled_from(
    ("GET /a HTTP/1.1", "GET /b HTTP/1.1", "GET /b?q HTTP/1.1", "GET /%61 HTTP/1.1",
     "GET http://h/a HTTP/1.1", "OPTIONS * HTTP/1.1", "POST /a HTTP/1.1")
)  # fmt: skip
sections = st.lists(
    st.sampled_from(
        ("X: 1", "X: 2", "x: 1", "X-Secret: ann", "X-Secret: bob", "Cookie: s=1", "Cookie: s=2",
         "Connection: keep-alive", "X: \xe4", "Accept:", "Upgrade: x", "X_Y: 1")
    ),
    max_size=3,
)  # fmt: skip
starts = st.sampled_from(("", "", "", "\r\n"))


def _show(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The strings of the environ, but those that say who asks."""
    seen = {k: v for k, v in environ.items() if isinstance(v, str) and k not in STRANGE}
    body = repr(sorted(seen.items())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture(scope="module")
def shown(serve_module: Serve) -> LiveServer:
    """One server for all examples, so that it remembers more and more."""
    return serve_module(_show)


def _ask(sock: socket.socket, data: bytes) -> str:
    method = data.lstrip().split(b" ", 1)[0].decode()
    response = exchange(sock, data, method)
    assert response.status == 200
    return response.body.decode()


@given(st.lists(st.tuples(starts, lines, sections), min_size=2, max_size=6))
def test_the_app_sees_what_a_fresh_parser_sees(
    shown: LiveServer, drawn: list[tuple[str, str, list[str]]]
) -> None:
    """Each head comes three times: parsed, kept, and recalled."""
    with shown.connect() as sock:
        for _ in range(3):
            for start, line, fields in drawn:
                data = start.encode() + _head(line, *fields)
                (expected,) = outcomes(data)
                environ = {**expected.environ, "SERVER_SOFTWARE": "poolhttp"}  # type: ignore[union-attr]
                seen = {k: v for k, v in environ.items() if isinstance(v, str)}
                assert _ask(sock, data) == repr(sorted(seen.items()))


def test_an_empty_line_before_the_request_is_no_half(serve: Serve) -> None:
    """RFC 9112 section 2.2 allows it; the first CRLF then doesn't end the request line."""
    server = serve(_show)
    with server.connect() as sock:
        for path in ("/a", "/b") * 4:
            assert f"('RAW_URI', '{path}')" in _ask(sock, b"\r\n" + _head(f"GET {path} HTTP/1.1"))


def test_a_split_empty_line_teaches_nothing_wrong(serve: Serve) -> None:
    """A bare LF before a request is refused, also when a CR came before it in other connections."""
    server = serve(_show)
    for _ in range(4):
        with server.connect() as sock:
            sock.sendall(b"\r")
            _ask(sock, b"\n" + _head())
    assert server.ask(b"\n" + _head()).status == 400
    server.log_text()


# The memory itself

names = st.text("abcXYZ-0", min_size=1, max_size=8).filter(
    lambda name: name.lower() not in {"te", "host"}
)
values = st.text([*map(chr, range(0x21, 0x7F)), *map(chr, range(0xA0, 0x100))], max_size=12)
generated = st.tuples(
    st.text("abc/%41?&=.~", max_size=12), st.lists(st.tuples(names, values), max_size=5)
).map(lambda drawn: _head(f"GET /{drawn[0]} HTTP/1.1", *(f"{n}: {v}" for n, v in drawn[1])))


@given(st.lists(generated, min_size=1, max_size=5), st.data())
def test_a_recalled_head_equals_a_parsed_one(heads: list[bytes], data: st.DataObject) -> None:
    """Also a head of the line of one and the fields of another."""
    profile = _profile()
    for head in data.draw(st.permutations(heads * 3)):
        _remember(profile, head)
    for first in heads:
        for second in heads:
            line, section = first.partition(b"\r\n")[0], second.partition(b"\r\n")[2]
            mixed = line + b"\r\n" + section
            found = _recall(profile, mixed)
            assert found is not None
            assert found == one(mixed)
            assert _recall(profile, mixed) == found, "also from whole heads"


@given(generated, st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_what_is_not_exactly_known_is_not_recalled(head: bytes, at: int, inserted: bytes) -> None:
    profile = _profile()
    for _ in range(3):
        _remember(profile, head)
    assert _recall(profile, head) is not None
    other = head[:at] + inserted + head[at:]
    found = _recall(profile, other)
    if found is not None:
        assert found == one(other)
    assert _recall(profile, head + head) is None
    assert _recall(profile, head[:-1]) is None


NOT_REMEMBERED = (
    _head("POST / HTTP/1.1", "Content-Length: 0"),
    _head("GET / HTTP/1.1", "Content-Length: 0"),
    _head("GET / HTTP/1.1", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    _head("GET / HTTP/1.1", "Expect: 100-continue"),
    _head("GET / HTTP/1.1", "Upgrade: x"),
    _head("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: x"),
    _head("GET / HTTP/1.1", "Connection: x"),
    _head("GET / HTTP/1.0"),
    _head("GET / HTTP/1.0", "Connection: keep-alive"),
    _head("HEAD / HTTP/1.1"),
    _head("DELETE / HTTP/1.1"),
    _head("OPTIONS * HTTP/1.1"),
    _head("GET http://h/ HTTP/1.1"),
    _head("GET /" + "a" * LINE_SIZE + " HTTP/1.1"),
    _head("GET / HTTP/1.1", "X: " + "a" * SECTION_SIZE),
)


@pytest.mark.parametrize("data", NOT_REMEMBERED)
def test_what_is_special_is_not_remembered(data: bytes) -> None:
    profile = _profile()
    for _ in range(5):
        _remember(profile, data)
    assert _recall(profile, data) is None


def test_who_closes_is_recalled_as_one_who_closes() -> None:
    profile = _profile()
    head = _head("GET / HTTP/1.1", "Connection: close")
    for _ in range(3):
        _remember(profile, head)
        _remember(profile, _head())
    for _ in range(3):
        closing, keeping = _recall(profile, head), _recall(profile, _head())
        assert closing is None or closing == one(head)
        assert keeping == one(_head())


def test_a_head_is_recalled_the_third_time() -> None:
    profile = _profile()
    for _ in range(2):
        assert _recall(profile, _head()) is None
        _remember(profile, _head())
    assert _recall(profile, _head()) is not None


def test_what_the_app_does_to_its_environ_stays_there() -> None:
    profile = _profile()
    for _ in range(2):
        _remember(profile, _head())
    for _ in range(4):
        found = _recall(profile, _head())
        assert found is not None
        environ = found.environ
        assert "mine" not in environ
        environ["mine"] = "app's"
        environ["HTTP_HOST"] = "changed"
        del environ["PATH_INFO"]


def test_a_flood_of_different_heads_is_bounded() -> None:
    profile = _profile()
    for i in range(6000):
        data = _head(f"GET /{i} HTTP/1.1", f"X: {i}")
        for _ in range(3):
            if _recall(profile, data) is None:
                _remember(profile, data)
    sizes = _sizes(profile)
    assert sizes
    assert max(sizes.values()) <= max(LINES, SECTIONS)


def test_a_flood_does_not_end_remembering_for_ever() -> None:
    profile = _profile()
    for i in range(2000):
        data = _head(f"GET /{i} HTTP/1.1")
        if _recall(profile, data) is None:
            _remember(profile, data)
    recalled = 0
    for _ in range(2000):
        if _recall(profile, _head()) is None:
            _remember(profile, _head())
        else:
            recalled += 1
    assert recalled > 1000


def test_forget_is_for_good() -> None:
    """A stopping server must parse each head, to answer with ``Connection: close``."""
    profile = _profile()
    for _ in range(3):
        _remember(profile, _head())
        _recall(profile, _head())
    profile.forget()
    for _ in range(5):
        assert _recall(profile, _head()) is None
        _remember(profile, _head())
