"""The edge-triggered contract on real sockets: no edge is lost, no byte overtakes another, nobody
starves, and nothing spins (epoll(7); the facts are at the head of ``loop``)."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from poolhttp.loop import COLLECT_LIMIT, MAX_EVENTS, SLOT
from poolhttp.timers import DeadlineQueue

from .looping import Recorder, Stage, staged
from .sockets import receive_exactly

MIB = 1 << 20


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


@pytest.fixture
def local() -> Iterator[Stage]:
    """Over unix sockets: a full buffer stays full until the peer reads."""
    with staged(unix=True) as made:
        yield made


# Accepting


def test_a_connection_is_accepted_with_its_peer(stage: Stage) -> None:
    client, handler = stage.connect()
    key, port = stage.peers[-1]
    listener, family = struct.unpack_from("=iH", key)
    assert listener == stage.listener.fileno()
    assert family == socket.AF_INET
    assert socket.inet_ntop(socket.AF_INET, key[8:12]) == "127.0.0.1"
    assert port == client.getsockname()[1]
    assert os.get_blocking(handler.fd) is False
    assert os.get_inheritable(handler.fd) is False


def test_what_a_client_has_sent_comes_with_it(stage: Stage) -> None:
    """TCP_DEFER_ACCEPT hands over connections with their first request: one turn serves them."""
    stage.dial(b"hello")
    stage.until(lambda: stage.accepted)
    assert stage.accepted[0].data == b"hello"


def test_accepting_keeps_to_its_room(stage: Stage) -> None:
    stage.loop.accept_room = 3
    for _ in range(8):
        stage.dial()
    stage.until(lambda: stage.accepted)
    assert 1 <= len(stage.accepted) <= 3
    stage.loop.accept_room = 100
    stage.until(lambda: len(stage.accepted) == 8)


def test_a_removed_listener_rests_and_can_come_back(stage: Stage) -> None:
    stage.loop.remove(stage.listener.fileno())
    stage.dial()
    for _ in range(3):
        stage.loop.turn(0.0)
    assert not stage.accepted
    stage.loop.add_listener(stage.listener.fileno(), lambda: None)
    stage.until(lambda: stage.accepted)


# Receiving


def test_more_than_a_slot_comes_over_several_turns(stage: Stage) -> None:
    client, handler = stage.connect()
    client.sendall(b"x" * (2 * SLOT + 5))
    stage.until(lambda: len(handler.data) == 2 * SLOT + 5)
    assert max(len(each) for each in map(bytes, _pieces(handler))) <= SLOT


def _pieces(handler: Recorder) -> list[bytes]:
    return [each for name, each in handler.calls if name == "data" and isinstance(each, bytes)]


@pytest.mark.parametrize("nbytes", [1, SLOT - 1, SLOT, SLOT + 1, 3 * SLOT])
def test_a_fin_behind_data_is_seen(stage: Stage, nbytes: int) -> None:
    """It makes no second edge, so the loop must look for it."""
    client, handler = stage.connect()
    client.sendall(b"x" * nbytes)
    client.shutdown(socket.SHUT_WR)
    stage.until(lambda: "eof" in handler.names())
    assert len(handler.data) == nbytes
    assert handler.names()[-1] == "eof"


def test_a_fin_that_came_with_the_connection_is_seen(stage: Stage) -> None:
    client = stage.dial(b"x")
    client.shutdown(socket.SHUT_WR)
    stage.until(lambda: stage.accepted and "eof" in stage.accepted[0].names())
    assert stage.accepted[0].data == b"x"


def test_a_reset_is_an_error(stage: Stage) -> None:
    client, handler = stage.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    stage.until(lambda: handler.calls)
    assert handler.calls == [("error", errno.ECONNRESET)]


def test_a_flood_does_not_starve_anybody(stage: Stage) -> None:
    """One receive for each connection and turn: whoever asks is heard in the next one."""
    flooder, flooded = stage.connect()
    quiet, heard = stage.connect()
    flooder.setblocking(False)
    for _ in range(20):
        try:
            while True:
                flooder.send(bytes(SLOT))
        except BlockingIOError:
            pass
        before = len(heard.calls)
        quiet.sendall(b"?")
        turns = stage.until(lambda seen=before: len(heard.calls) > seen)  # type: ignore[misc]
        assert turns <= 2
    assert len(flooded.data) > 10 * SLOT
    assert max(map(len, _pieces(flooded))) <= SLOT


def test_a_turn_takes_one_slot_of_a_connection(stage: Stage) -> None:
    client, handler = stage.connect()
    client.sendall(bytes(5 * SLOT))
    stage.until(lambda: handler.calls)
    received = len(handler.calls)
    stage.loop.turn()
    assert len(handler.calls) <= received + 1


def test_more_connections_than_a_turn_has_events(stage: Stage) -> None:
    count = MAX_EVENTS + 10
    clients = [stage.connect()[0] for _ in range(count)]
    for client in clients:
        client.sendall(b"x")
    stage.until(lambda: sum(len(each.data) for each in stage.accepted) == count)


# Pausing


def test_a_paused_connection_is_not_read_but_its_edge_is_kept(stage: Stage) -> None:
    client, handler = stage.connect()
    stage.loop.pause(handler.fd)
    client.sendall(b"hello")
    before = stage.loop.stats()
    for _ in range(3):
        stage.loop.turn(0.0)
    assert not handler.calls
    assert stage.loop.stats()["recv_calls"] == before["recv_calls"]

    stage.loop.resume(handler.fd)
    stage.loop.turn(0.0)
    assert handler.data == b"hello"


def test_a_pause_in_the_middle_of_a_drain_loses_nothing(stage: Stage) -> None:
    """The rest of what was deferred is remembered as an edge."""
    client, handler = stage.connect()
    handler.on_piece = lambda data: stage.loop.pause(handler.fd)
    client.sendall(bytes(3 * SLOT))
    client.shutdown(socket.SHUT_WR)
    stage.until(lambda: handler.calls)
    for _ in range(3):
        stage.loop.turn(0.0)
    assert len(handler.calls) == 1
    handler.on_piece = None
    stage.loop.resume(handler.fd)
    stage.until(lambda: "eof" in handler.names())
    assert len(handler.data) == 3 * SLOT


def test_resume_without_an_edge_waits_for_one(stage: Stage) -> None:
    client, handler = stage.connect()
    stage.loop.pause(handler.fd)
    stage.loop.resume(handler.fd)
    stage.loop.turn(0.0)
    assert not handler.calls
    client.sendall(b"x")
    stage.until(lambda: handler.calls)


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
    block = bytes(COLLECT_LIMIT // 2 + 1)
    stage.loop.collect(handler.fd, (b"", block))
    stage.loop.collect(handler.fd, (b"", block))
    assert not stage.loop.out_runs
    assert receive_exactly(client, 1000) == bytes(1000)


def test_blocked_runs_keep_their_order(local: Stage) -> None:
    """Two runs of one connection with another's between: the second must not overtake the rest of
    the first when the socket is full."""
    client, handler = local.connect(sndbuf=4096)
    other_client, other = local.connect()
    first, second = os.urandom(COLLECT_LIMIT // 2), b"second" * 1000
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
