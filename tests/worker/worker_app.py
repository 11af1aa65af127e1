"""The app under the worker's tests.

Runs inside the server, so it imports nothing of the tests. Each path of `PAGES` has a page of its
own; any other is answered with itself.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

LOADED_BY = os.getpid()

Environ = dict[str, Any]


def _environ(environ: Environ) -> Iterable[bytes]:
    """The environ as JSON, as far as JSON has the types."""
    shown = {key: each for key, each in environ.items() if isinstance(each, (str, bool, int))}
    return [json.dumps(shown).encode()]


def _hang(_environ: Environ) -> Iterable[bytes]:
    """Never answers; says when it is called and when it is left."""
    print("hang: called", file=sys.stderr, flush=True)
    try:
        threading.Event().wait()
    finally:
        print("hang: left", file=sys.stderr, flush=True)
    return []


def _errors(environ: Environ) -> Iterable[bytes]:
    environ["wsgi.errors"].write(f"complaint {environ['QUERY_STRING']}\n")
    return [b"complained"]


def _endless(_environ: Environ) -> Iterator[bytes]:
    while True:
        yield b"x" * 1024


def _raise(_environ: Environ) -> Iterable[bytes]:
    raise ValueError("the app's own mistake")


PAGES: dict[str, Callable[[Environ], Iterable[bytes]]] = {
    "/pid": lambda _: [str(os.getpid()).encode()],
    "/loaded-by": lambda _: [str(LOADED_BY).encode()],
    "/environ": _environ,
    "/errors": _errors,
    "/read": lambda environ: [str(len(environ["wsgi.input"].read())).encode()],
    "/hang": _hang,
    "/endless": _endless,
    "/raise": _raise,
    "/empty": lambda _: [],
    "/pieces": lambda _: iter([b"one", b"", b"two"]),
}


def app(environ: Environ, start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer with the path's page."""
    path = environ["PATH_INFO"]
    body = PAGES[path](environ) if path in PAGES else [path.encode("latin-1")]
    headers = [("Content-Type", "text/plain"), ("X-Answer", 'so "quoted"')]
    if isinstance(body, list):
        headers.append(("Content-Length", str(sum(len(each) for each in body))))
    start_response("200 OK" if path in PAGES else "404 Not Found", headers)
    return body
