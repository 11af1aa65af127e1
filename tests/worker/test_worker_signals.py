"""Signals to the worker and to the master, beyond what the corpus' tests do under load."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
from corpus.clients import connect, send, wait_until
from corpus.serving import STOP_TIMEOUT

from .asking import ask, is_running, pid_of, wait_for_line, wait_until_gone, workers

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Start

INT_HOOK = """
def worker_int(worker):
    worker.log.info("hook: worker_int %s", worker.pid)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_signalled_worker_is_replaced(start: Start, number: int) -> None:
    server = start(conf=INT_HOOK)
    worker = pid_of(server.port)
    os.kill(worker, number)
    wait_until_gone(worker)
    assert pid_of(server.port) != worker
    assert server.stop() == 0
    output = server.output()
    assert "exited with code" not in output
    assert (f"hook: worker_int {worker}" in output) == (number != signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_quick_stop_goes_through_the_frames_of_a_hanging_app(start: Start, number: int) -> None:
    server = start("--graceful-timeout", "600", "-t", "600")
    worker = pid_of(server.port)
    with connect(server.port) as held:
        send(held, "/hang")
        wait_for_line(server, "hang: called")
        server.send_signal(number)
        assert server.wait() == 0
    assert not is_running(worker)
    assert "hang: left" in server.output()
    assert "SIGKILL" not in server.output()


def test_quit_ends_all_workers_with_status_0(start: Start) -> None:
    server = start("-w", "2")
    server.wait_until_listening()
    wait_until(lambda: len(workers(server)) == 2, "both workers run")
    assert pid_of(server.port) in workers(server)
    assert server.stop(signal.SIGQUIT) == 0
    assert workers(server) == set()
    assert "Traceback" not in server.output()


def test_usr1_reopens_the_access_log(start: Start, tmp_path: Path) -> None:
    log, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    server = start("--access-logfile", str(log))
    ask(server.port, "/before")
    wait_until(lambda: "/before" in log.read_text(), "the first line is written")
    log.rename(rotated)
    server.send_signal(signal.SIGUSR1)
    wait_until(log.exists, "the log is made anew")

    def is_written_to() -> bool:
        ask(server.port, "/meanwhile")
        return "/meanwhile" in log.read_text()

    wait_until(is_written_to, "the worker writes to the new log")
    ask(server.port, "/after")
    wait_until(lambda: "/after" in log.read_text(), "the last line is written")
    assert "/after" not in rotated.read_text()
    assert "/before" not in log.read_text()


def test_usr1_reopens_what_the_app_complains_to(start: Start, tmp_path: Path) -> None:
    """wsgi.errors is the error log, also after that was rotated."""
    log, rotated = tmp_path / "error.log", tmp_path / "error.log.1"
    server = start("--error-logfile", str(log))
    listening = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
    wait_until(lambda: log.exists() and bool(listening.search(log.read_text())), "it listens")
    port = int(listening.findall(log.read_text())[0])
    assert ask(port, "/errors?before").body == b"complained"
    log.rename(rotated)
    worker = pid_of(port)
    server.send_signal(signal.SIGUSR1)
    wait_until(log.exists, "the log is made anew")

    def worker_has_reopened() -> bool:
        names = [f"/proc/{worker}/fd/{name}" for name in os.listdir(f"/proc/{worker}/fd")]
        return not any(os.path.realpath(name) == str(rotated) for name in names)

    wait_until(worker_has_reopened, "the worker has let go of the old log")
    assert ask(port, "/errors?after").status == 200
    assert "complaint after" in log.read_text()
    assert server.stop() == 0


def test_hup_takes_the_new_configuration(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    conf = f"accesslog = {str(log)!r}\naccess_log_format = 'OLD %(U)s'\n"
    server = start(conf=conf)
    worker = pid_of(server.port)
    wait_until(lambda: log.read_text() == "OLD /pid\n", "the line is written")
    (tmp_path / "conf.py").write_text(conf.replace("OLD", "NEW"))
    server.send_signal(signal.SIGHUP)
    wait_until_gone(worker)
    assert pid_of(server.port) != worker
    wait_until(lambda: log.read_text() == "OLD /pid\nNEW /pid\n", "the new line is written")
    assert server.stop() == 0


def test_ttin_and_ttou_change_the_number_of_workers(start: Start) -> None:
    server = start()
    first = pid_of(server.port)
    server.send_signal(signal.SIGTTIN)
    wait_until(lambda: len(workers(server)) == 2, "a second worker runs")
    [second] = workers(server) - {first}
    server.send_signal(signal.SIGTTOU)
    wait_until_gone(first)
    assert pid_of(server.port) == second
    assert server.stop() == 0
    assert "exited with code" not in server.output()


APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    return [b"{}"]
"""


def test_reload_serves_the_changed_code(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "reloaded_app.py"
    file.write_text(APP.format("old"))
    server = start("--reload", "--reload-engine", "poll", app="reloaded_app:app", app_dir=tmp_path)
    assert ask(server.port, "/").body == b"old"
    file.write_text(APP.format("new"))
    changed = file.stat().st_mtime_ns

    def serves_new_code() -> bool:
        # The reloader may not have looked at the file before the change: it gets ever newer.
        nonlocal changed
        body = ask(server.port, "/").body
        if body == b"old":
            changed += 1_000_000_000
            os.utime(file, ns=(changed, changed))
        return body == b"new"

    wait_until(serves_new_code, "the new code answers", STOP_TIMEOUT)
    assert "Worker reloading" in server.output()
