"""The command line, `python -m bench`: results to standard output, progress to standard error."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report
from bench.commandline import ALL, chosen, positive, say, stop
from bench.contenders import CONTENDERS, Contender
from bench.listing import availability, show_list
from bench.machine import choose_cores, describe
from bench.programs import DEFAULT_VENV, Programs, UnavailableError, system_program
from bench.rounds import Measurement, Plan, Runner, entries_of
from bench.scenarios import DEFAULT_SCENARIOS, SCENARIOS, Scenario
from bench.summary import log_costs, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure WSGI servers, one core each, against the least a server can spend.",
    )
    add = parser.add_argument
    scenarios = ",".join(DEFAULT_SCENARIOS)
    server_core, load_core = choose_cores()
    who = f"who takes part, separated by commas; repeatable; {ALL} by default"
    what = f"what is measured, likewise; {ALL} for everything ({scenarios})"
    add("--contender", action="append", metavar="NAME,...", help=who)
    add("--scenario", action="append", metavar="NAME,...", help=what)
    add("--list", action="store_true", help="list contenders and scenarios, then stop")
    add("--rounds", type=positive, default=5, help="rounds over the contenders (%(default)s)")
    add("--seconds", type=positive, default=4, help="length of a measurement (%(default)s)")
    add("--warmup", type=int, default=1, help="seconds of load before it (%(default)s)")
    add("--connections", type=positive, default=64, help="kept busy by wrk (%(default)s)")
    add("--server-core", type=int, default=server_core, help="core of the server (%(default)s)")
    add("--load-core", type=int, default=load_core, help="core of wrk (%(default)s)")
    add("--access-log", type=Path, metavar="FILE", help="for accesslog (a temporary file)")
    add("--venv", type=Path, default=DEFAULT_VENV, help="where the contenders are installed")
    add("--markdown", action="store_true", help="print Markdown tables")
    add("--json", type=Path, metavar="FILE", help="write all measurements to FILE")
    return parser.parse_args(argv)


def with_floors(contenders: set[str], scenarios: Iterable[Scenario]) -> list[Contender]:
    """Return the contenders asked for, and the floors that their ratios are taken against."""
    wanted = contenders | {scenario.floor for scenario in scenarios}
    return [contender for contender in CONTENDERS if contender.name in wanted]


def show_scenario(
    scenario: Scenario,
    measurements: Sequence[Measurement],
    contenders: Sequence[Contender],
    *,
    markdown: bool,
) -> None:
    """Print the table of a scenario, and what logging costs where that is what it measures."""
    foreign = max(measurement.foreign for measurement in measurements)
    rows = rows_of(measurements, scenario.floor)
    title = f"{scenario.name}: {scenario.summary}"
    print("\n" + report.scenario_text(title, rows, foreign, markdown=markdown))
    if costs := log_costs(measurements, entries_of(scenario, contenders)):
        print("\n" + report.log_text(costs, markdown=markdown))
    sys.stdout.flush()


def run(options: argparse.Namespace, programs: Programs) -> int:
    """Measure what the options ask for, print it, and return the exit status."""
    asked = chosen(options.contender, (one.name for one in CONTENDERS), [ALL])
    names = chosen(options.scenario, (one.name for one in SCENARIOS), DEFAULT_SCENARIOS)
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in names]
    plan = Plan(
        rounds=options.rounds,
        seconds=options.seconds,
        warmup_seconds=max(0, options.warmup),
        connections=options.connections,
        server_core=options.server_core,
        load_core=options.load_core,
        access_log=options.access_log and options.access_log.absolute(),
    )
    facts = describe()
    runner = Runner(plan, programs, say)
    system_program("wrk")
    candidates = with_floors(set(asked), scenarios)
    versions, reasons = availability(candidates, programs)
    runner.skipped.update(reasons)
    contenders = [contender for contender in candidates if contender.name in versions]

    facts["cores"] = f"server on {plan.server_core}, wrk (1 thread) on {plan.load_core}"
    facts["load"] = (
        f"{plan.connections} connections, {plan.rounds} rounds of {plan.seconds} s, each on a new "
        f"process after {plan.warmup_seconds} s of the same load; figures are median (least..most)"
    )
    count = sum(len(entries_of(scenario, contenders)) for scenario in scenarios) * plan.rounds
    minutes = count * (plan.seconds + plan.warmup_seconds) / 60
    say(f"{count} measurements, more than {minutes:.0f} minutes")
    print(report.items(facts | versions, markdown=options.markdown), flush=True)

    everything: list[Measurement] = []
    for scenario in scenarios:
        measurements = list(runner.measure_all(scenario, contenders))
        everything += measurements
        if measurements:
            show_scenario(scenario, measurements, contenders, markdown=options.markdown)
    if runner.skipped:
        print("\nSkipped:\n\n" + report.items(runner.skipped, markdown=options.markdown))
    if options.json is not None:
        write_json(options.json, facts, versions, runner, everything)
    return 0 if everything else 1


def write_json(
    path: Path,
    facts: dict[str, str],
    versions: dict[str, str],
    runner: Runner,
    measurements: Iterable[Measurement],
) -> None:
    """Write the whole run, every round of it, to a JSON file."""
    document: dict[str, Any] = {
        "machine": facts,
        "plan": asdict(runner.plan),
        "versions": versions,
        "skipped": runner.skipped,
        "measurements": [measurement.as_dict() for measurement in measurements],
    }
    path.write_text(json.dumps(document, indent=1, default=str) + "\n")


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
