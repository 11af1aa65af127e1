"""The edge-triggered contract on real sockets: no edge is lost, no byte overtakes another, nobody
starves, and nothing spins (epoll(7); the facts are at the head of ``loop``)."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest

from poolhttp.turnmemory import MAX_EVENTS, SLOT

from .looping import Recorder, Stage

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
