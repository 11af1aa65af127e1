"""The app under the tests of the command line; runs inside the server."""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

App = Callable[[dict[str, Any], Callable[..., object]], Iterable[bytes]]


def create_app(name: str, *, mark: str = ".") -> App:
    """An app that answers with its name, unless it is asked for something else."""

    def made(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/hang":
            print("hang: called", file=sys.stderr, flush=True)
            threading.Event().wait()
        body = (name + mark).encode()
        if path == "/pid":
            body = str(os.getpid()).encode()
        elif path == "/environ":
            shown = {key: each for key, each in environ.items() if isinstance(each, (str, bool))}
            body = json.dumps(shown).encode()
        elif path == "/read":
            body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    return made


app = create_app("app")
nested = SimpleNamespace(app=create_app("nested"))
NUMBER = 3
