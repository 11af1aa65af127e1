"""The loop goes from one thread to another, with each in turn held at each step of the way.

A call returns, and the watch takes the loop from it: of the two ways, one is cut at each of its
lines, and there the whole of the other one happens. Whatever the order, each client gets its own
response, there is one thread that runs the loop, and all threads come to rest.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable

import pytest
from live import TIMEOUT, exchange, read_response

from .stage import SHAPES, Stage, body_of, get, staged

THREADS = (1, 2)


def check_answer(stage: Stage, sock: socket.socket, shape: str) -> None:
    """The slow call's client gets its response, and may go on if it was none of an error."""
    body = body_of(shape)
    response = read_response(sock)
    if body is None:
        assert response.status == 500
        return
    assert response.body == body, stage.steps.place
    path = f"/quick/{stage.steps.place}".replace(" ", "-")
    assert exchange(sock, get(path)).body == path.encode()


def explore(stage: Stage, role: str, shape: str, play: Callable[[str, int], bool]) -> int:
    """Play a scene with the thread of that role held at each step of its way; return how many."""
    for index in itertools.count():
        stage.rest()
        if not play(f"/{shape}/{role}/{index}", index):
            return index
    raise AssertionError


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_watch_comes_at_each_step_of_a_call_that_returns(shape: str, threads: int) -> None:
    with staged(threads=threads) as stage:
        crew, steps = stage.crew, stage.steps

        def play(path: str, index: int) -> bool:
            sock = stage.connect()
            gate = stage.call(sock, path)
            steps.arm("slow", index)
            gate.opened.release()
            held = steps.wait("slow")
            before = crew.displaced
            stage.watch.fire()
            if crew.displaced > before:
                # Whoever has the loop now doesn't need the thread that has lost it.
                stage.loop_turns()
                if threads > 1:
                    assert stage.ask("/quick/other").body == b"/quick/other"
            steps.let_go()
            check_answer(stage, sock, shape)
            sock.close()
            return held

        steps_taken = explore(stage, "slow", shape, play)
        assert 0 < crew.displaced < steps_taken


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_displaced_call_returns_step_by_step(shape: str, threads: int) -> None:
    """Held anywhere on its way home, it keeps nobody from the loop."""
    with staged(threads=threads) as stage:
        crew, steps = stage.crew, stage.steps

        def play(path: str, index: int) -> bool:
            sock = stage.connect()
            gate = stage.call(sock, path)
            stage.watch.fire()
            steps.arm("slow", index)
            gate.opened.release()
            held = steps.wait("slow")
            if not stage.in_the_way():
                stage.loop_turns()
                if threads > 1:
                    assert stage.ask("/quick/other").body == b"/quick/other"
            steps.let_go()
            check_answer(stage, sock, shape)
            sock.close()
            return held

        scenes = explore(stage, "slow", shape, play) + 1
        assert crew.displaced == scenes


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("role", ["watch", "successor"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_call_returns_at_each_step_of_the_watch(shape: str, role: str, threads: int) -> None:
    with staged(threads=threads) as stage:
        crew, steps = stage.crew, stage.steps

        def play(path: str, index: int) -> bool:
            sock = stage.connect()
            gate = stage.call(sock, path)
            steps.arm(role, index)
            stage.watch.order()
            held = steps.wait(role)
            gate.opened.release()
            # It goes home, or has to wait for whom we hold.
            steps.until(
                lambda: "slow" in steps.ended or steps.at_told or (held and crew.mutex.locked())
            )
            steps.let_go()
            check_answer(stage, sock, shape)
            stage.loop_turns()
            sock.close()
            return held

        steps_taken = explore(stage, role, shape, play)
        assert crew.displaced > 0
        assert steps_taken > 5


@pytest.mark.parametrize("threads", THREADS)
def test_leaving_is_not_disturbed(threads: int) -> None:
    """A long response gives the loop away by itself; its successor is held at each step."""
    with staged(threads=threads) as stage:
        crew, steps = stage.crew, stage.steps

        def play(path: str, index: int) -> bool:
            sock = stage.connect()
            gate = stage.call(sock, path)
            steps.arm("successor", index)
            gate.opened.release()
            held = steps.wait("successor")
            stage.watch.fire()
            steps.until(lambda: "slow" in steps.ended or (held and crew.mutex.locked()))
            steps.let_go()
            check_answer(stage, sock, "leave")
            sock.close()
            return held

        scenes = explore(stage, "successor", "leave", play) + 1
        assert crew.displaced == 0
        assert crew.left == scenes


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("dispatch", ["adaptive", "threads"])
def test_a_request_comes_at_each_step_of_a_thread_that_comes_back(
    dispatch: str, threads: int
) -> None:
    """It looks for work, claims the loop or parks; and there is work just then."""
    with staged(threads=threads, dispatch=dispatch) as stage:
        steps = stage.steps

        def play(path: str, index: int) -> bool:
            sock, other = stage.connect(), stage.connect()
            gate = stage.call(sock, path)
            if dispatch == "adaptive":
                stage.watch.fire()
            steps.arm("slow", index)
            gate.opened.release()
            held = steps.wait("slow")
            other.sendall(get("/quick/other"))
            if not stage.in_the_way():
                stage.loop_turns()
            steps.let_go()
            check_answer(stage, sock, "whole")
            assert read_response(other).body == b"/quick/other", steps.place
            sock.close()
            other.close()
            return held

        assert explore(stage, "slow", "whole", play) > 10


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("graceful", [0.0, TIMEOUT / 2], ids=["at once", "gracefully"])
@pytest.mark.parametrize("role", ["slow", "watch", "successor"])
def test_the_server_stops_at_each_step(role: str, graceful: float, threads: int) -> None:
    """All threads end; a graceful stop still answers."""
    for index in itertools.count():
        with staged(threads=threads, graceful_timeout=graceful, drain_keepalive=0) as stage:
            crew, steps = stage.crew, stage.steps
            sock = stage.connect()
            gate = stage.call(sock, "/whole/last")
            if role == "slow":
                stage.watch.fire()
                steps.arm(role, index)
                gate.opened.release()
                held = steps.wait(role)
                free = not stage.in_the_way()
            else:
                steps.arm(role, index)
                stage.watch.order()
                held = steps.wait(role)
                gate.opened.release()
                free = False
            stage.server.stop()
            if free and not graceful:
                assert crew._ended.wait(TIMEOUT), steps.place
            steps.let_go()
            if graceful:
                check_answer_only(sock)
            if not held:
                return


def check_answer_only(sock: socket.socket) -> None:
    """The slow call's response is there."""
    assert read_response(sock).body == body_of("whole")
