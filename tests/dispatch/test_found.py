"""Each of these failed once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from corpus.clients import wait_until
from corpus.serving import Launch, Server
from live import (
    Environ,
    LiveServer,
    Serve,
    StartResponse,
    exchange,
    message,
    read_response,
)
from worker.asking import last_heartbeat, pid_of

from .gated import Gated, scheduler_of, until


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    return message(f"{method} {path} HTTP/1.1", *fields)


def nothing_said(*_arguments: object) -> Callable[[bytes], object]:
    """A start_response for an app within another, whose answer is of no interest."""
    return lambda _data: None


def wait_until_displaced(live: LiveServer) -> None:
    crew = scheduler_of(live).crew
    until(lambda: crew.displaced >= 1, "the loop is taken from the call")


@pytest.mark.parametrize("threads", [1, 2])
def test_write_after_the_loop_was_lost(serve: Serve, gated: Gated, threads: int) -> None:
    """The call notices the loss in write(); it must not wait to be told once more at its end."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        gated(environ, nothing_said)
        write(b"written, ")
        return [b"returned"]

    live = serve(app, threads=threads)
    with live.connect() as sock:
        sock.sendall(get("/hold"))
        gated.wait_for("/hold")
        wait_until_displaced(live)
        gated.let_go()
        assert read_response(sock).body == b"written, returned"
        assert exchange(sock, get("/next")).body == b"written, returned"


@pytest.mark.parametrize("threads", [1, 2])
def test_early_hints_after_the_loop_was_lost(serve: Serve, gated: Gated, threads: int) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        gated(environ, nothing_said)
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        start_response("200 OK", [])
        return [b"late"]

    live = serve(app, threads=threads)
    with live.connect() as sock:
        sock.sendall(get("/hold"))
        gated.wait_for("/hold")
        wait_until_displaced(live)
        gated.let_go()
        response = read_response(sock)
    assert (response.interim, response.body) == ([103], b"late")


@pytest.mark.parametrize("threads", [1, 2])
def test_write_to_a_slow_client_leaves_the_loop(serve: Serve, threads: int) -> None:
    """It waits in write() for its client, without the loop; and ends all the same."""
    blocks = 300

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        for _ in range(blocks):
            write(b"x" * 65536)
        return [b"end"]

    live = serve(app, threads=threads, inline_budget=0.5)
    with live.connect(rcvbuf=4096) as sock:
        sock.sendall(get("/"))
        assert len(read_response(sock).body) == blocks * 65536 + 3
    assert scheduler_of(live).crew.left == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_file_ends_while_its_thread_is_in_the_app(
    serve: Serve, gated: Gated, tmp_path: Path, threads: int
) -> None:
    """The loop sends and closes it; the context of the thread that opened it is in use then."""
    size = 8 << 20
    file = tmp_path / "file"
    file.write_bytes(b"x" * size)
    opened = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/file":
            return gated(environ, start_response)
        opened.append(file.open("rb"))
        start_response("200 OK", [("Content-Length", str(size))])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](opened[-1], 65536)
        return wrapped

    live = serve(app, threads=threads)
    with live.connect(rcvbuf=4096) as reader:
        reader.sendall(get("/file"))
        assert reader.recv(1) == b"H"
        holders = [live.connect() for _ in range(threads)]
        for number, sock in enumerate(holders):
            sock.sendall(get(f"/hold/{number}"))
        gated.wait_for(*(f"/hold/{number}" for number in range(threads)))
        left = size
        while left > 0:
            piece = reader.recv(1 << 20)
            assert piece
            left -= len(piece)
        until(lambda: opened[0].closed, "the file is closed")
        gated.let_go()
        for sock in holders:
            assert read_response(sock).status == 200
    assert "ERROR" not in live.log_text()


def test_length_of_a_shed_head_is_that_of_get(serve: Serve, gated: Gated) -> None:
    """RFC 9110 section 8.6: Content-Length of HEAD is that of GET, or is left out."""
    live = serve(gated, threads=1, queue_limit=1)
    with live.connect() as holder, live.connect() as waits, live.connect() as sock:
        holder.sendall(get("/hold"))
        gated.wait_for("/hold")
        waits.sendall(get("/waits"))
        until(lambda: scheduler_of(live).crew.waiting() == 1, "it waits")
        whole = exchange(sock, get("/shed"))
        head = exchange(sock, get("/shed", method="HEAD"), "HEAD")
        gated.let_go()
        assert read_response(waits).status == 200
    assert (whole.status, head.status) == (503, 503)
    assert head.one(b"content-length") in {None, str(len(whole.body)).encode()}


def test_thread_that_cannot_be_started(
    serve: Serve, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of the system (ulimit -u, pids.max) is no reason to end."""
    live = serve(gated, threads=4)
    socks = [live.connect() for _ in range(4)]
    for number in range(2):
        socks[number].sendall(get(f"/hold/{number}"))
        gated.wait_for(f"/hold/{number}")
    refused = threading.Event()

    def start(_thread: threading.Thread) -> None:
        refused.set()
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for number in range(2, 4):
            socks[number].sendall(get(f"/hold/{number}"))
        until(refused.is_set, "the server tries to start a thread")
        gated.let_go()
        for number, sock in enumerate(socks):
            assert read_response(sock).body == f"/hold/{number}".encode()
    assert live.ask(get("/after")).body == b"/after"
    live.log_text()


def test_threads_that_could_be_started_are_free(serve: Serve, gated: Gated) -> None:
    """Two of four are stuck, the others were never needed: this is no reason to be killed."""
    live = serve(gated, threads=4)
    scheduler = scheduler_of(live)
    socks = [live.connect() for _ in range(2)]
    for number, sock in enumerate(socks):
        sock.sendall(get(f"/hold/{number}"))
        gated.wait_for(f"/hold/{number}")
    until(lambda: all(each.job is not None for each in scheduler.crew.members), "both are busy")
    later = time.monotonic() + 1000.0
    assert scheduler.stuck.last_progress(later) == later


def test_heart_beats_before_the_timeout_has_passed() -> None:
    """A request shortly after a beat, which is too early for the next, and then nothing."""
    launch = Launch("threads_app:app", Path(__file__).parent, options=("-t", "1"))
    with Server(launch) as server:
        worker = pid_of(server.port)
        beat = last_heartbeat(worker)
        gaps = []

        def has_beaten_since(since: float | None) -> Callable[[], bool]:
            return lambda: last_heartbeat(worker) != since

        def is_later_than(moment: float) -> Callable[[], bool]:
            return lambda: time.monotonic() > moment

        for _ in range(4):
            wait_until(has_beaten_since(beat), "the next beat")
            before = last_heartbeat(worker)
            assert before is not None
            wait_until(is_later_than(before + 0.05), "time has passed")
            pid_of(server.port)
            wait_until(has_beaten_since(before), "the next beat")
            beat = last_heartbeat(worker)
            assert beat is not None, f"killed by mistake:\n{server.output()}"
            gaps.append(beat - before)
    # One may be late on a busy machine.
    assert sorted(gaps)[1] < 1.0


@pytest.mark.parametrize("threads", [1, 2])
def test_large_budget_does_not_delay_the_end(serve: Serve, gated: Gated, threads: int) -> None:
    """The watch sleeps for a budget; the end doesn't wait for that."""
    live = serve(gated, threads=threads, inline_budget=60.0)
    assert live.ask(get("/quick")).body == b"/quick"
    live.stop()
    assert not live.thread.is_alive()
