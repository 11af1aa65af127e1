"""What other threads want the loop to do.

Lives here: the only way into the loop from outside. Must not live here: what is done.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator


class Inbox:
    """Work for the loop's thread, from any thread.

    Attributes:
        fd: an eventfd to be watched edge-triggered, so that nobody has to read it.
        work: what is due, in order; the loop empties it before it waits and after.
    """

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.work: deque[Callable[[], None]] = deque()
        self._shut = False

    def post(self, work: Callable[[], None], *, wake: bool) -> bool:
        """Have ``work()`` called by the thread of the loop.

        Args:
            work: must not block.
            wake: whether a loop that waits is woken for it, or comes to it when it wakes up.

        Returns:
            False if the loop is gone; ``work`` won't be called.
        """
        self.work.append(work)
        if self._shut:
            try:
                self.work.remove(work)
            except ValueError:
                return True
            return False
        if wake:
            self.wake()
        return True

    def wake(self) -> None:
        """End the loop's wait."""
        try:
            os.eventfd_write(self.fd, 1)
        except (BlockingIOError, OSError):
            # It was woken 2**64 times, or is gone.
            return

    def shut(self) -> Iterator[Callable[[], None]]:
        """Take no more; yield what is still due."""
        self._shut = True
        while self.work:
            yield self.work.popleft()
        fd, self.fd = self.fd, -1
        os.close(fd)
