"""What a review found in the loop, the parsers and the access log: one test for each finding."""

from __future__ import annotations

import io
import resource
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from live import TIMEOUT, Environ, StartResponse, exchange, message

from poolhttp import Server, Settings
from poolhttp.access import DEFAULT_FORMAT, AccessLog
from poolhttp.appcontext import AppContext
from poolhttp.cli import _line_writer
from poolhttp.errors import RequestError
from poolhttp.fields import FieldPolicy
from poolhttp.loop import Loop
from poolhttp.request import Request
from poolhttp.wholehead import WholeHeadParser

from .looping import Recorder, Stage, staged
from .parsing import BASE, new_parser, one, status
from .sockets import receive_exactly

SETTINGS = Settings()
POLICY = FieldPolicy(SETTINGS, trusted=False)

# The loop's closes

MANY = 1100
"""More closes than a turn has room for runs."""


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Room for MANY connections, both ends, in the table that a loop makes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * MANY
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"RLIMIT_NOFILE can't be raised to {wanted}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_more_closes_than_runs_in_one_turn() -> None:
    with staged(unix=True) as stage:
        stage.loop.accept_room = 2 * MANY
        while len(stage.accepted) < MANY:
            before = len(stage.accepted)
            for _ in range(min(50, MANY - before)):
                stage.dial()
            wanted = len(stage.clients)
            stage.until(lambda wanted=wanted: len(stage.accepted) == wanted)  # type: ignore[misc]
        closes = stage.loop.stats()["close_calls"]
        for handler in stage.accepted:
            stage.loop.close_when_sent(handler.fd)
        stage.loop.turn(0.0)
        assert stage.loop.stats()["close_calls"] - closes == MANY
        assert all(handler.calls == [("closed", None)] for handler in stage.accepted)
        assert all(client.recv(1) == b"" for client in stage.clients)


def _close(stage: Stage, handler: Recorder) -> None:
    stage.loop.close(handler.fd)


def _close_when_sent(stage: Stage, handler: Recorder) -> None:
    stage.loop.close_when_sent(handler.fd)


@pytest.mark.parametrize("second", [_close, _close_when_sent])
def test_a_connection_closed_twice_in_a_turn_closes_once(
    stage: Stage, second: Callable[[Stage, Recorder], None]
) -> None:
    """The second close would hit whoever got the number in between."""
    client, handler = stage.connect()
    other_client, other = stage.connect()
    closes = stage.loop.stats()["close_calls"]
    stage.loop.collect(handler.fd, (b"last ", b"words"))
    stage.loop.close_when_sent(handler.fd)
    # Another's run between the two, which would otherwise become one.
    stage.loop.collect(other.fd, (b"hel", b"lo"))
    second(stage, handler)
    stage.loop.turn(0.0)
    assert stage.loop.stats()["close_calls"] - closes == 1
    assert receive_exactly(client, 100) == b"last words"
    assert receive_exactly(other_client, 5) == b"hello"
    assert handler.names() in ([], ["closed"])


# Heads without an end


@pytest.mark.parametrize("nbytes", [1, 7, 1000])
@pytest.mark.parametrize("start", [b"X: ", b"", b"X:"])
@pytest.mark.parametrize("before", [b"", b"Y: " + b"y" * 80 + b"\r\n"])
def test_a_field_without_end_is_refused_at_its_limit(
    before: bytes, start: bytes, nbytes: int
) -> None:
    """Not only when the head is as long as all the fields together might be."""
    limit = 100
    parser = new_parser(Settings(limit_request_field_size=limit))
    parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + before + start)
    accepted = 0
    refused = 200
    try:
        while accepted < 100 * limit:
            parser.feed(b"a" * nbytes)
            accepted += nbytes
    except RequestError as error:
        refused = error.status
    parser.abort()
    assert refused == 431
    assert accepted <= 2 * limit


# Targets and methods


def quick(data: bytes) -> Request | None:
    """What the quick parser makes of a head."""
    return WholeHeadParser(SETTINGS).parse(data, BASE, POLICY)


@pytest.mark.parametrize(
    "target", ["http://b.example/p", "HTTP://b.example", "https://u@b.example"]
)
def test_the_host_of_an_absolute_target_wins(target: str) -> None:
    """RFC 9112 section 3.2.2: the Host field is ignored then."""
    data = f"GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode()
    assert one(data).environ["HTTP_HOST"] == "b.example"
    found = quick(data)
    assert found is None or found.environ["HTTP_HOST"] == "b.example"


def test_the_port_of_an_absolute_target_stays() -> None:
    data = b"GET http://b.example:81/ HTTP/1.1\r\nHost: a.example\r\n\r\n"
    assert one(data).environ["HTTP_HOST"] == "b.example:81"


@pytest.mark.parametrize("target", ["http:///x", "http://", "http://u@/x"])
def test_an_absolute_target_without_a_host_is_refused(target: str) -> None:
    data = f"GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode()
    assert status(data) == 400
    assert quick(data) is None


@pytest.mark.parametrize("line", ["PRI / HTTP/1.1", "PRI / HTTP/1.0", "PRI * HTTP/1.1"])
@pytest.mark.parametrize("field", ["", "Host: a\r\n"])
def test_pri_is_no_method(line: str, field: str) -> None:
    """RFC 9113 section 3.4: it is reserved for the preface of HTTP/2."""
    data = f"{line}\r\n{field}\r\n".encode()
    assert status(data) in {400, 405, 501}
    assert quick(data) is None


CONNECTIONS = {"": None, "close": False, "keep-alive": True, "x, close": False, "x": None}
"""Values of Connection, and what they say of the connection's future."""


@pytest.mark.parametrize("proxy", ["", "close", "keep-alive", "x"])
@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_both_parsers_agree_on_keep_alive(version: str, connection: str, proxy: str) -> None:
    """And Proxy-Connection, which no standard knows, changes nothing."""
    fields = ["Host: a"]
    if connection:
        fields.append(f"Connection: {connection}")
    if proxy:
        fields.append(f"Proxy-Connection: {proxy}")
    data = "\r\n".join([f"GET / HTTP/{version}", *fields, "", ""]).encode()
    said = CONNECTIONS[connection]
    expected = version == "1.1" if said is None else said
    assert one(data).keep_alive is expected
    found = quick(data)
    assert found is None or found.keep_alive is expected


@pytest.mark.parametrize("proxy", ["close", "keep-alive"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_proxy_connection_does_not_end_the_stream(version: str, proxy: str) -> None:
    """What follows on the connection is parsed, as far as it lives on."""
    data = f"GET / HTTP/{version}\r\nHost: a\r\nProxy-Connection: {proxy}\r\n\r\n".encode()
    parser = new_parser()
    for _ in range(2):
        parser.begin(BASE, POLICY)
        request, rest = parser.feed(data)
        assert request is not None
        assert request.keep_alive is (version == "1.1")
        assert rest == b""


# The access log


def ok(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def forgetful(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Empties the environ, which is the app's."""
    environ.clear()
    return ok(environ, start_response)


def forgetful_stream(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The same, and not in one small piece."""
    return iter(list(forgetful(environ, start_response)))


@contextmanager
def running(app: Any, **hooks: Any) -> Iterator[Server]:
    """A server with an access log, in a thread; it must end by itself only when told to."""
    server = Server(app, bind=["127.0.0.1:0"], settings=Settings(graceful_timeout=TIMEOUT / 2))
    log = AccessLog(hooks.get("line_format", DEFAULT_FORMAT), hooks["write"])

    def on_start(context: AppContext, loop: Loop) -> None:
        context.observe(after_response=log.add)
        loop.before_wait = log.flush

    server.on_start = on_start
    errors: list[BaseException] = []

    def run() -> None:
        try:
            server.run()
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        if thread.is_alive():
            server.stop()
        thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert not errors


def is_answered(server: Server, *fields: str) -> None:
    """Three requests, each over a connection of its own: a log is written between them."""
    for _ in range(3):
        with socket.create_connection(server.addresses[0], TIMEOUT) as sock:
            assert exchange(sock, message("GET / HTTP/1.1", *fields)).status == 200


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("closed")])
def test_a_log_that_cannot_be_written_hurts_no_request(error: Exception) -> None:
    calls: list[str] = []

    def write(text: str) -> None:
        calls.append(text)
        raise error

    with running(ok, write=write) as server:
        is_answered(server)
    assert calls


class _FullDisk(io.StringIO):
    def flush(self) -> None:
        raise OSError(28, "No space left on device")


class _NoLongerOpen(io.StringIO):
    def write(self, _text: str) -> int:
        raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("stream", [_FullDisk, _NoLongerOpen])
def test_a_stream_that_takes_no_line_hurts_no_request(
    monkeypatch: pytest.MonkeyPatch, stream: Callable[[], io.StringIO]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream())
        with running(ok, write=_line_writer("-")) as server:
            is_answered(server)


def test_a_user_agent_that_the_log_cannot_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PYTHONIOENCODING=ascii, or LC_ALL=POSIX in some containers."""
    raw = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
        write = _line_writer("-")
        with running(ok, write=write) as server:
            is_answered(server, "User-Agent: \xe9")
            is_answered(server, "User-Agent: plain")
        assert raw.getvalue().count(b'"plain"\n') == 3


@pytest.mark.parametrize("app", [forgetful, forgetful_stream])
@pytest.mark.parametrize(
    "line_format", [DEFAULT_FORMAT, "%(m)s %(U)s %(q)s %(H)s %({host}i)s %({X}e)s %(u)s %(h)s"]
)
def test_an_emptied_environ_is_logged(app: Any, line_format: str) -> None:
    lines: list[str] = []
    with running(app, write=lines.append, line_format=line_format) as server:
        is_answered(server)
    assert "".join(lines).count("\n") == 3
