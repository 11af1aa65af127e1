"""Connections of servers whose ``proxy_protocol`` isn't off.

Lives here: what a PROXY header changes in a connection, so that :mod:`poolhttp.connection` knows
nothing of it and costs nothing more. Must not live here: the header's grammar (``proxyprotocol``).
"""

from __future__ import annotations

from typing import Any

from poolhttp.connection import Connection
from poolhttp.errors import RequestError
from poolhttp.proxyprotocol import ProxyHeader, ProxyReader
from poolhttp.request import Request
from poolhttp.service import Profile, Service


class ProxiedConnection(Connection):
    """A connection that may begin with a PROXY header.

    The header's client takes the peer's place in the environ of every request and in the log. Whom
    to believe in header fields (``profile``) stays the socket's peer's affair, as in gunicorn.
    """

    __slots__ = ("header", "reader")

    def __init__(
        self, fd: int, service: Service, profile: Profile, address: str, port: str
    ) -> None:
        super().__init__(fd, service, profile, address, port)
        self.header: ProxyHeader | None = None
        self.reader: ProxyReader | None = ProxyReader(
            service.settings.proxy_protocol, allowed=address in service.proxies
        )

    def on_data(self, data: bytes) -> None:
        """The loop received something."""
        if self.reader is not None:
            try:
                decided = self.reader.feed(data)
            except RequestError as exc:
                self.reader = None
                self._reject(exc.status, exc.reason)
                return
            if decided is None:
                return
            self.reader = None
            header, data = decided
            if header is not None and header.protocol is not None:
                self.header = header
                self.address, self.port = header.source_address, header.source_port
            if not data:
                return
        super().on_data(data)

    def _walk(self, request: Request, environ: dict[str, Any]) -> None:
        header = self.header
        if header is not None:
            environ["PROXY_PROTOCOL"] = header.protocol
            environ["PROXY_ADDR"] = header.destination_address
            environ["PROXY_PORT"] = header.destination_port
        super()._walk(request, environ)
