"""Heads that look odd and are right: a server that is too strict refuses real clients.

RFC 9112 sections 2.2, 3 and 3.2, RFC 9110 sections 5.5 and 7.2.
"""

from __future__ import annotations

import pytest
from live import Serve, exchange, message, read_to_eof

from .apps import Recorder

METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "PURGE"]

ACCEPTED: dict[str, bytes] = {
    "empty line first": b"\r\n" + message("GET / HTTP/1.1"),
    "name in lower case": b"GET / HTTP/1.1\r\nhost: test\r\n\r\n",
    "name in capitals": b"GET / HTTP/1.1\r\nHOST: test\r\n\r\n",
    "no space behind the colon": b"GET / HTTP/1.1\r\nHost:test\r\n\r\n",
    "tabs around a value": b"GET / HTTP/1.1\r\nHost:\ttest\t\r\n\r\n",
    "spaces around a value": b"GET / HTTP/1.1\r\nHost:   test   \r\n\r\n",
    "Host last": b"GET / HTTP/1.1\r\nX: y\r\nHost: test\r\n\r\n",
    "Host with port": message("GET / HTTP/1.1", host="test:8000"),
    "Host with an empty port": message("GET / HTTP/1.1", host="test:"),
    "Host empty": message("GET / HTTP/1.1", host=""),
    "Host IPv4": message("GET / HTTP/1.1", host="127.0.0.1:80"),
    "Host IPv6": message("GET / HTTP/1.1", host="[::1]:80"),
    "Host with underscore and dot": message("GET / HTTP/1.1", host="my_host.example."),
    "Host internationalised": message("GET / HTTP/1.1", host="xn--bcher-kva.example"),
    "obs-text": message("GET / HTTP/1.1", "X: \x80\xff"),
    "empty value": message("GET / HTTP/1.1", "X:"),
    "Content-Length with zeros": message("POST / HTTP/1.1", "Content-Length: 0000"),
    "Content-Length with spaces": message("POST / HTTP/1.1", "Content-Length:   0  "),
    "characters a path shouldn't have": message('GET /a"b<c>d[e]{f}|g^h`i\\j HTTP/1.1'),
    "colon in the path": message("GET /a:b://c HTTP/1.1"),
    "HTTP/1.0 without Host": message("GET / HTTP/1.0", host=None),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(serve: Serve, case: str) -> None:
    """Three times on one connection, as what is remembered must be as right."""
    app = Recorder()
    with serve(app).connect() as sock:
        for number in range(1, 4):
            response = exchange(sock, ACCEPTED[case])
            assert response.status == 200
            assert len(app.calls) == number
            if response.closes:
                assert read_to_eof(sock) == b""
                break


@pytest.mark.parametrize("method", METHODS)
def test_methods(serve: Serve, method: str) -> None:
    app = Recorder()
    assert serve(app).ask(message(f"{method} / HTTP/1.1")).status == 200
    assert app.calls[0].environ["REQUEST_METHOD"] == method


@pytest.mark.parametrize("method", ["get", "Get", "GETT", "X-OWN"])
def test_other_methods_reach_the_app_as_sent_or_not_at_all(serve: Serve, method: str) -> None:
    """RFC 9110 section 9.1: methods are case-sensitive; 501 or 400 for one not known."""
    app = Recorder()
    response = serve(app).ask(message(f"{method} / HTTP/1.1"))
    if response.status == 200:
        assert app.calls[0].environ["REQUEST_METHOD"] == method
    else:
        assert response.status in {400, 405, 501}
        assert app.calls == []
