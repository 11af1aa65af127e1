"""Context variables (contextvars) that one request sets are not seen by the next.

Each call starts with none, whichever thread makes it; what it sets holds for its iteration and its
close(), too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar

import pytest
from live import Environ, Serve, StartResponse, exchange, message, read_response

from .gated import Gated, scheduler_of, until

USER: ContextVar[str] = ContextVar("USER", default="nobody")


def get(path: str) -> bytes:
    return message(f"GET {path} HTTP/1.1")


def nothing_said(*_arguments: object) -> Callable[[bytes], object]:
    """A start_response for an app within another, whose answer is of no interest."""
    return lambda _data: None


class Remembering:
    """An app that sets a variable in each place where its code runs, and notes what it finds."""

    def __init__(self, gated: Gated) -> None:
        self.gated = gated
        self.found: dict[str, list[str]] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        found = self.found[path] = [USER.get()]
        USER.set(f"{path} called")
        if path.startswith("/hold"):
            self.gated(environ, nothing_said)
        found.append(USER.get())
        start_response("200 OK", [])
        if "stream" not in path:
            return [path.encode()]
        return _Iterable(path, found)


class _Iterable:
    def __init__(self, path: str, found: list[str]) -> None:
        self._path = path
        self._found = found

    def __iter__(self) -> Iterator[bytes]:
        for number in range(3):
            self._found.append(USER.get())
            USER.set(f"{self._path} {number}")
            yield b"%d " % number

    def close(self) -> None:
        self._found.append(USER.get())
        USER.set(f"{self._path} closed")


def expected(path: str) -> list[str]:
    """What a request finds that others don't touch."""
    plain = ["nobody", f"{path} called"]
    if "stream" not in path:
        return plain
    return [*plain, f"{path} called", *(f"{path} {number}" for number in range(3))]


@pytest.mark.parametrize("dispatch", ["adaptive", "threads", "inline"])
@pytest.mark.parametrize("threads", [1, 3])
def test_requests_see_their_own(serve: Serve, gated: Gated, dispatch: str, threads: int) -> None:
    app = Remembering(gated)
    live = serve(app, threads=threads, dispatch=dispatch)
    socks = [live.connect() for _ in range(4)]
    paths = []
    for number in range(10):
        for client, sock in enumerate(socks):
            kind = ("plain", "stream")[(number + client) % 2]
            paths.append(f"/{kind}/{client}/{number}")
            sock.sendall(get(paths[-1]))
        for sock in socks:
            assert read_response(sock).status == 200
    until(lambda: all(app.found[path] == expected(path) for path in paths), "each sees its own")


@pytest.mark.parametrize("kind", ["plain", "stream"])
@pytest.mark.parametrize("threads", [1, 2])
def test_displaced_request_sees_its_own(
    serve: Serve, gated: Gated, threads: int, kind: str
) -> None:
    """Others are called while it is; and it leaves nothing to those that come later."""
    app = Remembering(gated)
    live = serve(app, threads=threads)
    crew = scheduler_of(live).crew
    paths = []
    with live.connect() as sock, live.connect() as other:
        for number in range(3):
            before = crew.displaced, scheduler_of(live).apart
            held, quick = f"/hold/{kind}/{number}", f"/{kind}/quick/{number}"
            paths += [held, quick]
            sock.sendall(get(held))
            gated.wait_for(held)
            until(
                lambda before=before: (crew.displaced, scheduler_of(live).apart) != before,  # type: ignore[misc]
                "it runs apart",
            )
            other.sendall(get(quick))
            if threads > 1:
                assert read_response(other).status == 200
            gated.let_go(held)
            assert read_response(sock).status == 200
            if threads == 1:
                assert read_response(other).status == 200
    until(lambda: all(app.found[path] == expected(path) for path in paths), "each sees its own")


@pytest.mark.parametrize("threads", [1, 2])
def test_failing_request_leaves_nothing(serve: Serve, threads: int) -> None:
    seen = []

    def app(_environ: Environ, _start_response: StartResponse) -> Iterable[bytes]:
        seen.append(USER.get())
        USER.set("failed")
        raise ValueError("on purpose")

    for dispatch in ("inline", "threads"):
        live = serve(app, threads=threads, dispatch=dispatch)
        for _ in range(3):
            assert live.ask(get("/")).status == 500
        assert "on purpose" in live.log_text()
    assert seen == ["nobody"] * 6


@pytest.mark.parametrize("dispatch", ["inline", "threads"])
def test_variables_of_the_caller_are_not_touched(serve: Serve, gated: Gated, dispatch: str) -> None:
    USER.set("test")
    live = serve(Remembering(gated), threads=1, dispatch=dispatch)
    with live.connect() as sock:
        assert exchange(sock, get("/stream")).status == 200
    assert USER.get() == "test"
