"""What Django adds: sessions and models in sqlite, CSRF protection, a rendered form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import requests

from .conftest import TIMEOUT, WAYS_IN, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corpus.serving import Server

TOKEN_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


@pytest.fixture(scope="module", params=WAYS_IN)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The Django example by one way in, with a database of its own."""
    yield from started("django", request.param, tmp_path_factory.mktemp("django"))


def test_session_counts_visits(server: Server, session: requests.Session) -> None:
    counts = [session.get(f"{server.url}/visits", timeout=TIMEOUT).json() for _ in range(3)]
    assert counts == [{"visits": 1}, {"visits": 2}, {"visits": 3}]


def test_form_without_token_is_forbidden(server: Server) -> None:
    fields = {"name": "Mallory", "city": "nowhere"}
    answer = requests.post(f"{server.url}/form", data=fields, timeout=TIMEOUT)
    assert answer.status_code == 403


def test_form_as_a_browser_sends_it_is_stored(server: Server, session: requests.Session) -> None:
    del session.headers["X-CSRFToken"]
    page = session.get(f"{server.url}/form", timeout=TIMEOUT)
    token = TOKEN_FIELD.search(page.text)
    assert token is not None
    fields = {"csrfmiddlewaretoken": token.group(1), "name": "Ada", "city": "London"}
    answer = session.post(f"{server.url}/form", data=fields, timeout=TIMEOUT)
    assert answer.json() == {"name": "Ada", "city": "London"}
    stored = session.get(f"{server.url}/guests", timeout=TIMEOUT).json()
    assert stored == {"guests": ["Ada from London"]}
