"""What the benchmark runs on: its two cores, and the description printed with the results."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def choose_cores() -> tuple[int, int]:
    """Return the core for the servers and the core for wrk.

    They are two that this process may use and that are not threads of one physical core, where
    there is such a pair. With a single core both are that one, and the figures say little.
    """
    allowed = sorted(os.sched_getaffinity(0))
    server = allowed[0]
    siblings = _thread_siblings(server)
    apart = [core for core in allowed if core not in siblings]
    others = apart or allowed[1:] or allowed
    return server, others[0]


def _thread_siblings(core: int) -> set[int]:
    """Return the cores (`core` included) that are hardware threads of the same physical core."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    siblings = {core}
    try:
        ranges = path.read_text().strip().split(",")
    except OSError:
        return siblings
    for item in ranges:
        first, _, last = item.partition("-")
        siblings.update(range(int(first), int(last or first) + 1))
    return siblings


def describe() -> dict[str, str]:
    """Return what a reader needs to know about the machine and the code, as label and text."""
    allowed = sorted(os.sched_getaffinity(0))
    one, five, fifteen = os.getloadavg()
    return {
        "processor": f"{_processor()}, {len(allowed)} cores usable",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load average before": f"{one:.2f} {five:.2f} {fifteen:.2f} (1, 5, 15 minutes)",
        "commit": _commit(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        label, _, value = line.partition(":")
        if label.strip() == "model name":
            return value.strip()
    return platform.machine()


def _commit() -> str:
    """Return the short hash of the checkout, marked when its files differ from it."""
    root = Path(__file__).resolve().parent
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
