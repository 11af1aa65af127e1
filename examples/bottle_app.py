"""A Bottle app.

    pip install bottle
    cd examples
    poolhttp serve bottle_app:app
    gunicorn -k poolhttp.worker.EpollWorker bottle_app:app

`hello.py` has the same paths without a framework.
"""

# mypy: disallow-untyped-decorators=False

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bottle import Bottle, HTTPError, HTTPResponse, redirect, request, response, static_file

app = Bottle()


@app.get("/")
def home() -> str:
    return "Hello from Bottle\n"


@app.get("/connection")
def connection() -> dict[str, str]:
    """The same port twice means that one connection carried both requests."""
    return {"remote_port": request.environ["REMOTE_PORT"]}


@app.post("/form")
def form() -> dict[str, str]:
    return {name: request.forms.getunicode(name) for name in request.forms}


@app.post("/json")
def echo_json() -> dict[str, object]:
    return dict(request.json)


@app.post("/upload")
def upload() -> dict[str, object]:
    file = request.files["file"]
    return {"filename": file.raw_filename, **digest(file.file)}


@app.post("/raw")
def raw() -> dict[str, object]:
    """Any body, as the server gives it.

    `request.body` would look for the chunked framing of a chunked body, but a WSGI server has taken
    it off already.
    """
    return digest(request.environ["wsgi.input"])


@app.get("/stream")
def stream() -> Iterator[str]:
    response.content_type = "text/plain; charset=utf-8"
    for number in range(1000):
        yield f"line {number}\n"


@app.get("/download")
def download() -> HTTPResponse:
    here = Path(__file__)
    return static_file(here.name, root=here.parent, mimetype="text/x-python")


@app.get("/redirect")
def to_home() -> None:
    redirect("/", 302)


@app.get("/cookies/set")
def set_cookies() -> str:
    response.set_cookie("fruit", "apple", path="/")
    response.set_cookie("colour", "green", path="/")
    return "two cookies\n"


@app.get("/cookies")
def show_cookies() -> dict[str, str]:
    return dict(request.cookies)


@app.get("/error")
def error() -> str:
    raise RuntimeError("raised on purpose")


@app.error(404)
def not_found(reason: HTTPError) -> str:
    return "<h1>No such page</h1>\n"


@app.error(500)
def failed(reason: HTTPError) -> str:
    return "<h1>Something went wrong</h1>\n"


def digest(stream: BinaryIO) -> dict[str, object]:
    sha256 = hashlib.sha256()
    size = 0
    while block := stream.read(65536):
        sha256.update(block)
        size += len(block)
    return {"size": size, "sha256": sha256.hexdigest()}
