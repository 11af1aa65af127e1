"""Fixtures of all tests that talk to a live server, and Hypothesis' profiles.

Lives here: how long a live server lives (`serve`: one test; `serve_module`: one module, for tests
with very many cases). Must not live here: how it runs (`live`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from hypothesis import settings
from live import App, LiveServer, Serve

# Every failure prints how to reproduce it; in CI the examples are the same in every run.
settings.register_profile("dev", deadline=None, print_blob=True, max_examples=60)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


@contextmanager
def _serving() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(app: App, **settings: Any) -> LiveServer:
            return stack.enter_context(LiveServer(app, **settings))

        yield start


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Gives `serve(app, **settings)`; the servers live as long as the test."""
    with _serving() as start:
        yield start


@pytest.fixture(scope="module")
def serve_module() -> Iterator[Serve]:
    """The same; the servers live as long as the module's tests."""
    with _serving() as start:
        yield start
