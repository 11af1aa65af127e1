"""For well-formed requests the parser finds what h11 finds: method, target, fields and body."""

from __future__ import annotations

import string
from typing import Any, NamedTuple

import h11
from hypothesis import given
from hypothesis import strategies as st

from .parsing import BASE, one

TOKEN = "!#$%&'*+-.^`|~" + string.digits + string.ascii_letters
SPECIAL = {
    "host", "connection", "proxy-connection", "content-length", "content-type", "expect",
    "transfer-encoding", "upgrade", "te", "keep-alive",
}  # fmt: skip

names = st.text(TOKEN + "_", min_size=1, max_size=20).filter(
    lambda name: name.lower() not in SPECIAL
)
inner = st.text(
    [*map(chr, range(0x21, 0x7F)), *map(chr, range(0x80, 0x100)), " ", "\t"], max_size=30
)
values = inner.map(lambda value: value.strip(" \t"))
spaces = st.text(" \t", max_size=2)
paths = st.text("/._~-!$&'()*+,;=:@%" + string.digits + string.ascii_letters, max_size=30)


class Message(NamedTuple):
    """Bytes on the wire, and whether they have a body."""

    data: bytes
    has_body: bool


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """A well-formed request, with or without a body, in either framing."""
    method = draw(st.sampled_from(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")))
    query = draw(st.one_of(st.just(""), paths.map(lambda text: "?" + text)))
    version = draw(st.sampled_from(("1.0", "1.1")))
    lines = [f"{method} /{draw(paths)}{query} HTTP/{version}", "Host: example.com"]
    for name, value in draw(st.lists(st.tuples(names, values), max_size=8)):
        lines.append(f"{name}:{draw(spaces)}{value}{draw(spaces)}")
    framing = draw(st.sampled_from(("none", "length", "chunked")))
    body = b""
    if framing == "length":
        body = draw(st.binary(max_size=60))
        lines.append(f"Content-Length: {len(body)}")
    elif framing == "chunked" and version == "1.1":
        lines.append("Transfer-Encoding: chunked")
        for chunk in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4)):
            extension = draw(st.sampled_from((b"", b";a", b";a=b")))
            body += b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk)
        body += b"0\r\n\r\n"
    draw(st.randoms()).shuffle(shuffled := lines[1:])
    head = "\r\n".join([lines[0], *shuffled, "", ""]).encode("latin-1")
    return Message(head + body, bool(body))


def _environ(request: h11.Request) -> dict[str, Any]:
    """CGI variables by RFC 3875 section 4.1.18 and RFC 9110 section 5.3."""
    environ: dict[str, Any] = {}
    for name, raw in request.headers:
        if b"_" in name:
            continue
        key = name.decode().upper().replace("-", "_")
        if key != "CONTENT_LENGTH":
            key = "HTTP_" + key
        value = raw.decode("latin-1")
        joint = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
    return environ


@given(messages())
def test_a_request_is_what_h11_says(message: Message) -> None:
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(message.data)
    request = oracle.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while not isinstance(event := oracle.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += event.data

    found = one(message.data)

    environ = found.environ
    assert environ["REQUEST_METHOD"].encode() == request.method
    assert environ["RAW_URI"].encode() == request.target
    assert environ["SERVER_PROTOCOL"] == "HTTP/" + request.http_version.decode()
    assert (found.body or b"") == body
    expected = _environ(request)
    others = {"REQUEST_METHOD", "RAW_URI", "PATH_INFO", "QUERY_STRING", *BASE}
    assert {key: value for key, value in environ.items() if key not in others} == expected
    assert found.keep_alive == (oracle.their_state is not h11.MUST_CLOSE)
