"""A Flask app whose responses need their request while they are sent; runs in the server."""

import select
import threading
from collections.abc import Iterator
from contextvars import ContextVar

from flask import Flask, Response, g, request, stream_with_context

app = Flask(__name__)
app.config["DEBUG"] = False

USER: ContextVar[str] = ContextVar("USER", default="nobody")


@app.get("/stream/<name>")
def stream(name: str) -> Response:
    """The request, `g` and a context variable, looked at in the middle of the response."""
    found = USER.get()
    USER.set(name)
    g.name = name
    thread = threading.get_ident()

    def pieces() -> Iterator[str]:
        yield f"{found} "
        for _ in range(3):
            select.select([], [], [], 0.002)
            same = threading.get_ident() == thread
            yield f"{request.args['word']}-{g.name}-{USER.get()}-{same} "

    return Response(stream_with_context(pieces()), mimetype="text/plain")
