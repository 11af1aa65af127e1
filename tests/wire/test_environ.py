"""What a request's head becomes in the environ.

PEP 3333 ("environ Variables", "Unicode Issues"), RFC 3875 section 4.1, RFC 9110 section 5.3
(repeated fields), RFC 6265 section 5.4 (Cookie).
"""

from __future__ import annotations

import os

import pytest
from live import Serve, exchange, message

from .apps import Call, Recorder


def seen(serve: Serve, data: bytes) -> Call:
    """The one request that the app gets for `data`."""
    app = Recorder()
    assert serve(app).ask(data).status == 200
    [call] = app.calls
    return call


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a/b;p=1?x=1&y=%20?", "/a/b;p=1", "x=1&y=%20?"),
        ("/caf%C3%A9", "/caf\xc3\xa9", ""),
        ("/caf%E9", "/caf\xe9", ""),
        ("/%00%ff%7f", "/\x00\xff\x7f", ""),
        ("/a%2Fb%3Fc", "/a/b?c", ""),
        ("/100%", "/100%", ""),
        ("/%zz%4", "/%zz%4", ""),
        ("//double//slash", "//double//slash", ""),
        ("/../a/./b", "/../a/./b", ""),
        ("/a?", "/a", ""),
        ("/?q=caf%E9", "/", "q=caf%E9"),
    ],
)
def test_path_info_is_decoded_and_latin1(serve: Serve, target: str, path: str, query: str) -> None:
    """PATH_INFO holds decoded bytes as latin-1; QUERY_STRING stays as it came."""
    environ = seen(serve, message(f"GET {target} HTTP/1.1")).environ
    assert environ["PATH_INFO"] == path
    assert environ["QUERY_STRING"] == query
    assert environ["SCRIPT_NAME"] == ""


def test_repeated_fields_are_joined_with_a_comma(serve: Serve) -> None:
    data = message("GET / HTTP/1.1", "X-Dup: 1", "Other: o", "x-dup: 2", "X-DUP: 3, 4")
    value = seen(serve, data).environ["HTTP_X_DUP"]
    assert [each.strip() for each in value.split(",")] == ["1", "2", "3", "4"]


def test_cookie_fields_are_joined_with_a_semicolon(serve: Serve) -> None:
    """A comma would make one cookie of two (RFC 6265 section 5.4)."""
    data = message("GET / HTTP/1.1", "Cookie: a=1", "Cookie: b=2; c=3")
    assert seen(serve, data).environ["HTTP_COOKIE"] == "a=1; b=2; c=3"


def test_underscore_names_are_dropped(serve: Serve) -> None:
    """They would be taken for the hyphenated name, which a proxy may have set."""
    data = message(
        "GET / HTTP/1.1", "X_Forwarded_For: evil", "X-Forwarded-For: proxy", "Content_Length: 5"
    )
    environ = seen(serve, data).environ
    assert environ["HTTP_X_FORWARDED_FOR"] == "proxy"
    assert "evil" not in environ.values()
    assert "CONTENT_LENGTH" not in environ


@pytest.mark.parametrize("name", ["X_Only", "_", "Host_", "Content_Type"])
def test_single_underscore_name_leaves_no_trace(serve: Serve, name: str) -> None:
    app = Recorder()
    with serve(app).connect() as sock:
        for fields in ([], [f"{name}: evil"], [f"{name}: evil"]):
            exchange(sock, message("GET / HTTP/1.1", *fields))
    assert app.calls[1].environ == app.calls[0].environ
    assert app.calls[2].environ == app.calls[0].environ


def test_request_field_bytes_are_latin1(serve: Serve) -> None:
    data = message("GET / HTTP/1.1", "X-Text: caf\xe9 \x80\xff")
    assert seen(serve, data).environ["HTTP_X_TEXT"] == "caf\xe9 \x80\xff"


def test_utf8_field_bytes_survive(serve: Serve) -> None:
    data = message("GET / HTTP/1.1", "X-Text: " + "€".encode().decode("latin-1"))
    assert seen(serve, data).environ["HTTP_X_TEXT"].encode("latin-1") == "€".encode()


def test_environ_has_nothing_of_the_process(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """os.environ holds secrets, and HTTP_PROXY in it is a weapon (CVE-2016-5385)."""
    monkeypatch.setenv("POOL_SECRET", "1")
    environ = seen(serve, message("GET / HTTP/1.1")).environ
    assert not (environ.keys() - {"SERVER_SOFTWARE"}) & os.environ.keys()


def test_required_variables_are_there_and_str(serve: Serve) -> None:
    app = Recorder()
    server = serve(app)
    with server.connect() as sock:
        own_port = str(sock.getsockname()[1])
        exchange(sock, message("GET /p?q HTTP/1.1", "User-Agent: me"))
    environ = app.calls[0].environ
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/p",
        "QUERY_STRING": "q",
        "RAW_URI": "/p?q",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(server.address[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": own_port,
        "HTTP_HOST": "test",
        "HTTP_USER_AGENT": "me",
    }
    assert environ.items() >= expected.items()
    assert all(type(value) is str for value in environ.values())


def test_content_variables_only_if_sent(serve: Serve) -> None:
    app = Recorder()
    with serve(app).connect() as sock:
        exchange(sock, message("GET / HTTP/1.1"))
        exchange(sock, message("POST / HTTP/1.1", "Content-Type: text/x", body=b"abc"))
    first, second = (call.environ for call in app.calls)
    assert not first.keys() & {"CONTENT_TYPE", "CONTENT_LENGTH"}
    assert second["CONTENT_TYPE"] == "text/x"
    assert second["CONTENT_LENGTH"] == "3"
    assert not second.keys() & {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"}


def test_empty_and_padded_values(serve: Serve) -> None:
    """Whitespace around a value isn't part of it (RFC 9112 section 5.1); inside it is."""
    data = message("GET / HTTP/1.1", "X-Empty:", "X-Blank:  \t ", "X-Pad: \t a  b\t ", "X-Tight:v")
    environ = seen(serve, data).environ
    assert environ["HTTP_X_EMPTY"] == ""
    assert environ["HTTP_X_BLANK"] == ""
    assert environ["HTTP_X_PAD"] == "a  b"
    assert environ["HTTP_X_TIGHT"] == "v"


def test_every_token_character_is_allowed_in_a_name(serve: Serve) -> None:
    """RFC 9110 section 5.6.2; the underscore has its own rule."""
    data = message("GET / HTTP/1.1", "!#$%&'*+.^`|~0-9: odd")
    assert "odd" in seen(serve, data).environ.values()


def test_same_head_again_means_the_same(serve: Serve) -> None:
    """Whatever a server remembers of a head, each request has an environ of its own."""
    app = Recorder()
    data = message("GET /p%41?q HTTP/1.1", "Cookie: a=1", "X-A: 1", "X-A: 2")
    with serve(app).connect() as sock:
        for _ in range(5):
            exchange(sock, data)
            app.calls[-1].environ["X-MARK"] = "changed by the app"
        exchange(sock, message("GET /other HTTP/1.1", "Cookie: a=2"))
    environs = [call.environ for call in app.calls]
    assert all(environ == environs[0] for environ in environs[:5])
    assert environs[5]["PATH_INFO"] == "/other"
    assert environs[5]["HTTP_COOKIE"] == "a=2"
    assert not environs[5].keys() & {"HTTP_X_A", "X-MARK"}


def test_app_may_keep_and_change_its_environ(serve: Serve) -> None:
    """Nothing an app has seen is used again for another request."""
    kept = []

    def app(environ: dict[str, object], start_response: object) -> list[bytes]:
        fresh = "middleware" not in environ
        environ["middleware"] = True
        environ.pop("HTTP_HOST", None)
        kept.append((environ, fresh))
        assert callable(start_response)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with serve(app).connect() as sock:
        for _ in range(5):
            exchange(sock, message("GET / HTTP/1.1"))
    assert [fresh for _, fresh in kept] == [True] * 5
    assert len({id(environ) for environ, _ in kept}) == 5
