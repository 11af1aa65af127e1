"""Fixtures of the tests of the command `poolhttp`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest
from corpus.serving import Launch, Server

from .running import HERE


class Start(Protocol):
    """The fixture `start`: starts `poolhttp serve APP --bind 127.0.0.1:0 OPTIONS`."""

    def __call__(
        self, *options: str, app: str = "cli_app:app", env: dict[str, str] | None = None
    ) -> Server: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers; what they printed is shown when the test fails."""
    with ExitStack() as stack:

        def launch(
            *options: str, app: str = "cli_app:app", env: dict[str, str] | None = None
        ) -> Server:
            server = Server(Launch(app, HERE, None, options, env or {}))
            stack.callback(lambda: print(server.output()))
            return stack.enter_context(server)

        yield launch
