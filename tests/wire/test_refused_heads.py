"""Heads that a server must not accept, since another one might read them otherwise.

RFC 9112 sections 2.2, 3, 3.2, 5 and 6.3, RFC 9110 section 7.2. Each ends in 400 and the
connection's end, the app is not called, and a request that hides behind it is not executed.
"""

from __future__ import annotations

import pytest
from live import LiveServer, Serve, chunked, exchange, message, read_response, read_to_eof

from .apps import Recorder

SMUGGLED = message("GET /smuggled HTTP/1.1")


def field(line: str) -> bytes:
    """A GET with one more field line, as it is."""
    return message("GET / HTTP/1.1", line)


def post(*lines: str, body: bytes = b"") -> bytes:
    """A POST with exactly these field lines, and bytes behind its head."""
    return message("POST / HTTP/1.1", *lines) + body


TWO = b"0\r\n\r\n"

REFUSED: dict[str, bytes] = {
    # Framing, RFC 9112 section 6.3
    "Content-Length and Transfer-Encoding": post(
        "Content-Length: 5", "Transfer-Encoding: chunked", body=TWO
    ),
    "Transfer-Encoding and Content-Length": post(
        "Transfer-Encoding: chunked", "Content-Length: 5", body=TWO
    ),
    "two Content-Lengths": post("Content-Length: 5", "Content-Length: 6", body=b"abcdef"),
    "Content-Length list": post("Content-Length: 5, 6", body=b"abcdef"),
    "Content-Length +5": post("Content-Length: +5", body=b"abcde"),
    "Content-Length -5": post("Content-Length: -5", body=b"abcde"),
    "Content-Length 0x5": post("Content-Length: 0x5", body=b"abcde"),
    "Content-Length 5 5": post("Content-Length: 5 5", body=b"abcde"),
    "Content-Length 5.0": post("Content-Length: 5.0", body=b"abcde"),
    "Content-Length 1_0": post("Content-Length: 1_0", body=b"abcde"),
    "Content-Length empty": post("Content-Length:", body=b"abcde"),
    "Content-Length of other digits": post("Content-Length: \xb2", body=b"ab"),
    "Content-Length over 64 bits": post("Content-Length: 18446744073709551617", body=b"a"),
    "Content-Length of 30 digits": post(f"Content-Length: {'9' * 30}", body=b"a"),
    "Transfer-Encoding without chunked at the end": post("Transfer-Encoding: chunked, gzip"),
    "chunked twice": post("Transfer-Encoding: chunked, chunked", body=TWO),
    "chunked in two fields": post(
        "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=TWO
    ),
    "Transfer-Encoding with a space in its name": post("Transfer-Encoding : chunked", body=TWO),
    "Transfer-Encoding folded": post("Transfer-Encoding:\r\n chunked", body=TWO),
    "Transfer-Encoding with a control": post("Transfer-Encoding: \x0bchunked", body=TWO),
    "Transfer-Encoding empty": post("Transfer-Encoding:", body=TWO),
    # Fields, RFC 9112 section 5
    "space before the colon": field("Name : v"),
    "tab before the colon": field("Name\t: v"),
    "no colon": field("Name"),
    "no name": field(": v"),
    "folded value": field("Name: a\r\n b"),
    "folded with a tab": field("Name: a\r\n\tb"),
    "space before the first field": b"GET / HTTP/1.1\r\n Host: test\r\n\r\n",
    "space before a name": field(" Name: v"),
    "NUL in a value": field("Name: a\x00b"),
    "CR in a value": field("Name: a\rb"),
    "other control in a value": field("Name: a\x01b"),
    "DEL in a value": field("Name: a\x7fb"),
    "NUL in a name": field("Na\x00me: v"),
    "byte beyond ASCII in a name": field("N\xe9me: v"),
    "separator in a name": field("Na(me: v"),
    # Lines, RFC 9112 section 2.2
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: test\n\n",
    "bare LF behind the request line": b"GET / HTTP/1.1\nHost: test\r\n\r\n",
    "bare LF behind a field": b"GET / HTTP/1.1\r\nHost: test\nX: y\r\n\r\n",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: test\r\n\n",
    "bare CR behind the request line": b"GET / HTTP/1.1\rHost: test\r\n\r\n",
    "bare CR at the end": b"GET / HTTP/1.1\r\nHost: test\r\n\rX: y\r\n\r\n",
    "CR CR LF": b"GET / HTTP/1.1\r\r\nHost: test\r\n\r\n",
    # Request line, RFC 9112 section 3
    "two spaces": message("GET  / HTTP/1.1"),
    "two spaces before the version": message("GET /  HTTP/1.1"),
    "tab instead of a space": message("GET\t/ HTTP/1.1"),
    "space at the end": message("GET / HTTP/1.1 "),
    "space at the beginning": message(" GET / HTTP/1.1"),
    "space in the target": message("GET /a b HTTP/1.1"),
    "no version": message("GET /"),
    "only a method": message("GET"),
    "lower-case protocol": message("GET / http/1.1"),
    "other protocol": message("GET / HTTQ/1.1"),
    "version of two digits": message("GET / HTTP/1.10"),
    "version without minor": message("GET / HTTP/1"),
    "HTTP/0.9": message("GET / HTTP/0.9"),
    "HTTP/1.2": message("GET / HTTP/1.2"),
    "HTTP/2.0": message("GET / HTTP/2.0"),
    "HTTP/9.9": message("GET / HTTP/9.9"),
    "simple request of HTTP/0.9": b"GET /\r\n\r\n",
    "separator in the method": message("GE(T / HTTP/1.1"),
    "empty target": message("GET  HTTP/1.1"),
    "byte beyond ASCII in the target": message("GET /caf\xe9 HTTP/1.1"),
    "NUL in the target": message("GET /\x00 HTTP/1.1"),
    "DEL in the target": message("GET /\x7f HTTP/1.1"),
    "two empty lines first": b"\r\n\r\n" + message("GET / HTTP/1.1"),
    # Host, RFC 9112 section 3.2
    "no Host": message("GET / HTTP/1.1", host=None),
    "two Hosts": message("GET / HTTP/1.1", "Host: test"),
    "two differing Hosts": message("GET / HTTP/1.1", "Host: other"),
    "two Hosts in HTTP/1.0": message("GET / HTTP/1.0", "Host: other"),
    "space in Host": message("GET / HTTP/1.1", host="a b"),
    "list in Host": message("GET / HTTP/1.1", host="a,b c"),
    "path in Host": message("GET / HTTP/1.1", host="a/b"),
    "user in Host": message("GET / HTTP/1.1", host="user@a"),
    "query in Host": message("GET / HTTP/1.1", host="a?b"),
    "port not a number": message("GET / HTTP/1.1", host="a:b"),
    "two ports": message("GET / HTTP/1.1", host="a:1:2"),
    "open bracket in Host": message("GET / HTTP/1.1", host="[::1"),
    "byte beyond ASCII in Host": message("GET / HTTP/1.1", host="\xe9"),
    "quote in Host": message("GET / HTTP/1.1", host='"a"'),
    # Other protocols
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "line noise": b"\xff\xfe\x00\x01\r\n\r\n",
}


@pytest.fixture(scope="module")
def app() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def server(serve_module: Serve, app: Recorder) -> LiveServer:
    return serve_module(app)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(server: LiveServer, app: Recorder, case: str) -> None:
    with server.connect() as sock:
        sock.sendall(REFUSED[case] + SMUGGLED)
        response = read_response(sock)
        rest = read_to_eof(sock)
    assert (response.status, response.closes) == (400, True)
    assert rest == b""
    assert app.calls == []


@pytest.mark.parametrize(
    "coding",
    ["gzip", "gzip, chunked", "foo", "foo, chunked", "identity", "chunked;q=1", '"chunked"'],
)
def test_unknown_transfer_coding(serve: Serve, coding: str) -> None:
    """RFC 9112 section 6.1: 501 is what it should be; 400 is right where chunked isn't last."""
    app = Recorder()
    with serve(app).connect() as sock:
        sock.sendall(post(f"Transfer-Encoding: {coding}", body=TWO) + SMUGGLED)
        response = read_response(sock)
        assert response.status in {400, 501}
        if coding.endswith("chunked"):
            assert response.status == 501
        assert response.closes
        assert read_to_eof(sock) == b""
    assert app.calls == []


def test_chunked_in_http_1_0(serve: Serve) -> None:
    """RFC 9112 section 6.1: faulty framing, and the connection is to be closed."""
    app = Recorder()
    with serve(app).connect() as sock:
        fields = ("Transfer-Encoding: chunked", "Connection: keep-alive")
        sock.sendall(message("POST / HTTP/1.0", *fields) + chunked(b"body") + SMUGGLED)
        assert read_response(sock).status == 400
        assert read_to_eof(sock) == b""
    assert app.calls == []


def test_equal_content_lengths_are_one_or_refused(serve: Serve) -> None:
    """RFC 9112 section 6.3, rule 5, allows both; never two readings."""
    for lines in (["Content-Length: 5, 5"], ["Content-Length: 5", "Content-Length: 5"]):
        app = Recorder()
        with serve(app).connect() as sock:
            sock.sendall(post(*lines, body=b"abcde") + SMUGGLED)
            if read_response(sock).status == 400:
                assert read_to_eof(sock) == b""
                assert app.calls == []
            else:
                assert read_response(sock).status == 200
                assert app.calls[0].body == b"abcde"


def test_missing_host_may_be_allowed(serve: Serve) -> None:
    app = Recorder()
    server = serve(app, require_host=False)
    with server.connect() as sock:
        for _ in range(3):
            assert exchange(sock, message("GET / HTTP/1.1", host=None)).status == 200
    assert "HTTP_HOST" not in app.calls[0].environ
    assert server.ask(message("GET / HTTP/1.1", "Host: again")).status == 400


def test_refusal_is_logged(serve: Serve) -> None:
    server = serve(Recorder())
    assert server.ask(field("Name : v")).status == 400
    assert "127.0.0.1" in server.wait_for_log("Invalid request")


def test_page_shows_nothing_of_the_request_as_markup(serve: Serve) -> None:
    """A refused request must not bring markup onto the page that refuses it."""
    response = serve(Recorder()).ask(message("GET /<script> HTTP/1.1", "<script>: 1"))
    assert response.status == 400
    assert b"<script" not in response.body
