"""poolhttp: an HTTP/1.1 WSGI server for Linux on one edge-triggered epoll loop.

    import poolhttp
    poolhttp.serve(app, bind="127.0.0.1:8000")

Under gunicorn: ``gunicorn -k poolhttp.worker.EpollWorker app:wsgi``.
"""

from poolhttp.library import serve
from poolhttp.listeners import BindError
from poolhttp.server import Server
from poolhttp.settings import Settings, SettingsError
from poolhttp.version import __version__

__all__ = ["BindError", "Server", "Settings", "SettingsError", "__version__", "serve"]
