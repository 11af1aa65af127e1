"""Fixtures of the tests of the gunicorn worker: servers that live as long as a test.

Lives here: how gunicorn is started. Must not live here: asking it, looking at processes (`asking`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from corpus.serving import OUR_WORKER, Launch, Server

HERE = Path(__file__).parent


class Start(Protocol):
    """The fixture `start`: starts gunicorn over an app, by default `worker_app`.

    `conf` is the text of a configuration file; options of the command line win over it.
    """

    def __call__(
        self,
        *options: str,
        app: str = "worker_app:app",
        worker_class: str = OUR_WORKER,
        conf: str = "",
        env: dict[str, str] | None = None,
        app_dir: Path = HERE,
    ) -> Server: ...


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """The file in which hooks and loggers write down what they see, as JSON lines."""
    file = tmp_path / "notes"
    file.touch()
    return file


@pytest.fixture
def start(tmp_path: Path, notes: Path) -> Iterator[Start]:
    """Starts servers; what they printed is shown when the test fails."""
    with ExitStack() as stack:

        def launch(
            *options: str,
            app: str = "worker_app:app",
            worker_class: str = OUR_WORKER,
            conf: str = "",
            env: dict[str, str] | None = None,
            app_dir: Path = HERE,
        ) -> Server:
            if conf:
                file = tmp_path / "conf.py"
                file.write_text(conf)
                options = ("-c", str(file), *options)
            variables = {"NOTES": str(notes), **(env or {})}
            server = Server(Launch(app, app_dir, worker_class, options, variables))
            stack.callback(lambda: print(server.output()))
            return stack.enter_context(server)

        yield launch
