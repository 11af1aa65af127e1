"""Which requests are expected to be slow: a table of two-bit counters, one per kind of route.

Lives here: what past calls of the app say about the next. Must not live here: HTTP, a clock (the
caller says what was slow), threads, and what is done with a prediction.

A prediction may be wrong; nothing but time depends on it. Guaranteed whatever clients send:

- Memory is fixed. The table never grows; the memo of paths has ``MEMO_ENTRIES`` entries of at most
  ``MEMO_KEY`` characters, and is dropped when full, so that clients who ask for ever new paths pay
  for folding each (a few microseconds) and nothing else.
- Work is bounded: of a path only ``SEGMENTS`` segments and ``CHARACTERS`` characters count.
- Routes that share a slot share its counter. If a slow one makes a fast one look slow, the fast one
  runs on an app thread: slower, still correct. If a fast one makes a slow one look fast, that
  runs inline until it is taken from the loop, which condemns the slot again. The same holds for
  one route whose calls differ, and that much any client can cause.
- Nobody can aim at the slot of a route by computing it: Python keys the hash of a str at random in
  each process, unless PYTHONHASHSEED is set. What remains is to fill the table, shape by shape.
"""

from __future__ import annotations

import re

SEGMENTS = 8
"""Segments of a path that count."""

CHARACTERS = 256
"""Characters of a path that count."""

MEMO_ENTRIES = 1024
"""Paths whose slot is remembered; with the longest keys about 300 KiB."""

MEMO_KEY = 128
"""Characters of method and path up to which they are remembered."""

SLOW = 2
"""The counter (or prior) from which on a call is predicted slow."""

MOST = 3
"""Where counters, and the prior, saturate."""

_VARIABLE = re.compile(
    r"""/(?:
      -?[0-9][^/]*                                      # a number, a date
    | [^/@]+@[^/]*                                      # an e-mail address
    | (?:[^/0-9]*[0-9]){3}[^/]*                         # three digits
    | (?=[^/0-9]*[0-9])[0-9A-Fa-f-]{8,}                 # a hash
    | (?=[^/]{8})[^/0-9]*[0-9][^/A-Za-z]*[A-Za-z][^/]*  # a token
    | [^/]{32,}                                         # long
    )(?![^/])""",
    re.VERBOSE,
)
"""A variable segment. Each repetition ends where the next part begins, so time is linear."""


def shape(method: str, path: str) -> str:
    """Return what all requests of one route have in common, as ``GET /users/*/posts``.

    A segment is taken for a variable, and becomes ``*``, if it

    - begins with a digit, or minus and digit: 17, -5, 2024-01-31, 3f2a.json, most UUIDs;
    - has an ``@`` after something: an e-mail address;
    - has three digits: order-00017, app.9c1b7.js;
    - is 8 or more hex digits or hyphens, of which one is a decimal digit: deadbee1;
    - has 8 or more characters and a letter somewhere after a digit: dQw4w9WgXcQ;
    - has 32 or more characters: a token, a long slug.

    Short names with a digit or two stay (v1, oauth2, page-12), and so do words: a user's name or
    the slug of an article looks like a route, and has a counter of its own. To fold too much costs
    little, since what is folded together mostly runs the same code.

    Args:
        method: the method of the request.
        path: PATH_INFO, percent-decoded, as a latin-1 str.
    """
    path = path[:CHARACTERS]
    if path.count("/") > SEGMENTS:
        path = "/".join(path.split("/", SEGMENTS + 1)[: SEGMENTS + 1])
    return f"{method} {_VARIABLE.sub('/*', path)}"


class Predictor:
    """Predicts whether a call of the app will be slow, as a processor predicts branches.

    A slot holds a counter from 0 to 3, slow from 2 on, or is unknown. An unknown slot follows the
    prior, a counter of the same kind that each first outcome of a slot moves; with its own first
    outcome it becomes known, as if it had been 0 (prior fast) or 2 (prior slow) before. So where
    calls are mostly fast it takes two slow ones in a row to condemn a route, unless one was
    displaced, and two fast ones in a row always acquit it.

    When the last counter returns to 0 the prior does, too: fast outcomes need not be noted from
    then on, so without that the prior would only ever rise.

    Outcomes may be noted from several threads. One that crosses another may be lost; no counter
    leaves its range, and ``any_slow`` is never left False over a counter that is not 0. It may be
    left True over zeros, until the next counter returns to 0.

    Args:
        size: number of slots, a power of two; two bytes each.

    Attributes:
        any_slow: False as long as all counters are 0 and the prior is, too; ``is_slow`` is then
            False for every slot, and fast outcomes need not be noted.
    """

    def __init__(self, size: int = 4096) -> None:
        if size < 1 or size & (size - 1):
            raise ValueError(f"size must be a power of two, not {size}")
        self.any_slow = False
        self._mask = size - 1
        self._zeros = bytes(size)
        self._counters = bytearray(size)
        self._known = bytearray(size)
        self._prior = 0
        self._memo: dict[tuple[str, str], int] = {}

    def slot(self, method: str, path: str) -> int:
        """Return the slot of a request's route, from 0 to ``size - 1``.

        Args:
            method: the method of the request.
            path: PATH_INFO, percent-decoded, as a latin-1 str.
        """
        try:
            return self._memo[method, path]
        except KeyError:
            return self._find(method, path)

    def _find(self, method: str, path: str) -> int:
        slot = hash(shape(method, path)) & self._mask
        if len(method) + len(path) <= MEMO_KEY:
            if len(self._memo) >= MEMO_ENTRIES:
                self._memo.clear()
            self._memo[method, path] = slot
        return slot

    def is_slow(self, slot: int) -> bool:
        """Return whether the next call is expected to be slow."""
        return self._counters[slot] >= SLOW or (self._prior >= SLOW and not self._known[slot])

    def note(self, slot: int, slow: bool) -> None:
        """Learn from one call.

        Args:
            slot: the route's.
            slow: whether the call lasted longer than the caller wants on its loop.
        """
        state = self._counters[slot]
        if not self._known[slot]:
            self._meet(slot, slow)
        elif slow:
            self._store(slot, state + 1 if state < MOST else MOST)
        elif state:
            self._store(slot, state - 1)

    def note_displaced(self, slot: int) -> None:
        """Learn from one call so slow that the loop was taken from it: slow from now on."""
        if not self._known[slot]:
            self._meet(slot, True)
        self._store(slot, MOST)

    def forget(self) -> None:
        """Go back to nothing known."""
        self._memo.clear()
        self._known[:] = self._zeros
        self._prior = 0
        self.any_slow = False
        # After any_slow, so that a counter stored meanwhile is either erased or followed by True.
        self._counters[:] = self._zeros

    def _meet(self, slot: int, slow: bool) -> None:
        """Take the first outcome of a slot."""
        prior = self._prior
        start = SLOW if prior >= SLOW else 0
        self._known[slot] = 1
        # Before the counter: who finds all counters 0 resets the prior, and must not come between.
        self._prior = min(prior + 1, MOST) if slow else max(prior - 1, 0)
        if slow:
            self._store(slot, start + 1)
        elif start:
            self._store(slot, start - 1)

    def _store(self, slot: int, state: int) -> None:
        """Set a counter and keep ``any_slow`` right.

        A count of non-zero counters would drift for ever when two threads change it at once. To
        compare the table takes 0.1 us, only when a counter that was raised returns to 0.
        """
        self._counters[slot] = state
        if state:
            self.any_slow = True
            return
        # False first: a counter that another thread raises meanwhile is then either seen here, or
        # followed by that thread's True.
        self.any_slow = False
        if self._counters == self._zeros:
            self._prior = 0
        else:
            self.any_slow = True
