"""Found by reading: who holds what when a call has lost the loop, and who waits for whom."""

from __future__ import annotations

import gc
import io
import os
import socket
import struct
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from live import (
    TIMEOUT,
    App,
    Environ,
    LiveServer,
    Serve,
    StartResponse,
    exchange,
    message,
    read_response,
    read_to_eof,
    read_until,
)

from poolhttp.filewrapper import FileWrapper
from poolhttp.growth import PERIOD
from poolhttp.response import SMALL
from poolhttp.scheduler import RETRY

from .gated import LARGE, Gated, scheduler_of, until

WAYS = [(1, "adaptive"), (2, "adaptive"), (2, "threads")]
"""Threads and dispatch: the only app thread, one that has the loop, one that works apart."""

PATIENT = 0.5
"""Seconds: a budget that no call exceeds, unless the machine stalls; then a test shows less."""

SHORT = 0.5
"""Seconds: the timeout under test, long enough for what has to come first."""


def get(path: str, *fields: str) -> bytes:
    return message(f"GET {path} HTTP/1.1", *fields)


def loop_turns(live: LiveServer) -> None:
    """Whoever has the loop answers, without the app."""
    for _ in range(3):
        assert live.ask(b"BAD\r\n\r\n").status == 400


def wait_for_app_thread(live: LiveServer) -> None:
    """Wait until the loop is with one that may call the app itself."""
    crew = scheduler_of(live).crew
    until(lambda: crew.leader is not None and crew.leader.runs_apps, "an app thread leads")


def expect_slow(live: LiveServer, path: str) -> None:
    """As behind a call that has lost the loop."""
    predictor = scheduler_of(live)._predictor
    predictor.note_displaced(predictor.slot("GET", path))


def call(gated: Gated, environ: Environ) -> None:
    """Have the gate note the call, and hold it; what is answered is the caller's affair."""
    gated(environ, lambda *_: lambda _: None)


def with_files(gated: Gated, opens: Callable[[], Any]) -> App:
    """An app that answers /file, and below it, with a file."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith(("/file", "/hold/file")):
            return gated(environ, start_response)
        call(gated, environ)
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](opens(), 65536)
        return wrapped

    return app


# Files that wait for somebody, or whose code is the app's


@contextmanager
def source_of(kind: str) -> Iterator[tuple[Any, Any]]:
    """A file that gives nothing before its producer does, and that producer: an unbuffered file."""
    if kind == "process":
        with subprocess.Popen(["cat"], -1, None, subprocess.PIPE, subprocess.PIPE) as process:
            try:
                yield process.stdout, process.stdin
            finally:
                # Whoever still reads comes to an end by this.
                process.kill()
    elif kind == "socket":
        ours, theirs = socket.socketpair()
        with theirs, ours.makefile("wb", 0) as producer:
            ours.close()
            yield theirs.makefile("rb"), producer
    else:
        read, write = os.pipe()
        with open(read, "rb", 0 if kind == "raw pipe" else -1) as file, open(write, "wb", 0) as end:
            yield file, end


@pytest.mark.parametrize(("threads", "dispatch"), WAYS)
@pytest.mark.parametrize("kind", ["pipe", "raw pipe", "process", "socket"])
def test_file_that_gives_nothing_yet_holds_up_nobody(
    serve: Serve, gated: Gated, kind: str, threads: int, dispatch: str
) -> None:
    with source_of(kind) as (source, producer):
        live = serve(with_files(gated, lambda: source), threads=threads, dispatch=dispatch)
        with live.connect() as sock:
            sock.sendall(get("/file"))
            gated.wait_for("/file")
            loop_turns(live)
            if threads > 1:
                for number in range(3):
                    assert live.ask(get(f"/other/{number}")).body == f"/other/{number}".encode()
            producer.write(b"produced")
            producer.close()
            assert read_response(sock).body == b"produced"
        until(lambda: bool(source.closed), "the file is closed")
        assert live.ask(get("/after")).body == b"/after"


@pytest.mark.parametrize(("threads", "dispatch"), WAYS)
def test_attached_close_is_called_where_the_app_was(
    serve: Serve, gated: Gated, tmp_path: Path, threads: int, dispatch: str
) -> None:
    """As Django attaches its own; while the other threads are busy, and its client is slow."""
    (tmp_path / "file").write_bytes(b"x" * LARGE)
    closed: list[int] = []

    def opens() -> Any:
        file: Any = (tmp_path / "file").open("rb")
        real = file.close

        def close() -> None:
            closed.append(threading.get_ident())
            real()

        file.close = close
        return file

    live = serve(with_files(gated, opens), threads=threads, dispatch=dispatch)
    crew = scheduler_of(live).crew
    with live.connect(rcvbuf=4096) as reader, ExitStack() as stack:
        reader.sendall(get("/file", "Connection: close"))
        assert reader.recv(1) == b"H"
        holders = [stack.enter_context(live.connect()) for _ in range(threads)]
        for number, sock in enumerate(holders):
            sock.sendall(get(f"/hold/{number}"))
        until(lambda: crew.leader is crew.relief, "all app threads are busy")
        assert len(read_to_eof(reader)) > LARGE
        until(lambda: bool(closed), "the file is closed")
        gated.let_go()
        for sock in holders:
            assert read_response(sock).status == 200
    assert closed == list(gated.threads["/file"])


@pytest.mark.parametrize(("threads", "dispatch"), WAYS)
@pytest.mark.parametrize("attached", [False, True])
def test_file_whose_client_left_during_the_call(
    serve: Serve, gated: Gated, tmp_path: Path, attached: bool, threads: int, dispatch: str
) -> None:
    """It is closed once, and the response is reported once."""
    (tmp_path / "file").write_bytes(b"content")
    opened: list[Any] = []
    closed: list[Any] = []
    reported: list[str] = []

    def opens() -> Any:
        file: Any = (tmp_path / "file").open("rb")
        opened.append(file)
        real = file.close

        def close() -> None:
            closed.append(file)
            real()

        if attached:
            file.close = close
        return file

    live = serve(with_files(gated, opens), threads=threads, dispatch=dispatch)
    until(lambda: hasattr(live.server, "service"), "the server starts")
    live.server.service.context.observe(after_response=lambda each: reported.append(str(each)))
    with live.connect() as sock:
        sock.sendall(get("/hold/file"))
        gated.wait_for("/hold/file")
        loop_turns(live)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: live.server.nconnections == 0, "the connection is closed")
    gated.let_go()
    until(lambda: bool(reported), "the response is reported")
    for number in range(3):
        assert live.ask(get(f"/after/{number}")).status == 200
    until(lambda: len(reported) == 4, "the others are reported")
    assert reported[0] == "GET /hold/file"
    assert not any("file" in each for each in reported[1:])
    assert [each.closed for each in opened] == [True]
    assert closed == (opened if attached else [])


class _Own(io.BytesIO):
    """Code of the app."""


class _OwnRaw(io.RawIOBase):
    """Code of the app."""

    def readable(self) -> bool:
        return True


PLAIN: dict[str, Callable[[Path], Any]] = {
    "file": lambda path: path.open("rb"),
    "unbuffered file": lambda path: path.open("rb", 0),
    "bytes": lambda _: io.BytesIO(b"x"),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_plain(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    with PLAIN[kind](tmp_path / "file") as file:
        assert FileWrapper(file).is_plain


@pytest.mark.parametrize("name", ["close", "read", "readinto", "seek"])
@pytest.mark.parametrize("kind", PLAIN)
def test_not_plain_with_something_attached(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / "file").touch()
    with PLAIN[kind](tmp_path / "file") as file:
        setattr(file, name, getattr(file, name))
        assert not FileWrapper(file).is_plain
        delattr(file, name)
        wrapper = FileWrapper(file)
        wrapper.__dict__["close"] = lambda: None
        assert not wrapper.is_plain


@pytest.mark.parametrize("name", ["close", "read", "readinto"])
def test_not_plain_with_something_attached_below(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with (tmp_path / "file").open("rb") as file:
        setattr(file.raw, name, getattr(file.raw, name))
        assert not FileWrapper(file).is_plain


def test_not_plain(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    closed = (tmp_path / "file").open("rb")
    closed.close()
    with ExitStack() as stack:
        detached = (tmp_path / "file").open("rb")
        stack.enter_context(detached.detach())
        files: list[Any] = [
            stack.enter_context(open(os.devnull, "rb")),
            stack.enter_context((tmp_path / "file").open()),
            stack.enter_context(tempfile.TemporaryFile()),
            stack.enter_context(tempfile.NamedTemporaryFile()),
            _Own(b"x"),
            io.BufferedReader(_OwnRaw()),
            closed,
            detached,
            object(),
            *(stack.enter_context(source_of(kind))[0] for kind in ("pipe", "raw pipe", "socket")),
        ]
        assert [each for each in files if FileWrapper(each).is_plain] == []


# What waits behind others


FILLING = 15
"""Small responses that fill a socket with little room, and may still be sent in one turn."""


def with_little_room(serve: Serve, gated: Gated, **settings: Any) -> LiveServer:
    """A server whose sockets take less than that, and whose app answers /small with one of them."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/small":
            return gated(environ, start_response)
        start_response("200 OK", [("Content-Length", str(SMALL))])
        return [b"x" * SMALL]

    live = serve(app, threads=2, inline_budget=PATIENT, **settings)
    [listener] = live.server._sockets
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    expect_slow(live, "/hold/1")
    wait_for_app_thread(live)
    return live


def read_filling(sock: socket.socket) -> None:
    for _ in range(FILLING):
        assert len(read_response(sock).body) == SMALL


def test_504_behind_responses_that_had_filled_the_socket(serve: Serve, gated: Gated) -> None:
    live = with_little_room(serve, gated, handler_timeout=2 * SHORT)
    with live.connect(rcvbuf=4096) as sock:
        sock.sendall(get("/small") * FILLING + get("/hold/1"))
        gated.wait_for("/hold/1")
        read_filling(sock)
        assert read_response(sock).status == 504
        assert read_to_eof(sock) == b""
    live.log_text()


def test_503_behind_responses_that_had_filled_the_socket(serve: Serve, gated: Gated) -> None:
    """Of two threads one is in a call, and the other has made the small responses and then taken
    what has waited for longer."""
    live = with_little_room(serve, gated, queue_target=SHORT)
    with ExitStack() as stack:
        held = [stack.enter_context(live.connect()) for _ in range(3)]
        held[0].sendall(get("/hold/1"))
        gated.wait_for("/hold/1")
        wait_for_app_thread(live)
        # Until all of what follows has come, so that it comes in one turn.
        held[1].sendall(get("/holds-the-loop"))
        gated.wait_for("/holds-the-loop")
        held[2].sendall(get("/hold/2"))
        sock = stack.enter_context(live.connect(rcvbuf=4096))
        sock.sendall(get("/small") * FILLING + get("/hold/3"))
        gated.let_go("/holds-the-loop")
        assert read_response(held[1]).status == 200
        gated.wait_for("/hold/2")
        read_filling(sock)
        assert read_response(sock).status == 503
        gated.let_go()
        assert exchange(sock, get("/again")).body == b"/again"
        assert read_response(held[0]).body == b"/hold/1"
        assert read_response(held[2]).body == b"/hold/2"
    assert "/hold/3" not in gated.paths


MANY = 1000
"""Quick requests at a time: several turns of a switch interval."""


def test_slow_request_is_called_although_quick_ones_keep_coming(serve: Serve, gated: Gated) -> None:
    """One thread is in a call, the other has the loop, and quick calls in each turn."""
    live = serve(gated, threads=2, inline_budget=PATIENT)
    expect_slow(live, "/hold/1")
    ended = threading.Event()
    batch = get("/quick") * MANY

    def ask_and_ask(sock: socket.socket, nbytes: int) -> None:
        while not ended.is_set():
            # There is always another batch on its way, and the client needs the GIL rarely.
            sock.sendall(batch)
            with suppress(BlockingIOError):
                sock.recv(nbytes, socket.MSG_WAITALL)

    with ExitStack() as stack:
        held = [stack.enter_context(live.connect()) for _ in range(2)]
        held[0].sendall(get("/hold/1"))
        gated.wait_for("/hold/1")
        wait_for_app_thread(live)
        busy = stack.enter_context(live.connect())
        busy.sendall(get("/quick"))
        answer = len(read_until(busy, b"/quick"))
        busy.settimeout(None)
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(TIMEOUT), 0))
        busy.sendall(batch)
        client = threading.Thread(target=ask_and_ask, args=(busy, MANY * answer))
        client.start()
        stack.callback(client.join)
        stack.callback(ended.set)
        held[1].sendall(get("/hold/2"))
        gated.wait_for("/hold/2")
        ended.set()
        gated.let_go()
        for number, sock in enumerate(held, 1):
            assert read_response(sock).body == f"/hold/{number}".encode()


UNFINISHED = [b"G", get("/never")[:-2], message("POST /never HTTP/1.1", "Content-Length: 9") + b"x"]


@pytest.mark.parametrize(("threads", "dispatch"), WAYS)
@pytest.mark.parametrize("rest", UNFINISHED)
def test_unfinished_request_of_a_half_closed_client(
    serve: Serve, gated: Gated, rest: bytes, threads: int, dispatch: str
) -> None:
    """Behind a slow one, which is answered: nothing has to wait for what can't come any more."""
    live = serve(gated, threads=threads, dispatch=dispatch, head_timeout=0, body_timeout=0)
    with live.connect() as sock:
        sock.sendall(get("/hold") + rest)
        gated.wait_for("/hold")
        sock.shutdown(socket.SHUT_WR)
        loop_turns(live)
        gated.let_go()
        assert read_response(sock).body == b"/hold"
        assert read_to_eof(sock)[:12] in {b"", b"HTTP/1.1 400"}
    assert "/never" not in gated.paths


# Threads


@pytest.mark.parametrize("threads", [1, 2])
def test_write_by_another_thread_after_the_loop_was_lost(
    serve: Serve, gated: Gated, threads: int
) -> None:
    failures: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])

        def write_twice() -> None:
            try:
                call(gated, environ)
                write(b"written ")
                write(b"elsewhere, ")
            except BaseException as error:
                failures.append(error)

        helper = threading.Thread(target=write_twice)
        helper.start()
        helper.join()
        write(b"written here, ")
        return [b"returned"]

    live = serve(app, threads=threads)
    crew = scheduler_of(live).crew
    with live.connect() as sock:
        sock.sendall(get("/hold"))
        gated.wait_for("/hold")
        until(lambda: crew.displaced >= 1, "the loop is taken from the call")
        gated.let_go()
        expected = b"written elsewhere, written here, returned"
        assert read_response(sock).body == expected
        assert failures == []
        assert exchange(sock, get("/again")).body == expected


def test_threads_that_have_ended_are_forgotten(serve: Serve, gated: Gated) -> None:
    most = 6
    live = serve(gated, threads=most)
    crew = scheduler_of(live).crew
    seen: list[weakref.ref[Any]] = []
    for cycle in range(5):
        with ExitStack() as stack:
            socks = [stack.enter_context(live.connect()) for _ in range(most)]
            paths = [f"/hold/{cycle}/{number}" for number in range(most)]
            for sock, path in zip(socks, paths, strict=True):
                sock.sendall(get(path))
            gated.wait_for(*paths)
            seen += [weakref.ref(each) for pair in list(crew._threads.items()) for each in pair]
            gated.let_go(*paths)
            for sock in socks:
                assert read_response(sock).status == 200
        until(lambda: crew.idle >= most - 1, "all are idle")
        crew.retire(most - 2)
        until(lambda: len(crew._threads) == 2, "those that have ended are forgotten")
        assert set(crew._threads) == set(crew.members)

    def left() -> int:
        gc.collect()
        return len({id(each()) for each in seen} - {id(None)})

    # Two threads and two members; the watch may know the one from which it took the loop last.
    until(lambda: left() <= 5, "the others are gone")


class _Interrupted:
    """An iterable that is interrupted in one of its methods."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __iter__(self) -> Iterator[bytes]:
        if self._where == "/iterate":
            raise KeyboardInterrupt
        yield b"whole"

    def close(self) -> None:
        if self._where == "/close":
            raise KeyboardInterrupt


@pytest.mark.parametrize(("threads", "dispatch"), WAYS)
def test_keyboard_interrupt_of_an_app_ends_no_server(
    serve: Serve, threads: int, dispatch: str
) -> None:
    """Python raises one on the main thread only, on which this server doesn't run."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/call":
            raise KeyboardInterrupt
        start_response("200 OK", [])
        return _Interrupted(environ["PATH_INFO"])

    live = serve(app, threads=threads, dispatch=dispatch)
    for path in ("/call", "/iterate", "/close"):
        for _ in range(3):
            response = live.ask(get(path))
            assert (response.status, response.body == b"whole") in {(500, False), (200, True)}
            assert (response.status == 200) == (path == "/close")
            assert live.ask(get("/fine")).body == b"whole"
    until(lambda: live.log_text().count("\nKeyboardInterrupt") == 9, "each is logged")


def test_warning_of_a_thread_that_cannot_be_started_is_rare(
    serve: Serve, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many requests come: those that are there answer them."""
    live = serve(gated, threads=8)
    crew = scheduler_of(live).crew
    until(lambda: len(crew.members) == 2, "the first threads are there")
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("poolhttp"):
            raise RuntimeError("can't start new thread")
        real(thread)

    began = time.monotonic()
    with monkeypatch.context() as patch, ExitStack() as stack:
        patch.setattr(threading.Thread, "start", start)
        socks = [stack.enter_context(live.connect()) for _ in range(30)]
        for number, sock in enumerate(socks):
            sock.sendall(get(f"/hold/{number}"))
            # The loop looks whether there should be more threads.
            gated.hold_on_for(2 * PERIOD)
        live.wait_for_log("No more than 2 app threads")
        gated.let_go()
        for number, sock in enumerate(socks):
            assert read_response(sock).body == f"/hold/{number}".encode()
    warnings = live.log_text().count("No more than 2 app threads")
    assert 1 <= warnings <= 1 + (time.monotonic() - began) / RETRY
    assert (gated.most, len(crew.members)) == (2, 2)
