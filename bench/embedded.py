"""Starts a server that is made to be run from code: `python -m bench.embedded MODULE HOST PORT`."""

from __future__ import annotations

import importlib
import sys

from bench.app import app


def main() -> None:
    """Run the server of the named module with its own defaults until the process is killed."""
    module, host, port = sys.argv[1:]
    server = importlib.import_module(module)
    server.run(app, host, int(port))


if __name__ == "__main__":
    main()
