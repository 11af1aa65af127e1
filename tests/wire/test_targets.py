"""The four forms of a request target.

RFC 9112 section 3.2: origin-form, absolute-form (every server has to accept it), authority-form
only with CONNECT, asterisk-form only with OPTIONS.
"""

from __future__ import annotations

import pytest
from live import Serve, exchange, message, read_response, read_to_eof

from .apps import Recorder

SMUGGLED = message("GET /smuggled HTTP/1.1")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://example.org/a/b?c=d", "/a/b", "c=d"),
        ("http://example.org:8000/caf%C3%A9", "/caf\xc3\xa9", ""),
        ("HTTP://EXAMPLE.ORG/", "/", ""),
        ("https://example.org/x", "/x", ""),
        ("http://[::1]:80/v6", "/v6", ""),
    ],
)
def test_absolute_form(serve: Serve, target: str, path: str, query: str) -> None:
    """Path and query are the target's; RAW_URI is the target as sent; Host is the target's too,
    whatever the field says (RFC 9112 section 3.2.2)."""
    app = Recorder()
    with serve(app).connect() as sock:
        for _ in range(3):
            exchange(sock, message(f"GET {target} HTTP/1.1", host="other.example"))
    for call in app.calls:
        assert call.environ["PATH_INFO"] == path
        assert call.environ["QUERY_STRING"] == query
        assert call.environ["RAW_URI"] == target
        assert call.environ["HTTP_HOST"] == target.split("/")[2]


@pytest.mark.parametrize("target", ["http://example.org", "http://example.org?q"])
def test_absolute_form_without_path(serve: Serve, target: str) -> None:
    """RFC 9112 section 3.2.1: an empty path means "/"; the environ may have it either way."""
    app = Recorder()
    assert serve(app).ask(message(f"GET {target} HTTP/1.1", host="example.org")).status == 200
    assert app.calls[0].environ["PATH_INFO"] in {"", "/"}
    assert app.calls[0].environ["QUERY_STRING"] == ("q" if "?" in target else "")


def test_options_asterisk(serve: Serve) -> None:
    app = Recorder()
    with serve(app).connect() as sock:
        for _ in range(3):
            assert exchange(sock, message("OPTIONS * HTTP/1.1")).status == 200
    assert app.calls[0].environ["PATH_INFO"] in {"*", ""}
    assert app.calls[0].environ["RAW_URI"] == "*"


@pytest.mark.parametrize(
    "line",
    [
        "GET * HTTP/1.1",
        "POST * HTTP/1.1",
        "HEAD * HTTP/1.1",
        "GET example.org:443 HTTP/1.1",
        "GET example.org HTTP/1.1",
        "OPTIONS example.org:443 HTTP/1.1",
        "GET ?query HTTP/1.1",
        "GET #fragment HTTP/1.1",
        "GET a/b HTTP/1.1",
        "GET http:/one-slash HTTP/1.1",
        "GET ://no-scheme/ HTTP/1.1",
        "GET http://[::1/ HTTP/1.1",
        "OPTIONS ** HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "CONNECT * HTTP/1.1",
        "CONNECT example.org HTTP/1.1",
        "CONNECT http://example.org/ HTTP/1.1",
        "CONNECT example.org:port HTTP/1.1",
    ],
)
def test_form_that_does_not_go_with_the_method_is_400(serve: Serve, line: str) -> None:
    app = Recorder()
    with serve(app).connect() as sock:
        sock.sendall(message(line) + SMUGGLED)
        method = "HEAD" if line.startswith("HEAD") else "GET"
        assert read_response(sock, method).status == 400
        assert read_to_eof(sock) == b""
    assert app.calls == []


@pytest.mark.parametrize("http_version", ["1.0", "1.1"])
def test_connect_makes_no_tunnel(serve: Serve, http_version: str) -> None:
    """Whoever answers, the connection ends and what follows isn't executed (RFC 9110 9.3.6)."""
    app = Recorder()
    with serve(app).connect() as sock:
        fields = ("Connection: keep-alive",)
        line = f"CONNECT example.org:443 HTTP/{http_version}"
        sock.sendall(message(line, *fields, host="example.org:443") + SMUGGLED)
        data = read_to_eof(sock)
    assert data.startswith((f"HTTP/{http_version} ".encode(), b"HTTP/1.1 "))
    assert b"Connection: close" in data
    assert b"/smuggled" not in data
    assert ("GET", "/smuggled") not in app.lines


def test_connect_success_has_no_framing(serve: Serve) -> None:
    """RFC 9110 section 9.3.6: no Content-Length and no Transfer-Encoding in 2xx to CONNECT."""
    with serve(Recorder()).connect() as sock:
        sock.sendall(message("CONNECT example.org:443 HTTP/1.1"))
        data = read_to_eof(sock)
    if data.startswith(b"HTTP/1.1 2"):
        assert b"content-length" not in data.lower()
        assert b"transfer-encoding" not in data.lower()


@pytest.mark.parametrize(
    "hello",
    [
        # The beginning of a ClientHello of TLS 1.3, and of SSLv2.
        bytes.fromhex("1603010200010001fc0303") + bytes(range(256)) + b"\x00" * 250,
        bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0"),
    ],
)
def test_tls_on_the_plain_port(serve: Serve, hello: bytes) -> None:
    """A client that took the wrong port hears so at once, or at least doesn't wait."""
    app = Recorder()
    server = serve(app)
    with server.connect() as sock:
        sock.sendall(hello)
        data = read_to_eof(sock)
    assert data == b"" or data.startswith(b"HTTP/1.1 400 ")
    assert app.calls == []
