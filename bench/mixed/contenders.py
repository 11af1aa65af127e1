"""Who takes part in the mixed benchmark, with which threads, and how each is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import contenders
from bench.contenders import Contender, Start
from bench.listing import version_or_reason

if TYPE_CHECKING:
    from bench.programs import Programs

APP = "bench.mixed.app:app"
GO_SOURCE = Path(__file__).resolve().with_name("handlers.go")
TABLE, SURGE, OVERLOAD = "table", "surge", "overload"
EVERYWHERE = (TABLE, SURGE, OVERLOAD)
THREADS = "{threads}"


def _uwsgi(programs: Programs, start: Start) -> list[str]:
    # A program that brings its Python along: there is no module to be imported, as others have.
    programs.distribution_version("uwsgi")
    script = programs.python("uwsgi").parent / "uwsgi"
    # --http-socket would close each connection; a SIGTERM would reload without --die-on-term.
    fixed = ["--http11-socket", start.bind, "--processes", "1", "--need-app", "--die-on-term"]
    return [str(script), *fixed, "--disable-logging", *start.options, "--module", start.app]


def _go(programs: Programs, start: Start) -> list[str]:
    return [str(programs.go_program(GO_SOURCE)), str(start.port)]


BASES = {one.name: one for one in contenders.CONTENDERS} | {
    "uwsgi": Contender(
        "uwsgi",
        "uWSGI (C)",
        _uwsgi,
        lambda programs: (
            f"{programs.distribution_version('uwsgi')}, {programs.python_version('uwsgi')}"
        ),
    ),
    "go": Contender(
        "go",
        "Go net/http, no Python",
        _go,
        lambda programs: programs.program_version("go", "version"),
    ),
}


@dataclass(frozen=True)
class Variant:
    """One server with one way to run handlers: a row of a table.

    Attributes:
        name: what `--contender` calls it.
        base: the name of the server in BASES.
        summary: one line for `--list`.
        options: what is added to its command line; THREADS stands for the number of threads.
        takes_part: the scenarios it takes part in.
    """

    name: str
    base: str
    summary: str
    options: tuple[str, ...] = ()
    takes_part: tuple[str, ...] = (TABLE,)

    def command(self, programs: Programs, port: int, threads: int) -> list[str]:
        """Return the command line, or raise UnavailableError when it cannot run here."""
        options = tuple(option.replace(THREADS, str(threads)) for option in self.options)
        return BASES[self.base].command(programs, Start(port, app=APP, options=options))

    def version_or_reason(self, programs: Programs) -> tuple[str, str]:
        """Return what is installed and "", or "" and the reason why it cannot run here."""
        return version_or_reason(BASES[self.base], programs)


POOL = ("--threads", THREADS)
VARIANTS = (
    Variant("poolhttp", "poolhttp", "adaptive, with app threads", POOL, (TABLE, SURGE)),
    Variant(
        "poolhttp-no-predict",
        "poolhttp",
        "the same without the predictor",
        (*POOL, "--no-predict"),
    ),
    Variant("poolhttp-one", "poolhttp", "its default: one app thread", ("--threads", "1")),
    Variant(
        "poolhttp-inline",
        "poolhttp",
        "always on the thread of the loop",
        ("--threads", "1", "--dispatch", "inline"),
    ),
    Variant("poolhttp-gunicorn", "poolhttp-gunicorn", "as a worker of gunicorn, app threads", POOL),
    Variant(
        "poolhttp-shed",
        "poolhttp",
        "sheds what would wait for more than 0.1 s",
        (*POOL, "--queue-target", "0.1"),
        (OVERLOAD,),
    ),
    Variant(
        "poolhttp-no-shed",
        "poolhttp",
        "lets everything wait",
        (*POOL, "--queue-target", "0"),
        (OVERLOAD,),
    ),
    Variant("gthread", "gunicorn-gthread", "a thread per request", POOL, EVERYWHERE),
    Variant("gevent", "gunicorn-gevent", "greenlets on one thread"),
    Variant("waitress", "waitress", "a thread per request", (f"--threads={THREADS}",)),
    Variant(
        "granian",
        "granian",
        "blocking threads beside a loop in Rust",
        ("--blocking-threads", THREADS),
        EVERYWHERE,
    ),
    Variant(
        "uwsgi",
        "uwsgi",
        "a thread per connection",
        ("--enable-threads", "--threads", THREADS),
    ),
    Variant("peregrine-inline", "peregrine", "its default: on the thread of the loop"),
    Variant("peregrine", "peregrine", "app threads", ("--wsgi-threads", THREADS)),
    Variant("weft-inline", "weft", "on the thread of the loop", ("--wsgi-threads", "0")),
    Variant("weft", "weft", "app threads", ("--wsgi-threads", THREADS)),
    Variant("bjoern", "bjoern", "on the thread of the loop; it has no threads"),
    Variant("fastpysgi", "fastpysgi", "on the thread of the loop; it has no threads"),
    Variant("go", "go", "a goroutine per connection, no GIL", (), EVERYWHERE),
)
