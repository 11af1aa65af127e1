"""Fixtures of the tests of who runs the app."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from live import Serve

from .gated import Gated


@pytest.fixture
def gated(serve: Serve) -> Iterator[Gated]:
    """An app that holds calls; at the test's end all are let go, before the servers stop."""
    app = Gated()
    yield app
    app.let_go()
