"""What the command says of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from corpus.serving import START_TIMEOUT

import poolhttp

from .running import run

FLAGS = (
    "--bind",
    "--workers",
    "--threads",
    "--dispatch",
    "--inline-budget",
    "--queue-limit",
    "--queue-target",
    "--shed-exempt",
    "--timeout",
    "--handler-timeout",
    "--switch-interval",
    "--no-predict",
    "--access-log",
    "--access-log-format",
    "--log-level",
    "--no-require-host",
    "--keep-alive",
    "--head-timeout",
    "--body-timeout",
    "--write-timeout",
    "--graceful-timeout",
    "--limit-request-line",
    "--limit-request-fields",
    "--limit-request-field-size",
    "--max-body",
    "--worker-connections",
    "--backlog",
    "--forwarded-allow-ips",
    "--script-name",
    "--server-header",
)


def test_help_explains_each_flag() -> None:
    ended = run("serve", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    words = ended.stdout.replace("[", " ").replace("]", " ").replace(",", " ").split()
    # Once in the usage, once with its explanation.
    assert [flag for flag in FLAGS if words.count(flag) < 2] == []
    mentioned = {word for word in words if word.startswith("--")}
    assert mentioned - {*FLAGS, "--help"} == set()
    assert "POOLHTTP_" in ended.stdout


def test_help_of_the_command_names_serve() -> None:
    ended = run("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "serve" in ended.stdout


def test_version() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"poolhttp {poolhttp.__version__}\n"


def test_installed_command() -> None:
    command = Path(sys.executable).with_name("poolhttp")
    if not command.exists():
        pytest.skip("poolhttp isn't installed beside this Python")
    ended = subprocess.run(
        [str(command), "--version"],
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
        check=True,
    )
    assert ended.stdout == f"poolhttp {poolhttp.__version__}\n"
