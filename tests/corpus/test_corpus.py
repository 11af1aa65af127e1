"""gunicorn's own request corpus, replayed over TCP against our worker class under gunicorn.

What holds: for each of its files, however the bytes are cut, the app sees what the sidecar says, or
the client gets the error that the sidecar's exception stands for, followed by the end of the
connection. What deliberately differs is in `differences.py`. The same replay runs against stock
gthread, where nothing may differ: a check of this harness as much as of gunicorn.

`POOLHTTP_TEST_SEED` repeats a run of mode `random`.
"""

from __future__ import annotations

import os
import random
from itertools import groupby
from typing import TYPE_CHECKING

import pytest

from .conftest import ServerFor, corpus_launch
from .differences import DIFFERENCES, REFUSED_SETTINGS
from .replay import MODES, UnreadableError, conversation, mismatch, read_responses, split
from .serving import OUR_WORKER, Server

if TYPE_CHECKING:
    from pathlib import Path

    from .cases import Case, Settings

STOCK_WORKER = "gthread"

COUNTS = {"valid": 62, "invalid": 81}
"""The least that a corpus has to hold; those of gunicorn 27.0.1. Later ones have grown."""

SEED = os.environ.get("POOLHTTP_TEST_SEED") or str(random.SystemRandom().getrandbits(32))


def grouped(corpus: list[Case]) -> list[tuple[Settings, list[Case]]]:
    """The cases by configuration."""

    def key(case: Case) -> str:
        return repr(case.settings)

    groups = (list(group) for _, group in groupby(sorted(corpus, key=key), key))
    return [(group[0].settings, group) for group in groups]


def refused(settings: Settings) -> list[str]:
    """The settings that keep our worker from starting."""
    return [name for name, _ in settings if name in REFUSED_SETTINGS]


def verdict(case: Case, port: int, mode: str, *, ours: bool) -> str | None:
    """What is wrong with the answer to one case; None if nothing is."""
    try:
        stream = conversation(port, split(case.data, mode, f"{SEED}/{case.name}"))
        responses = read_responses(stream)
    except UnreadableError as error:
        return str(error)
    wrong = mismatch(case, responses)
    difference = DIFFERENCES.get(case.name)
    if not ours or difference is None:
        return wrong
    if wrong is None:
        return "is answered as by gunicorn: no difference any more"
    wrong = mismatch(difference.applied_to(case), responses)
    return wrong and f"is listed to differ, but not so: {wrong}"


def replay(corpus: list[Case], server_for: ServerFor, worker_class: str, mode: str) -> list[str]:
    """All that is wrong, one line a file."""
    ours = worker_class == OUR_WORKER
    wrong = []
    for settings, cases in grouped(corpus):
        if ours and refused(settings):
            continue
        server = server_for(worker_class, settings)
        printed = server.line_count()
        found = [(case.name, verdict(case, server.port, mode, ours=ours)) for case in cases]
        bad = [f"{name} ({dict(settings)}): {what}" for name, what in found if what]
        if bad:
            print(server.output(printed))
        wrong += bad
    return wrong


@pytest.mark.parametrize("mode", MODES)
def test_our_worker_answers_the_corpus(
    corpus: list[Case], server_for: ServerFor, mode: str
) -> None:
    print(f"POOLHTTP_TEST_SEED={SEED}")
    wrong = replay(corpus, server_for, OUR_WORKER, mode)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("mode", MODES)
def test_stock_worker_answers_the_corpus(
    corpus: list[Case], server_for: ServerFor, mode: str
) -> None:
    print(f"POOLHTTP_TEST_SEED={SEED}")
    wrong = replay(corpus, server_for, STOCK_WORKER, mode)
    assert not wrong, "\n".join(wrong)


def test_corpus_is_complete(corpus: list[Case]) -> None:
    for folder, least in COUNTS.items():
        assert sum(case.name.startswith(f"{folder}/") for case in corpus) >= least


def test_differences_name_files_of_the_corpus(corpus: list[Case]) -> None:
    by_name = {case.name: case for case in corpus}
    assert DIFFERENCES.keys() <= by_name.keys()
    need_refused = {case.name for case in corpus if refused(case.settings)}
    listed = {name for name, difference in DIFFERENCES.items() if difference.statuses is None}
    assert listed == need_refused


def test_refused_settings_keep_the_server_from_starting(corpus: list[Case], tmp_path: Path) -> None:
    wrong = []
    for number, (settings, _) in enumerate(grouped(corpus)):
        if names := refused(settings):
            conf = tmp_path / f"{number}.conf.py"
            with Server(corpus_launch(OUR_WORKER, settings, conf)) as server:
                status, output = server.wait(), server.output()
            if status != 1 or not any(name in output for name in names):
                wrong.append(f"{dict(settings)}: exit status {status}, output:\n{output}")
    assert not wrong, "\n".join(wrong)


COOKIES = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("worker_class", "joined"), [(OUR_WORKER, "a=1; b=2"), (STOCK_WORKER, "a=1,b=2")]
)
def test_repeated_cookies(server_for: ServerFor, worker_class: str, joined: str) -> None:
    """A difference in values that no file of the corpus shows (RFC 9113 section 8.2.3)."""
    port = server_for(worker_class, ()).port
    [response] = read_responses(conversation(port, iter([COOKIES])))
    assert f'"HTTP_COOKIE": "{joined}"'.encode() in response.body
