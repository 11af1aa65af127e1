"""Installs what the benchmark compares with: `python -m bench.install`.

Makes an environment in the root of the repository, installs this project and each line of
requirements.txt there, one by one, and says what came of it. System packages that are missing are
named, or installed with --system.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from bench.listing import show_list
from bench.programs import (
    DEFAULT_VENV,
    ROOT,
    Programs,
    UnavailableError,
    last_line,
    own_venv,
    system_program,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUIREMENTS = Path(__file__).resolve().with_name("requirements.txt")
# Debian packages, by the program that each of them brings.
SYSTEM_PACKAGES = {"wrk": "wrk", "nginx": "nginx-light", "go": "golang-go", "cc": "gcc"}
LIBEV_HEADER = Path("/usr/include/ev.h")
LIBEV_PACKAGE = "libev-dev"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.install", description=__doc__)
    add = parser.add_argument
    add("--venv", type=Path, default=DEFAULT_VENV, help="the environment to make or complete")
    add("--system", action="store_true", help="apt-get install what is missing (needs root)")
    add("--upgrade", action="store_true", help="take the newest versions of what is installed")
    add(
        "--python-for",
        action="append",
        default=[],
        metavar="PACKAGE=PYTHON",
        help="give PACKAGE an environment of its own, with the interpreter PYTHON",
    )
    return parser.parse_args()


def missing_packages() -> list[str]:
    """Return the Debian packages whose programs or headers are not there."""
    missing = [package for program, package in SYSTEM_PACKAGES.items() if not has_program(program)]
    if not LIBEV_HEADER.exists():
        missing.append(LIBEV_PACKAGE)
    return missing


def has_program(name: str) -> bool:
    """Say whether the system has a program."""
    try:
        system_program(name)
    except UnavailableError:
        return False
    return True


def install_system_packages(*, install: bool) -> None:
    """Install the missing Debian packages, or say which they are and how it is done."""
    packages = missing_packages()
    if not packages:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if install and os.geteuid() == 0:
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for step in (["apt-get", "update"], command):
            if subprocess.run(step, env=quiet, check=False).returncode != 0:
                print(f"failed: {shlex.join(step)}")
    else:
        print(f"missing system packages: {' '.join(packages)}")
        print(f"to install them, as root: {shlex.join(command)}")


def requirements() -> list[str]:
    """Return the lines of requirements.txt without comments."""
    lines = (line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines())
    return [line for line in lines if line]


def pip_install(python: Path, arguments: Sequence[str]) -> bool:
    """Install with pip into the environment of `python`, and say in one line what came of it."""
    command = [str(python), "-m", "pip", "install", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    state = "installed" if done.returncode == 0 else f"failed: {last_line(done.stderr)}"
    print(f"{' '.join(arguments)}: {state}", flush=True)
    return done.returncode == 0


def install_apart(directory: Path, requirement: str, interpreter: str) -> None:
    """Install one requirement into an environment of its own, made by another interpreter."""
    command = [interpreter, "-m", "venv", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"{requirement}: failed: {last_line(done.stderr or done.stdout)}")
        return
    pip_install(directory / "bin" / "python", [requirement])


def main() -> int:
    """Install everything that can be installed; return 1 when this project cannot."""
    options = arguments()
    apart = dict(item.split("=", 1) for item in options.python_for)
    directory: Path = options.venv.resolve()
    install_system_packages(install=options.system)

    python = directory / "bin" / "python"
    if not python.exists():
        venv.create(directory, with_pip=True)
    upgrade = ["--upgrade"] if options.upgrade else []
    installed = pip_install(python, [*upgrade, "--editable", str(ROOT)])
    for requirement in requirements():
        if requirement in apart:
            install_apart(own_venv(directory, requirement), requirement, apart[requirement])
        else:
            pip_install(python, [*upgrade, requirement])

    print()
    with tempfile.TemporaryDirectory(prefix="poolhttp-bench-") as build:
        show_list(Programs(directory, Path(build)))
    return 0 if installed else 1


if __name__ == "__main__":
    sys.exit(main())
