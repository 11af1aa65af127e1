"""A request body while it arrives: in memory, and beyond a limit in an unlinked temporary file.

Lives here: where body bytes are kept. Must not live here: framing and limits (``parser``).
"""

from __future__ import annotations

import io
import tempfile
from typing import IO


class Spool:
    """Collects a body of unknown size.

    Args:
        memory: bytes that may be kept in memory.
        directory: where the file is made, or None for the system's choice.

    Raises:
        OSError: from ``write``, when the file can't be made or the disk is full.
    """

    __slots__ = ("_directory", "_file", "_memory", "nbytes")

    def __init__(self, memory: int, directory: str | None) -> None:
        self._memory = memory
        self._directory = directory
        self._file: IO[bytes] = io.BytesIO()
        self.nbytes = 0

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        if self.nbytes + len(data) > self._memory and isinstance(self._file, io.BytesIO):
            file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - the app reads it
            file.write(self._file.getbuffer())
            self._file = file
        self._file.write(data)
        self.nbytes += len(data)

    def finish(self) -> IO[bytes]:
        """Return the body as a binary file at its beginning; whoever takes it closes it."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Drop the body."""
        self._file.close()
