"""CPU time and threads of a process tree, CPU time of a core, read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PROC = Path("/proc")
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")

# Positions in /proc/<pid>/stat, counted from the field after the command name (see proc(5)).
PARENT = 1
UTIME, STIME, CUTIME, CSTIME = 11, 12, 13, 14
THREADS = 17

# Positions in a "cpuN" line of /proc/stat, counted from the first figure.
IDLE, IOWAIT, STEAL = 3, 4, 7


@dataclass(frozen=True)
class CpuTime:
    """CPU time in seconds; the difference of two readings is the time used between them."""

    user: float
    system: float

    @property
    def total(self) -> float:
        """User and system time together, in seconds."""
        return self.user + self.system

    def __sub__(self, earlier: CpuTime) -> CpuTime:
        return CpuTime(self.user - earlier.user, self.system - earlier.system)


def _stat_fields(pid: int) -> list[int] | None:
    """Return the figures of /proc/<pid>/stat from the state's place on, or None if it ended."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name is in brackets and may itself hold spaces and brackets.
    _state, *figures = text[text.rindex(")") + 2 :].split()
    return [0, *(int(figure) for figure in figures)]


def _tree(root: int) -> dict[int, list[int]]:
    """Return the figures of process `root` and all its living descendants, by process id."""
    stats: dict[int, list[int]] = {}
    children: dict[int, list[int]] = {}
    for name in os.listdir(PROC):
        if name.isdecimal() and (fields := _stat_fields(int(name))) is not None:
            stats[int(name)] = fields
            children.setdefault(fields[PARENT], []).append(int(name))

    found: dict[int, list[int]] = {}
    pending = [root]
    while pending:
        pid = pending.pop()
        pending.extend(children.get(pid, ()))
        if pid in stats:
            found[pid] = stats[pid]
    return found


def tree_cpu(root: int) -> CpuTime:
    """Return the CPU time in seconds of process `root` and all its living descendants.

    A child that has ended counts through the parent that waited for it (cutime and cstime).
    """
    figures = _tree(root).values()
    user = sum(one[UTIME] + one[CUTIME] for one in figures)
    system = sum(one[STIME] + one[CSTIME] for one in figures)
    return CpuTime(user * TICK_SECONDS, system * TICK_SECONDS)


def tree_pids(root: int) -> list[int]:
    """Return the ids of process `root` and all its living descendants."""
    return list(_tree(root))


def threads(pids: Iterable[int]) -> int:
    """Return how many threads the living ones of some processes have together."""
    found = (_stat_fields(pid) for pid in pids)
    return sum(fields[THREADS] for fields in found if fields is not None)


def core_busy(core: int) -> float:
    """Return the seconds that `core` has been busy since the machine started, whoever used it."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *figures = line.split()
        if name == f"cpu{core}":
            ticks = [int(figure) for figure in figures[: STEAL + 1]]
            return (sum(ticks) - ticks[IDLE] - ticks[IOWAIT]) * TICK_SECONDS
    raise LookupError(f"no core {core} in {PROC / 'stat'}")
