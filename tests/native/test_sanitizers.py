"""The native code compiles without a warning, and all of its functions run clean under the address
and undefined-behaviour sanitizers (`test_*.c`)."""

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

Build = Callable[[Path, str], str]

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


PROGRAMS = sorted(HERE.glob("test_*.c"))
TESTS = [
    (path, name)
    for path in PROGRAMS
    for name in re.findall(r"^static void (test_\w+)\(void\)", path.read_text(), re.MULTILINE)
]
BUILDS = {"sanitized": SANITIZED, "optimised": ("-O2",)}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Gives the program of a source and a kind of build, compiled at the first demand."""
    directory = tmp_path_factory.mktemp("native")
    programs: dict[tuple[Path, str], str] = {}

    def get(source: Path, kind: str) -> str:
        key = source, kind
        if key not in programs:
            program = str(directory / f"{source.stem}-{kind}")
            _run(*COMPILER, *STRICT, *BUILDS[kind], str(source), "-o", program)
            programs[key] = program
        return programs[key]

    return get


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_each_test_is_in_its_program(path: Path, build: Build) -> None:
    listed = _run(build(path, "optimised")).split()
    assert listed == [name for source, name in TESTS if source == path]


@pytest.mark.parametrize("kind", BUILDS)
@pytest.mark.parametrize(("path", "name"), TESTS, ids=[name for _, name in TESTS])
def test_it_runs_clean(kind: str, path: Path, name: str, build: Build) -> None:
    assert _run(build(path, kind), name) == "passed\n"
