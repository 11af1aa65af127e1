"""Says what there is to measure here: which contenders can run, in which version, or why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.contenders import CONTENDERS, Contender, Start
from bench.programs import Programs, UnavailableError
from bench.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterable

# Any port will do where a command line is only made to see whether it can be made.
UNUSED_PORT = 1


def version_or_reason(contender: Contender, programs: Programs) -> tuple[str, str]:
    """Return a contender's version and "", or "" and the reason why it cannot run here."""
    try:
        contender.command(programs, Start(UNUSED_PORT))
        return contender.version(programs), ""
    except UnavailableError as reason:
        return "", str(reason)


def availability(
    contenders: Iterable[Contender], programs: Programs
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions of the contenders that can run, and the reasons of those that cannot."""
    versions: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for contender in contenders:
        version, reason = version_or_reason(contender, programs)
        if reason:
            reasons[contender.name] = reason
        else:
            versions[contender.name] = version
    return versions, reasons


def show_list(programs: Programs) -> None:
    """Print the contenders, each with its version or why it cannot run, and the scenarios."""
    print("Contenders:")
    for contender in CONTENDERS:
        version, reason = version_or_reason(contender, programs)
        state = f"not available: {reason}" if reason else version
        print(f"  {contender.name:18} {contender.summary} [{state}]", flush=True)
    print("Scenarios:")
    for scenario in SCENARIOS:
        print(f"  {scenario.name:18} {scenario.summary}")
