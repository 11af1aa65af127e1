"""A pooled parser is a new parser: nothing of one message is left for the next, and whatever comes
in, only RequestError comes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhttp.errors import RequestError
from poolhttp.parser import RequestParser

from .parsing import INVALID, VALID, Parsed, Refused, feed_all, new_parser, outcomes

CONFIGURATION = {"_settings", "_http", "_base", "_policy"}
PROBE = b"POST /probe HTTP/1.1\r\nHost: p\r\nContent-Length: 2\r\n\r\nok"


def _slots(parser: RequestParser) -> dict[str, object]:
    """What a parser remembers of a message, by name."""
    names = [*getattr(type(parser), "__slots__", ()), *getattr(parser, "__dict__", ())]
    kept = (each for each in names if each not in CONFIGURATION and not each.startswith("_max_"))
    return {name: getattr(parser, name) for name in kept}


FRESH = _slots(new_parser())


def _assert_fresh(parser: RequestParser) -> None:
    assert _slots(parser) == FRESH
    assert parser.at_start
    assert not parser.in_body
    assert not parser.wants_continue
    assert feed_all(parser, [PROBE]) == outcomes(PROBE)


def test_reset_forgets_every_slot() -> None:
    """The forgotten field is data of one client in another's request."""
    parser = new_parser()
    for name in FRESH:
        setattr(parser, name, "left over")
    parser.reset()
    assert _slots(parser) == FRESH


@pytest.mark.parametrize("data", VALID)
def test_after_completion_a_parser_equals_a_fresh_one(data: bytes) -> None:
    parser = new_parser()
    assert all(isinstance(each, Parsed) for each in feed_all(parser, [data]))
    _assert_fresh(parser)


@pytest.mark.parametrize("data", VALID)
def test_after_abort_a_parser_equals_a_fresh_one(data: bytes) -> None:
    for i in range(1, len(data)):
        parser = new_parser()
        feed_all(parser, [data[:i]])
        parser.abort()
        _assert_fresh(parser)


@pytest.mark.parametrize(("status", "data"), INVALID)
def test_after_a_refusal_and_abort_a_parser_equals_a_fresh_one(status: int, data: bytes) -> None:
    parser = new_parser()
    assert feed_all(parser, [data]) == [Refused(status)]
    parser.abort()
    _assert_fresh(parser)


def test_abort_closes_the_spooled_body() -> None:
    parser = new_parser()
    feed_all(parser, [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"])
    assert parser.in_body
    spools = [value for value in _slots(parser).values() if hasattr(value, "finish")]
    parser.abort()
    for spool in spools:
        with pytest.raises(ValueError, match="closed"):
            spool.write(b"x")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 49\r\n", b"GET /smuggled HTTP/1.1\r\nHost: evil\r\nX: 123456\r\n\r\n"),
        (
            b"Transfer-Encoding: chunked\r\n",
            b"31\r\nGET /smuggled HTTP/1.1\r\nHost: evil\r\nX: 123456\r\n\r\n\r\n0\r\n\r\n",
        ),
    ],
)
def test_a_body_behind_an_upgrade_is_not_the_next_request(framing: bytes, body: bytes) -> None:
    """httptools ends a message with ``Connection: upgrade`` at its head: the body would be smuggled
    in as the next request."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n" + framing
    stream = head + b"\r\n" + body + PROBE
    for cut in range(len(head), len(stream)):
        first, second = outcomes(stream[:cut], stream[cut:])
        assert isinstance(first, Parsed)
        assert isinstance(second, Parsed)
        assert first.body is not None
        assert first.body.startswith(b"GET /smuggled")
        assert second.environ["RAW_URI"] == "/probe"


@pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"Transfer-Encoding", b"TE",
                                  b"authorization", b"Trailer"])  # fmt: skip
def test_a_forbidden_trailer_is_refused(name: bytes) -> None:
    """RFC 9110 section 6.5.1."""
    data = (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%b: 1\r\n\r\n" % name
    )
    assert outcomes(data) == [Refused(400)]


def test_other_trailers_are_dropped() -> None:
    """They would overwrite fields that policy has passed (X-Forwarded-For)."""
    head = (
        b"POST / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    )
    assert outcomes(head + b"X-A: 2\r\nX-B: 3\r\n\r\n") == outcomes(head + b"\r\n")


FRAGMENTS = (
    b"GET ", b"POST ", b"HEAD ", b"CONNECT ", b"/", b"a:1", b"*", b"http://a/", b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n", b" HTTP/1.1\n", b" RTSP/1.0\r\n", b" ", b"\r\n", b"\n", b"\r", b"\r\n\r\n",
    b"Host: a\r\n", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n", b"X: y\r\n", b"Connection: close\r\n",
    b"Connection: upgrade\r\n", b"Upgrade: x\r\n", b"Expect: 100-continue\r\n", b"3\r\nabc\r\n",
    b"0\r\n\r\n", b"0\r\n", b"abc", b";ext", b"\x00", b"\xff", b":", b"\t",
)  # fmt: skip

junk = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=3)), max_size=14).map(
        b"".join
    ),
    st.tuples(st.sampled_from(VALID), st.integers(0, 300), st.binary(max_size=3)).map(
        lambda drawn: drawn[0][: drawn[1]] + drawn[2] + drawn[0][drawn[1] :]
    ),
)


@given(junk, st.integers(1, 20))
def test_any_bytes_parse_or_raise_request_error(data: bytes, step: int) -> None:
    """And nothing else; an error is the end, and all cuts agree on the requests before it."""
    whole = outcomes(data)
    pieces = outcomes(*[data[i : i + step] for i in range(0, len(data), step)])
    assert [each for each in whole if isinstance(each, Parsed)] == [
        each for each in pieces if isinstance(each, Parsed)
    ]
    assert any(isinstance(each, Refused) for each in whole) == any(
        isinstance(each, Refused) for each in pieces
    )


@given(junk)
def test_after_any_bytes_abort_gives_a_fresh_parser(data: bytes) -> None:
    parser = new_parser()
    feed_all(parser, [data] if data else [])
    parser.abort()
    _assert_fresh(parser)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / RTSP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nHost: a\r\n\r\n",
        b"DESCRIBE / RTSP/1.0\r\n\r\n",
        b"SOURCE / ICE/1.0\r\n\r\n",
        b"SOURCE  / ICE/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_other_protocols_are_refused(data: bytes) -> None:
    """RFC 9112 section 2.3: HTTP-name is %x48.54.54.50; llhttp takes RTSP and ICE too."""
    assert outcomes(data) == [Refused(400)]


@pytest.mark.parametrize("prefix", [b"\r", b"\r\r\n", b"\r\n\r", b"\n", b" ", b"\r\n "])
def test_only_one_crlf_may_stand_before_a_request(prefix: bytes) -> None:
    """RFC 9112 section 2.2: an empty line is CRLF; a bare CR makes the element invalid."""
    data = prefix + VALID[0]
    assert outcomes(data) == [Refused(400)]
    assert outcomes(prefix, VALID[0]) == [Refused(400)]


@pytest.mark.parametrize("spaces", [" ", "\t", " \t "])
@pytest.mark.parametrize(
    "field",
    ["Host: a", "Content-Length: 2", "Transfer-Encoding: chunked", "Expect: 100-continue"],
)
def test_spaces_behind_a_value_are_no_part_of_it(field: str, spaces: str) -> None:
    """RFC 9110 section 5.5: excluded before the value is evaluated."""
    host = "" if field.startswith("Host") else "Host: a\r\n"
    plain = f"POST / HTTP/1.1\r\n{host}{field}\r\n\r\n"
    spaced = f"POST / HTTP/1.1\r\n{host}{field}{spaces}\r\n\r\n"
    found = outcomes(spaced.encode(), b"0\r\n\r\n")
    if field.startswith("Transfer") and "\t" in spaces:
        # llhttp takes the tab for a part of the coding and refuses it, which is safe.
        assert found == [Refused(400)]
    else:
        assert found == outcomes(plain.encode(), b"0\r\n\r\n")


def test_an_error_names_its_reason() -> None:
    parser = new_parser()
    with pytest.raises(RequestError, match="Host") as caught:
        parser.feed(b"GET / HTTP/1.1\r\n\r\n")
    assert caught.value.status == 400
