"""The app under the corpus: it reads the body and answers with what it saw, as JSON.

Runs inside the server, so it imports nothing of the tests. Reported are the environ keys that a
request decides; what the server or the connection decides (wsgi.*, REMOTE_*, SERVER_*) is not.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

REPORTED = ("REQUEST_METHOD", "RAW_URI", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL")
REPORTED_PREFIXES = ("HTTP_", "CONTENT_")


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer 200 once the whole body was read; the decoded bytes stand for themselves."""
    body = environ["wsgi.input"].read()
    seen = {
        key: value
        for key, value in environ.items()
        if key in REPORTED or key.startswith(REPORTED_PREFIXES)
    }
    answer = json.dumps({"environ": seen, "body": body.decode("latin-1")}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
    start_response("200 OK", headers)
    return [answer]
