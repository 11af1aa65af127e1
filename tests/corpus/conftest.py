"""Fixtures: the corpus and one server for each of its configurations, and servers to be signalled.

Lives here: when the corpus may be missing (anywhere but in CI), how its configurations become conf
files, and how long a server lives: one of the corpus as long as the session (it is started once for
each configuration), one of the signal tests as long as the test.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .cases import Case, Settings, load_corpus
from .serving import OUR_WORKER, Launch, Server
from .source import REQUESTS, SourceUnavailableError, find_source

HERE = Path(__file__).parent

WAYS_IN = {"standalone": None, "gunicorn": OUR_WORKER}

ServerFor = Callable[[str, Settings], Server]
Start = Callable[..., Server]
Release = Callable[[], object]


@pytest.fixture(scope="session")
def corpus(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """All cases, from the sdist of the installed gunicorn."""
    if pytestconfig.pluginmanager.hasplugin("cacheprovider"):
        assert pytestconfig.cache is not None
        cache = pytestconfig.cache.mkdir("gunicorn-sdist")
    else:
        cache = tmp_path_factory.mktemp("gunicorn-sdist")
    try:
        source = find_source(cache)
    except SourceUnavailableError as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"gunicorn's request corpus is missing: {reason}")
        pytest.skip(f"gunicorn's request corpus is missing: {reason}")
    return load_corpus(source / REQUESTS)


@pytest.fixture(scope="session")
def server_for(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFor]:
    """Gives the server of a worker class and a configuration, starting it at the first demand.

    All of them are ended together and have to exit with 0.
    """
    running: dict[tuple[str, Settings], Server] = {}
    with ExitStack() as stack:

        def get(worker_class: str, settings: Settings) -> Server:
            key = (worker_class, settings)
            if key not in running:
                conf = tmp_path_factory.mktemp("conf") / "gunicorn.conf.py"
                launch = corpus_launch(worker_class, settings, conf)
                server = stack.enter_context(Server(launch))
                server.wait_until_listening()
                running[key] = server
            return running[key]

        yield get
        for server in running.values():
            server.send_signal(signal.SIGTERM)
        statuses = {server.wait() for server in running.values()}
        assert statuses <= {0}, [server.output() for server in running.values()]


def corpus_launch(worker_class: str, settings: Settings, conf: Path) -> Launch:
    """gunicorn over `echo_app`, with `settings` written to `conf`."""
    conf.write_text("".join(f"{name} = {value!r}\n" for name, value in settings))
    return Launch(
        "echo_app:app",
        HERE,
        worker_class,
        ("-c", str(conf), "--log-level", "info"),
        # 25 valid files are HTTP/1.1 without Host, which gunicorn accepts and we refuse by default.
        {"POOLHTTP_REQUIRE_HOST": "0"},
    )


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The file in which `signals_app` notes each request that reached it."""
    file = tmp_path / "record"
    file.touch()
    return file


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    """Lets go of one request that `signals_app` holds, or will hold."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # Open for both, so that neither side waits for the other to open it (fifo(7)).
    end = os.open(fifo, os.O_RDWR)
    yield lambda: os.write(end, b"x")
    os.close(end)


@pytest.fixture
def start(tmp_path: Path, record: Path, release: Release) -> Iterator[Start]:
    """Starts `signals_app` by the way in that is named; its output is shown at the end."""
    env = {"SIGNALS_RECORD": str(record), "SIGNALS_FIFO": str(tmp_path / "fifo")}
    with ExitStack() as stack:

        def launch(way_in: str, *options: str) -> Server:
            server = Server(Launch("signals_app:app", HERE, WAYS_IN[way_in], options, env))
            stack.callback(lambda: print(server.output()))
            return stack.enter_context(server)

        yield launch
