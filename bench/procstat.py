"""CPU time of a process tree and of a core, read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")

# Positions in /proc/<pid>/stat, counted from the field after the command name (see proc(5)).
PARENT = 1
UTIME, STIME, CUTIME, CSTIME = 11, 12, 13, 14

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


def tree_cpu(root: int) -> CpuTime:
    """Return the CPU time in seconds of process `root` and all its living descendants.

    A child that has ended counts through the parent that waited for it (cutime and cstime).
    """
    stats: dict[int, list[int]] = {}
    children: dict[int, list[int]] = {}
    for name in os.listdir(PROC):
        if name.isdecimal() and (fields := _stat_fields(int(name))) is not None:
            stats[int(name)] = fields
            children.setdefault(fields[PARENT], []).append(int(name))

    user = system = 0
    pending = [root]
    while pending:
        pid = pending.pop()
        pending.extend(children.get(pid, ()))
        if pid in stats:
            user += stats[pid][UTIME] + stats[pid][CUTIME]
            system += stats[pid][STIME] + stats[pid][CSTIME]
    return CpuTime(user * TICK_SECONDS, system * TICK_SECONDS)


def core_busy(core: int) -> float:
    """Return the seconds that `core` has been busy since the machine started, whoever used it."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *figures = line.split()
        if name == f"cpu{core}":
            ticks = [int(figure) for figure in figures[: STEAL + 1]]
            return (sum(ticks) - ticks[IDLE] - ticks[IOWAIT]) * TICK_SECONDS
    raise LookupError(f"no core {core} in {PROC / 'stat'}")
