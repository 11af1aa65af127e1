"""The native code compiles without a warning, and all of its functions run clean under the address
and undefined-behaviour sanitizers (`test_native.c`)."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parent.parent / "poolhttp" / "_native.c"
STRICT = ("-std=gnu11", "-Wall", "-Wextra", "-Werror")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
COMPILER = shlex.split(os.environ.get("CC", "cc"))
TIMEOUT = 60
"""Seconds: nothing here may hang; never a part of an expectation."""

Build = Callable[[str], str]

pytestmark = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="no C compiler")


def _run(*command: str) -> str:
    """Run a command that must succeed; return what it said."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("optimisation", ["-O0", "-O2", "-O3"])
def test_it_compiles_without_a_warning(optimisation: str, tmp_path: Path) -> None:
    output = str(tmp_path / "native.o")
    assert _run(*COMPILER, *STRICT, optimisation, "-c", str(NATIVE), "-o", output) == ""


SOURCE = HERE / "test_native.c"
TESTS = re.findall(r"^static void (test_\w+)\(void\)", SOURCE.read_text(), re.MULTILINE)
BUILDS = {"sanitized": SANITIZED, "optimised": ("-O2",)}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Gives the program of a build, compiled at the first demand."""
    programs: dict[str, str] = {}

    def get(kind: str) -> str:
        if kind not in programs:
            program = str(tmp_path_factory.mktemp("native") / kind)
            _run(*COMPILER, *STRICT, *BUILDS[kind], str(SOURCE), "-o", program)
            programs[kind] = program
        return programs[kind]

    return get


def test_each_function_is_in_the_program(build: Build) -> None:
    assert _run(build("optimised")).split() == TESTS


@pytest.mark.parametrize("kind", BUILDS)
@pytest.mark.parametrize("name", TESTS)
def test_it_runs_clean(kind: str, name: str, build: Build) -> None:
    assert _run(build(kind), name) == "passed\n"
