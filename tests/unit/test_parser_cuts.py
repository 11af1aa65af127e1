"""How bytes arrive changes nothing: any cut of a stream gives the same requests (RFC 9112 is a
grammar of bytes, TCP keeps no boundaries)."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .parsing import INVALID, VALID, Parsed, Refused, outcomes


def _bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("data", VALID)
def test_every_cut_gives_the_same_requests(data: bytes) -> None:
    expected = outcomes(data)
    assert expected
    assert all(isinstance(each, Parsed) for each in expected)
    assert outcomes(*_bytewise(data)) == expected
    for i in range(1, len(data)):
        assert outcomes(data[:i], data[i:]) == expected, i


@pytest.mark.parametrize("data", [each for each in VALID if len(each) < 70])
def test_every_pair_of_cuts_gives_the_same_requests(data: bytes) -> None:
    expected = outcomes(data)
    for i, j in combinations(range(1, len(data)), 2):
        assert outcomes(data[:i], data[i:j], data[j:]) == expected, (i, j)


@pytest.mark.parametrize(("status", "data"), INVALID)
def test_every_cut_of_a_faulty_message_is_refused_alike(status: int, data: bytes) -> None:
    expected = [Refused(status)]
    assert outcomes(data) == expected
    assert outcomes(*_bytewise(data)) == expected
    for i in range(1, len(data)):
        assert outcomes(data[:i], data[i:]) == expected, i


@given(st.data())
def test_any_cuts_of_any_pipeline(data: st.DataObject) -> None:
    messages = data.draw(st.lists(st.sampled_from(VALID[:-1]), min_size=1, max_size=4))
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    pieces = [stream[i:j] for i, j in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = [each for message in messages for each in outcomes(message)]
    assert outcomes(*pieces) == expected


def test_an_unfinished_message_gives_nothing() -> None:
    for data in VALID[:-1]:
        for i in range(1, len(data)):
            assert outcomes(data[:i]) == []


def test_what_follows_a_request_is_left_alone() -> None:
    """The parser returns the rest unparsed, also if that is no request."""
    first = outcomes(VALID[0])
    assert outcomes(VALID[0] + b"\x00\x00\x00")[: len(first)] == first
