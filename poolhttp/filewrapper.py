"""``wsgi.file_wrapper``: a file as an iterable of blocks (PEP 3333)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from io import BufferedReader, BytesIO, FileIO
from typing import Any


class FileWrapper:
    """Iterates over a file-like object in blocks.

    A class, so that servers and middleware can use isinstance; it shows the file's own
    ``seekable``, ``seek`` and ``tell``, without which werkzeug reads a Range from byte 0.

    Args:
        filelike: has ``read(nbytes)`` that returns bytes, b"" at the end; may have ``close``.
        blksize: bytes of a block.
    """

    def __init__(self, filelike: Any, blksize: int = 8192) -> None:
        self.filelike = filelike
        self.blksize = blksize
        for name in ("close", "seekable", "seek", "tell"):
            if hasattr(filelike, name):
                setattr(self, name, getattr(filelike, name))

    @property
    def is_plain(self) -> bool:
        """Whether reading and closing it calls no code of the app and waits for nobody: a regular
        file, or bytes in memory, to which nothing has been attached."""
        file = self.filelike
        try:
            raw = file.raw if type(file) is BufferedReader else file
            return (
                type(raw) in {FileIO, BytesIO}
                and getattr(self, "close", None) == file.close
                and vars(file).keys() | vars(raw).keys() <= {"name"}
                and (type(raw) is BytesIO or stat.S_ISREG(os.fstat(raw.fileno()).st_mode))
            )
        except (OSError, ValueError):
            return False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self.blksize)
        if block:
            return block
        raise StopIteration

    def __getitem__(self, index: int) -> bytes:
        """The old iteration protocol, which PEP 3333's example has."""
        block: bytes = self.filelike.read(self.blksize)
        if block:
            return block
        raise IndexError(index)
