"""Who runs the app: the one place that decides it.

Lives here: the decision. Must not live here: what is run, and what happens with its result. In this
version every call runs on the thread of the loop, one at a time.
"""

from __future__ import annotations

from poolhttp.wsgi import Response


class Scheduler:
    """Runs app calls inline, on the thread of the loop."""

    run = staticmethod(Response.run)
    """``run(response)`` calls the app; see :meth:`poolhttp.wsgi.Response.run`. Nothing stands
    between, as long as there is nothing to decide."""
