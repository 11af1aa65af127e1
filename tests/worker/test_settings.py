"""What the worker refuses to start with, and its settings in the environment."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from corpus.serving import OUR_WORKER, START_TIMEOUT, Launch

from .asking import ask
from .conftest import HERE

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Start

OPTIONS = {
    "--permit-obsolete-folding": "permit_obsolete_folding",
    "--strip-header-spaces": "strip_header_spaces",
    "--permit-unconventional-http-method": "permit_unconventional_http_method",
    "--permit-unconventional-http-version": "permit_unconventional_http_version",
    "--protocol uwsgi": "protocol",
    "--http-protocols h2": "http_protocols",
    "--certfile FILE --keyfile FILE": "certfile",
    "--reuse-port -b unix:FILE.sock": "reuse_port",
}

VARIABLES = {
    "POOLHTTP_BOGUS": "1",
    "POOLHTTP_MAX_BODY": "lots",
    "POOLHTTP_BODY_MEMORY": "-1",
    "POOLHTTP_HEAD_TIMEOUT": "nan",
    "POOLHTTP_REQUIRE_HOST": "perhaps",
    "POOLHTTP_BUFFERS": "some",
}


def refusal(options: tuple[str, ...], variables: dict[str, str]) -> str:
    """The one line in which the start is refused."""
    launch = Launch("worker_app:app", HERE, OUR_WORKER, options, variables)
    ended = subprocess.run(
        launch.argv(),
        cwd=HERE,
        env=launch.environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Booting worker" not in ended.stderr
    [line] = [each for each in ended.stderr.splitlines() if each.startswith("Error: ")]
    # gunicorn sets it off by empty lines, and it is the last thing it says.
    assert ended.stderr.strip().endswith(line)
    return line


@pytest.mark.parametrize("options", OPTIONS)
def test_option_that_cannot_be_honoured(tmp_path: Path, options: str) -> None:
    file = tmp_path / "file"
    file.touch()
    line = refusal(tuple(options.replace("FILE", str(file)).split()), {})
    assert OPTIONS[options] in line


@pytest.mark.parametrize("name", VARIABLES)
def test_variable_that_cannot_be_honoured(name: str) -> None:
    line = refusal((), {name: VARIABLES[name]})
    # A value out of range is reported by the setting's name.
    assert name in line or name.removeprefix("POOLHTTP_").lower() in line


@pytest.mark.parametrize("way", ["environment", "--env"])
def test_max_body(start: Start, way: str) -> None:
    if way == "environment":
        server = start(env={"POOLHTTP_MAX_BODY": "10"})
    else:
        server = start("--env", "POOLHTTP_MAX_BODY=10")
    assert ask(server.port, "/read", method="POST", body=b"x" * 10).body == b"10"
    assert ask(server.port, "/read", method="POST", body=b"x" * 11).status == 413


def test_limits_of_gunicorn_are_honoured(start: Start) -> None:
    server = start("--limit-request-line", "64", "--limit-request-fields", "3")
    assert ask(server.port, "/" + "x" * 30).status == 404
    assert ask(server.port, "/" + "x" * 64).status == 414
    assert ask(server.port, "/pid", "A: 1").status == 200
    assert ask(server.port, "/pid", "A: 1", "B: 2").status == 431
