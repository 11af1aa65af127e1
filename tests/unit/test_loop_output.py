"""What a loop sends and closes, on real sockets: no byte overtakes another, a descriptor closes
behind its bytes, its number has one owner at a time, and what is due does not wait."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest

from poolhttp.collector import COLLECT_LIMIT
from poolhttp.timers import DeadlineQueue
from poolhttp.turnmemory import SLOT

from .looping import Recorder, Stage, staged
from .sockets import receive_exactly

# Sending


def test_what_is_collected_is_one_send(stage: Stage) -> None:
    client, handler = stage.connect()
    sends = stage.loop.stats()["send_calls"]
    for _ in range(3):
        stage.loop.collect(handler.fd, (b"head", b"body"))
    stage.loop.turn(0.0)
    assert stage.loop.stats()["send_calls"] == sends + 1
    assert receive_exactly(client, 24) == b"headbody" * 3


def test_a_long_collection_is_flushed_early(stage: Stage) -> None:
    client, handler = stage.connect()
    for _ in range(COLLECT_LIMIT // 2):
        assert not handler.calls
        stage.loop.collect(handler.fd, (b"h", b"body"))
    assert not stage.loop.out_runs
    assert receive_exactly(client, 1000) == b"hbody" * 200


def test_blocked_runs_keep_their_order(local: Stage) -> None:
    """Two runs of one connection with another's between: the second must not overtake the rest of
    the first when the socket is full."""
    client, handler = local.connect(sndbuf=4096)
    other_client, other = local.connect()
    first, second = os.urandom(128 * 1024), b"second" * 1000
    local.loop.collect(handler.fd, (b"", first))
    local.loop.collect(other.fd, (b"other", b""))
    local.loop.collect(handler.fd, (b"", second))
    local.loop.flush()
    kept = handler.unsent()
    assert handler.names() == ["unsent", "unsent"]
    assert len(second) < len(kept) < len(first + second)
    sent = len(first + second) - len(kept)
    assert receive_exactly(client, sent) + kept == first + second
    assert receive_exactly(other_client, 5) == b"other"
    assert not other.calls


def test_a_full_socket_gives_everything_back_and_becomes_writable(local: Stage) -> None:
    client, handler = local.connect(sndbuf=4096)
    taken = local.choke(handler)
    local.loop.collect(handler.fd, (b"la", b"ter"))
    local.loop.turn(0.0)
    assert handler.calls == [("unsent", b"later")]
    handler.calls.clear()
    local.loop.watch_writable(handler.fd, True)
    local.loop.turn(0.0)
    assert not handler.calls
    assert receive_exactly(client, len(taken)) == taken
    local.until(lambda: handler.calls)
    assert set(handler.calls) == {("writable", None)}
    local.loop.watch_writable(handler.fd, False)


def test_sending_to_a_reset_connection_is_an_error(stage: Stage) -> None:
    client, handler = stage.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    stage.loop.collect(handler.fd, (b"x", b""))
    stage.until(lambda: handler.calls)
    assert handler.calls[0][0] in {"error", "unsent"}
    assert handler.calls[0][1] in {errno.ECONNRESET, errno.EPIPE}


# Closing


def test_a_descriptor_is_closed_behind_what_was_collected(stage: Stage) -> None:
    client, handler = stage.connect()
    stage.loop.collect(handler.fd, (b"last ", b"words"))
    stage.loop.close(handler.fd)
    assert os.fstat(handler.fd)
    stage.loop.turn(0.0)
    assert receive_exactly(client, 100) == b"last words"
    assert not handler.calls


def test_close_when_sent_tells_when(stage: Stage) -> None:
    client, handler = stage.connect()
    stage.loop.collect(handler.fd, (b"last ", b"words"))
    stage.loop.close_when_sent(handler.fd)
    stage.loop.turn(0.0)
    assert receive_exactly(client, 100) == b"last words"
    assert handler.calls == [("closed", None)]


def test_nobody_waits_for_an_event_to_hear_of_a_close(stage: Stage) -> None:
    """At its limit a server accepts again when a connection has closed: that must not wait for
    something else to happen."""
    queue = DeadlineQueue(0.9)
    stage.loop.queues.append(queue)
    _client, handler = stage.connect()
    waiter = Recorder(-1)
    stage.loop.wait_in(queue, waiter)
    stage.loop.accept_room = 0
    stage.loop.collect(handler.fd, (b"bye", b""))
    stage.loop.close_when_sent(handler.fd)
    while not handler.calls:
        stage.loop.turn(1.0)
    assert handler.calls == [("closed", None)]
    assert not waiter.calls, "the turn has waited for its deadline"


def test_close_when_sent_leaves_open_what_is_not_sent(local: Stage) -> None:
    client, handler = local.connect(sndbuf=4096)
    taken = local.choke(handler)
    local.loop.collect(handler.fd, (b"x", b""))
    local.loop.close_when_sent(handler.fd)
    local.loop.flush()
    assert handler.calls == [("unsent", b"x")]
    assert os.fstat(handler.fd)
    assert receive_exactly(client, len(taken)) == taken


def test_close_drops_what_cannot_be_sent(local: Stage) -> None:
    client, handler = local.connect(sndbuf=4096)
    taken = local.choke(handler)
    local.loop.collect(handler.fd, (b"x", b""))
    local.loop.close(handler.fd)
    local.loop.flush()
    assert receive_exactly(client, len(taken) + 1) == taken
    assert not handler.calls


def test_a_number_that_is_reused_at_once_has_a_new_owner(stage: Stage) -> None:
    """One turn closes a descriptor and accepts another connection under its number: the old owner
    hears ``on_closed``, the new one gets the data."""
    _client, old = stage.connect()
    stage.loop.collect(old.fd, (b"bye", b""))
    stage.loop.close_when_sent(old.fd)
    stage.dial(b"hello")
    stage.until(lambda: len(stage.accepted) == 2)
    new = stage.accepted[1]
    assert new.fd == old.fd, "the kernel gives the lowest number"
    assert old.calls == [("closed", None)]
    assert new.data == b"hello"
    assert stage.loop.handlers[new.fd] is new


def test_events_of_an_earlier_owner_are_dropped(stage: Stage) -> None:
    """A copy of the descriptor (a forked child) keeps the file in the epoll set."""
    client, handler = stage.connect()
    copy = os.dup(handler.fd)
    try:
        stage.loop.close(handler.fd)
        stage.loop.turn(0.0)
        client.sendall(b"too late")
        before = stage.loop.stats()["stale_events"]
        stage.loop.turn(0.01)
        assert stage.loop.stats()["stale_events"] > before
        assert not handler.calls
    finally:
        os.close(copy)


def test_shutdown_write_and_reset_on_close(stage: Stage) -> None:
    client, handler = stage.connect()
    stage.loop.shutdown_write(handler.fd)
    assert client.recv(10) == b""
    client.sendall(b"still heard")
    stage.until(lambda: handler.data == b"still heard")
    other, cut = stage.connect()
    stage.loop.reset_on_close(cut.fd)
    stage.loop.close(cut.fd)
    stage.loop.turn(0.0)
    with pytest.raises(ConnectionResetError):
        other.recv(10)


# Notifiers, work and time


def test_a_notifier_is_called_while_there_is_something(stage: Stage) -> None:
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    heard: list[bytes] = []
    stage.loop.add_notifier(read, lambda: heard.append(os.read(read, 1)))
    os.write(write, b"ab")
    stage.until(lambda: len(heard) == 2)
    assert heard == [b"a", b"b"]
    stage.loop.remove(read)
    os.write(write, b"c")
    stage.loop.turn(0.0)
    assert len(heard) == 2
    os.close(read)
    os.close(write)


def test_work_for_later_is_done_once_in_the_next_turn(stage: Stage) -> None:
    done: list[int] = []

    def work() -> None:
        done.append(len(done))
        if len(done) < 3:
            stage.loop.call_soon(work)

    stage.loop.call_soon(work)
    stage.loop.turn(1000.0)
    assert done == [0]
    stage.until(lambda: len(done) == 3)


def test_deferred_work_does_not_wait(stage: Stage) -> None:
    """With a wait of 1,000 seconds this would never come back."""
    client, handler = stage.connect()
    client.sendall(bytes(4 * SLOT))
    for _ in range(6):
        if len(handler.data) < 4 * SLOT:
            stage.loop.turn(1000.0)
    assert len(handler.data) == 4 * SLOT


def test_a_deadline_ends_the_wait(stage: Stage) -> None:
    queue = DeadlineQueue(0.01)
    stage.loop.queues.append(queue)
    waiter = Recorder(-1)
    stage.loop.wait_in(queue, waiter)
    stage.until(lambda: waiter.calls)
    assert waiter.calls == [("timeout", None)]
    assert stage.loop.clock.now >= waiter.deadline
    assert stage.loop.next_deadline == float("inf")


def test_before_wait_is_called_once_a_turn(stage: Stage) -> None:
    calls: list[None] = []
    stage.loop.before_wait = lambda: calls.append(None)
    for _ in range(3):
        stage.loop.turn(0.0)
    assert len(calls) == 3


def test_an_idle_loop_does_not_spin(stage: Stage) -> None:
    """Idle connections, a paused one with data and a writable edge: each turn waits its time."""
    client, handler = stage.connect()
    stage.connect()
    stage.loop.pause(handler.fd)
    client.sendall(b"x")
    stage.loop.turn(0.0)
    waits = stage.loop.stats()["wait_calls"]
    for _ in range(5):
        stage.loop.turn(0.002)
    assert stage.loop.stats()["wait_calls"] - waits <= 10


def test_shut_gives_the_slab_back() -> None:
    with staged() as stage:
        assert stage.pool.stats.in_use == 1
    assert stage.pool.stats.in_use == 0
