"""What the app is told of its process, and in which process it is loaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import gunicorn
import pytest
from corpus.clients import connect, wait_until

from .asking import ask, environ_of, pid_of, wait_for_line

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Start


@pytest.mark.parametrize("workers", [1, 2])
def test_environ_of_a_worker(start: Start, workers: int) -> None:
    server = start("-w", str(workers))
    environ = environ_of(connect(server.port))
    assert environ["wsgi.multiprocess"] is (workers > 1)
    assert environ["wsgi.multithread"] is False
    assert environ["wsgi.run_once"] is False
    assert environ["SERVER_SOFTWARE"] == f"gunicorn/{gunicorn.__version__}"


def test_environ_is_that_of_gthread(start: Start) -> None:
    """But for the peer's port, the server's, and what a thread decides."""
    fields = ("X-One: a", "x-one: b", "Content-Type: a/b", "Cookie: c=1", "Accept: */*")
    ours, theirs = (
        environ_of(connect(start(worker_class=worker_class).port), *fields, host="a:1")
        for worker_class in ("poolhttp.worker.EpollWorker", "gthread")
    )
    for environ in (ours, theirs):
        for key in ("REMOTE_PORT", "SERVER_PORT", "wsgi.multithread"):
            del environ[key]
    assert ours == theirs


def test_wsgi_errors_is_the_error_log(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    server = start("--error-logfile", str(log))
    listening = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
    wait_until(lambda: log.exists() and bool(listening.search(log.read_text())), "it listens")
    port = int(listening.findall(log.read_text())[0])
    assert ask(port, "/errors?one").body == b"complained"
    assert "complaint one\n" in log.read_text()
    assert "complaint" not in server.output()


def test_wsgi_errors_is_standard_error_by_default(start: Start) -> None:
    server = start()
    assert ask(server.port, "/errors?two").body == b"complained"
    wait_for_line(server, "complaint two")
    assert server.stop() == 0
    assert server.output().count("complaint two") == 1


def test_app_is_loaded_by_the_worker(start: Start) -> None:
    server = start()
    assert int(ask(server.port, "/loaded-by").body) == pid_of(server.port)


def test_app_is_preloaded_by_the_master(start: Start) -> None:
    server = start("--preload")
    assert int(ask(server.port, "/loaded-by").body) == server.pid
    assert pid_of(server.port) != server.pid
    assert server.stop() == 0
