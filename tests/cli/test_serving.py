"""What `poolhttp serve` does with its options, alone and with several workers."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

import pytest
from corpus.clients import connect, send, wait_until
from corpus.serving import STOP_TIMEOUT, ServerError
from live import TIMEOUT, exchange, message

import poolhttp

from .running import answers, ask, is_running, refusal, unix_connect

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Start

HERE_AND_SUPERVISED = pytest.mark.parametrize("workers", ["1", "2"])


BOOTED = re.compile(r"Booting worker with pid: (\d+)")


def first_line(text: str) -> str:
    """What is printed first."""
    return text.splitlines()[0]


def test_first_line_says_where_it_listens(start: Start) -> None:
    server = start()
    line = first_line(server.output()) if server.port else ""
    assert line == (
        f"poolhttp {poolhttp.__version__}: listening on http://127.0.0.1:{server.port}, "
        f"1 worker (pid {server.pid}), 1 thread"
    )


def test_first_line_names_all_addresses(start: Start, tmp_path: Path) -> None:
    server = start("--bind", f"unix:{tmp_path / 'sock'}")
    assert f":{server.port}, unix:{tmp_path / 'sock'}, 1 worker" in first_line(server.output())


def test_first_line_with_several_workers(start: Start) -> None:
    server = start("--workers", "2")
    assert server.port
    start_of_line = f"poolhttp {poolhttp.__version__}: listening on http://127.0.0.1:"

    def announcements() -> list[str]:
        """gunicorn's arbiter says more before ours."""
        lines = server.output().splitlines()
        return [each for each in lines if each.startswith(start_of_line)]

    wait_until(lambda: bool(announcements()), "the server says where it listens", TIMEOUT)
    (line,) = announcements()
    assert f"http://127.0.0.1:{server.port}, 2 workers" in line
    assert "1 thread" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_two_workers_answer_and_stop(start: Start, number: int) -> None:
    server = start("--workers", "2")

    def workers() -> set[int]:
        return {int(pid) for pid in BOOTED.findall(server.output())}

    wait_until(lambda: len(workers()) == 2, "both workers are started", TIMEOUT)
    assert all(is_running(pid) for pid in workers())
    assert int(ask(server.port, "/pid").body) in workers()
    environ = json.loads(ask(server.port, "/environ").body)
    assert environ["wsgi.multiprocess"] is True
    assert server.stop(number) == 0
    assert not any(is_running(pid) for pid in workers())
    assert "Traceback" not in server.output()


def test_two_sigints_end_it_although_the_app_hangs(start: Start) -> None:
    server = start()
    with connect(server.port) as held:
        send(held, "/hang")
        server.wait_for(re.compile("hang: called"), STOP_TIMEOUT)
        server.send_signal(signal.SIGINT)

        def ends() -> bool:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(0.05)
            except ServerError:
                return False
            return True

        wait_until(ends, "it ends", TIMEOUT)
        assert server.wait() != 0


@HERE_AND_SUPERVISED
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_unix_socket_is_removed_at_the_stop(
    start: Start, tmp_path: Path, number: int, workers: str
) -> None:
    path = tmp_path / "sock"
    server = start("--bind", f"unix:{path}", "--workers", workers)
    wait_until(lambda: answers(path), "it listens")
    with unix_connect(path) as sock:
        assert exchange(sock, message("GET / HTTP/1.1")).body == b"app."
    assert server.stop(number) == 0
    assert not path.exists()


@HERE_AND_SUPERVISED
def test_unix_socket_of_another_server_is_not_taken(
    start: Start, tmp_path: Path, workers: str
) -> None:
    path = tmp_path / "sock"
    server = start("--bind", f"unix:{path}")
    wait_until(lambda: answers(path), "it listens")
    line = refusal(1, "serve", "cli_app", "--bind", f"unix:{path}", "--workers", workers)
    assert str(path) in line
    assert "another server" in line
    with unix_connect(path) as sock:
        assert exchange(sock, message("GET / HTTP/1.1")).body == b"app."
    assert server.stop() == 0


@HERE_AND_SUPERVISED
def test_unix_socket_that_was_left_behind_is_replaced(
    start: Start, tmp_path: Path, workers: str
) -> None:
    path = tmp_path / "sock"
    killed = start("--bind", f"unix:{path}")
    wait_until(lambda: answers(path), "it listens")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert path.exists()
    start("--bind", f"unix:{path}", "--workers", workers)
    wait_until(lambda: answers(path), "the next one listens")


LINE = re.compile(r'127\.0\.0\.1 - - \[[^]]+\] "GET /x\?y HTTP/1\.1" 200 4 "-" "-"')


@HERE_AND_SUPERVISED
def test_access_log_on_standard_output(start: Start, workers: str) -> None:
    server = start("--access-log", "-", "--workers", workers)
    ask(server.port, "/x?y")
    server.wait_for(re.compile("^" + LINE.pattern + "$"), STOP_TIMEOUT)


@HERE_AND_SUPERVISED
def test_access_log_is_appended_to_a_file(start: Start, tmp_path: Path, workers: str) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    server = start("--access-log", str(log), "--workers", workers)
    ask(server.port, "/x?y")
    wait_until(lambda: log.read_text().count("\n") == 2, "the line is written", TIMEOUT)
    before, line = log.read_text().splitlines()
    assert before == "before"
    assert LINE.fullmatch(line)


@HERE_AND_SUPERVISED
def test_format_of_the_access_log(start: Start, workers: str) -> None:
    options = ("--access-log", "-", "--access-log-format", "%(m)s of %(U)s: %({a}i)s")
    server = start(*options, "--workers", workers)
    ask(server.port, "/x", "A: b")
    server.wait_for(re.compile("^GET of /x: b$"), STOP_TIMEOUT)


@HERE_AND_SUPERVISED
@pytest.mark.parametrize(
    ("spec", "body"),
    [
        ("cli_app", b"app."),
        ("cli_app:nested.app", b"nested."),
        ("cli_app:create_app('made')", b"made."),
        ('cli_app:create_app("made", mark="!")', b"made!"),
    ],
)
def test_app_and_factory(start: Start, spec: str, body: bytes, workers: str) -> None:
    server = start("--workers", workers, app=spec)
    assert ask(server.port, "/").body == body


@HERE_AND_SUPERVISED
def test_limits(start: Start, workers: str) -> None:
    options = ("--max-body", "10", "--limit-request-line", "64", "--limit-request-fields", "3")
    server = start(*options, "--workers", workers)
    assert ask(server.port, "/read", method="POST", body=b"x" * 10).status == 200
    assert ask(server.port, "/read", method="POST", body=b"x" * 11).status == 413
    assert ask(server.port, "/" + "x" * 64).status == 414
    assert ask(server.port, "/", "A: 1", "B: 2", "C: 3").status == 431


@HERE_AND_SUPERVISED
def test_flag_wins_over_the_environment(start: Start, workers: str) -> None:
    variables = {"POOLHTTP_MAX_BODY": "5", "POOLHTTP_KEEPALIVE": "0"}
    server = start("--max-body", "10", "--keep-alive", "30", "--workers", workers, env=variables)
    assert ask(server.port, "/read", method="POST", body=b"x" * 10).status == 200
    assert not ask(server.port, "/").closes


@HERE_AND_SUPERVISED
def test_keep_alive_of_less_than_a_second(start: Start, workers: str) -> None:
    """It isn't rounded to none."""
    server = start("--keep-alive", "0.9", "--workers", workers)
    with connect(server.port) as sock:
        assert not exchange(sock, message("GET / HTTP/1.1")).closes
        assert not exchange(sock, message("GET / HTTP/1.1")).closes


@HERE_AND_SUPERVISED
def test_server_header_and_host(start: Start, workers: str) -> None:
    options = ("--server-header", "mine", "--script-name", "/at", "--no-require-host")
    server = start(*options, "--workers", workers)
    with connect(server.port) as sock:
        response = exchange(sock, message("GET /at/environ HTTP/1.1", host=None))
    assert response.one(b"server") == b"mine"
    environ = json.loads(response.body)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/at", "/environ")


def test_log_level(start: Start) -> None:
    """At `critical`, a refused request leaves no line."""
    server = start("--log-level", "critical")
    assert ask(server.port, "/", "Bad Name: x").status == 400
    assert server.stop() == 0
    assert len(server.output().splitlines()) == 1
