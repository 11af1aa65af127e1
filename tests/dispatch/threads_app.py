"""The app under the tests of threads in a process of its own; imports nothing of the tests.

/where says on which threads it ran. /hold/NAME blocks on the FIFO $GATES/NAME: until somebody opens
it for writing, and until that is closed. /nap takes a few milliseconds, /trickle sends now and
then, /hang never ends.
"""

import os
import select
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

PAUSE = 0.2
"""Seconds between two pieces of /trickle; well below any timeout."""

PIECES = 22


def _where() -> Iterator[bytes]:
    main = threading.main_thread()
    for _ in range(3):
        yield b"main " if threading.current_thread() is main else b"other "


def _trickle() -> Iterator[bytes]:
    for _ in range(PIECES):
        select.select([], [], [], PAUSE)
        yield b"."


def _hang(path: str) -> None:
    print(f"called: {path}", file=sys.stderr, flush=True)
    threading.Event().wait()


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer with the path, or what it asks for."""
    path = environ["PATH_INFO"]
    headers: list[tuple[str, str]] = []
    if path.startswith("/hang"):
        _hang(path)
    if path.startswith("/hold/"):
        with open(Path(os.environ["GATES"], path.removeprefix("/hold/")), "rb") as gate:
            gate.read()
    if path.startswith("/nap"):
        select.select([], [], [], 0.004)
    if path == "/trickle":
        start_response("200 OK", headers)
        return _trickle()
    if path.startswith(("/where", "/hold/where")):
        on_main = threading.current_thread() is threading.main_thread()
        headers.append(("X-Called-On", "main" if on_main else "other"))
        start_response("200 OK", headers)
        return _where()
    body = str(os.getpid()).encode() if path == "/pid" else path.encode("latin-1")
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
