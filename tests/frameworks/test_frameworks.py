"""What people do with a web framework works behind poolhttp, and is the same by both ways in.

Every example app has the same paths, so one test is one behaviour and runs against all of them.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

import pytest
import requests

from .conftest import APPS, EXAMPLES, TIMEOUT, WAYS_IN, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corpus.serving import Server

UPLOAD_SIZE = 20 * 1024 * 1024

LINES = "".join(f"line {number}\n" for number in range(1000))

SOURCES = {"django": "django_app/views.py"}
"""Which file `/download` sends, where that is not the module of the app."""

COMBINATIONS = [(framework, way_in) for framework in APPS for way_in in WAYS_IN]


@pytest.fixture(scope="module", params=COMBINATIONS, ids="-".join)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The server of a framework and a way in."""
    framework, way_in = request.param
    yield from started(framework, way_in, tmp_path_factory.mktemp(framework))


@pytest.fixture(scope="module")
def upload() -> bytes:
    """Bytes that no compression or line handling leaves alone by chance."""
    return random.Random("upload").randbytes(UPLOAD_SIZE)


def test_get(server: Server, session: requests.Session) -> None:
    answer = session.get(f"{server.url}/", timeout=TIMEOUT)
    assert answer.status_code == 200
    assert answer.text.startswith("Hello from ")


def test_head_is_get_without_the_body(server: Server, session: requests.Session) -> None:
    got = session.get(f"{server.url}/", timeout=TIMEOUT)
    head = session.head(f"{server.url}/", timeout=TIMEOUT)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    assert head.headers["Content-Length"] == str(len(got.content))
    assert session.get(f"{server.url}/", timeout=TIMEOUT).content == got.content


def test_post_form(server: Server, session: requests.Session) -> None:
    fields = {"name": "Ada Lovelace", "city": "London & beyond = ü"}
    answer = session.post(f"{server.url}/form", data=fields, timeout=TIMEOUT)
    assert answer.json() == fields


def test_json(server: Server, session: requests.Session) -> None:
    value: Any = {"text": "ü\n\"'", "list": [1, 2.5, None, True], "object": {"": {}}}
    assert session.post(f"{server.url}/json", json=value, timeout=TIMEOUT).json() == value


def test_multipart_upload(server: Server, session: requests.Session, upload: bytes) -> None:
    files = {"file": ("data.bin", upload, "application/octet-stream")}
    answer = session.post(f"{server.url}/upload", files=files, timeout=TIMEOUT)
    assert answer.json() == {
        "filename": "data.bin",
        "size": UPLOAD_SIZE,
        "sha256": hashlib.sha256(upload).hexdigest(),
    }


def test_chunked_request_body(server: Server, session: requests.Session) -> None:
    blocks = [b"x" * size for size in (1, 10, 1000, 100_000, 1_000_000)]
    answer = session.post(
        f"{server.url}/raw",
        data=iter(blocks),
        headers={"Content-Type": "application/octet-stream"},
        timeout=TIMEOUT,
    )
    assert answer.request.headers["Transfer-Encoding"] == "chunked"
    body = b"".join(blocks)
    assert answer.json() == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def test_streamed_response(server: Server, session: requests.Session) -> None:
    with session.get(f"{server.url}/stream", stream=True, timeout=TIMEOUT) as answer:
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in answer.headers
        assert b"".join(answer.iter_content(777)).decode() == LINES


def test_download(server: Server, session: requests.Session) -> None:
    module, _, _ = server.launch.app.partition(":")
    source = EXAMPLES / SOURCES.get(module.partition("_")[0], f"{module}.py")
    answer = session.get(f"{server.url}/download", timeout=TIMEOUT)
    assert answer.content == source.read_bytes()
    assert answer.headers["Content-Length"] == str(source.stat().st_size)


def test_redirect(server: Server, session: requests.Session) -> None:
    first = session.get(f"{server.url}/redirect", allow_redirects=False, timeout=TIMEOUT)
    assert first.status_code == 302
    followed = session.get(f"{server.url}/redirect", timeout=TIMEOUT)
    assert followed.url == f"{server.url}/"
    assert followed.text.startswith("Hello from ")


def test_cookies(server: Server, session: requests.Session) -> None:
    answer = session.get(f"{server.url}/cookies/set", timeout=TIMEOUT)
    expected = {"fruit": "apple", "colour": "green"}
    assert expected.items() <= answer.cookies.get_dict().items()
    shown = session.get(f"{server.url}/cookies", timeout=TIMEOUT).json()
    assert expected.items() <= shown.items()


def test_not_found(server: Server, session: requests.Session) -> None:
    answer = session.get(f"{server.url}/no/such/page", timeout=TIMEOUT)
    assert (answer.status_code, "No such page" in answer.text) == (404, True)


def test_error(server: Server, session: requests.Session) -> None:
    """A 500 for this request, a traceback in the log, and service as usual afterwards."""
    answer = session.get(f"{server.url}/error", timeout=TIMEOUT)
    assert answer.status_code == 500
    assert "raised on purpose" not in answer.text
    assert session.get(f"{server.url}/", timeout=TIMEOUT).status_code == 200


def test_keep_alive(server: Server, session: requests.Session) -> None:
    """One connection carries all requests of a session, of whatever kind."""
    port = session.get(f"{server.url}/connection", timeout=TIMEOUT).json()
    for path in ("/", "/stream", "/download", "/redirect", "/no/such/page", "/cookies"):
        session.get(f"{server.url}{path}", timeout=TIMEOUT)
        session.head(f"{server.url}{path}", timeout=TIMEOUT)
    session.post(f"{server.url}/json", json={"a": 1}, timeout=TIMEOUT)
    session.post(f"{server.url}/raw", data=iter([b"a", b"b"]), timeout=TIMEOUT)
    assert session.get(f"{server.url}/connection", timeout=TIMEOUT).json() == port


def test_connection_close_is_confirmed(server: Server, session: requests.Session) -> None:
    """RFC 9112 section 9.6; asked for several times, as what is remembered may go wrong later."""
    session.headers["Connection"] = "close"
    answers = [session.get(f"{server.url}/connection", timeout=TIMEOUT) for _ in range(4)]
    assert [answer.headers.get("Connection") for answer in answers] == ["close"] * 4
    assert len({answer.json()["remote_port"] for answer in answers}) == 4


def test_another_session_is_another_connection(server: Server, session: requests.Session) -> None:
    """What makes `test_keep_alive` mean something."""
    mine = session.get(f"{server.url}/connection", timeout=TIMEOUT).json()
    with requests.Session() as other:
        theirs = other.get(f"{server.url}/connection", timeout=TIMEOUT).json()
    assert mine != theirs
