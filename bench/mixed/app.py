"""The WSGI application of the mixed benchmark: a quick page and handlers that wait or compute.

The computing ones hold the GIL in a loop of pure Python until their thread has used a certain CPU
time. A loop of a fixed length, measured when the process starts, was tried first: where cores are
shared with other machines, their speed differs so much from one second to the next that the same
handler took between 27 and 82 ms.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from bench.app import BODY, HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SLEEP_SECONDS = 0.1
CPU_SECONDS = 0.05
WORK_SECONDS = 0.002
NAP_SECONDS = (0.002, 0.008)

# How often the loop turns between two looks at the clock: for some tens of microseconds.
TURNS = 500


def compute(seconds: float) -> None:
    """Use CPU time of this thread without leaving the interpreter."""
    end = time.thread_time() + seconds
    value = 1
    while time.thread_time() < end:
        for turn in range(TURNS):
            value = (value * 3 + turn) & 0xFFFF


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Do what the path says, then answer with `200 OK`, text/plain, 13 bytes."""
    match environ["PATH_INFO"]:
        case "/sleep":
            time.sleep(SLEEP_SECONDS)
        case "/cpu":
            compute(CPU_SECONDS)
        case "/work2":
            compute(WORK_SECONDS)
        case "/nap":
            time.sleep(random.uniform(*NAP_SECONDS))
    start_response("200 OK", list(HEADERS))
    return [BODY]
