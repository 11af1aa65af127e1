"""A Pyramid app.

    pip install pyramid
    cd examples
    poolhttp serve pyramid_app:app
    gunicorn -k poolhttp.worker.EpollWorker pyramid_app:app

`hello.py` has the same paths without a framework.
"""

import hashlib
from collections.abc import Callable, Iterator

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.request import Request
from pyramid.response import FileResponse, Response


def home(request: Request) -> Response:
    return Response("Hello from Pyramid\n", content_type="text/plain")


def connection(request: Request) -> dict[str, str]:
    """The same port twice means that one connection carried both requests."""
    return {"remote_port": request.environ["REMOTE_PORT"]}


def form(request: Request) -> dict[str, str]:
    return dict(request.POST)


def echo_json(request: Request) -> object:
    return request.json_body


def upload(request: Request) -> dict[str, object]:
    field = request.POST["file"]
    sha256 = hashlib.sha256()
    size = 0
    while block := field.file.read(65536):
        sha256.update(block)
        size += len(block)
    return {"filename": field.filename, "size": size, "sha256": sha256.hexdigest()}


def raw(request: Request) -> dict[str, object]:
    """Any body; a chunked one is read to its end, as the server sets wsgi.input_terminated."""
    return {"size": len(request.body), "sha256": hashlib.sha256(request.body).hexdigest()}


def stream(request: Request) -> Response:
    def lines() -> Iterator[bytes]:
        for number in range(1000):
            yield f"line {number}\n".encode()

    return Response(app_iter=lines(), content_type="text/plain")


def download(request: Request) -> Response:
    return FileResponse(__file__, request, content_type="text/x-python")


def to_home(request: Request) -> Response:
    return HTTPFound("/")


def set_cookies(request: Request) -> Response:
    response = Response("two cookies\n", content_type="text/plain")
    response.set_cookie("fruit", "apple")
    response.set_cookie("colour", "green")
    return response


def show_cookies(request: Request) -> dict[str, str]:
    return dict(request.cookies)


def error(request: Request) -> Response:
    raise RuntimeError("raised on purpose")


def not_found(request: Request) -> Response:
    return Response("<h1>No such page</h1>\n", status=404)


def failed(reason: Exception, request: Request) -> Response:
    return Response("<h1>Something went wrong</h1>\n", status=500)


View = Callable[[Request], object]

PAGES: list[tuple[str, str, View]] = [
    ("GET", "/", home),
    ("GET", "/stream", stream),
    ("GET", "/download", download),
    ("GET", "/redirect", to_home),
    ("GET", "/cookies/set", set_cookies),
    ("GET", "/error", error),
]
JSON_PAGES: list[tuple[str, str, View]] = [
    ("GET", "/connection", connection),
    ("POST", "/form", form),
    ("POST", "/json", echo_json),
    ("POST", "/upload", upload),
    ("POST", "/raw", raw),
    ("GET", "/cookies", show_cookies),
]

with Configurator() as config:
    for renderer, pages in ((None, PAGES), ("json", JSON_PAGES)):
        for method, path, view in pages:
            config.add_route(path, path)
            config.add_view(view, route_name=path, request_method=method, renderer=renderer)
    config.add_notfound_view(not_found)
    config.add_exception_view(failed)
    app = config.make_wsgi_app()
