"""How the bytes of a request are cut into segments has no meaning.

RFC 9112 section 2.2: a message is a sequence of bytes. Each request is delivered whole, byte by
byte and cut at every place, and sequences of them cut at random; the answer is always the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import LiveServer, Serve, message, read_to_eof

from .apps import mirror
from .delivery import LAST, REQUESTS, cut, deliver, without_dates

CLOSE = message("GET /close HTTP/1.1", "Connection: close")

ALL = {name: data + CLOSE for name, data in REQUESTS.items()} | LAST


class Delivery:
    """A server, and what it answers to whole sequences."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self._whole: dict[bytes, bytes] = {}

    def answers(self, pieces: list[bytes]) -> bytes:
        """All that comes up to the connection's end, without dates."""
        with self.server.connect() as sock, self.server.connect() as barrier:
            deliver(sock, barrier, pieces)
            return without_dates(read_to_eof(sock))

    def whole(self, data: bytes) -> bytes:
        """The answers to `data` in one piece."""
        if data not in self._whole:
            self._whole[data] = self.answers([data])
        return self._whole[data]


@pytest.fixture(scope="module")
def delivery(serve_module: Serve) -> Iterator[Delivery]:
    server = serve_module(mirror, keepalive=60.0)
    yield Delivery(server)
    assert "Traceback" not in server.log_text()


@pytest.mark.parametrize("name", ALL)
def test_whole_has_the_expected_shape(delivery: Delivery, name: str) -> None:
    """So that the tests below don't compare nothing with nothing."""
    answers = delivery.whole(ALL[name])
    if name in REQUESTS:
        assert answers.startswith(b"HTTP/1.1 200 " if "1.0" not in name else b"HTTP/1.0 200 ")
        assert answers.count(b" 200 OK\r\n") == 2
    else:
        assert answers.count(b"Connection: close\r\n") == 1
    assert b"/hidden" not in answers.replace(b"GET /hidden HTTP/1.1\\r\\n", b"")


@pytest.mark.parametrize("name", ALL)
def test_byte_by_byte(delivery: Delivery, name: str) -> None:
    data = ALL[name]
    assert delivery.answers(cut(data, range(len(data)))) == delivery.whole(data)


@pytest.mark.parametrize("name", ALL)
def test_cut_at_every_place(delivery: Delivery, name: str) -> None:
    """Only its own bytes: cuts of the request behind it are another case's."""
    data = ALL[name]
    expected = delivery.whole(data)
    own = len(REQUESTS.get(name, data))
    for place in range(1, own):
        assert delivery.answers(cut(data, [place])) == expected, f"cut at {place}"


SEQUENCES = st.tuples(
    st.lists(st.sampled_from(sorted(REQUESTS)), max_size=6), st.sampled_from(sorted(LAST))
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=SEQUENCES, data=st.data())
def test_random_cuts_of_sequences(
    delivery: Delivery, sequence: tuple[list[str], str], data: st.DataObject
) -> None:
    names, last = sequence
    stream = b"".join([*(REQUESTS[name] for name in names), LAST[last]])
    places = data.draw(st.lists(st.integers(1, len(stream) - 1), max_size=12), label="places")
    answers = delivery.answers(cut(stream, places))
    assert answers == delivery.whole(stream)
    assert answers.count(b" 200 OK\r\n") >= len(names)
