"""A Falcon app.

    pip install falcon
    cd examples
    poolhttp serve falcon_app:app
    gunicorn -k poolhttp.worker.EpollWorker falcon_app:app

`hello.py` has the same paths without a framework.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import falcon


class Home:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = falcon.MEDIA_TEXT
        response.text = "Hello from Falcon\n"

    on_head = on_get


class Connection:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The same port twice means that one connection carried both requests."""
        response.media = {"remote_port": request.env["REMOTE_PORT"]}


class Echo:
    """JSON and forms alike: Falcon takes the handler by the Content-Type."""

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = request.get_media()


class Upload:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        for part in request.get_media():
            if part.name == "file":
                response.media = {"filename": part.filename, **digest(part.stream)}


class Raw:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Any body; `bounded_stream` would end a chunked one at once, it has no Content-Length."""
        response.media = digest(request.stream)


class Stream:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = falcon.MEDIA_TEXT
        response.stream = self.lines()

    @staticmethod
    def lines() -> Iterator[bytes]:
        for number in range(1000):
            yield f"line {number}\n".encode()


class Download:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Falcon hands a stream that has a length to wsgi.file_wrapper."""
        response.content_type = "text/x-python"
        response.set_stream(open(__file__, "rb"), Path(__file__).stat().st_size)  # noqa: SIM115


class Redirect:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        raise falcon.HTTPFound("/")


class SetCookies:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.set_cookie("fruit", "apple", path="/", secure=False)
        response.set_cookie("colour", "green", path="/", secure=False)
        response.text = "two cookies\n"


class ShowCookies:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = request.cookies


class Error:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        raise RuntimeError("raised on purpose")


def not_found(req: falcon.Request, resp: falcon.Response, **_: Any) -> None:
    resp.status = falcon.HTTP_404
    resp.content_type = falcon.MEDIA_HTML
    resp.text = "<h1>No such page</h1>\n"


def digest(stream: Any) -> dict[str, object]:
    sha256 = hashlib.sha256()
    size = 0
    while block := stream.read(65536):
        sha256.update(block)
        size += len(block)
    return {"size": size, "sha256": sha256.hexdigest()}


app = falcon.App()
app.add_route("/", Home())
app.add_route("/connection", Connection())
app.add_route("/form", Echo())
app.add_route("/json", Echo())
app.add_route("/upload", Upload())
app.add_route("/raw", Raw())
app.add_route("/stream", Stream())
app.add_route("/download", Download())
app.add_route("/redirect", Redirect())
app.add_route("/cookies/set", SetCookies())
app.add_route("/cookies", ShowCookies())
app.add_route("/error", Error())
app.add_sink(not_found)
