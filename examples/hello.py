"""A plain WSGI app, no framework: what PEP 3333 itself offers.

    cd examples
    poolhttp serve hello:app
    gunicorn -k poolhttp.worker.EpollWorker hello:app

Then ask it for something:

    curl http://127.0.0.1:8000/
    curl -d 'name=Ada&city=London' http://127.0.0.1:8000/form
    curl -F 'file=@hello.py' http://127.0.0.1:8000/upload
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
StartResponse = Callable[[str, Headers], object]
View = Callable[[Environ, StartResponse], Iterable[bytes]]


def home(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return reply(start_response, "text/plain; charset=utf-8", b"Hello from plain WSGI\n")


def connection(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The same port twice means that one connection carried both requests."""
    return reply_json(start_response, {"remote_port": environ["REMOTE_PORT"]})


def form(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    fields = parse_qs(environ["wsgi.input"].read().decode())
    return reply_json(start_response, {name: values[0] for name, values in fields.items()})


def echo_json(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return reply_json(start_response, json.load(environ["wsgi.input"]))


def upload(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    filename, content = read_file_field(environ)
    sha256 = hashlib.sha256(content).hexdigest()
    return reply_json(
        start_response, {"filename": filename, "size": len(content), "sha256": sha256}
    )


def raw(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Any body; a chunked one has no CONTENT_LENGTH and ends where wsgi.input ends."""
    sha256 = hashlib.sha256()
    size = 0
    while block := environ["wsgi.input"].read(65536):
        sha256.update(block)
        size += len(block)
    return reply_json(start_response, {"size": size, "sha256": sha256.hexdigest()})


def stream(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """No Content-Length: the server sends each item as it comes, as a chunk."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    for number in range(1000):
        yield f"line {number}\n".encode()


def download(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A file of known length: the server moves it with sendfile and closes it."""
    file = open(__file__, "rb")  # noqa: SIM115
    length = os.fstat(file.fileno()).st_size
    headers = [("Content-Type", "text/x-python"), ("Content-Length", str(length))]
    start_response("200 OK", headers)
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
    return wrapped


def redirect(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("302 Found", [("Location", "/"), ("Content-Length", "0")])
    return []


def set_cookies(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    cookies = [("Set-Cookie", "fruit=apple; Path=/"), ("Set-Cookie", "colour=green; Path=/")]
    return reply(start_response, "text/plain", b"two cookies\n", cookies)


def show_cookies(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    cookies = SimpleCookie(environ.get("HTTP_COOKIE", ""))
    return reply_json(start_response, {name: morsel.value for name, morsel in cookies.items()})


def error(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """What an app raises, the server logs with its traceback, and answers with 500."""
    raise RuntimeError("raised on purpose")


VIEWS: dict[tuple[str, str], View] = {
    ("GET", "/"): home,
    ("GET", "/connection"): connection,
    ("POST", "/form"): form,
    ("POST", "/json"): echo_json,
    ("POST", "/upload"): upload,
    ("POST", "/raw"): raw,
    ("GET", "/stream"): stream,
    ("GET", "/download"): download,
    ("GET", "/redirect"): redirect,
    ("GET", "/cookies/set"): set_cookies,
    ("GET", "/cookies"): show_cookies,
    ("GET", "/error"): error,
}


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The WSGI entry point. HEAD is GET: the server leaves the body out."""
    method = environ["REQUEST_METHOD"]
    view = VIEWS.get(("GET" if method == "HEAD" else method, environ["PATH_INFO"]))
    if view is None:
        page = b"<h1>No such page</h1>\n"
        return reply(start_response, "text/html", page, status="404 Not Found")
    return view(environ, start_response)


def reply(
    start_response: StartResponse,
    content_type: str,
    body: bytes,
    headers: Iterable[tuple[str, str]] = (),
    status: str = "200 OK",
) -> Iterable[bytes]:
    length = ("Content-Length", str(len(body)))
    start_response(status, [("Content-Type", content_type), length, *headers])
    return [body]


def reply_json(start_response: StartResponse, value: object) -> Iterable[bytes]:
    return reply(start_response, "application/json", json.dumps(value).encode())


def read_file_field(environ: Environ) -> tuple[str, bytes]:
    """Name and content of the first file of a multipart/form-data body (RFC 7578)."""
    content_type = Message()
    content_type["Content-Type"] = environ["CONTENT_TYPE"]
    boundary = b"--" + str(content_type.get_param("boundary")).encode()
    for part in environ["wsgi.input"].read().split(boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        disposition = Message()
        for line in head.decode().splitlines():
            name, colon, value = line.partition(":")
            if colon:
                disposition[name] = value.strip()
        if filename := disposition.get_filename():
            return filename, content.removesuffix(b"\r\n")
    raise ValueError("no file in the form")
