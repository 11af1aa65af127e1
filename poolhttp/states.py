"""The states of a connection and all legal transitions, as one table.

Lives here: the table and nothing that acts. ``connection`` moves by it, a test walks every pair,
and the picture in the docs is drawn from it.
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """What a connection is doing."""

    IDLE = 0
    """Between requests: no byte of the next one seen; owns no parser and no buffer."""
    READING_HEAD = 1
    """Accepted, or in the middle of a request head."""
    READING_BODY = 2
    """Head complete, body incomplete."""
    QUEUED = 3
    """Request complete, waiting for whoever runs the app."""
    RUNNING = 4
    """The app is being called."""
    WRITING = 5
    """Something of a response is not yet with the kernel."""
    LINGERING = 6
    """All sent and our side shut; discarding what the peer still sends (RFC 9112 section 9.6)."""
    CLOSED = 7
    """The descriptor is given back; terminal."""


class Event(IntEnum):
    """What moves it."""

    FIRST_BYTE = 0
    HEAD_DONE = 1
    REQUEST_DONE = 2
    REJECTED = 3
    APP_CALLED = 4
    RESPONSE_STARTED = 5
    UNSENT = 6
    FLUSHED_KEEP = 7
    FLUSHED_LINGER = 8
    CLOSE = 9


S, E = State, Event

TRANSITIONS: dict[State, dict[Event, State]] = {
    S.IDLE: {
        E.FIRST_BYTE: S.READING_HEAD,
        E.UNSENT: S.WRITING,
        E.CLOSE: S.CLOSED,
    },
    S.READING_HEAD: {
        E.HEAD_DONE: S.READING_BODY,
        E.REQUEST_DONE: S.QUEUED,
        E.REJECTED: S.WRITING,
        E.CLOSE: S.CLOSED,
    },
    S.READING_BODY: {
        E.REQUEST_DONE: S.QUEUED,
        E.REJECTED: S.WRITING,
        E.CLOSE: S.CLOSED,
    },
    S.QUEUED: {
        E.APP_CALLED: S.RUNNING,
        E.REJECTED: S.WRITING,
        E.CLOSE: S.CLOSED,
    },
    S.RUNNING: {
        E.RESPONSE_STARTED: S.WRITING,
        E.CLOSE: S.CLOSED,
    },
    S.WRITING: {
        E.FLUSHED_KEEP: S.IDLE,
        E.FLUSHED_LINGER: S.LINGERING,
        E.CLOSE: S.CLOSED,
    },
    S.LINGERING: {
        E.CLOSE: S.CLOSED,
    },
    S.CLOSED: {},
}


def walk(state: State, *events: Event) -> State:
    """Return the state after ``events``.

    Raises:
        AssertionError: an event is not legal in its state.
    """
    for event in events:
        following = TRANSITIONS[state].get(event)
        assert following is not None, f"BUG: {event.name} in {state.name}"
        state = following
    return state
