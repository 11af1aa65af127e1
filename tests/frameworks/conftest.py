"""Fixtures of the framework tests: a server for each example app and way in, and a client.

Lives here: which examples there are, how each is started, and that each ends with status 0.

A server is started once for each (framework, way in) and lives as long as the module's tests; what
it prints during a test is printed with that test, so that a failure shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from corpus.serving import OUR_WORKER, Launch, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"

APPS = {
    "wsgi": "hello:app",
    "flask": "flask_app:app",
    "django": "django_app.wsgi:application",
    "bottle": "bottle_app:app",
    "falcon": "falcon_app:app",
    "pyramid": "pyramid_app:app",
}

WAYS_IN = {"standalone": None, "gunicorn": OUR_WORKER}

TIMEOUT = 30.0
"""Seconds for each step of a request."""


def started(framework: str, way_in: str, directory: Path) -> Iterator[Server]:
    """The body of a server fixture: up, then down with status 0."""
    env = {"DJANGO_DATABASE": str(directory / "db.sqlite3")}
    with Server(Launch(APPS[framework], EXAMPLES, WAYS_IN[way_in], env=env)) as server:
        server.wait_until_listening()
        yield server
        assert server.stop() == 0, server.output()


@pytest.fixture(autouse=True)
def server_output(server: Server) -> Iterator[None]:
    """Prints what the server printed during the test; pytest shows it when the test failed."""
    first = server.line_count()
    yield
    print(server.output(first))


@pytest.fixture
def session(server: Server) -> Iterator[requests.Session]:
    """A client with cookies and keep-alive, and with a CSRF token if the framework gives one."""
    with requests.Session() as client:
        client.trust_env = False
        client.get(f"{server.url}/form", timeout=TIMEOUT)
        token = client.cookies.get("csrftoken")
        if token is not None:
            client.headers["X-CSRFToken"] = token
        yield client
