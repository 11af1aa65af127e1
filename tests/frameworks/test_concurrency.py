"""What frameworks keep by thread and by context holds for a whole request, under concurrency."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from corpus.clients import connect
from corpus.serving import Launch, Server
from live import Response, exchange, message

from .conftest import TIMEOUT, WAYS_IN

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent

CLIENTS = 6
REQUESTS = 15

ROWS = 40
"""As many as the Django app sends."""

COMBINATIONS = [
    ("standalone", "1"),
    ("standalone", "4"),
    ("gunicorn", "4"),
]

Ask = Callable[[int, int], tuple[str, Callable[[Response], bool]]]


@pytest.fixture(params=COMBINATIONS, ids="-".join)
def way_in(request: pytest.FixtureRequest) -> tuple[str, str]:
    """How the app is served, and by how many threads."""
    way: tuple[str, str] = request.param
    return way


@pytest.fixture
def server(
    request: pytest.FixtureRequest, way_in: tuple[str, str], tmp_path: Path
) -> Iterator[Server]:
    """The app that the test's name begins with, and an end with status 0."""
    app = request.node.name.partition("[")[0].removeprefix("test_").partition("_")[0]
    way, threads = way_in
    env = {"DJANGO_DATABASE": str(tmp_path / "db.sqlite3")}
    launch = Launch(f"concurrent_{app}:app", HERE, WAYS_IN[way], ("--threads", threads), env=env)
    with Server(launch) as server:
        server.wait_until_listening()
        yield server
        assert server.stop() == 0, server.output()


def ask_all(server: Server, ask: Ask) -> None:
    """Many clients at once; each answer is as it should be."""
    wrong: list[str] = []

    def run(client: int) -> None:
        with connect(server.port) as sock:
            for number in range(REQUESTS):
                path, is_right = ask(client, number)
                response = exchange(sock, message(f"GET {path} HTTP/1.1", host="127.0.0.1"))
                if response.status != 200 or not is_right(response):
                    wrong.append(f"{path}: {response.status} {response.body[:200]!r}")

    clients = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(TIMEOUT)
        assert not client.is_alive()
    assert wrong == []


def test_flask_streams_with_their_own_context(server: Server) -> None:
    def ask(client: int, number: int) -> tuple[str, Callable[[Response], bool]]:
        name, word = f"name{client}", f"word{number}"
        expected = f"nobody {3 * f'{word}-{name}-{name}-True '}".encode()
        return f"/stream/{name}?word={word}", lambda response: response.body == expected

    ask_all(server, ask)


def test_django_keeps_a_connection_for_each_thread(server: Server, way_in: tuple[str, str]) -> None:
    lines = "".join(f"{row}\n" for row in range(1, ROWS + 1)).encode()
    threads: set[bytes] = set()

    def ask(client: int, number: int) -> tuple[str, Callable[[Response], bool]]:
        if (client + number) % 2:
            return "/rows", lambda response: response.body == lines

        def note(response: Response) -> bool:
            threads.add(response.body)
            return response.body.isdigit()

        return "/add", note

    ask_all(server, ask)
    assert 1 <= len(threads) <= int(way_in[1])
    with connect(server.port) as sock:
        response = exchange(sock, message("GET /count HTTP/1.1", host="127.0.0.1"))
    assert int(response.body) == CLIENTS * REQUESTS // 2
