"""Finds gunicorn's source tree, whose `tests/requests` is the corpus that is replayed here.

Lives here: where the tree comes from ($GUNICORN_SRC, or the sdist of the installed version, fetched
by pip and unpacked into a cache directory), and the exception that says why there is none.
Must not live here: what the corpus means.

The corpus is not part of this repository: it is gunicorn's, and the one that counts is the one that
belongs to the installed gunicorn. `--no-binary gunicorn` asks for the sdist of gunicorn alone: its
build requirement (setuptools, which pip wants in order to read the metadata) may come as a wheel.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REQUESTS = Path("tests") / "requests"

DOWNLOAD_TIMEOUT = 300.0
"""Seconds for pip to fetch the sdist and to prepare its metadata."""


class SourceUnavailableError(Exception):
    """There is no source tree to be had; the message says why."""


def find_source(cache: Path) -> Path:
    """The root of a gunicorn source tree with `tests/requests`, fetched into `cache` if need be."""
    named = os.environ.get("GUNICORN_SRC")
    if named:
        root = Path(named)
        if not (root / REQUESTS).is_dir():
            raise SourceUnavailableError(f"GUNICORN_SRC={named} has no {REQUESTS}")
        return root
    try:
        release = f"gunicorn-{version('gunicorn')}"
    except PackageNotFoundError:
        raise SourceUnavailableError("gunicorn is not installed") from None
    root = cache / release
    if not (root / REQUESTS).is_dir():
        _fetch(release, root)
    return root


def _fetch(release: str, root: Path) -> None:
    """Download and unpack beside `root`, then move: a half-made tree is never seen."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        archive = _download(release, Path(scratch))
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        unpacked = Path(scratch) / release
        if not (unpacked / REQUESTS).is_dir():
            raise SourceUnavailableError(f"{archive.name} has no {REQUESTS}")
        try:
            unpacked.rename(root)
        except OSError:
            # Another test process was faster; what it put there is the same tree.
            if not (root / REQUESTS).is_dir():
                raise


def _download(release: str, into: Path) -> Path:
    name, _, number = release.partition("-")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--no-deps", "--no-binary", name]
    command += ["--dest", str(into), f"{name}=={number}"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SourceUnavailableError(f"pip took more than {DOWNLOAD_TIMEOUT:.0f} s") from None
    archives = sorted(into.glob("*.tar.gz"))
    if done.returncode != 0 or not archives:
        last = " / ".join(done.stdout.strip().splitlines()[-3:])
        raise SourceUnavailableError(f"pip could not download {release}'s sdist: {last}")
    return archives[0]
