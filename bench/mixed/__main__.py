"""The command line, `python -m bench.mixed`: results to stdout, progress to stderr."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report
from bench.commandline import ALL, chosen, positive, say, stop
from bench.machine import describe
from bench.mixed import overload, surge, table
from bench.mixed.contenders import OVERLOAD, SURGE, TABLE, VARIANTS, Variant
from bench.mixed.rounds import Plan, Session, cores_by_default
from bench.programs import DEFAULT_VENV, Programs, UnavailableError, system_program

if TYPE_CHECKING:
    from collections.abc import Sequence

SCENARIOS = {
    TABLE: "what slow handlers leave of a quick page",
    SURGE: "six times the requests from one moment to the next, by the clock",
    OVERLOAD: "twice the requests that can be answered, by the clock",
}


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.mixed",
        description="Measure what slow handlers and too many requests do to the others.",
    )
    add = parser.add_argument
    server_cores, load_core = cores_by_default(os.sched_getaffinity(0))
    who = f"who takes part, separated by commas; repeatable; {ALL} by default"
    add("--contender", action="append", metavar="NAME,...", help=who)
    add("--scenario", action="append", metavar="NAME,...", help=f"likewise: {', '.join(SCENARIOS)}")
    add("--list", action="store_true", help="list contenders and scenarios, then stop")
    add("--rounds", type=positive, default=3, help="rounds over the contenders (%(default)s)")
    seconds = f"{table.SECONDS}, {surge.SECONDS} of surge, {overload.SECONDS} of overload"
    add("--seconds", type=positive, help=f"length of a measurement ({seconds})")
    add("--warmup", type=int, default=1, help="seconds of load before it (%(default)s)")
    cores = ",".join(map(str, server_cores))
    add("--server-cores", type=core_list, default=server_cores, help=f"of the server ({cores})")
    add("--load-core", type=int, default=load_core, help="core of the clients (%(default)s)")
    add("--venv", type=Path, default=DEFAULT_VENV, help="where the contenders are installed")
    add("--markdown", action="store_true", help="print Markdown tables")
    add("--json", type=Path, metavar="FILE", help="write all measurements to FILE")
    return parser.parse_args(argv)


def core_list(text: str) -> tuple[int, ...]:
    """Read the numbers of cores, separated by commas."""
    return tuple(int(number) for number in text.split(","))


def versions_and_reasons(programs: Programs) -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions of the variants that can run, and why the others cannot."""
    versions: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for variant in VARIANTS:
        version, reason = variant.version_or_reason(programs)
        if reason:
            reasons[variant.name] = reason
        else:
            versions[variant.name] = version
    return versions, reasons


def show_list(programs: Programs) -> None:
    """Print the contenders, each with its version or why it cannot run, and the scenarios."""
    versions, reasons = versions_and_reasons(programs)
    print("Contenders:")
    for one in VARIANTS:
        state = versions.get(one.name) or f"not available: {reasons[one.name]}"
        print(f"  {one.name:20} {', '.join(one.takes_part)}: {one.summary} [{state}]")
    print("Scenarios:")
    for name, summary in SCENARIOS.items():
        print(f"  {name:20} {summary}")


class Results:
    """Measures scenarios with a session and shows them.

    Args:
        session: what starts the servers.
        markdown: print Markdown tables.
    """

    def __init__(self, session: Session, *, markdown: bool) -> None:
        self.session = session
        self.markdown = markdown
        self.measurements: dict[str, list[dict[str, Any]]] = {}

    def scenario(self, name: str, variants: Sequence[Variant]) -> None:
        """Measure one scenario, print its tables and keep its measurements."""
        text = ""
        if name == TABLE:
            cells = list(table.measure(self.session, variants))
            self.measurements[name] = [one.as_dict() for one in cells]
            text = table.text(cells, markdown=self.markdown) if cells else ""
        elif name == SURGE:
            surges = list(surge.measure(self.session, variants))
            self.measurements[name] = [one.as_dict() for one in surges]
            text = surge.text(surges, markdown=self.markdown) if surges else ""
        else:
            overloads = list(overload.measure(self.session, variants))
            self.measurements[name] = [one.as_dict() for one in overloads]
            text = overload.text(overloads, markdown=self.markdown) if overloads else ""
        if text:
            print("\n" + text, flush=True)


def taking_part(scenario: str, names: Sequence[str], available: dict[str, str]) -> list[Variant]:
    """Return the variants of a scenario that were asked for and can run here."""
    return [
        one
        for one in VARIANTS
        if scenario in one.takes_part and one.name in names and one.name in available
    ]


def run(options: argparse.Namespace, programs: Programs) -> int:
    """Measure what the options ask for, print it, and return the exit status."""
    names = chosen(options.contender, (one.name for one in VARIANTS), [ALL])
    scenarios = chosen(options.scenario, SCENARIOS, [ALL])
    plan = Plan(
        rounds=options.rounds,
        seconds=options.seconds,
        warmup_seconds=max(0, options.warmup),
        server_cores=options.server_cores,
        load_core=options.load_core,
    )
    facts = describe()
    session = Session(plan, programs, say)
    system_program("cc")
    versions, reasons = versions_and_reasons(programs)
    session.skipped.update({name: reasons[name] for name in names if name in reasons})
    chosen_ones = {name: taking_part(name, names, versions) for name in scenarios}
    for name in names:
        if name in versions and not any(
            name == one.name for ones in chosen_ones.values() for one in ones
        ):
            session.skipped[name] = "takes no part in what was asked for"

    facts["cores"] = (
        f"server on {', '.join(map(str, plan.server_cores))}; clients on {plan.load_core}"
    )
    facts["rounds"] = f"{plan.rounds}, each on a new process; figures are median (least..most)"
    lengths = {TABLE: table, SURGE: surge, OVERLOAD: overload}
    load = sum(lengths[name].seconds_of_load(session, ones) for name, ones in chosen_ones.items())
    say(f"more than {load / 60:.0f} minutes")
    running = {one.name for ones in chosen_ones.values() for one in ones}
    shown = {name: text for name, text in versions.items() if name in running}
    print(report.items(facts | shown, markdown=options.markdown), flush=True)

    results = Results(session, markdown=options.markdown)
    for name, ones in chosen_ones.items():
        results.scenario(name, ones)
    if session.skipped:
        print("\nSkipped:\n\n" + report.items(session.skipped, markdown=options.markdown))
    if options.json is not None:
        document = {
            "machine": facts,
            "plan": asdict(plan),
            "versions": shown,
            "skipped": session.skipped,
            "measurements": results.measurements,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if any(results.measurements.values()) else 1


def main() -> int:
    """Run the command line and return the exit status."""
    options = arguments()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    with tempfile.TemporaryDirectory(prefix="poolhttp-bench-") as build:
        programs = Programs(options.venv.resolve(), Path(build))
        try:
            if options.list:
                show_list(programs)
                return 0
            return run(options, programs)
        except UnavailableError as reason:
            print(f"cannot measure: {reason}", file=sys.stderr)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
