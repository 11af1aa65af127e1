"""Whoever makes a mistake is told so in one line that names it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from .running import refusal, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE_AND_SUPERVISED = pytest.mark.parametrize("workers", ["1", "2"])

APPS = {
    "no_such_module:app": "no_such_module",
    "no_such.module": "no_such",
    "cli_app:absent": "absent",
    "cli_app:nested.absent": "nested.absent",
    "cli_app:NUMBER": "cli_app:NUMBER is not callable",
    "cli_app:create_app(x)": "literals",
    "cli_app:not python": "not python",
    "json": "'application' nor 'app'",
}


@HERE_AND_SUPERVISED
@pytest.mark.parametrize("spec", APPS)
def test_no_such_app(spec: str, workers: str) -> None:
    arguments = ("serve", spec, "--bind", "127.0.0.1:0", "--workers", workers)
    assert APPS[spec] in refusal(1, *arguments)


@HERE_AND_SUPERVISED
@pytest.mark.parametrize(
    "bind",
    [
        "nonsense",
        "127.0.0.1:99999",
        "127.0.0.1:",
        "[::1:80",
        "unix:/no/such/directory/sock",
        "fd://999",
        "no.such.host.invalid:0",
    ],
)
def test_bind_that_is_impossible(bind: str, workers: str) -> None:
    assert bind in refusal(1, "serve", "cli_app", "--workers", workers, "--bind", bind)


@pytest.fixture
def taken() -> Iterator[str]:
    """An address on which somebody else listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield f"127.0.0.1:{sock.getsockname()[1]}"


@HERE_AND_SUPERVISED
def test_port_that_is_taken(taken: str, workers: str) -> None:
    line = refusal(1, "serve", "cli_app", "--workers", workers, "--bind", taken)
    assert taken in line
    assert "in use" in line


@HERE_AND_SUPERVISED
def test_unix_path_that_is_no_socket(tmp_path: Path, workers: str) -> None:
    """It isn't ours to remove."""
    file = tmp_path / "file"
    file.write_text("precious")
    assert str(file) in refusal(
        1, "serve", "cli_app", "--workers", workers, "--bind", f"unix:{file}"
    )
    assert file.read_text() == "precious"


@HERE_AND_SUPERVISED
def test_access_log_that_cannot_be_written(workers: str) -> None:
    arguments = ("serve", "cli_app", "--bind", "127.0.0.1:0", "--workers", workers)
    assert "/no/such/log" in refusal(1, *arguments, "--access-log", "/no/such/log")


OPTIONS = {
    "--max-body lots": "--max-body",
    "--keep-alive soon": "--keep-alive",
    "--keep-alive -1": "--keep-alive",
    "--head-timeout nan": "--head-timeout",
    "--limit-request-fields 1.5": "--limit-request-fields",
    "--worker-connections 0": "--worker-connections",
    "--workers 0": "--workers",
    "--workers many": "--workers",
    "--threads 0": "--threads",
    "--threads many": "--threads",
    "--dispatch some": "--dispatch",
    "--handler-timeout 1": "--handler-timeout",
    "--log-level loud": "--log-level",
    "--access-log-format %(nothing)s": "%(nothing)s",
    "--bogus": "--bogus",
    "--max-body": "--max-body",
    "surplus": "surplus",
}


@pytest.mark.parametrize("options", OPTIONS)
def test_wrong_option(options: str) -> None:
    assert OPTIONS[options] in refusal(2, "serve", "cli_app", *options.split())


@pytest.mark.parametrize("arguments", ["", "start cli_app", "--bogus"])
def test_wrong_command(arguments: str) -> None:
    refusal(2, *arguments.split())


@HERE_AND_SUPERVISED
@pytest.mark.parametrize(
    ("name", "value"),
    [("POOLHTTP_BOGUS", "1"), ("POOLHTTP_MAX_BODY", "lots"), ("POOLHTTP_REQUIRE_HOST", "perhaps")],
)
def test_wrong_variable(name: str, value: str, workers: str) -> None:
    assert name in refusal(2, "serve", "cli_app", "--workers", workers, env={name: value})


@HERE_AND_SUPERVISED
@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("def app(): pass\nraise LookupError('of the app')\n", "LookupError: of the app"),
        ("import json\nimport of_the_app\n", "No module named 'of_the_app'"),
        ("app = = 1\n", "SyntaxError"),
    ],
)
def test_mistake_in_the_app_is_shown_as_python_does(
    tmp_path: Path, source: str, shown: str, workers: str
) -> None:
    file = tmp_path / "broken_app.py"
    file.write_text(source)
    arguments = ("serve", "broken_app:app", "--bind", "127.0.0.1:0", "--workers", workers)
    ended = run(*arguments, cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback (most recent call last):\n")
    assert str(file) in ended.stderr
    assert shown in ended.stderr.splitlines()[-1]
