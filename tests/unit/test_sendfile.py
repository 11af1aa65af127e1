"""Each call tries once and says how many bytes the socket took; 0 means that it is full, and a file
that ends too early is an error, never an endless 0."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from poolhttp.sendfile import FILE_STEP, IOV_MAX, send_file, write

from .sockets import available, fill, receive_exactly, socket_pair


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 16)
    return path


def test_buffers_of_all_kinds_are_written_in_order() -> None:
    with socket_pair() as (ours, theirs):
        assert write(ours.fileno(), [b"a", bytearray(b"bc"), memoryview(b"xdefx")[1:4], b""]) == 6
        assert available(theirs) == b"abcdef"


def test_at_most_iov_max_buffers_are_tried() -> None:
    with socket_pair() as (ours, theirs):
        assert write(ours.fileno(), [b"x"] * (IOV_MAX + 5)) == IOV_MAX
        assert available(theirs) == b"x" * IOV_MAX


def test_a_full_socket_takes_some_and_then_nothing(file: Path) -> None:
    with socket_pair(sndbuf=2048) as (ours, theirs), file.open("rb") as opened:
        block = bytes(1 << 20)
        taken = write(ours.fileno(), [block, block])
        assert 0 < taken < len(block)
        filled = taken + fill(ours)
        assert write(ours.fileno(), [block]) == 0
        assert send_file(ours.fileno(), opened.fileno(), 0, 100) == 0
        receive_exactly(theirs, filled)
        assert send_file(ours.fileno(), opened.fileno(), 0, 100) == 100


def test_a_closed_peer_is_an_error(file: Path) -> None:
    with socket_pair() as (ours, theirs), file.open("rb") as opened:
        theirs.close()
        with pytest.raises(BrokenPipeError):
            write(ours.fileno(), [b"x"])
        with pytest.raises(BrokenPipeError):
            send_file(ours.fileno(), opened.fileno(), 0, 100)


@pytest.mark.parametrize(("offset", "nbytes"), [(0, 4096), (0, 1), (4095, 1), (1000, 100)])
def test_a_range_is_sent_and_the_position_left_alone(file: Path, offset: int, nbytes: int) -> None:
    with socket_pair() as (ours, theirs), file.open("rb") as opened:
        opened.seek(7)
        assert send_file(ours.fileno(), opened.fileno(), offset, nbytes) == nbytes
        assert receive_exactly(theirs, nbytes) == file.read_bytes()[offset : offset + nbytes]
        assert os.lseek(opened.fileno(), 0, os.SEEK_CUR) == 7


def test_what_the_file_has_is_sent_first(file: Path) -> None:
    with socket_pair() as (ours, theirs), file.open("rb") as opened:
        assert send_file(ours.fileno(), opened.fileno(), 4000, 5000) == 96
        assert available(theirs) == file.read_bytes()[4000:]


@pytest.mark.parametrize("offset", [4096, 4097, 1 << 40])
def test_a_file_that_ends_too_early_is_an_error(file: Path, offset: int) -> None:
    with socket_pair() as (ours, theirs), file.open("rb") as opened:
        with pytest.raises(EOFError):
            send_file(ours.fileno(), opened.fileno(), offset, 1)
        assert available(theirs) == b""


def test_no_bytes_are_no_error(file: Path) -> None:
    with socket_pair() as (ours, _theirs), file.open("rb") as opened:
        assert send_file(ours.fileno(), opened.fileno(), 4096, 0) == 0


def test_one_call_is_one_step(tmp_path: Path) -> None:
    """One fast reader can't hold the loop."""
    path = tmp_path / "large"
    with path.open("wb") as large:
        large.truncate(3 * FILE_STEP)
    with socket_pair(sndbuf=8 * FILE_STEP) as (ours, _theirs), path.open("rb") as opened:
        assert 0 < send_file(ours.fileno(), opened.fileno(), 0, 3 * FILE_STEP) <= FILE_STEP


def test_what_is_no_regular_file_is_an_error() -> None:
    with socket_pair() as (ours, theirs):
        with pytest.raises(OSError, match=r"Invalid|Illegal") as caught:
            send_file(ours.fileno(), theirs.fileno(), 0, 10)
        assert caught.value.errno in {errno.EINVAL, errno.ESPIPE}
