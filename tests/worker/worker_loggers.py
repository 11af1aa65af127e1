"""Loggers and formatters as users of gunicorn write them; imported by the server under test.

What a logger is given goes as JSON lines to the file named by $NOTES.
"""

import datetime
import json
import logging
import os
from typing import Any

from gunicorn.glogging import Logger


def _note(**what: Any) -> None:
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(json.dumps(what) + "\n")


class OwnAccess(Logger):  # type: ignore[misc]
    """Writes what gunicorn's own logger and metrics exporters read."""

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Note the attributes, not the objects."""
        _note(
            status=resp.status,
            status_code=resp.status_code,
            sent=resp.sent,
            response_length=resp.response_length,
            response_headers=[list(pair) for pair in resp.headers],
            method=req.method,
            uri=req.uri,
            path=req.path,
            query=req.query,
            version=list(req.version),
            request_headers=[list(pair) for pair in req.headers],
            raw_uri=environ["RAW_URI"],
            timed=isinstance(request_time, datetime.timedelta)
            and request_time.total_seconds() >= 0,
        )


class OwnAtoms(Logger):  # type: ignore[misc]
    """Adds an atom to the access log's language, and leaves `access` alone."""

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> Any:
        """All of gunicorn's, with another host."""
        atoms = super().atoms(resp, req, environ, request_time)
        return {**atoms, "h": "somewhere", "tenant": "acme"}


class JsonFormatter(logging.Formatter):
    """Looks up the atoms that it wants in the record's arguments."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        atoms: Any = record.args
        return json.dumps({name: atoms[name] for name in "hmUsBfa"})
