"""The predictor does what a plain model of its rules does, within bounds whatever paths come, and
whichever bytecode one thread is stopped at for another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from poolhttp.predictor import CHARACTERS, MEMO_ENTRIES, MEMO_KEY, SEGMENTS, Predictor, shape

SIZE = 4
LATIN1 = st.characters(max_codepoint=255)
SEGMENT = st.text(LATIN1, max_size=40) | st.sampled_from(
    ("users", "v1", "*", "", "17", "-5", "2024-01-31", "dQw4w9WgXcQ", "deadbee1", "a@b", "@", "\n")
)
PATH = st.lists(SEGMENT, max_size=12).map(lambda parts: "/" + "/".join(parts)) | st.text(LATIN1)
METHOD = st.sampled_from(("GET", "HEAD", "POST", "PROPFIND"))
SLOT = st.integers(0, SIZE - 1)


class Against(RuleBasedStateMachine):
    """A model with no table and no shortcuts: what is unknown is None."""

    def __init__(self) -> None:
        super().__init__()
        self.predictor = Predictor(SIZE)
        self._begin()

    def _begin(self) -> None:
        self.prior = 0
        self.counters: list[int | None] = [None] * SIZE

    def _learn(self, slot: int, slow: bool) -> None:
        step = 1 if slow else -1
        counter = self.counters[slot]
        if counter is None:
            counter = 2 if self.prior >= 2 else 0
            self.prior = max(0, min(3, self.prior + step))
        self.counters[slot] = max(0, min(3, counter + step))

    def _settle(self) -> None:
        if not any(self.counters):
            self.prior = 0

    @rule(slot=SLOT, slow=st.booleans())
    def note(self, slot: int, slow: bool) -> None:
        self.predictor.note(slot, slow)
        self._learn(slot, slow)
        self._settle()

    @rule(slot=SLOT)
    def note_displaced(self, slot: int) -> None:
        self.predictor.note_displaced(slot)
        self._learn(slot, True)
        self.counters[slot] = 3

    @rule()
    def forget(self) -> None:
        self.predictor.forget()
        self._begin()

    @invariant()
    def predictions_are_the_same(self) -> None:
        for slot, counter in enumerate(self.counters):
            follows = self.prior if counter is None else counter
            assert self.predictor.is_slow(slot) == (follows >= 2)

    @invariant()
    def any_slow_tells_of_the_whole_table(self) -> None:
        assert self.predictor.any_slow == (any(self.counters) or self.prior >= 2)
        if not self.predictor.any_slow:
            assert not any(map(self.predictor.is_slow, range(SIZE)))


TestAgainst = Against.TestCase


def test_two_slow_calls_in_a_row_condemn_and_two_fast_acquit() -> None:
    predictor = Predictor()
    predictor.note(7, True)
    assert not predictor.is_slow(7)
    predictor.note(7, False)
    predictor.note(7, True)
    assert not predictor.is_slow(7)
    predictor.note(7, True)
    assert predictor.is_slow(7)
    for _ in range(5):
        predictor.note(7, True)
    predictor.note(7, False)
    assert predictor.is_slow(7)
    predictor.note(7, False)
    assert not predictor.is_slow(7)


def test_a_displaced_call_condemns_at_once() -> None:
    predictor = Predictor()
    predictor.note(7, False)
    predictor.note_displaced(7)
    assert predictor.any_slow
    assert predictor.is_slow(7)
    assert not predictor.is_slow(8)
    predictor.note(7, False)
    assert predictor.is_slow(7)


def test_unknown_slots_follow_what_others_were_at_first() -> None:
    predictor = Predictor()
    predictor.note_displaced(0)
    assert not predictor.is_slow(9)
    predictor.note_displaced(1)
    assert predictor.is_slow(9)
    predictor.note(2, False)
    assert not predictor.is_slow(9)
    assert not predictor.is_slow(2)


def test_only_first_outcomes_move_the_prior() -> None:
    predictor = Predictor()
    for _ in range(10):
        predictor.note_displaced(0)
    assert predictor.is_slow(0)
    assert not predictor.is_slow(1)


def test_rare_slow_calls_do_not_add_up_while_fast_ones_are_not_noted() -> None:
    predictor = Predictor()
    seen = []
    for slot in range(100):
        for slow in (True, False):
            predictor.note(slot, slow)
            seen.append(predictor.any_slow)
            assert not predictor.is_slow(4095)
    assert seen == [True, False] * 100


def test_forgets_all() -> None:
    predictor = Predictor()
    slot = predictor.slot("GET", "/")
    for each in (slot, slot ^ 1, slot ^ 2):
        predictor.note_displaced(each)
    predictor.forget()
    assert not predictor._memo
    assert not predictor.any_slow
    assert not any(map(predictor.is_slow, range(4096)))
    assert predictor.slot("GET", "/") == slot
    predictor.note(slot, True)
    assert not predictor.is_slow(slot), "was still known"


@pytest.mark.parametrize("size", [0, -1, -4, 3, 4095])
def test_size_is_a_power_of_two(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Predictor(size)


@pytest.mark.parametrize(
    ("path", "folded"),
    [
        ("/users/17/posts", "/users/*/posts"),
        ("/users/99/posts", "/users/*/posts"),
        ("/17", "/*"),
        ("/-5/", "/*/"),
        ("/1/2/3", "/*/*/*"),
        ("/day/2024-01-31", "/day/*"),
        ("/day/31.1.2024/x", "/day/*/x"),
        ("/o/123e4567-e89b-12d3-a456-426614174000", "/o/*"),
        ("/o/FABCDEF0-E89B-12D3-A456-426614174000", "/o/*"),
        ("/commit/deadbee1", "/commit/*"),
        ("/commit/DEADBEEFCAFE0", "/commit/*"),
        ("/commit/d41d8cd98f00b204e9800998ecf8427e/diff", "/commit/*/diff"),
        ("/watch/dQw4w9WgXcQ", "/watch/*"),
        ("/order-00017", "/*"),
        ("/static/app.9c1b7.js", "/static/*"),
        ("/reset/" + "x" * 32, "/reset/*"),
        ("/mail/jo.doe@example.org/send", "/mail/*/send"),
        # What stays:
        ("", ""),
        ("*", "*"),
        ("/", "/"),
        ("//", "//"),
        ("/*/a", "/*/a"),
        ("/api/v1/oauth2/i18n", "/api/v1/oauth2/i18n"),
        ("/page-12", "/page-12"),
        ("/defaced/feedface", "/defaced/feedface"),
        ("/static/style.css", "/static/style.css"),
        ("/@handle", "/@handle"),
        ("/blog/hello-world", "/blog/hello-world"),
        ("/" + "x" * 31, "/" + "x" * 31),
        ("/caf\u00c3\u00a9/\x00\n/\u00b2", "/caf\u00c3\u00a9/\x00\n/\u00b2"),
    ],
)
def test_shapes(path: str, folded: str) -> None:
    assert shape("GET", path) == "GET " + folded
    assert Predictor().slot("GET", path) == Predictor().slot("GET", folded)


@given(METHOD, PATH)
def test_shape_of_a_shape_is_itself(method: str, path: str) -> None:
    once = shape(method, path)
    assert once.startswith(method + " ")
    assert shape(method, once[len(method) + 1 :]) == once


@given(st.lists(st.integers(0, 10**20).map(str) | st.uuids().map(str), min_size=1, max_size=8))
def test_numbers_and_uuids_are_always_folded(segments: list[str]) -> None:
    assert shape("GET", "/" + "/a/".join(segments)).strip("GET /*a") == ""


@given(METHOD, PATH, st.integers(0, 12))
def test_slots_are_in_range_and_stay(method: str, path: str, bits: int) -> None:
    predictor = Predictor(1 << bits)
    slot = predictor.slot(method, path)
    assert 0 <= slot < 1 << bits
    assert predictor.slot(method, path) == slot
    assert Predictor(1 << bits).slot(method, path) == slot


def test_methods_and_routes_are_told_apart() -> None:
    predictor = Predictor(1 << 16)
    seen = {predictor.slot(m, p) for m in ("GET", "POST", "PUT") for p in ("/a", "/b", "/a/b")}
    assert len(seen) > 1, "1 in 65536^8"


def test_distinct_paths_leave_memory_as_it_was() -> None:
    predictor = Predictor()
    most = 0
    for number in range(3 * MEMO_ENTRIES):
        slot = predictor.slot("GET", "/" + "x" * (number % 100) + f"/\u00e9/{number}")
        predictor.note(slot, bool(number % 2))
        most = max(most, len(predictor._memo))
    assert most == MEMO_ENTRIES
    assert len(predictor._counters) == len(predictor._known) == 4096


def test_ordinary_paths_are_remembered_and_long_ones_are_not() -> None:
    predictor = Predictor()
    fits = "/" * (MEMO_KEY - len("GET"))
    predictor.slot("GET", fits)
    assert list(predictor._memo) == [("GET", fits)]
    predictor.slot("GET", fits + "/")
    predictor.slot("POST", fits)
    predictor.slot("GET", "/a" * 1_000_000)
    predictor.slot("M" * 1_000, "/")
    assert list(predictor._memo) == [("GET", fits)]


def test_segments_and_characters_beyond_the_limit_do_not_count() -> None:
    deep = "/a" * SEGMENTS
    assert shape("GET", deep + "/b/17") == shape("GET", deep) == "GET " + deep
    assert shape("GET", "/a" * (SEGMENTS - 1) + "/b") != shape("GET", deep)
    long = "/" + "-" * (CHARACTERS - 2)
    assert shape("GET", long + "/x") == shape("GET", long + "/" * 1_000_000)
    assert len(shape("GET", ("/" + "x" * 31) * SEGMENTS + "y" * 1_000_000)) <= 4 + CHARACTERS


@given(st.lists(st.tuples(PATH, st.booleans())))
def test_routes_that_all_collide_share_one_counter(calls: list[tuple[str, bool]]) -> None:
    one, alone = Predictor(1), Predictor(1)
    for path, slow in calls:
        slot = one.slot("GET", path)
        assert slot == 0
        assert one.is_slow(slot) == alone.is_slow(0)
        one.note(slot, slow)
        alone.note(0, slow)
    for _ in range(3):
        one.note(0, False)
    assert not one.any_slow


Call = Callable[[Predictor], None]
ON_SLOT_0: list[Call] = [
    lambda p: p.note(0, False),
    lambda p: p.note(0, True),
    lambda p: p.note_displaced(0),
    Predictor.forget,
]
CALLS: list[Call] = [
    *ON_SLOT_0,
    lambda p: p.note(1, False),
    lambda p: p.note(1, True),
    lambda p: p.note_displaced(1),
]


def _after(history: Iterable[Call]) -> Predictor:
    predictor = Predictor(2)
    for call in history:
        call(predictor)
    return predictor


def _histories() -> Iterator[tuple[Call, ...]]:
    """Of up to three calls, one history for each state that they lead to."""
    seen = set()
    for length in range(4):
        for history in product(CALLS, repeat=length):
            state = str(vars(_after(history)))
            if state not in seen:
                seen.add(state)
                yield history


def _crossed(first: Call, second: Call, predictor: Predictor, at: int) -> bool:
    """Run ``first``, and all of ``second`` before its bytecode ``at``; return whether it has it."""
    left = at

    def trace(frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal left
        if frame.f_globals.get("__name__") != Predictor.__module__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if not left:
                second(predictor)
            left -= 1
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # 3.12 looks for it when tracing begins
    sys.settrace(trace)
    try:
        first(predictor)
    finally:
        sys.settrace(before)
    return left < 0


@pytest.mark.parametrize("first", ON_SLOT_0)
def test_a_call_in_the_middle_of_another_leaves_the_table_right(first: Call) -> None:
    for history, second in product(_histories(), CALLS):
        at = 0
        predictor = _after(history)
        while _crossed(first, second, predictor, at):
            _check_sound(predictor)
            at += 1
            predictor = _after(history)
        assert at > 10, "no bytecode was seen"


def _check_sound(predictor: Predictor) -> None:
    assert max(predictor._counters) <= 3
    if not predictor.any_slow:
        assert not any(predictor._counters)
        assert not any(map(predictor.is_slow, (0, 1)))
    # Nor is anything wrong for ever on the safe side.
    for slow in (True, False, False, False, False):
        predictor.note(0, slow)
        predictor.note(1, slow)
    assert not predictor.any_slow
    assert not any(map(predictor.is_slow, (0, 1)))
