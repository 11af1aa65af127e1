"""``poolhttp.serve``: the server as a call of a library.

Lives here: that call. Must not live here: the command line (``cli``), serving (``server``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poolhttp.appcontext import App
from poolhttp.server import Server
from poolhttp.settings import Settings
from poolhttp.signals import stop_on_signals


def serve(app: App, bind: str | Sequence[str] = "127.0.0.1:8000", **settings: Any) -> None:
    """Serve ``app`` in the calling thread until it is stopped by SIGTERM or SIGINT.

    Args:
        app: a WSGI application.
        bind: one or several of ``HOST:PORT``, ``[IPv6]:PORT``, ``unix:PATH``, ``fd://N``.
        settings: fields of :class:`poolhttp.Settings`.

    Raises:
        BindError: a listener can't be made.
        SettingsError: a setting is out of range.
    """
    server = Server(
        app, bind=[bind] if isinstance(bind, str) else bind, settings=Settings(**settings)
    )
    with stop_on_signals(server):
        server.run()
