"""Every pair of state and event: the legal ones move, by the table and in a real connection, all
others raise; whatever happens, a connection can be closed and is then closed for good."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from poolhttp.appcontext import AppContext
from poolhttp.bufpool import BufferPool
from poolhttp.connection import Connection
from poolhttp.fields import FieldPolicy
from poolhttp.loop import Loop
from poolhttp.scheduler import Scheduler
from poolhttp.service import Profile, Service
from poolhttp.settings import Settings
from poolhttp.states import TRANSITIONS, Event, State, walk

S, E = State, Event
PAIRS = [(state, event) for state in State for event in Event]
LEGAL = [(state, event) for state, event in PAIRS if event in TRANSITIONS[state]]
ILLEGAL = [pair for pair in PAIRS if pair not in LEGAL]

WALKS = (
    (S.READING_HEAD, (E.REQUEST_DONE, E.APP_CALLED, E.RESPONSE_STARTED), S.WRITING),
    (S.READING_HEAD, (E.HEAD_DONE, E.REQUEST_DONE, E.APP_CALLED), S.RUNNING),
    (S.IDLE, (E.FIRST_BYTE, E.REJECTED, E.FLUSHED_LINGER, E.CLOSE), S.CLOSED),
    (S.WRITING, (E.FLUSHED_KEEP, E.FIRST_BYTE), S.READING_HEAD),
    (S.IDLE, (E.UNSENT, E.FLUSHED_KEEP), S.IDLE),
)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """A connection over one end of a socket pair; its state is set by the tests."""
    settings = Settings()
    loop = Loop(BufferPool(guard=True))
    log = logging.getLogger("poolhttp.test")

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise AssertionError("nobody asks")

    context = AppContext(app, settings, log, loop.clock)
    scheduler = Scheduler(settings, loop, context)
    service = Service(settings, loop, context, scheduler, log, lambda closed: None)
    profile = Profile({}, FieldPolicy(settings, trusted=False))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours.fileno(), service, profile, "", "")
        loop.shut()


def _reachable(start: State) -> set[State]:
    found: set[State] = set()
    new = {start}
    while new:
        found |= new
        new = {target for state in new for target in TRANSITIONS[state].values()} - found
    return found


def test_the_table_has_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize(("state", "event"), LEGAL)
def test_a_legal_event_moves(state: State, event: Event, connection: Connection) -> None:
    target = TRANSITIONS[state][event]
    assert walk(state, event) is target

    connection.state = state
    connection._enter(event)
    assert connection.state is target
    assert connection.queue is connection.service.queues[target]


@pytest.mark.parametrize(("state", "event"), ILLEGAL)
def test_an_illegal_event_raises(state: State, event: Event, connection: Connection) -> None:
    with pytest.raises(AssertionError, match=f"BUG: {event.name} in"):
        walk(state, event)

    connection.state = state
    queue = connection.queue
    with pytest.raises(AssertionError, match=f"BUG: {event.name} in"):
        connection._enter(event)
    assert connection.state is state
    assert connection.queue is queue


def test_each_state_can_be_reached_from_accept() -> None:
    assert _reachable(State.READING_HEAD) == set(State)


@pytest.mark.parametrize("state", State)
def test_each_state_can_be_closed(state: State) -> None:
    assert State.CLOSED in _reachable(state)
    if state is not State.CLOSED:
        assert walk(state, Event.CLOSE) is State.CLOSED


def test_closed_is_terminal() -> None:
    assert TRANSITIONS[State.CLOSED] == {}


def test_only_a_flush_leads_back_to_idle() -> None:
    """A response can't be skipped."""
    ways = [(state, event) for state, event in LEGAL if TRANSITIONS[state][event] is State.IDLE]
    assert ways == [(State.WRITING, Event.FLUSHED_KEEP)]


@pytest.mark.parametrize(("start", "events", "end"), WALKS)
def test_a_walk_ends_where_it_should(start: State, events: tuple[Event, ...], end: State) -> None:
    assert walk(start, *events) is end


def test_walk_stops_at_the_first_illegal_event() -> None:
    with pytest.raises(AssertionError, match="APP_CALLED in READING_HEAD"):
        walk(State.READING_HEAD, Event.APP_CALLED, Event.CLOSE)
