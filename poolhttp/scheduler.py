"""Who runs the app: the one place that decides it.

Lives here: the decision. Must not live here: what is run, and what happens with its result. In this
version every call runs on the thread of the loop, one at a time.
"""

from __future__ import annotations

from poolhttp.wsgi import Response


class Scheduler:
    """Runs app calls inline, on the thread of the loop."""

    def run(self, response: Response) -> tuple[bytes, bytes] | None:
        """Run the response's app call; see :meth:`poolhttp.wsgi.Response.run`."""
        return response.run()
