"""A Flask app.

    pip install flask
    cd examples
    poolhttp serve flask_app:app
    gunicorn -k poolhttp.worker.EpollWorker flask_app:app

`hello.py` has the same paths without a framework.
"""

import hashlib
from collections.abc import Iterator

from flask import Flask, Response, jsonify, make_response, redirect, request, send_file
from werkzeug.wrappers import Response as BaseResponse

app = Flask(__name__)


@app.get("/")
def home() -> str:
    return "Hello from Flask\n"


@app.get("/connection")
def connection() -> Response:
    """The same port twice means that one connection carried both requests."""
    return jsonify(remote_port=request.environ["REMOTE_PORT"])


@app.post("/form")
def form() -> Response:
    return jsonify(request.form.to_dict())


@app.post("/json")
def echo_json() -> Response:
    return jsonify(request.get_json())


@app.post("/upload")
def upload() -> Response:
    file = request.files["file"]
    sha256 = hashlib.sha256()
    size = 0
    while block := file.stream.read(65536):
        sha256.update(block)
        size += len(block)
    return jsonify(filename=file.filename, size=size, sha256=sha256.hexdigest())


@app.post("/raw")
def raw() -> Response:
    """Any body; Flask reads a chunked one to its end, as the server sets wsgi.input_terminated."""
    body = request.get_data()
    return jsonify(size=len(body), sha256=hashlib.sha256(body).hexdigest())


@app.get("/stream")
def stream() -> Response:
    def lines() -> Iterator[str]:
        for number in range(1000):
            yield f"line {number}\n"

    return Response(lines(), mimetype="text/plain")


@app.get("/download")
def download() -> Response:
    return send_file(__file__, mimetype="text/x-python")


@app.get("/redirect")
def to_home() -> BaseResponse:
    return redirect("/")


@app.get("/cookies/set")
def set_cookies() -> Response:
    response = make_response("two cookies\n")
    response.set_cookie("fruit", "apple")
    response.set_cookie("colour", "green")
    return response


@app.get("/cookies")
def show_cookies() -> Response:
    return jsonify(dict(request.cookies))


@app.get("/error")
def error() -> str:
    raise RuntimeError("raised on purpose")


@app.errorhandler(404)
def not_found(reason: Exception) -> tuple[str, int]:
    return "<h1>No such page</h1>\n", 404


@app.errorhandler(500)
def failed(reason: Exception) -> tuple[str, int]:
    return "<h1>Something went wrong</h1>\n", 500
