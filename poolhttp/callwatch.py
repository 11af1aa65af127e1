"""The watch over app calls that run on the thread of the loop.

Lives here: the numbers that Python and the native watch share. Must not live here: what is done
with a call that overstays (``crew``).

The native side sleeps without the GIL and looks, about once per budget, whether the call that it
saw last is still under way. It sleeps for good while the loop waits, until a turn ends with events.
"""

from __future__ import annotations

from typing import Any

from poolhttp._native import ffi, lib


class CallWatch:
    """Looks at the calls of one loop.

    Args:
        native: the loop's ``ph_loop``, which must outlive the watch.

    Attributes:
        mark: ``mark[0]`` is to be changed before each call.
        overstayed: ``overstayed[0]`` is the mark of the last call that was seen to overstay.
        in_turn: ``in_turn[0]`` is 1 while the loop waits, so that what is posted to its inbox
            without a wake-up is not seen; to be set under the GIL, cleared by the native side.
    """

    def __init__(self, native: Any) -> None:
        self._native = native
        self.mark = _view(native, "mark")
        self.overstayed = _view(native, "overstayed")
        self._at_exit = _view(native, "mark_at_exit")
        self.in_turn = memoryview(ffi.buffer(ffi.addressof(native, "in_turn"), 4)).cast("i")

    def wait(self, budget: float) -> bool:
        """Block, without the GIL, until a call overstays; False when the watch was stopped.

        It takes a while to get the GIL: ``is_current`` says whether the call is still under way.

        Args:
            budget: seconds between two looks; half of that after an overstayed call.
        """
        microseconds = max(int(budget * 1e6), 2)
        if not self._native.watch_period:
            self._native.watch_period = microseconds
        return bool(lib.ph_watch_calls(self._native, microseconds))

    @property
    def is_current(self) -> bool:
        """Whether the call that overstayed is the last that has begun, or just the last."""
        return self.overstayed[0] == self.mark[0]

    def stop(self) -> None:
        """End ``wait``, now and for ever."""
        lib.ph_stop_watching(self._native)

    def settle(self) -> None:
        """The call of the last mark needs no watching any more."""
        self._at_exit[0] = self.mark[0]

    @property
    def called(self) -> bool:
        """Whether a call has begun since the last turn's wait."""
        return self._at_exit[0] != self.mark[0]


def _view(native: Any, name: str) -> memoryview:
    return memoryview(ffi.buffer(ffi.addressof(native, name), 8)).cast("q")
