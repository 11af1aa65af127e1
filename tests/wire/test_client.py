"""The raw client itself: it rejects what isn't a response, or the other tests prove nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import h11
import pytest
from live import TruncatedError, chunked, read_response, read_to_eof

DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    client, server = socket.socketpair()
    with client, server:
        client.settimeout(5)
        yield client, server


Ends = tuple[socket.socket, socket.socket]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\n" + DATE + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 0\r\n\n",
        b"HTTP/1.1 200\r\n" + DATE + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + DATE + b"Name : v\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + DATE + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No\r\n" + DATE + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No\r\n" + DATE + b"Transfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n" + DATE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + DATE + DATE + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + DATE + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
        b"body that is left over\r\n\r\n",
    ],
)
def test_rejects(ends: Ends, data: bytes) -> None:
    client, server = ends
    server.sendall(data)
    server.shutdown(socket.SHUT_WR)
    with pytest.raises((AssertionError, h11.RemoteProtocolError)):
        read_response(client)


def test_takes_one_and_leaves_the_next(ends: Ends) -> None:
    client, server = ends
    server.sendall(
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 200 OK\r\n" + DATE + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"a", b"b")
    )
    server.sendall(b"HTTP/1.1 404 No\r\n" + DATE + b"Content-Length: 1\r\n\r\nx")
    server.sendall(b"HTTP/1.1 200 OK\r\n" + DATE + b"\r\nto the end")
    server.shutdown(socket.SHUT_WR)
    first, second, third = (read_response(client) for _ in range(3))
    assert (first.status, first.body, first.interim) == (200, b"ab", [100])
    assert (second.status, second.body, second.interim) == (404, b"x", [])
    assert third.body == b"to the end"
    assert read_to_eof(client) == b""


@pytest.mark.parametrize(
    ("data", "partial"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nDa", None),
        (b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 4\r\n\r\nbod", b"bod"),
        (b"HTTP/1.1 200 OK\r\n" + DATE + b"Transfer-Encoding: chunked\r\n\r\n1\r\nb\r\n", b"b"),
    ],
)
def test_sees_truncation(ends: Ends, data: bytes, partial: bytes | None) -> None:
    client, server = ends
    server.sendall(data)
    server.shutdown(socket.SHUT_WR)
    with pytest.raises(TruncatedError) as caught:
        read_response(client)
    assert (caught.value.partial and caught.value.partial.body) == partial
