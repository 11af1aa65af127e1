"""Whatever an app answers, an independent client reads exactly what the app meant.

RFC 9112 sections 6 and 7, RFC 9110 section 6.4. h11 is the client; the model below says what should
arrive for a generated family of apps, and that the connection is in the state that was announced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import Environ, LiveServer, Serve, StartResponse, message, read_response, read_to_eof

from .apps import BODY_WAIT, Closable, hello

STATUSES = ["200 OK", "201 Created", "204 No Content", "206 P", "304 Not Modified", "404 ", "500 x"]

SIZES = st.one_of(
    st.sampled_from([0, 1, 15, 16, 255, 256, 4095, 4096, 4097, 65535, 65536, 262144, 300_000]),
    st.integers(0, 3000),
)


@dataclass(frozen=True)
class Plan:
    """What an app does with one request."""

    status: str
    written: tuple[int, ...]
    """Sizes of items given to write()."""
    returned: tuple[int, ...]
    """Sizes of items of the iterable."""
    kind: str
    declares_length: bool

    @property
    def items(self) -> list[bytes]:
        """All items, each of bytes that tell where they belong."""
        sizes = [*self.written, *self.returned]
        return [bytes([65 + i % 26]) * size for i, size in enumerate(sizes)]

    @property
    def bodiless(self) -> bool:
        return self.status.startswith(("204", "304"))


PLANS = st.builds(
    Plan,
    status=st.sampled_from(STATUSES),
    written=st.lists(SIZES, max_size=2).map(tuple),
    returned=st.lists(SIZES, max_size=5).map(tuple),
    kind=st.sampled_from(["list", "tuple", "generator", "closable"]),
    declares_length=st.booleans(),
)

REQUESTS = st.tuples(
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from(["1.0", "1.1"]),
    st.sampled_from([None, "keep-alive", "close"]),
)


class Planned:
    """Follows the plan of the moment, for every path but /next."""

    def __init__(self) -> None:
        self.plan = Plan("200 OK", (), (), "list", False)
        self.made: Closable | None = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/next":
            return hello(environ, start_response)
        plan = self.plan
        items = plan.items
        headers = [("X-Mark", "m")]
        if plan.declares_length:
            headers.append(("Content-Length", str(sum(map(len, items)))))
        write = start_response(plan.status, headers)
        for item in items[: len(plan.written)]:
            write(item)
        rest = items[len(plan.written) :]
        self.made = Closable(rest)
        kinds: dict[str, Iterable[bytes]] = {
            "list": rest,
            "tuple": tuple(rest),
            "generator": iter(rest),
            "closable": self.made,
        }
        return kinds[plan.kind]


@pytest.fixture(scope="module")
def app() -> Planned:
    return Planned()


@pytest.fixture(scope="module")
def server(serve_module: Serve, app: Planned) -> LiveServer:
    return serve_module(app)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=PLANS, request_of=REQUESTS)
def test_client_reads_what_the_app_meant(
    server: LiveServer, app: Planned, plan: Plan, request_of: tuple[str, str, str | None]
) -> None:
    method, version, connection = request_of
    app.plan = plan
    fields = [f"Connection: {connection}"] if connection else []
    meant = b"" if method == "HEAD" or plan.bodiless else b"".join(plan.items)
    with server.connect() as sock:
        sock.sendall(message(f"{method} / HTTP/{version}", *fields))
        response = read_response(sock, method)
        assert response.status == int(plan.status[:3])
        assert response.reason == plan.status[4:].encode()
        assert response.one(b"x-mark") == b"m"
        assert response.body == meant
        length = response.one(b"content-length")
        if length is not None:
            assert int(length) == sum(map(len, plan.items))
        asked_to_close = connection == "close" or (version == "1.0" and connection is None)
        if asked_to_close:
            assert response.closes
        elif version == "1.1":
            assert not response.closes, "nothing forced the server to close"
        if response.closes:
            assert read_to_eof(sock) == b""
        else:
            sock.sendall(message("GET /next HTTP/1.1"))
            assert read_response(sock).body == b"hello /next"
    if plan.kind == "closable":
        assert app.made is not None
        assert app.made.ended.wait(BODY_WAIT)
        assert app.made.closed == 1
