"""Starts a server that is made to be run from code.

`python -m bench.embedded MODULE HOST PORT APP`, with the application as `module:name`.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Run the server of the named module with its own defaults until the process is killed."""
    module, host, port, where = sys.argv[1:]
    place, _, name = where.partition(":")
    server = importlib.import_module(module)
    app = getattr(importlib.import_module(place), name)
    server.run(app, host, int(port))


if __name__ == "__main__":
    main()
