"""Finds what contenders are made of: Python packages, system programs, own compiled programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
ROOT = SOURCES.parent
DEFAULT_VENV = ROOT / ".venv-bench"
SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")

COMPILE_TIMEOUT_SECONDS = 300
QUERY_TIMEOUT_SECONDS = 60


class UnavailableError(Exception):
    """A contender cannot run here; the text is the reason, in one line."""


def own_venv(venv: Path, distribution: str) -> Path:
    """Return where `distribution` has an environment of its own, when it needs another Python."""
    return venv / "own" / distribution


def system_program(name: str) -> Path:
    """Return the path of a program of the system, or raise UnavailableError."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_DIRECTORIES))
    found = shutil.which(name, path=path)
    if found is None:
        raise UnavailableError(f"no program {name} on PATH")
    return Path(found)


def last_line(text: str) -> str:
    """Return the last line of `text` that holds a word: where programs put their error."""
    lines = [line.strip() for line in text.splitlines() if any(map(str.isalpha, line))]
    return lines[-1] if lines else "no message"


def _run(command: list[str], timeout: float, **environment: str) -> str:
    """Return what `command` prints, or raise UnavailableError with its last line of error."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(str(error)) from error
    if done.returncode != 0:
        raise UnavailableError(last_line(done.stderr or done.stdout))
    return done.stdout or done.stderr


class Programs:
    """The executables of one benchmark run.

    Args:
        venv: the environment that `python -m bench.install` made.
        build: a directory of this run, for compiled programs and for the files servers need.
    """

    def __init__(self, venv: Path, build: Path) -> None:
        self.venv = venv
        self.build = build
        self._imported: set[tuple[Path, str]] = set()

    def python(self, distribution: str) -> Path:
        """Return the interpreter into whose environment `distribution` was installed."""
        own = own_venv(self.venv, distribution) / "bin" / "python"
        python = own if own.exists() else self.venv / "bin" / "python"
        if not python.exists():
            raise UnavailableError("no environment of contenders: run python -m bench.install")
        return python

    def python_with(self, distribution: str, module: str) -> Path:
        """Return that interpreter, once it has been seen to import `module` in this run."""
        python = self.python(distribution)
        if (python, module) not in self._imported:
            _run([str(python), "-c", f"import {module}"], QUERY_TIMEOUT_SECONDS)
            self._imported.add((python, module))
        return python

    def script(self, distribution: str, module: str, name: str) -> Path:
        """Return the console script `name` of an importable `distribution`."""
        script = self.python_with(distribution, module).parent / name
        if not script.exists():
            raise UnavailableError(f"{distribution} has no command {name}")
        return script

    def distribution_version(self, distribution: str) -> str:
        """Return the installed version of `distribution`, or raise UnavailableError."""
        return self._ask(
            distribution,
            f"import importlib.metadata; print(importlib.metadata.version({distribution!r}))",
        )

    def version_beside(self, distribution: str, other: str) -> str:
        """Return the version of `other` where `distribution` is installed, or "not installed"."""
        return self._ask(
            distribution,
            "import importlib.metadata as m;"
            f"found = [d.version for d in m.distributions(name={other!r})];"
            "print(found[0] if found else 'not installed')",
        )

    def python_version(self, distribution: str) -> str:
        """Return the name and version of the interpreter that `distribution` runs on."""
        return self._ask(
            distribution,
            "import platform as p; print(p.python_implementation(), p.python_version())",
        )

    def _ask(self, distribution: str, code: str) -> str:
        """Return what `code` prints in the environment of `distribution`."""
        return _run([str(self.python(distribution)), "-c", code], QUERY_TIMEOUT_SECONDS).strip()

    def program_version(self, name: str, *arguments: str) -> str:
        """Return the first line that a system program prints about its version."""
        command = [str(system_program(name)), *arguments]
        return _run(command, QUERY_TIMEOUT_SECONDS).splitlines()[0].strip()

    def floor(self) -> Path:
        """Return the floor program, compiled once per run."""
        return self.c_program(SOURCES / "floor.c")

    def c_program(self, source: Path) -> Path:
        """Return what one file of C compiles to, compiled once per run."""
        target = self.build / source.stem
        if not target.exists():
            flags = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")
            compiler = str(system_program("cc"))
            _run([compiler, *flags, "-o", str(target), str(source)], COMPILE_TIMEOUT_SECONDS)
        return target

    def go_server(self) -> Path:
        """Return the Go net/http server that says hello."""
        return self.go_program(SOURCES / "nethttp.go")

    def go_program(self, source: Path) -> Path:
        """Return what one file of Go compiles to, once per run, with the standard library alone."""
        target = self.build / source.stem
        if not target.exists():
            command = [str(system_program("go")), "build", "-o", str(target), str(source)]
            _run(command, COMPILE_TIMEOUT_SECONDS, GOPROXY="off", GOFLAGS="", GOTOOLCHAIN="local")
        return target
