"""Several workers: gunicorn's arbiter with our worker class; supervision isn't written twice.

Lives here: gunicorn's application object. Must not live here: options (``cli``).
"""

from __future__ import annotations

import sys
from typing import Any

from gunicorn.app.base import BaseApplication

from poolhttp.apploader import load_app
from poolhttp.version import __version__


class SupervisedApplication(BaseApplication):  # type: ignore[misc]  # gunicorn is untyped
    """A gunicorn application configured by a dict instead of a command line.

    Args:
        spec: ``MODULE:APP``; imported by each worker.
        options: gunicorn's settings by name.
    """

    def __init__(self, spec: str, options: dict[str, Any]) -> None:
        self._spec = spec
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """Set the options."""
        self.cfg.set("worker_class", "poolhttp.worker.EpollWorker")
        for name, value in self._options.items():
            self.cfg.set(name, value)

        self.cfg.set("when_ready", _announce)

    def load(self) -> Any:
        """Import the app."""
        return load_app(self._spec)


def _announce(arbiter: Any) -> None:
    """Say where the server listens, as the server without an arbiter does."""
    where = ", ".join(str(listener) for listener in arbiter.LISTENERS)
    print(
        f"poolhttp {__version__}: listening on {where}, {arbiter.cfg.workers} workers, "
        f"{arbiter.cfg.threads} {'thread' if arbiter.cfg.threads == 1 else 'threads'} each",
        file=sys.stderr,
        flush=True,
    )
