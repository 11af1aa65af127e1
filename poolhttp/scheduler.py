"""Who runs the app: the one place that decides it.

Lives here: the decision. Must not live here: what is run, and what happens with its result. In this
version every call runs on the thread of the loop, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable


class Scheduler:
    """Runs app calls inline, on the thread of the loop."""

    def submit(self, call: Callable[[], None]) -> None:
        """Run ``call`` before returning; it raises nothing but what ends the process."""
        call()
