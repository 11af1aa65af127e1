"""Fixtures of the loop's tests: a loop with a listener, over TCP and over unix sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .looping import Stage, staged


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


@pytest.fixture
def local() -> Iterator[Stage]:
    """Over unix sockets: a full buffer stays full until the peer reads."""
    with staged(unix=True) as made:
        yield made
