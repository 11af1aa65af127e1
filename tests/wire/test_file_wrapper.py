"""wsgi.file_wrapper: the bytes from the file's position on, whatever happened to it before.

PEP 3333 ("Optional Platform-Specific File Handling"): the data between the file's position as
`tell()` says it at the time of return and its end, or Content-Length bytes of it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import pytest
from live import App, Environ, Serve, StartResponse, exchange, message

CONTENT = b"".join(b"%07d\n" % i for i in range(25_000))

Prepare = Callable[[IO[bytes]], object]


def file_app(path: Path, prepare: Prepare, length: int | None) -> App:
    """Answers with the file, prepared, and with Content-Length if given."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", [("Content-Length", "4")])
            return [b"next"]
        file = path.open("rb")
        prepare(file)
        start_response("200 OK", [] if length is None else [("Content-Length", str(length))])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return wrapped

    return app


PREPARATIONS: dict[str, tuple[Prepare, int]] = {
    "untouched": (lambda file: None, 0),
    "seeked": (lambda file: file.seek(1000), 1000),
    "sniffed": (lambda file: file.read(10), 10),
    "read and seeked": (lambda file: (file.read(100_000), file.seek(50_000)), 50_000),
    "at its end": (lambda file: file.seek(0, io.SEEK_END), len(CONTENT)),
}


@pytest.mark.parametrize("length", [None, 500, "rest"])
@pytest.mark.parametrize("prepared", PREPARATIONS)
def test_file_from_its_position(
    serve: Serve, tmp_path: Path, prepared: str, length: int | str | None
) -> None:
    """And the next request on the connection gets its own answer."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    prepare, position = PREPARATIONS[prepared]
    left = len(CONTENT) - position
    if length == 500 and left < 500:
        pytest.skip("less is left than Content-Length says; see the test below")
    count = left if length in {None, "rest"} else 500
    app = file_app(path, prepare, None if length is None else count)
    server = serve(app)
    with server.connect() as sock:
        response = exchange(sock, message("GET / HTTP/1.1"))
        assert response.body == CONTENT[position : position + count]
        if not response.closes:
            assert exchange(sock, message("GET /next HTTP/1.1")).body == b"next"


def test_file_shorter_than_content_length(serve: Serve, tmp_path: Path) -> None:
    """The connection's end is the only way to say so (RFC 9112 section 8)."""
    path = tmp_path / "file"
    path.write_bytes(b"short")
    server = serve(file_app(path, lambda file: None, 100))
    with server.connect() as sock:
        sock.sendall(message("GET / HTTP/1.1"))
        data = b"".join(iter(lambda: sock.recv(65536), b""))
    assert data.endswith(b"\r\n\r\nshort")
    assert "Content-Length" in server.wait_for_log("shorter")


def test_head_of_a_file_has_no_body(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with serve(file_app(path, lambda file: None, len(CONTENT))).connect() as sock:
        response = exchange(sock, message("HEAD / HTTP/1.1"), "HEAD")
        assert response.one(b"content-length") == b"%d" % len(CONTENT)
        assert exchange(sock, message("GET /next HTTP/1.1")).body == b"next"


def test_empty_file(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with serve(file_app(path, lambda file: None, None)).connect() as sock:
        assert exchange(sock, message("GET / HTTP/1.1")).body == b""
        assert exchange(sock, message("GET /next HTTP/1.1")).body == b"next"


class OnlyRead:
    """The least a filelike may be: read(n)."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, nbytes: int) -> bytes:
        return self._file.read(nbytes)


@pytest.mark.parametrize("kind", [io.BytesIO, OnlyRead])
@pytest.mark.parametrize("size", [0, 1, 8192, 100_000])
def test_filelike_without_descriptor(
    serve: Serve, kind: Callable[[bytes], object], size: int
) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](kind(CONTENT[:size]))
        return wrapped

    with serve(app).connect() as sock:
        for _ in range(2):
            assert exchange(sock, message("GET / HTTP/1.1")).body == CONTENT[:size]


def test_file_is_closed_once(serve: Serve, tmp_path: Path) -> None:
    class Counted(io.BytesIO):
        closings = 0

        def close(self) -> None:
            Counted.closings += 1
            super().close()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](Counted(b"abc"), 2)
        return wrapped

    server = serve(app)
    assert server.ask(message("GET / HTTP/1.1")).body == b"abc"
    server.stop()
    assert Counted.closings == 1


def test_wrapper_is_a_class(serve: Serve) -> None:
    """So that middleware can ask isinstance(), and iterate over the file itself."""
    found: dict[str, Any] = {}

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        wrapper = environ["wsgi.file_wrapper"]
        wrapped = wrapper(io.BytesIO(b"0123456789"), 4)
        found["isinstance"] = isinstance(wrapper, type) and isinstance(wrapped, wrapper)
        found["blocks"] = list(wrapped)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    assert serve(app).ask(message("GET / HTTP/1.1")).status == 200
    assert found == {"isinstance": True, "blocks": [b"0123", b"4567", b"89"]}
