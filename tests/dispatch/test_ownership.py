"""What belongs to the loop, what to the thread that has it, and what to one that has lost it.

Each of these was a hang once, or somebody else's response.
"""

from __future__ import annotations

import socket
import threading

import pytest
from live import TIMEOUT, exchange, message, read_response

from poolhttp.callwatch import CallWatch

from .gated import until
from .stage import FILE, Stage, body_of, get, staged

THREADS = (1, 2)


def test_a_late_thread_leaves_the_call_of_its_successor_alone() -> None:
    """Ownership is by identity: the loop is out again when it comes back, to somebody else."""
    with staged(threads=2) as stage:
        crew, steps = stage.crew, stage.steps
        first, second = stage.connect(), stage.connect()
        slow = stage.call(first, "/whole/first")
        stage.watch.fire()
        assert crew.displaced == 1
        other = stage.call(second, "/whole/second")
        (lent,) = crew._baton.running
        steps.arm("")
        slow.opened.release()
        check_answer_only(first)
        steps.until(lambda: "slow" in steps.ended)
        assert list(crew._baton.running) == [lent]
        # It can still be taken from the one who has it, by the one who had it before.
        stage.watch.fire()
        assert crew.displaced == 2
        assert stage.ask("/quick/third").body == b"/quick/third"
        other.opened.release()
        check_answer_only(second)


@pytest.mark.parametrize("shape", ["whole", "write", "stream", "close", "hints", "raise"])
def test_a_late_thread_leaves_the_mark_alone(shape: str) -> None:
    """Only who has the loop changes what the watch looks at."""
    with staged(threads=2) as stage:
        steps, mark = stage.steps, stage.watch.mark
        first, second = stage.connect(), stage.connect()
        before = mark[0]
        slow = stage.call(first, f"/{shape}/first")
        assert mark[0] > before
        stage.watch.fire()
        other = stage.call(second, "/whole/second")
        assert stage.watch.called
        lent = mark[0]
        steps.arm("")
        slow.opened.release()
        steps.until(lambda: "slow" in steps.ended)
        assert mark[0] == lent
        assert stage.watch.called
        other.opened.release()
        check_answer_only(second)
        assert read_response(first).status in {200, 500}


@pytest.mark.parametrize("shape", ["whole", "leave"])
def test_a_call_is_taken_once(shape: str) -> None:
    """The watch counts its successor's first steps as nobody's call, however long they take."""
    with staged(threads=1) as stage:
        steps = stage.steps
        sock = stage.connect()
        gate = stage.call(sock, f"/{shape}/once")
        steps.arm("successor", 0)
        if shape == "leave":
            gate.opened.release()
        else:
            stage.watch.fire()
        assert steps.wait("successor")
        assert not stage.watch.called
        looking = Looking(stage)
        looking.until_looked(20)
        assert not looking.finds
        steps.let_go()
        gate.opened.release()
        assert read_response(sock).status == 200
        looking.end()


class Looking:
    """The real watch, whose clock runs for once."""

    def __init__(self, stage: Stage) -> None:
        self._loop = stage.server.loop
        self._watch = CallWatch(self._loop._native)
        self.finds = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._watch.wait(0.0001):
            self.finds = True

    def until_looked(self, times: int) -> None:
        """Wait until it has looked so often, or found something."""
        loop = self._loop
        goal = loop.stats()["watch_looks"] + times
        until(lambda: self.finds or loop.stats()["watch_looks"] >= goal, "the watch looks")

    def end(self) -> None:
        """Look no more."""
        self._watch.stop()
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()


def one_turn(stage: Stage, *sent: tuple[socket.socket, bytes]) -> None:
    """Have all of it received in one turn: the leader is held in front of it until all was sent."""
    steps = stage.steps
    steps.arm("successor", function="turn")
    stage.server.loop.inbox.wake()
    assert steps.wait("successor")
    for sock, data in sent:
        sock.sendall(data)
    steps.let_go()


@pytest.mark.parametrize("threads", THREADS)
def test_the_rest_of_a_turn_is_the_loops(threads: int) -> None:
    """Received but not handled, answered but not sent, half received: all goes on without it."""
    with staged(threads=threads) as stage:
        socks = [stage.connect() for _ in range(5)]
        for sock in socks:
            exchange(sock, get("/quick/before"))
        stage.rest()
        answered, long, many, slow, unhandled = socks
        refused = message("GET / HTTP/1.1", host=None)
        # More than is received at once, and more requests than are answered in one turn.
        header = "X-Long: " + "x" * 8000
        long_head = message("GET / HTTP/1.1", header, header, header, host=None)
        one_turn(
            stage,
            (answered, get("/quick/answered")),
            (long, long_head),
            (many, get("/quick/many") * 20),
            (slow, get("/whole/slow")),
            (unhandled, refused),
        )
        gate = stage.gate("/whole/slow")
        gate.wait_reached()
        assert stage.callers[-1][0] == "/whole/slow", "not in one turn"
        stage.watch.fire()
        assert read_response(answered).body == b"/quick/answered"
        assert read_response(unhandled).status == 400
        assert read_response(long).status == 400
        # A request that is not begun waits if the only app thread is in a call.
        for _ in range(16 if threads == 1 else 20):
            assert read_response(many).body == b"/quick/many"
        gate.opened.release()
        check_answer_only(slow)
        for _ in range(4 if threads == 1 else 0):
            assert read_response(many).body == b"/quick/many"


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("shape", ["whole", "write", "stream", "leave"])
def test_a_late_thread_does_not_overtake_what_was_collected(shape: str, threads: int) -> None:
    """A first response of the connection waits for the turn's send when the second one's thread
    writes by itself."""
    with staged(threads=threads) as stage:
        steps = stage.steps
        sock = stage.connect()
        path = f"/{shape}/second"
        sock.sendall(get("/quick/first") + get(path))
        gate = stage.gate(path)
        gate.wait_reached()
        # The successor does no more than it must before the thread may write.
        steps.arm("successor", function="go_on")
        if shape == "leave":
            gate.opened.release()
            assert steps.wait("successor")
        else:
            stage.watch.order()
            assert steps.wait("successor")
            gate.opened.release()
        steps.until(lambda: "slow" in steps.ended)
        assert read_response(sock).body == b"/quick/first"
        assert read_response(sock).body == body_of(shape)
        steps.let_go()


@pytest.mark.parametrize("threads", THREADS)
def test_the_last_thread_keeps_the_loop_and_calls_nothing(threads: int) -> None:
    """With all app threads in the app, requests wait; the loop goes on."""
    with staged(threads=threads) as stage:
        crew = stage.crew
        socks = [stage.connect() for _ in range(threads)]
        gates = []
        for number, sock in enumerate(socks):
            gates.append(stage.call(sock, f"/whole/{number}"))
            stage.watch.fire()
        assert crew.displaced == threads
        assert crew.leader is crew.relief
        waiting = stage.connect()
        waiting.sendall(get("/quick/waiting"))
        stage.loop_turns()
        # What was sent before is received before.
        assert crew.waiting() == 1
        assert len(stage.callers) == threads
        for gate, sock in zip(gates, socks, strict=True):
            gate.opened.release()
            check_answer_only(sock)
        assert read_response(waiting).body == b"/quick/waiting"
        stage.rest()
        assert crew.relief.ident not in {ident for _, ident in stage.callers}
        assert len({ident for _, ident in stage.callers}) <= threads


@pytest.mark.parametrize("threads", THREADS)
def test_a_file_is_closed_without_lending(threads: int) -> None:
    """The loop sends a file without the thread that opened it. Whoever closes it has no call that
    could be taken from it: nothing on that way would notice."""
    with staged(threads=threads) as stage:
        sock = stage.connect()
        sock.sendall(get("/file/plain"))
        assert sock.recv(1) == b"H"
        stage.steps.arm("successor", function="_lend")
        left = FILE
        while left > 0:
            left -= len(sock.recv(1 << 20))
        stage.loop_turns()
        assert not stage.steps.place
        assert stage.ask("/quick/then").body == b"/quick/then"
        assert stage.crew.displaced == 0


@pytest.mark.parametrize("threads", THREADS)
def test_a_file_of_the_apps_own_making(threads: int) -> None:
    """Reading and closing it is code of the app, and may take its time."""
    with staged(threads=threads) as stage:
        sock = stage.connect()
        sock.sendall(get("/file/raw"))
        assert read_response(sock).body == bytes(FILE)
        gate = stage.gate("/file/raw")
        gate.wait_reached()
        stage.watch.fire()
        stage.loop_turns()
        gate.opened.release()
        assert exchange(sock, get("/quick/then")).body == b"/quick/then"
        stage.rest()


def check_answer_only(sock: socket.socket) -> None:
    """The slow call's response is there."""
    assert read_response(sock).body == body_of("whole")
