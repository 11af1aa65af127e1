"""An outbox sends the bytes that were given to it, in order, however little the socket takes at a
time, and copies nothing but what the app could still change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhttp.outbox import Outbox
from poolhttp.sendfile import IOV_MAX, Buffer

from .sockets import available, fill, receive_exactly, socket_pair

KINDS: dict[str, Any] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "view": memoryview,
    "view of bytearray": lambda data: memoryview(bytearray(data)),
    "slice": lambda data: memoryview(b"xx" + data + b"yy")[2:-2],
}

buffers = st.lists(
    st.tuples(st.sampled_from(sorted(KINDS)), st.binary(max_size=3000)), max_size=12
).map(lambda drawn: [KINDS[kind](data) for kind, data in drawn])


def _joined(parts: list[Any]) -> bytes:
    return b"".join(bytes(each) for each in parts)


@given(batches=st.lists(buffers, min_size=1, max_size=4), data=st.data())
def test_any_partition_gives_the_same_stream(batches: list[list[Any]], data: st.DataObject) -> None:
    """The socket takes some of it, we give more, the peer reads a little, and so on."""
    outbox = Outbox()
    expected = b""
    received = b""
    with socket_pair(sndbuf=2048) as (ours, theirs):
        for batch in batches:
            whole = _joined(batch)
            taken = data.draw(st.integers(0, len(whole)))
            if not outbox.nbytes:
                # What a write took before; the peer has it already.
                expected += whole[taken:]
                outbox.extend(batch, taken)
            else:
                expected += whole
                outbox.extend(batch)
            outbox.write_to(ours.fileno())
            received += available(theirs)
            assert outbox.nbytes == len(expected) - len(received)
        while outbox.nbytes:
            assert outbox.write_to(ours.fileno()) > 0
            received += available(theirs)
    assert received == expected


@given(parts=buffers)
def test_every_count_taken_leaves_the_rest(parts: list[Any]) -> None:
    whole = _joined(parts)
    for taken in {0, 1, len(whole) // 2, len(whole) - 1, len(whole)}:
        if not 0 <= taken <= len(whole):
            continue
        outbox = Outbox()
        outbox.extend(parts, taken)
        assert outbox.nbytes == len(whole) - taken
        with socket_pair() as (ours, theirs):
            outbox.write_to(ours.fileno())
            assert outbox.nbytes == 0
            assert receive_exactly(theirs, len(whole) - taken) == whole[taken:]


def test_more_buffers_than_one_call_takes() -> None:
    count = 2 * IOV_MAX + 7
    outbox = Outbox()
    outbox.extend([b"%06d" % i for i in range(count)])
    received = b""
    calls = 0
    with socket_pair() as (ours, theirs):
        while outbox.nbytes:
            outbox.write_to(ours.fileno())
            received += available(theirs)
            calls += 1
    assert received == b"".join(b"%06d" % i for i in range(count))
    assert calls >= 3


def test_what_the_app_changes_later_is_not_sent() -> None:
    outbox = Outbox()
    block = bytearray(b"first ")
    outbox.extend([block, memoryview(block)])
    block[:] = b"second"
    outbox.extend([block])
    block.clear()
    with socket_pair() as (ours, theirs):
        outbox.write_to(ours.fileno())
        assert available(theirs) == b"first first second"


def test_bytes_are_not_copied() -> None:
    """A large response must not be in memory twice."""
    import tracemalloc

    block = bytes(4 << 20)
    outbox = Outbox()
    tracemalloc.start()
    try:
        outbox.extend([block, memoryview(block)], 5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outbox.nbytes == 2 * len(block) - 5
    assert peak < 1 << 16


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b"")])
def test_empty_buffers_are_no_work(empty: Buffer) -> None:
    outbox = Outbox()
    outbox.extend([empty, b"a", empty, b"b", empty])
    with socket_pair() as (ours, theirs):
        assert outbox.write_to(ours.fileno()) == 2
        assert outbox.nbytes == 0
        assert available(theirs) == b"ab"


def test_a_full_socket_takes_nothing() -> None:
    outbox = Outbox()
    outbox.extend([b"abc"])
    with socket_pair(sndbuf=2048) as (ours, theirs):
        filled = fill(ours)
        assert outbox.write_to(ours.fileno()) == 0
        assert outbox.nbytes == 3
        receive_exactly(theirs, filled)
        assert outbox.write_to(ours.fileno()) == 3
        assert receive_exactly(theirs, 3) == b"abc"


def test_a_closed_peer_is_an_error() -> None:
    outbox = Outbox()
    outbox.extend([b"abc"])
    with socket_pair() as (ours, theirs):
        theirs.close()
        with pytest.raises(BrokenPipeError):
            outbox.write_to(ours.fileno())
