"""Who has connected: the text of an address, and whether to believe what it forwards.

Lives here: what is decided once per listener and address. Must not live here: accepting
(``server``), the policy itself (``fields``).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Any

from poolhttp.appcontext import roomy
from poolhttp.fields import FieldPolicy, PeerList
from poolhttp.listeners import server_name
from poolhttp.service import Profile
from poolhttp.settings import Settings

PEERS = 4096
"""Peer addresses of which text and trust are remembered; emptied when full."""


class Listener:
    """A listening socket and what it decides for its connections."""

    def __init__(self, sock: socket.socket, settings: Settings, base: dict[str, Any]) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        name, port = server_name(sock)
        base = roomy({**base, "SERVER_NAME": name, "SERVER_PORT": port})
        self.trusted = Profile(base, FieldPolicy(settings, trusted=True))
        self.untrusted = Profile(base, FieldPolicy(settings, trusted=False))


class Peers:
    """What is known of the peers of a server.

    Args:
        sockets: the listeners.
        settings: whom to believe.
        base: environ entries of the server.

    Attributes:
        listeners: by descriptor.
        known: addresses and profiles by the key of :meth:`identify`.
    """

    def __init__(
        self, sockets: Iterable[socket.socket], settings: Settings, base: dict[str, Any]
    ) -> None:
        self.listeners = {sock.fileno(): Listener(sock, settings, base) for sock in sockets}
        self.known: dict[bytes, tuple[str, Profile]] = {}
        self._believed = PeerList(settings.forwarded_allow_ips)

    def forget_heads(self) -> None:
        """Have each request head parsed from now on."""
        for listener in self.listeners.values():
            listener.trusted.forget()
            listener.untrusted.forget()

    def identify(self, key: bytes) -> tuple[str, Profile]:
        """Return the text of a peer's address, '' for a unix socket, and its profile.

        Args:
            key: the first 24 bytes of a ``ph_peer``: listener, address family, address.
        """
        listener_fd, family = struct.unpack_from("=iH", key)
        listener = self.listeners[listener_fd]
        address = ""
        if family == socket.AF_INET:
            address = socket.inet_ntop(socket.AF_INET, key[8:12])
        elif family == socket.AF_INET6:
            address = socket.inet_ntop(socket.AF_INET6, key[8:24])
        profile = listener.trusted if address in self._believed else listener.untrusted
        if len(self.known) >= PEERS:
            self.known.clear()
        self.known[key] = address, profile
        return address, profile
