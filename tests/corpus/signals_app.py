"""The app under the signal tests: it says who answers, records what it was asked, and can be held.

Runs inside the server, so it imports nothing of the tests. `/pid` answers the process id; `/hold`
answers once there is a byte in the FIFO named by $SIGNALS_FIFO; anything else is answered at once.
Each path is appended to the file named by $SIGNALS_RECORD before the answer is made: that a request
is there means that the server accepted it.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer with the path, or with what it asks for."""
    path = environ["PATH_INFO"]
    with open(os.environ["SIGNALS_RECORD"], "a") as record:
        record.write(f"{path}\n")
    if path.startswith("/hold"):
        with open(os.environ["SIGNALS_FIFO"], "rb", buffering=0) as fifo:
            fifo.read(1)
    body = (str(os.getpid()) if path == "/pid" else path).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
